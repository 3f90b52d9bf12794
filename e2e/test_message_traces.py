"""Promise: the official SDK, unmodified, reads which way a message took: who published it, who got it, for whom it waited."""

import time

import paho.mqtt.client as mqtt
import pytest
from alibabacloud_onsmqtt20200420 import models
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config

from conftest import run_server, wait_until

CONFIG = '[instance]\nregion = "cn-hangzhou"\n[trace.messages]\ntopics = ["telemetry/#"]\n'


class Asked:
    """The SDK's client for one server."""

    def __init__(self, server, **config):
        key = {"access_key_id": server.key_id, "access_key_secret": server.key_secret}
        self.client = Client(Config(**{**key, "endpoint": server.http, "protocol": "http", **config}))
        self.of = {"mqtt_region_id": "cn-hangzhou", "instance_id": server.instance}

    def _parameters(self, paged, **more):
        now_ms = int(time.time() * 1000)
        pages = {"current_page": 1, "page_size": 100, "reverse": False} if paged else {}
        return {**self.of, "begin_time": now_ms - 3_600_000, "end_time": now_ms + 3_600_000, **pages, **more}

    def of_client(self, client_id, **more):
        request = models.QueryMqttTraceMessageOfClientRequest(**self._parameters(True, client_id=client_id, **more))
        return self.client.query_mqtt_trace_message_of_client(request).body

    def published(self, msg_id):
        request = models.QueryMqttTraceMessagePublishRequest(**self._parameters(False, msg_id=msg_id))
        return self.client.query_mqtt_trace_message_publish(request).body

    def subscribed(self, msg_id, **more):
        request = models.QueryMqttTraceMessageSubscribeRequest(**self._parameters(True, msg_id=msg_id, **more))
        return self.client.query_mqtt_trace_message_subscribe(request).body


def connected(server, client_id, clean=True):
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id, clean, protocol=mqtt.MQTTv311, reconnect_on_failure=False
    )
    client.received = []
    client.on_message = lambda _client, _data, message: client.received.append(message.payload)
    client.connect(server.host, server.mqtt_port)
    client.loop_start()
    wait_until(client.is_connected, "CONNACK")
    return client


def subscribed(server, client_id, **options):
    client = connected(server, client_id, **options)
    acknowledged = []
    client.on_subscribe = lambda *_: acknowledged.append(True)
    client.subscribe("telemetry/#", qos=1)
    wait_until(lambda: acknowledged, "SUBACK")
    return client


def gone(client):
    client.disconnect()
    client.loop_stop()


def rows(body):
    return [(row.action, row.client_id) for row in body.message_trace_lists or []]


@pytest.mark.parametrize("signature", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "RPC V1"])
def test_the_way_of_a_message(tmp_path, signature):
    with run_server(tmp_path, CONFIG) as server:
        here = subscribed(server, "GID_a@@@here")
        gone(subscribed(server, "GID_a@@@away", clean=False))
        sensor = connected(server, "GID_a@@@sensor")
        sensor.publish("other", b"not traced", qos=1).wait_for_publish(20)
        sensor.publish("telemetry/1", b"21.5", qos=1).wait_for_publish(20)
        wait_until(lambda: here.received == [b"21.5"], "message")
        sdk = Asked(server, **signature)

        found = wait_until(lambda: sdk.of_client("GID_a@@@sensor").message_of_client_list, "published message")
        assert [row.to_map() for row in found] == [
            {
                "Action": "pub_mqtt",
                "ActionCode": "mqtt.trace.action.msg.pub.mqtt",
                "ActionInfo": "Pub From Mqtt Client",
                "ClientId": "GID_a@@@sensor",
                "MsgId": found[0].msg_id,
                "Time": found[0].time,
            }
        ]
        msg_id = found[0].msg_id
        assert len(msg_id) == 32 and msg_id == msg_id.upper()
        assert rows(sdk.published(msg_id)) == [("pub_mqtt", "GID_a@@@sensor")]
        both = {("sub", "GID_a@@@here"), ("push_offline", "GID_a@@@away")}
        wait_until(lambda: set(rows(sdk.subscribed(msg_id))) == both, "delivery and queueing")

        # The server restarts between: the message waits, with its id.
    with run_server(tmp_path, CONFIG) as server:
        away = connected(server, "GID_a@@@away", clean=False)
        wait_until(lambda: away.received == [b"21.5"], "message that waited")
        sdk = Asked(server, **signature)
        of_away = [("push_offline", "GID_a@@@away"), ("sub", "GID_a@@@away")]
        wait_until(lambda: rows(sdk.subscribed(msg_id, client_id="GID_a@@@away")) == of_away, "late delivery")
        backwards = sdk.subscribed(msg_id, client_id="GID_a@@@away", reverse=True, page_size=1)
        assert (backwards.total, backwards.current_page, backwards.page_size) == (2, 1, 1)
        assert rows(backwards) == [("sub", "GID_a@@@away")]
        assert sdk.of_client("GID_a@@@away").total == 2
        assert sdk.subscribed("0" * 32).total == 0
        gone(away)


def test_where_nothing_is_traced_the_operations_are_not_supported(server):
    for ask in (Asked(server).published, Asked(server).subscribed, Asked(server).of_client):
        with pytest.raises(ClientException) as refused:
            ask("0" * 32)
        assert (refused.value.code, refused.value.status_code) == ("ApiNotSupport", 404)
