"""Promise: the explorer's page signs and runs a call in a real browser, and its samples do the same where they are pasted."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from browser import CHROMIUM, run_browser
from conftest import PATIENCE_S, run_server
from test_official_sdk import connected

NODE_FOLDER = os.path.join(os.path.dirname(__file__), "node")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium-headless-shell is not installed")
DEVICE = "GID_fleet@@@it's 100% \"é\" & more"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("explorer"), '[trace.messages]\ntopics = ["#"]\n') as running:
        device = connected(running, DEVICE)
        device.disconnect()
        device.loop_stop()
        running.wait_for_reasons(DEVICE, "accepted", "client-disconnected")
        yield running


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with run_browser(tmp_path_factory.mktemp("browser")) as browser:
        tab = browser.open(f"http://{server.http}/explorer")
        tab.run("new Promise(done => { const look = () => document.body.dataset.ready ? done() : setTimeout(look, 5); look() })")
        yield tab


def fill(tab, server, operation, secret=None, **parameters):
    """Fills the form in as a person does."""
    values = {"key-id": server.key_id, "key-secret": secret or server.key_secret}
    values |= {f"parameter-{name}": value for name, value in parameters.items()}
    tab.run(
        f"""for (const [id, value] of Object.entries({json.dumps({"operation": operation} | values)})) {{
          const input = document.getElementById(id)
          input.value = value
          for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind, {{ bubbles: true }}))
        }}"""
    )


def run(tab):
    """What stands under Answer, and beside it, after a press of the button."""
    return tab.run(
        """new Promise(done => {
          document.getElementById('run').click()
          const look = () => document.getElementById('run').disabled ? setTimeout(look, 5)
            : done([document.getElementById('status').textContent, document.getElementById('answer').textContent])
          setTimeout(look, 5)
        })"""
    )


def code(tab, language):
    tab.run(f"[...document.querySelectorAll('[role=tab]')].find(tab => tab.textContent === {language!r}).click()")
    return tab.run("document.getElementById('code').textContent")


def test_a_call_is_signed_and_run_in_the_page(tab, server):
    fill(tab, server, "QueryMqttTraceDevice", ClientId=DEVICE, InstanceId=server.instance)
    status, answer = run(tab)
    assert status.startswith("200,"), (status, answer)
    events = json.loads(answer)["DeviceInfoList"]
    assert [event["Action"] for event in events] == ["connect", "disconnect"]
    request = tab.run("document.getElementById('request').textContent")
    assert request.startswith("POST /?BeginTime=") and "authorization: ACS3-HMAC-SHA256 Credential=" in request
    shown = tab.run("document.documentElement.outerHTML") + request
    assert server.key_secret not in shown


def test_what_is_refused_is_shown_as_it_is(tab, server):
    fill(tab, server, "QueryMqttTraceDevice", secret="wrong", ClientId=DEVICE, InstanceId=server.instance)
    status, answer = run(tab)
    assert status.startswith("40") and json.loads(answer)["Code"] == "SignatureDoesNotMatch"
    assert tab.run("document.getElementById('status').className") == "failed"


def test_every_operation_can_be_called(tab, server):
    names = tab.run("[...document.getElementById('operation').options].map(option => option.value)")
    assert len(names) >= 13
    for name in names:
        given = {"ClientId": "GID_fleet@@@1", "MsgId": "0" * 32, "Actions": "R", "Resources": "a/b", "Token": "none"}
        given |= {"ClientIdList": "a\nb", "GroupId": "GID_explored", "MqttTopic": "a/b", "Payload": "hello"}
        fill(tab, server, name, InstanceId=server.instance)
        there = tab.run("[...document.querySelectorAll('#parameters [id]')].map(input => input.id.replace('parameter-', ''))")
        fill(tab, server, name, **{parameter: value for parameter, value in given.items() if parameter in there})
        status, answer = run(tab)
        # What it says may be that there is no such thing; not that it was asked wrongly.
        told = json.loads(answer)
        assert not told.get("Code", "").startswith(("Missing", "Invalid", "Signature", "ApiNot")), (name, status, answer)


COMMANDS = {
    "curl": (["bash"], bool(shutil.which("openssl") and shutil.which("curl"))),
    "Python": ([sys.executable, "-"], True),
    "Node": (["node", "-"], os.path.isdir(os.path.join(NODE_FOLDER, "node_modules"))),
}


@pytest.mark.parametrize("language", COMMANDS)
def test_a_sample_does_the_same_where_it_is_pasted(tab, server, language):
    command, is_there = COMMANDS[language]
    if not is_there:
        pytest.skip(f"{command[0]} or what it needs is not installed")
    fill(tab, server, "QueryMqttTraceDevice", ClientId=DEVICE, InstanceId=server.instance, Reverse="true")
    sample = code(tab, language)
    assert server.key_secret not in sample
    environment = os.environ | {"ACCESS_KEY_SECRET": server.key_secret}
    done = subprocess.run(
        command, input=sample, env=environment, cwd=NODE_FOLDER, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0 and "ActionInfo" in done.stdout, done
    assert done.stdout.index("disconnect") < done.stdout.rindex("connect")


@pytest.mark.parametrize("language", ["Java", "Go"])
def test_samples_that_can_not_be_run_here_name_what_is_called(tab, server, language):
    fill(tab, server, "QueryMqttTraceDevice", ClientId=DEVICE, InstanceId=server.instance)
    sample = code(tab, language)
    assert "ACCESS_KEY_SECRET" in sample and server.key_secret not in sample
    assert "QueryMqttTraceDeviceRequest" in sample and json.dumps(DEVICE, ensure_ascii=False) in sample
