"""Promise: Alibaba Cloud's official Node SDKs, unmodified, read a device's history from TraceMQ."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

NODE = Path(__file__).parent / "node"

pytestmark = [
    pytest.mark.skipif(not shutil.which("node"), reason="node is not installed"),
    pytest.mark.skipif(not (NODE / "node_modules").is_dir(), reason="run `npm ci` in e2e/node first"),
]

DEVICE = "GID_node@@@pump 07/é*~"


@pytest.fixture(scope="module")
def history(server):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, DEVICE, reconnect_on_failure=False)
    client.on_connect = lambda client, *_: client.disconnect()
    client.connect(server.host, server.mqtt_port)
    client.loop_forever()
    return server.wait_for_reasons(DEVICE, "accepted", "client-disconnected")


def ask(server, way, secret=None, **changed):
    now_ms = int(time.time() * 1000)
    parameters = {
        "MqttRegionId": "cn-hangzhou",
        "InstanceId": server.instance,
        "ClientId": DEVICE,
        "BeginTime": now_ms - 3_600_000,
        "EndTime": now_ms + 3_600_000,
        "CurrentPage": 1,
        "PageSize": 100,
        "Reverse": False,
        **changed,
    }
    command = ["node", NODE / "trace_device.js", way, server.http, server.key_id, secret or server.key_secret]
    done = subprocess.run(command, input=json.dumps(parameters), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", ["pop-core-get", "pop-core-post", "openapi-v3", "openapi-v1"])
def test_history(server, history, way):
    told = ask(server, way)
    assert "answer" in told, told
    rows = [(row["ChannelId"], row["ActionInfo"]) for row in told["answer"]["DeviceInfoList"]]
    connection = history[0]["connection"]
    assert rows == [(connection, "accepted"), (connection, "disconnected by client")]
    assert told["answer"]["Total"] == 2


@pytest.mark.parametrize("way", ["pop-core-get", "pop-core-post", "openapi-v3", "openapi-v1"])
def test_errors_arrive_with_their_code(server, way):
    assert ask(server, way, secret="wrong")["code"] == "SignatureDoesNotMatch"
    assert ask(server, way, PageSize=101)["code"] == "InvalidPageSize"
