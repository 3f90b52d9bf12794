"""Promise: Alibaba Cloud's official SDKs, unmodified, read a device's history from TraceMQ."""

import asyncio
import json
import time

import paho.mqtt.client as mqtt
import pytest
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_onsmqtt20200420.models import DisasterRecoveryRequest, QueryMqttTraceDeviceRequest
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException as CoreServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest, RpcRequest

from conftest import wait_until

DEVICE = "GID_test@@@pump 07/é*~"


def sdk(server, **config):
    """The SDK's client with one line of configuration changed: the endpoint."""
    key = {"access_key_id": server.key_id, "access_key_secret": server.key_secret}
    return Client(Config(**{**key, "endpoint": server.http, "protocol": "http", **config}))


def question(server, **changed):
    now_ms = int(time.time() * 1000)
    parameters = {
        "mqtt_region_id": "cn-hangzhou",
        "instance_id": server.instance,
        "client_id": DEVICE,
        "begin_time": now_ms - 3_600_000,
        "end_time": now_ms + 3_600_000,
        "current_page": 1,
        "page_size": 100,
        "reverse": False,
    }
    return QueryMqttTraceDeviceRequest(**{**parameters, **changed})


def connected(server, client_id):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv311, reconnect_on_failure=False)
    client.connect(server.host, server.mqtt_port)
    client.loop_start()
    wait_until(client.is_connected, "CONNACK")
    return client


@pytest.fixture(scope="module")
def history(server):
    """A device that connected, was kicked by its twin, which then disconnected: as our own API tells it."""
    first = connected(server, DEVICE)
    twin = connected(server, DEVICE)
    wait_until(lambda: not first.is_connected(), "takeover")
    first.loop_stop()
    twin.disconnect()
    twin.loop_stop()
    events = wait_until(lambda: len(found := server.events(DEVICE)) == 4 and found, "four events")
    first_id = events[0]["connection"]
    twin_id = next(event["connection"] for event in events if event["connection"] != first_id)
    return first_id, twin_id


def check(body, history):
    """The four rows. Old's close and new's connect may stand in either order: they are one moment."""
    first, twin = history
    rows = [(row.channel_id, row.action, row.action_info) for row in body.device_info_list]
    assert rows[0] == (first, "connect", "accepted")
    assert sorted(rows[1:3]) == sorted([(first, "close", "clientId conflict"), (twin, "connect", "accepted")])
    assert rows[3] == (twin, "disconnect", "disconnected by client")
    assert all(row.action_code == f"mqtt.trace.action.{row.action}" for row in body.device_info_list)
    assert [row.time for row in body.device_info_list] == sorted(row.time for row in body.device_info_list)
    assert (body.total, body.current_page, body.page_size) == (4, 1, 100)
    assert body.request_id


@pytest.mark.parametrize("signature", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "RPC V1"])
def test_history(server, history, signature):
    check(sdk(server, **signature).query_mqtt_trace_device(question(server)).body, history)


@pytest.mark.parametrize("signature", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "RPC V1"])
def test_async(server, history, signature):
    answer = asyncio.run(sdk(server, **signature).query_mqtt_trace_device_async(question(server)))
    check(answer.body, history)


def test_times_are_china_standard_time(server, history):
    rows = sdk(server).query_mqtt_trace_device(question(server)).body.device_info_list
    for row, event in zip(rows, server.events(DEVICE), strict=True):
        utc = time.gmtime(event["time_ms"] // 1000 + 8 * 3600)
        assert row.time == time.strftime("%Y-%m-%d %H:%M:%S", utc) + f".{event['time_ms'] % 1000:03}"


def test_pages_and_reverse(server, history):
    client = sdk(server)
    whole = client.query_mqtt_trace_device(question(server)).body.device_info_list
    pages = []
    for page in range(1, 5):
        body = client.query_mqtt_trace_device(question(server, page_size=3, current_page=page)).body
        assert (body.total, body.page_size, body.current_page) == (4, 3, page)
        pages.append([row.to_map() for row in body.device_info_list or []])
    assert [len(page) for page in pages] == [3, 1, 0, 0]
    assert pages[0] + pages[1] == [row.to_map() for row in whole]

    backwards = client.query_mqtt_trace_device(question(server, reverse=True)).body.device_info_list
    assert [row.to_map() for row in backwards] == [row.to_map() for row in reversed(whole)]


def test_the_span_includes_both_ends(server, history):
    times = [event["time_ms"] for event in server.events(DEVICE)]
    client = sdk(server)
    exactly = question(server, begin_time=times[0], end_time=times[-1])
    assert client.query_mqtt_trace_device(exactly).body.total == 4
    after = question(server, begin_time=times[-1] + 1)
    assert client.query_mqtt_trace_device(after).body.total == 0


def test_an_unknown_client_has_an_empty_history(server):
    body = sdk(server).query_mqtt_trace_device(question(server, client_id="GID_test@@@nobody")).body
    assert body.total == 0
    assert not body.device_info_list


@pytest.mark.parametrize("signature", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "RPC V1"])
@pytest.mark.parametrize(
    ("config", "changed", "code", "status"),
    [
        ({"access_key_secret": "wrong"}, {}, "SignatureDoesNotMatch", 400),
        ({"access_key_id": "unknown"}, {}, "InvalidAccessKeyId.NotFound", 404),
        ({}, {"client_id": None}, "MissingClientId", 400),
        ({}, {"mqtt_region_id": None}, "MissingMqttRegionId", 400),
        ({}, {"begin_time": None}, "MissingBeginTime", 400),
        ({}, {"instance_id": "mqtt-unknown"}, "InstanceNotFound", 400),
        ({}, {"mqtt_region_id": "cn-beijing"}, "InstanceNotFound", 400),
        ({}, {"page_size": 101}, "InvalidPageSize", 400),
        ({}, {"page_size": 0}, "InvalidPageSize", 400),
        ({}, {"current_page": 0}, "InvalidCurrentPage", 400),
        ({}, {"begin_time": 2, "end_time": 1}, "InvalidBeginTime", 400),
    ],
)
def test_errors_arrive_with_their_code(server, signature, config, changed, code, status):
    client = sdk(server, **signature, **config)
    with pytest.raises(ClientException) as refused:
        client.query_mqtt_trace_device(question(server, **changed))
    assert refused.value.code == code
    assert refused.value.status_code == status
    assert refused.value.request_id


def test_an_operation_that_is_not_served_says_so(server):
    with pytest.raises(ClientException) as refused:
        sdk(server).disaster_recovery(DisasterRecoveryRequest(server.instance, "another"))
    assert (refused.value.code, refused.value.status_code) == ("ApiNotSupport", 404)


def core_request(server, method, action="QueryMqttTraceDevice", **changed):
    now_ms = int(time.time() * 1000)
    request = CommonRequest(domain=server.http, version="2020-04-20", action_name=action)
    request.set_protocol_type("http")
    request.set_method(method)
    parameters = {
        "MqttRegionId": "cn-hangzhou",
        "InstanceId": server.instance,
        "ClientId": DEVICE,
        "BeginTime": now_ms - 3_600_000,
        "EndTime": now_ms + 3_600_000,
        "CurrentPage": 1,
        "PageSize": 100,
    }
    for name, value in {**parameters, **changed}.items():
        request.add_query_param(name, value)
    return request


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_old_core_sdk(server, history, method):
    client = AcsClient(server.key_id, server.key_secret, "cn-hangzhou")
    answer = json.loads(client.do_action_with_exception(core_request(server, method)))
    assert answer["Total"] == 4
    assert {row["ChannelId"] for row in answer["DeviceInfoList"]} == set(history)
    backwards = client.do_action_with_exception(core_request(server, method, Reverse="True"))
    assert json.loads(backwards)["DeviceInfoList"] == answer["DeviceInfoList"][::-1]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("secret", "action", "code"),
    [
        ("wrong", "QueryMqttTraceDevice", "SignatureDoesNotMatch"),
        (None, "NoSuchAction", "InvalidApi.NotFound"),
        (None, "querymqtttracedevice", "InvalidApi.NotFound"),
    ],
)
def test_errors_of_the_old_core_sdk(server, method, secret, action, code):
    client = AcsClient(server.key_id, secret or server.key_secret, "cn-hangzhou")
    with pytest.raises(CoreServerException) as refused:
        client.do_action_with_exception(core_request(server, method, action))
    assert refused.value.error_code == code
    assert refused.value.request_id


def test_the_old_core_sdk_recognises_its_own_string_to_sign(server):
    """It compares ours with its own: the same, so it is the secret that is wrong. Only its RpcRequest remembers it."""
    request = RpcRequest("OnsMqtt", "2020-04-20", "QueryMqttTraceDevice")
    request.set_endpoint(server.http)
    request.set_protocol_type("http")
    request.add_query_param("ClientId", DEVICE)
    client = AcsClient(server.key_id, "wrong", "cn-hangzhou")
    with pytest.raises(CoreServerException) as refused:
        client.do_action_with_exception(request)
    assert refused.value.error_code == "InvalidAccessKeySecret"
