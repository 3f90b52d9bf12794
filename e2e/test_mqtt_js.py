"""Promise: mqtt.js, the client of browsers and Node, has all of MQTT 3.1.1 and 5.0 that it knows from this server, over TCP
and over WebSocket as a browser would."""

import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import PATIENCE_S, run_server

NODE = shutil.which("node")
HERE = Path(__file__).parent / "node"
pytestmark = pytest.mark.skipif(
    not (NODE and (HERE / "node_modules" / "mqtt").exists()), reason="node or mqtt.js is not installed"
)

CONFIG = """
mqtt.listeners = [
  { name = "tcp", listen = "127.0.0.1:0" },
  { name = "ws", listen = "127.0.0.1:0", transport = "ws" },
]
"""


@pytest.mark.parametrize("version", ["4", "5"], ids=["3.1.1", "5.0"])
@pytest.mark.parametrize("way", ["tcp", "ws"])
def test_what_mqtt_js_can_do(tmp_path, way, version):
    with run_server(tmp_path, CONFIG, own_listeners=True) as server:
        scheme = "mqtt" if way == "tcp" else way
        url = f"{scheme}://127.0.0.1:{server.ports[way]}/mqtt"
        command = [NODE, HERE / "features.mjs", url, version]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE_S)
        assert ran.stdout.strip() == "ok", ran.stderr
