"""Promise: the official SDK, unmodified, works with users and temporary keys that `tracemq access` makes, and tells why a call is refused."""

import json
import os
import signal
import subprocess
import time

import pytest
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_onsmqtt20200420.models import ApplyTokenRequest, QueryMqttTraceDeviceRequest
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config

from conftest import PATIENCE_S, run_server, wait_until

SIGNATURES = pytest.mark.parametrize("signature", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "RPC V1"])


def policy(effect, action, **more):
    return {"Effect": effect, "Action": action, "Resource": "*", **more}


def document(*statements):
    return json.dumps({"Version": "1", "Statement": statements})


READ = document(policy("Allow", "mq:Query*", Condition={"IpAddress": {"acs:SourceIp": ["127.0.0.0/8"]}}))
NOT_NOW = document(
    policy("Allow", "*"),
    policy("Deny", "mq:QueryMqttDeviceTrace", Condition={"DateGreaterThan": {"acs:CurrentTime": "2020-01-01T00:00:00Z"}}),
)


class Place:
    """A server, and `tracemq access` on its data folder."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server

    def access(self, *words, stdin=""):
        command = [os.environ["TRACEMQ_BIN"], "access", *words, "-D", self.folder / "data"]
        run = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        return dict(line.split(maxsplit=1) for line in run.stdout.splitlines())

    def reload(self):
        def reloads():
            return (self.folder / "stderr").read_text().count("access keys reloaded")

        before = reloads()
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: reloads() > before, "reload")

    def sdk(self, key, **config):
        config = {**key, "endpoint": self.server.http, "protocol": "http", **config}
        return Client(Config(**config))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("users")
    with run_server(folder) as server:
        place = Place(folder, server)
        place.access("policy", "put", "reader", "-", stdin=READ)
        place.access("policy", "put", "not-now", "-", stdin=NOT_NOW)
        place.access("group", "add", "night")
        place.access("attach", "not-now", "--group", "night")
        for name in ["ops", "nobody", "kept-out"]:
            place.access("user", "add", name)
        for name in ["ops", "kept-out"]:
            place.access("attach", "reader", "--user", name)
        place.access("group", "join", "night", "kept-out")
        place.keys = {name: place.access("key", "add", name) for name in ["ops", "nobody", "kept-out"]}
        place.reload()
        yield place


def ask(place, client):
    now_ms = int(time.time() * 1000)
    request = QueryMqttTraceDeviceRequest(
        mqtt_region_id="cn-hangzhou",
        instance_id=place.server.instance,
        client_id="nobody",
        begin_time=now_ms - 1000,
        end_time=now_ms,
        current_page=1,
        page_size=1,
        reverse=False,
    )
    return client.query_mqtt_trace_device(request).body


def refused(call):
    with pytest.raises(ClientException) as raised:
        call()
    return raised.value


def kind_of(error):
    detail = error.access_denied_detail
    return detail["PolicyType"], detail["AuthPrincipalType"], detail["AuthPrincipalDisplayName"], detail["NoPermissionType"]


@SIGNATURES
def test_users_may_do_what_their_policies_say(place, signature):
    ops = place.sdk(place.keys["ops"], **signature)
    assert ask(place, ops).total == 0
    own = "AccountLevelIdentityBasedPolicy"
    for name, kind in [("nobody", "ImplicitDeny"), ("kept-out", "ExplicitDeny")]:
        error = refused(lambda name=name: ask(place, place.sdk(place.keys[name], **signature)))
        assert (error.status_code, error.code) == (403, "NoPermission")
        assert kind_of(error) == (own, "SubUser", name, kind)
        assert error.access_denied_detail["AuthAction"] == "mq:QueryMqttDeviceTrace"
    token = ApplyTokenRequest("R", int(time.time() * 1000) + 600_000, place.server.instance, "t")
    assert kind_of(refused(lambda: ops.apply_token(token))) == (own, "SubUser", "ops", "ImplicitDeny")


@SIGNATURES
def test_keys_for_a_time(place, signature):
    def sts(*words, stdin=""):
        given = place.access("sts", "--user", "ops", *words, stdin=stdin)
        assert given.pop("expires").endswith("Z")
        return given

    whole, narrowed = sts("--duration", "15m"), sts("--policy", "-", stdin=NOT_NOW)
    assert whole["access_key_id"].startswith("STS.")
    assert ask(place, place.sdk(whole, **signature)).total == 0
    error = refused(lambda: ask(place, place.sdk(narrowed, **signature)))
    whom = f"ops:{narrowed['access_key_id']}"
    assert kind_of(error) == ("SessionPolicy", "AssumedRoleUser", whom, "ExplicitDeny")

    without = {**whole, "security_token": None}
    assert refused(lambda: ask(place, place.sdk(without, **signature))).code == "MissingSecurityToken"
    mixed = {**narrowed, "security_token": whole["security_token"]}
    error = refused(lambda: ask(place, place.sdk(mixed, **signature)))
    assert error.code == "InvalidSecurityToken.MismatchWithAccessKey"
    spoiled = {**whole, "security_token": whole["security_token"][:-1] + "-"}
    assert refused(lambda: ask(place, place.sdk(spoiled, **signature))).code == "InvalidSecurityToken.Malformed"


def test_a_user_that_is_disabled_takes_its_keys_for_a_time_along(place):
    place.access("user", "add", "guest")
    place.access("attach", "reader", "--user", "guest")
    place.reload()
    given = place.access("sts", "--user", "guest")
    given.pop("expires")
    assert ask(place, place.sdk(given)).total == 0
    place.access("user", "disable", "guest")
    place.reload()
    assert refused(lambda: ask(place, place.sdk(given))).code == "InvalidAccessKeyId.Inactive"
