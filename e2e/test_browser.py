"""Promise: a web page in a real browser speaks MQTT with this server over WebSocket, and how its tab ended is on record."""

import http.server
import shutil
import subprocess
import threading
import uuid
from pathlib import Path

import pytest

from browser import CHROMIUM, run_browser
from conftest import PATIENCE_S, run_server

MQTT_JS = Path(__file__).parent / "node" / "node_modules" / "mqtt" / "dist" / "mqtt.min.js"
OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and MQTT_JS.exists() and OPENSSL), reason="chromium-headless-shell, mqtt.js or openssl is not installed"
)

CONFIG = """
mqtt.listeners = [
  { name = "ws", listen = "127.0.0.1:0", transport = "ws" },
  { name = "wss", listen = "127.0.0.1:0", transport = "wss", tls = { cert = "server.pem", key = "server.key" } },
  { name = "elsewhere", listen = "127.0.0.1:0", transport = "ws", websocket = { origins = ["https://fleet.example"] } },
]
"""
PAGE = b"""<!doctype html><title>fleet</title><script src="mqtt.js"></script><script>
// Gives the message that the page has sent to itself.
async function echo(url, options, topic) {
  client = await mqtt.connectAsync(url, { reconnectPeriod: 0, ...options }, false)
  const heard = new Promise(done => client.on('message', (_, payload) => done(payload.toString())))
  await client.subscribeAsync(topic, { qos: 1 })
  await client.publishAsync(topic, 'hello from the browser', { qos: 1 })
  return heard
}
</script>"""


class Files(http.server.BaseHTTPRequestHandler):
    """The page, and mqtt.js as it is shipped for browsers."""

    def do_GET(self):
        found = {"/": ("text/html", PAGE), "/mqtt.js": ("text/javascript", MQTT_JS.read_bytes())}.get(self.path)
        self.send_response(200 if found else 404)
        kind, body = found or ("text/plain", b"")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def page():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def browser(tmp_path):
    with run_browser(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browsers")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "server.key"]
    made = [OPENSSL, "req", "-x509", *key, "-out", "server.pem", "-days", "30", "-subj", "/CN=localhost"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True, timeout=PATIENCE_S)
    with run_server(folder, CONFIG, own_listeners=True) as running:
        yield running


def talk(tab, server, way, version=4):
    """Lets the page talk to itself through the server; gives its client identifier."""
    client_id, topic = f"page-{uuid.uuid4().hex[:12]}", f"browser/{uuid.uuid4().hex}"
    url = f"{way}://127.0.0.1:{server.ports[way]}/mqtt"
    # As MQTT 3.1 it offers the subprotocol mqttv3.1 alone.
    protocol = ", protocolId: 'MQIsdp'" if version == 3 else ""
    options = f"{{ clientId: '{client_id}', protocolVersion: {version}{protocol} }}"
    assert tab.run(f"echo('{url}', {options}, '{topic}')") == "hello from the browser"
    return client_id


@pytest.mark.parametrize("version", [3, 4, 5], ids=["3.1", "3.1.1", "5.0"])
@pytest.mark.parametrize("way", ["ws", "wss"])
def test_a_page_that_ends_its_client_disconnects(browser, page, server, way, version):
    tab = browser.open(page)
    client_id = talk(tab, server, way, version)
    tab.run("client.endAsync()")
    for event in server.wait_for_reasons(client_id, "accepted", "client-disconnected"):
        assert event["listener"] == way and event["peer"].startswith("127.0.0.1:")
        assert ("tls_version" in event) == (way == "wss")


@pytest.mark.parametrize("leave", ["navigates", "closes", "crashes"])
@pytest.mark.parametrize("way", ["ws", "wss"])
def test_how_a_tab_is_left_is_on_record(browser, page, server, way, leave):
    tab = browser.open(page)
    client_id = talk(tab, server, way)
    {"navigates": lambda: tab.go("about:blank"), "closes": tab.close, "crashes": browser.kill}[leave]()
    _, end = server.wait_for_reasons(client_id, "accepted", "client-closed")
    assert end.get("detail") == (None if leave == "crashes" else "WebSocket close, code 1001")


def test_a_page_of_another_origin_is_refused_and_its_origin_is_on_record(browser, page, server):
    tab = browser.open(page)
    url = f"ws://127.0.0.1:{server.ports['elsewhere']}/mqtt"
    assert tab.run(f"echo('{url}', {{}}, 'x').catch(() => 'refused')") == "refused"
    (end,) = server.wait_for_reasons_at("127.0.0.1", "websocket-refused")
    assert f'origin "{page.removesuffix("/")}" is not one of websocket.origins' in end["detail"]
