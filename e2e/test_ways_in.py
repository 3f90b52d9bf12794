"""Promise: ordinary MQTT clients come in over TLS and WebSocket, and their history says how."""

import queue
import shutil
import ssl
import subprocess
import uuid
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from certificates import OPENSSL, make, make_ca
from conftest import PATIENCE_S, run_server

PUB, SUB, NODE = (shutil.which(name) for name in ("mosquitto_pub", "mosquitto_sub", "node"))
MQTT_JS = Path(__file__).parent / "node" / "node_modules" / "mqtt"
pytestmark = pytest.mark.skipif(not OPENSSL, reason="openssl is not installed, which makes the certificates")
needs_mosquitto = pytest.mark.skipif(not (PUB and SUB), reason="mosquitto_pub and mosquitto_sub are not installed")
needs_mqtt_js = pytest.mark.skipif(not (NODE and MQTT_JS.exists()), reason="node or mqtt.js is not installed")

CONFIG = """
mqtt.listeners = [
  { name = "tcp", listen = "127.0.0.1:0" },
  { name = "tls", listen = "127.0.0.1:0", transport = "tls", tls = { cert = "server.pem", key = "server.key" } },
  { name = "mutual", listen = "127.0.0.1:0", transport = "tls", tls = { cert = "server.pem", key = "server.key", \
client_ca = "ca.pem", client_certificate = "required", username_from = "common-name" } },
  { name = "ws", listen = "127.0.0.1:0", transport = "ws" },
  { name = "wss", listen = "127.0.0.1:0", transport = "wss", tls = { cert = "server.pem", key = "server.key" } },
]
""".replace("\\\n", "")
WAYS = pytest.mark.parametrize("way", ["tcp", "tls", "mutual", "ws", "wss"])
VERSIONS = pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5.0"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server with every way in, and the folder that has the certificates."""
    folder = tmp_path_factory.mktemp("ways-in")
    make_ca(folder)
    make(folder, "server", "localhost")
    make(folder, "device", "pump-07")
    with run_server(folder, CONFIG, own_listeners=True) as server:
        yield server, folder


def paho(server, folder, way, version, client_id):
    transport = "websockets" if way.startswith("ws") else "tcp"
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=version, transport=transport, reconnect_on_failure=False
    )
    if way in ("tls", "wss", "mutual"):
        shown = {"certfile": folder / "device.pem", "keyfile": folder / "device.key"} if way == "mutual" else {}
        client.tls_set(ca_certs=folder / "ca.pem", **shown)
    client.connect("localhost", server.ports[way])
    return client


@WAYS
@VERSIONS
def test_paho_goes_each_way(world, way, version):
    server, folder = world
    client_id, topic, heard = f"paho-{uuid.uuid4().hex[:12]}", f"ways/{uuid.uuid4().hex}", queue.Queue()
    client = paho(server, folder, way, version, client_id)
    client.on_message = lambda _, __, message: heard.put(message.payload)
    client.on_subscribe = lambda *_: client.publish(topic, b"x" * 100_000, qos=1)
    client.on_connect = lambda *_: client.subscribe(topic, 1)
    client.loop_start()
    assert heard.get(timeout=PATIENCE_S) == b"x" * 100_000
    client.disconnect()
    client.loop_stop()
    for event in server.wait_for_reasons(client_id, "accepted", "client-disconnected"):
        assert event["listener"] == way
        assert ("tls_version" in event) == (way in ("tls", "wss", "mutual"))
        assert event.get("certificate_subject") == ("CN=pump-07" if way == "mutual" else None)
        assert event.get("username") == ("pump-07" if way == "mutual" else None)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # paho leaves its socket open
def test_paho_without_our_ca_leaves_its_alert_on_record(world):
    server, _ = world
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "distrustful")
    client.tls_set()  # the CAs of this machine: ours is none of them
    with pytest.raises(ssl.SSLCertVerificationError):
        client.connect("localhost", server.ports["tls"])
    (event,) = server.wait_for_reasons_at("127.0.0.1", "tls-failure")
    assert "client sent the alert UnknownCA" in event["detail"] and event["server_name"] == "localhost"


@needs_mosquitto
def test_mosquitto_clients_over_tls(world):
    server, folder = world
    topic, client_id = f"ways/{uuid.uuid4().hex}", f"mosquitto-{uuid.uuid4().hex[:8]}"
    common = ["-h", "localhost", "-p", str(server.ports["mutual"]), "--cafile", "ca.pem"]
    common += ["--cert", "device.pem", "--key", "device.key", "-t", topic, "-q", "1"]
    command = [SUB, *common, "-i", client_id, "-C", "1", "-W", str(PATIENCE_S)]
    publish = [PUB, *common, "-m", "hello", "-r"]
    subprocess.run(publish, cwd=folder, check=True, timeout=PATIENCE_S)
    heard = subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=2 * PATIENCE_S)
    assert heard.stdout.strip() == b"hello"
    server.wait_for_reasons(client_id, "accepted", "client-disconnected")


@needs_mqtt_js
@pytest.mark.parametrize("way", ["ws", "wss"])
def test_mqtt_js_over_websocket(world, way):
    server, folder = world
    client_id = f"js-{uuid.uuid4().hex[:12]}"
    url = f"{way}://localhost:{server.ports[way]}/mqtt"
    script = Path(__file__).parent / "node" / "echo.js"
    command = [NODE, script, url, client_id, folder / "ca.pem"]
    heard = subprocess.run(command, check=True, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert heard.stdout.strip() == "hello from mqtt.js"
    for event in server.wait_for_reasons(client_id, "accepted", "client-disconnected"):
        assert event["listener"] == way


IPV6 = """
mqtt.allow_anonymous = true
mqtt.listeners = [
  { name = "six", listen = "[::1]:0" },
  { name = "mapped", listen = "[::ffff:127.0.0.1]:0" },
]
"""


@pytest.fixture(scope="module")
def server_over_ipv6(tmp_path_factory):
    """A server that IPv6 leads to, and whose other socket shows IPv4 clients as `::ffff:127.0.0.1`."""
    with run_server(tmp_path_factory.mktemp("ipv6"), IPV6, own_listeners=True) as server:
        yield server


@pytest.mark.parametrize("way, host, address", [("six", "::1", "::1"), ("mapped", "127.0.0.1", "127.0.0.1")])
def test_the_address_of_a_client_over_ipv6_is_its_own(server_over_ipv6, way, host, address):
    server = server_over_ipv6
    client_id = f"paho-{uuid.uuid4().hex[:12]}"
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False)
    client.on_connect = lambda *_: client.disconnect()
    client.connect(host, server.ports[way])
    port = client.socket().getsockname()[1]
    client.loop_forever()
    peer = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    for event in server.wait_for_reasons(client_id, "accepted", "client-disconnected"):
        assert (event["peer"], event["listener"]) == (peer, way)


@needs_mosquitto
def test_mosquitto_clients_over_ipv6(server_over_ipv6):
    server = server_over_ipv6
    topic, client_id = f"ways/{uuid.uuid4().hex}", f"mosquitto-{uuid.uuid4().hex[:8]}"
    common = ["-h", "::1", "-p", str(server.ports["six"]), "-t", topic, "-q", "1"]
    subprocess.run([PUB, *common, "-m", "hello", "-r"], check=True, timeout=PATIENCE_S)
    subscribe = [SUB, *common, "-i", client_id, "-C", "1", "-W", str(PATIENCE_S)]
    heard = subprocess.run(subscribe, check=True, capture_output=True, timeout=2 * PATIENCE_S)
    assert heard.stdout.strip() == b"hello"
    for event in server.wait_for_reasons(client_id, "accepted", "client-disconnected"):
        assert event["peer"].startswith("[::1]:")
