"""Promise: tokens and device credentials that the official SDK had given out let devices in, and out when taken back."""

import base64
import hashlib
import hmac
import json
import time

import paho.mqtt.client as mqtt
import pytest
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_onsmqtt20200420.models import (
    ApplyTokenRequest,
    BatchQuerySessionByClientIdsRequest,
    CreateGroupIdRequest,
    DeleteGroupIdRequest,
    GetDeviceCredentialRequest,
    ListDeviceCredentialClientIdRequest,
    ListGroupIdRequest,
    QuerySessionByClientIdRequest,
    SendMessageRequest,
    QueryTokenRequest,
    RefreshDeviceCredentialRequest,
    RegisterDeviceCredentialRequest,
    RevokeTokenRequest,
    UnRegisterDeviceCredentialRequest,
)
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config

from conftest import PATIENCE_S, run_server, wait_until

SIGNATURES = pytest.mark.parametrize("signature", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "RPC V1"])
VERSIONS = pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5.0"])


def sdk(server, **config):
    key = {"access_key_id": server.key_id, "access_key_secret": server.key_secret}
    return Client(Config(**{**key, "endpoint": server.http, "protocol": "http", **config}))


def apply(server, client, actions, resources):
    expires = int(time.time() * 1000) + 600_000
    request = ApplyTokenRequest(actions, expires, server.instance, resources)
    return client.apply_token(request).body.token


def is_good(server, client, token):
    return client.query_token(QueryTokenRequest(server.instance, token)).body.token_status


class Device:
    """paho, and what came of it."""

    def __init__(self, server, client_id, user, password, version=mqtt.MQTTv311):
        self.codes, self.got, self.granted, self.ended = [], [], [], []
        self.paho = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False
        )
        self.paho.username_pw_set(user, password)
        self.paho.on_connect = lambda *args: self.codes.append(args[3])
        self.paho.on_message = lambda *args: self.got.append((args[2].topic, args[2].payload.decode()))
        self.paho.on_subscribe = lambda *args: self.granted.extend(args[3])
        self.paho.on_disconnect = lambda *args: self.ended.append(args[3])
        self.paho.connect(server.host, server.mqtt_port)
        self.paho.loop_start()
        wait_until(lambda: self.codes, "CONNACK")

    @property
    def is_in(self):
        return not self.codes[0].is_failure

    def wait_until_out(self):
        wait_until(lambda: self.ended, "end of the connection")
        self.paho.loop_stop()

    def notices(self):
        return [(topic, json.loads(payload)) for topic, payload in self.got if topic.startswith("$SYS/token")]


def by_token(server, client_id, password, version=mqtt.MQTTv311):
    return Device(server, client_id, f"Token|{server.key_id}|{server.instance}", password, version)


def by_credential(server, client_id, credential):
    mac = hmac.new(credential.device_access_key_secret.encode(), client_id.encode(), hashlib.sha1)
    user = f"DeviceCredential|{credential.device_access_key_id}|{server.instance}"
    return Device(server, client_id, user, base64.b64encode(mac.digest()).decode())


@SIGNATURES
@VERSIONS
def test_a_token_opens_its_topics_until_it_is_revoked(server, signature, version):
    cloud, client_id = sdk(server, **signature), f"GID_token@@@{len(signature)}-{version}"
    token = apply(server, cloud, "R,W", f"{client_id}/#")
    assert is_good(server, cloud, token)
    device = by_token(server, client_id, f"RW|{token}", version)
    assert device.is_in
    device.paho.subscribe(f"{client_id}/+", 1)
    wait_until(lambda: device.granted, "SUBACK")
    device.paho.publish(f"{client_id}/x", b"hello", 1).wait_for_publish(PATIENCE_S)
    wait_until(lambda: (f"{client_id}/x", "hello") in device.got, "its own message")
    cloud.revoke_token(RevokeTokenRequest(server.instance, token))
    assert not is_good(server, cloud, token)
    device.wait_until_out()
    assert device.notices() == [("$SYS/tokenInvalidNotice", {"code": 3, "type": "RW"})]
    end = server.wait_for_reasons(client_id, "accepted", "credentials-withdrawn")[-1]
    assert end["detail"] == "its token was revoked"
    again = by_token(server, client_id, f"RW|{token}", version)
    assert not again.is_in
    again.paho.loop_stop()
    refused = server.wait_for_reasons(client_id, "accepted", "credentials-withdrawn", "bad-credentials")[-1]
    assert refused["detail"] == "the token was revoked"


@VERSIONS
@pytest.mark.parametrize(
    ("does", "code", "reason"),
    [("elsewhere", 4, "publish-not-authorized"), ("write", 5, "publish-not-authorized"), ("read", 4, "subscribe-not-authorized")],
)
def test_who_uses_a_token_for_something_else_is_told_and_ended(server, version, does, code, reason):
    client_id = f"GID_token@@@{does}-{version}"
    token = apply(server, sdk(server), "R", "mine/#")
    device = by_token(server, client_id, f"R|{token}", version)
    if does == "read":
        device.paho.subscribe("other/#", 1)
    else:
        device.paho.publish("mine/x" if does == "write" else "other/x", b"x", 1)
    device.wait_until_out()
    assert device.notices() == [("$SYS/tokenInvalidNotice", {"code": code, "type": "R"})]
    server.wait_for_reasons(client_id, "accepted", reason)


@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
def test_a_device_renews_its_token_and_stays(server, version, qos):
    cloud, client_id = sdk(server), f"GID_token@@@renews-{version}-{qos}"
    old, new = apply(server, cloud, "R", "mine/#"), apply(server, cloud, "R,W", "mine/#")
    device = by_token(server, client_id, f"R|{old}", version)
    upload = json.dumps({"token": new, "type": "R"})
    device.paho.publish("$SYS/uploadToken", upload, qos).wait_for_publish(PATIENCE_S)
    cloud.revoke_token(RevokeTokenRequest(server.instance, old))
    device.paho.subscribe("mine/#", 1)
    wait_until(lambda: device.granted, "SUBACK")
    device.paho.publish("$SYS/uploadToken", json.dumps({"token": "forged", "type": "R"}), qos)
    device.wait_until_out()
    assert device.notices() == [("$SYS/tokenInvalidNotice", {"code": 1, "type": "R"})]
    server.wait_for_reasons(client_id, "accepted", "token-refused")


@SIGNATURES
def test_a_device_comes_in_by_its_credential_until_that_is_taken_away(server, signature):
    cloud, client_id = sdk(server, **signature), f"GID_dc@@@pump {len(signature)}/é"
    first = cloud.register_device_credential(RegisterDeviceCredentialRequest(client_id, server.instance)).body
    first = first.device_credential
    assert (first.client_id, first.instance_id) == (client_id, server.instance)
    assert first.create_time == first.update_time
    got = cloud.get_device_credential(GetDeviceCredentialRequest(client_id, server.instance)).body.device_credential
    assert got.to_map() == first.to_map()
    device = by_credential(server, client_id, first)
    assert device.is_in

    second = cloud.refresh_device_credential(RefreshDeviceCredentialRequest(client_id, server.instance)).body
    second = second.device_credential
    assert second.device_access_key_id == first.device_access_key_id
    device.wait_until_out()
    end = server.wait_for_reasons(client_id, "accepted", "credentials-withdrawn")[-1]
    assert end["detail"] == "its device credential was refreshed"
    stale = by_credential(server, client_id, first)
    assert not stale.is_in
    stale.paho.loop_stop()

    device = by_credential(server, client_id, second)
    assert device.is_in
    cloud.un_register_device_credential(UnRegisterDeviceCredentialRequest(client_id, server.instance))
    device.wait_until_out()
    reasons = ["accepted", "credentials-withdrawn", "bad-credentials", "accepted", "credentials-withdrawn"]
    assert "taken away" in server.wait_for_reasons(client_id, *reasons)[-1]["detail"]
    with pytest.raises(ClientException) as refused:
        cloud.get_device_credential(GetDeviceCredentialRequest(client_id, server.instance))
    assert (refused.value.code, refused.value.status_code) == ("ParameterCheckFailed", 400)


@SIGNATURES
@pytest.mark.parametrize(
    ("changed", "code", "status"),
    [
        ({"instance_id": "mqtt-unknown"}, "InstanceNotFound", 400),
        ({"instance_id": None}, "MissingInstanceId", 400),
        ({"actions": "X"}, "InvalidActions", 400),
        ({"actions": None}, "MissingActions", 400),
        ({"resources": ",".join(["a"] * 101)}, "InvalidResources", 400),
        ({"resources": None}, "MissingResources", 400),
        ({"expire_time": 1}, "InvalidExpireTime", 400),
        ({"expire_time": None}, "MissingExpireTime", 400),
    ],
)
def test_errors_arrive_with_their_code(server, signature, changed, code, status):
    good = {"actions": "R", "expire_time": int(time.time() * 1000) + 90_000, "instance_id": server.instance}
    request = ApplyTokenRequest(**{**good, "resources": "a", **changed})
    with pytest.raises(ClientException) as refused:
        sdk(server, **signature).apply_token(request)
    assert (refused.value.code, refused.value.status_code) == (code, status)


@SIGNATURES
def test_the_official_sdk_sees_who_is_connected(server, signature):
    client = sdk(server, **signature)

    def is_online(name):
        return client.query_session_by_client_id(QuerySessionByClientIdRequest(name, server.instance)).body.online_status

    name = f"GID_seen@@@{len(signature)}"
    assert is_online(name) is False
    device = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
    device.connect(server.host, server.mqtt_port)
    device.loop_start()
    try:
        wait_until(lambda: is_online(name))
        request = BatchQuerySessionByClientIdsRequest([name, "nobody"], server.instance)
        statuses = client.batch_query_session_by_client_ids(request).body.online_status_list
        assert [(one.client_id, one.online_status) for one in statuses] == [(name, True), ("nobody", False)]
    finally:
        device.disconnect()
        device.loop_stop()
    wait_until(lambda: not is_online(name))


@SIGNATURES
def test_the_official_sdk_sends_a_message(server, signature):
    client = sdk(server, **signature)
    heard = []
    device = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"GID_told@@@{len(signature)}", clean_session=False)
    device.on_message = lambda _, __, message: heard.append((message.topic, message.payload.decode(), message.qos))
    device.connect(server.host, server.mqtt_port)
    device.loop_start()
    wait_until(device.is_connected)
    subscribed = []
    device.on_subscribe = lambda *_: subscribed.append(1)
    device.subscribe("cmd/1", qos=1)
    wait_until(lambda: subscribed)

    def send(text):
        return client.send_message(SendMessageRequest(server.instance, "cmd/1", text)).body.msg_id

    assert len(send("now: é & 100 %")) == 32
    wait_until(lambda: heard == [("cmd/1", "now: é & 100 %", 1)])
    device.disconnect()
    device.loop_stop()
    send("while it was away")
    device.connect(server.host, server.mqtt_port)
    device.loop_start()
    wait_until(lambda: heard[1:] == [("cmd/1", "while it was away", 1)])
    device.disconnect()
    device.loop_stop()
    with pytest.raises(ClientException) as refused:
        client.send_message(SendMessageRequest(server.instance, "cmd/#", "x"))
    assert (refused.value.code, refused.value.status_code) == ("InvalidMqttTopic", 400)


def test_groups_that_the_official_sdk_creates_open_and_close_the_door(tmp_path):
    def online(server, name):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        codes = []
        client.on_connect = lambda _, __, ___, code, ____: codes.append(code.value)
        client.connect(server.host, server.mqtt_port)
        client.loop_start()
        wait_until(lambda: codes)
        return client, codes[0] == 0

    config = 'mqtt.groups = ["GID_first"]\n'
    with run_server(tmp_path, config) as server:
        sdk_client = sdk(server)
        groups = lambda: [row.group_id for row in sdk_client.list_group_id(ListGroupIdRequest(server.instance)).body.data]
        assert groups() == ["GID_first"]
        assert not online(server, "GID_second@@@1")[1]
        sdk_client.create_group_id(CreateGroupIdRequest("GID_second", server.instance))
        device, is_in = online(server, "GID_second@@@1")
        assert is_in and groups() == ["GID_first", "GID_second"]
    with run_server(tmp_path, config) as server:
        sdk_client = sdk(server)
        device, is_in = online(server, "GID_second@@@1")
        assert is_in, "it outlives a restart"
        sdk_client.delete_group_id(DeleteGroupIdRequest("GID_second", server.instance))
        wait_until(lambda: not device.is_connected())
        wait_until(lambda: "credentials-withdrawn" in [event["reason"] for event in server.events("GID_second@@@1")])
        assert not online(server, "GID_second@@@1")[1]
        with pytest.raises(ClientException) as refused:
            sdk_client.delete_group_id(DeleteGroupIdRequest("GID_first", server.instance))
        assert refused.value.code == "ParameterCheckFailed"


def test_the_official_sdk_lists_devices_that_have_a_credential(server):
    client = sdk(server)
    names = [f"GID_listed@@@{number}" for number in range(3)]
    for name in names:
        client.register_device_credential(RegisterDeviceCredentialRequest(name, server.instance))
    found, token = [], None
    while True:
        request = ListDeviceCredentialClientIdRequest("GID_listed", server.instance, token, page_size="2")
        page = client.list_device_credential_client_id(request).body.device_credential_client_id_list
        found += page.client_id_list
        token = page.next_token
        if not token:
            break
    assert (found, page.total) == (names, "3")
