"""Promise: real clients log in each way there is, and do what they may; who may not is refused, and it is on record."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import shutil
import signal
import subprocess
import threading

import paho.mqtt.client as mqtt
import pytest

from conftest import PATIENCE_S, run_server, wait_until

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")
needs_mosquitto = pytest.mark.skipif(not (PUB and SUB), reason="mosquitto_pub and mosquitto_sub are not installed")
VERSIONS = pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5.0"])

RULES = """
[[mqtt.rules]]
users = ["ops", "LTAI", "asked"]
publish = ["up/%c/#"]
subscribe = ["down/%c"]
"""


def passwd(folder, user, password, *options):
    command = [os.environ["TRACEMQ_BIN"], "passwd", folder / "users", user, *options]
    subprocess.run(command, input=password.encode(), check=True, timeout=PATIENCE_S)


class Program(http.server.BaseHTTPRequestHandler):
    """Lets in whose password is `good`."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"result": "allow" if asked["password"] == "good" else "deny"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    passwd(folder, "ops", "secret")
    program = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Program)
    threading.Thread(target=program.serve_forever, daemon=True).start()
    config = f"""
[mqtt]
users_file = "users"
[mqtt.hook]
url = "http://127.0.0.1:{program.server_port}/"
{RULES}
[[access_keys]]
id = "LTAI"
secret = "key-secret"
"""
    with run_server(folder, config) as server:
        server.folder = folder
        yield server
    program.shutdown()
    program.server_close()


def sign(secret, client_id):
    return base64.b64encode(hmac.new(secret.encode(), client_id.encode(), hashlib.sha1).digest()).decode()


def logins(server, client_id):
    """Each way in: user name and password."""
    return {
        "password": ("ops", "secret"),
        "signature": (f"Signature|LTAI|{server.instance}", sign("key-secret", client_id)),
        "program": ("asked", "good"),
    }


WAYS = pytest.mark.parametrize("way", ["password", "signature", "program"])


def connect(server, version, client_id, user, password):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False)
    client.username_pw_set(user, password)
    codes = []
    client.on_connect = lambda *args: codes.append(args[3])
    client.connect(server.host, server.mqtt_port)
    client.loop_start()
    wait_until(lambda: codes, "CONNACK")
    return client, codes[0]


@VERSIONS
@WAYS
def test_paho_logs_in_and_uses_its_topics(guarded, version, way):
    client_id = f"GID_paho@@@{way}-{version}"
    client, code = connect(guarded, version, client_id, *logins(guarded, client_id)[way])
    assert not code.is_failure, code
    got, told = [], []
    client.on_subscribe = lambda *args: told.extend(args[3])
    client.on_message = lambda *args: got.append(args[2].topic)
    client.subscribe(f"down/{client_id}", 1)
    wait_until(lambda: told, "SUBACK")
    client.publish(f"up/{client_id}/x", b"x", 1).wait_for_publish(PATIENCE_S)
    client.publish("up/somebody-else/x", b"x", 1)
    guarded.wait_for_reasons(client_id, "accepted", "publish-not-authorized")
    client.loop_stop()


@VERSIONS
@WAYS
def test_paho_with_a_wrong_password_is_refused(guarded, version, way):
    client_id = f"wrong-{way}-{version}"
    user, _ = logins(guarded, client_id)[way]
    client, code = connect(guarded, version, client_id, user, "wrong")
    assert code.is_failure
    guarded.wait_for_reasons(client_id, "bad-credentials")
    client.loop_stop()


@needs_mosquitto
@WAYS
def test_mosquitto_logs_in(guarded, way):
    client_id = f"mosquitto-{way}"
    user, password = logins(guarded, client_id)[way]
    where = [PUB, "-p", str(guarded.mqtt_port), "-i", client_id, "-q", "1", "-m", "x"]
    command = [*where, "-u", user, "-P", password, "-t", f"up/{client_id}/x"]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    guarded.wait_for_reasons(client_id, "accepted", "client-disconnected")
    command = [*where, "-u", user, "-P", "wrong", "-t", f"up/{client_id}/x"]
    assert subprocess.run(command, timeout=PATIENCE_S, stderr=subprocess.DEVNULL).returncode != 0


def test_a_user_that_is_disabled_is_out_at_sighup(guarded):
    passwd(guarded.folder, "leaver", "secret")
    guarded.process.send_signal(signal.SIGHUP)
    client_id = "leaver-1"

    def let_in():
        client, code = connect(guarded, mqtt.MQTTv5, client_id, "leaver", "secret")
        return None if code.is_failure else client

    client = wait_until(let_in, "login of the new user")
    passwd(guarded.folder, "leaver", "", "--disable")
    guarded.process.send_signal(signal.SIGHUP)
    reasons = lambda: [event["reason"] for event in guarded.events(client_id)]  # none yet, at first
    wait_until(lambda: reasons()[-1:] == ["credentials-withdrawn"], "end of the leaver")
    client.loop_stop()
