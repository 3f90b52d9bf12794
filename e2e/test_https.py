"""Promise: HTTP over TLS is the same API for Python's ssl, curl and the official SDK, and a changed certificate is served after SIGHUP."""

import http.client
import json
import shutil
import signal
import ssl
import subprocess
import time

import pytest
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_onsmqtt20200420.models import QueryMqttTraceDeviceRequest
from alibabacloud_tea_openapi.utils_models import Config

from certificates import OPENSSL, make, make_ca
from conftest import PATIENCE_S, run_server, wait_until

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(not OPENSSL, reason="openssl is not installed, which makes the certificates")
CONFIG = '[http]\ntls = { cert = "server.pem", key = "server.key" }\n'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server over TLS alone, and the folder that has the certificates."""
    folder = tmp_path_factory.mktemp("https")
    make_ca(folder)
    make(folder, "server", "first")
    with run_server(folder, CONFIG) as server:
        yield server, folder


def port(server):
    return int(server.http.rpartition(":")[2])


def served_name(server, folder):
    """The common name of the certificate that is served, believed by our CA, and the status of /livez."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    connection = http.client.HTTPSConnection("localhost", port(server), timeout=PATIENCE_S, context=context)
    connection.connect()
    subject = dict(pair for part in connection.sock.getpeercert()["subject"] for pair in part)
    connection.request("GET", "/livez")
    status = connection.getresponse().status
    connection.close()
    return subject["commonName"], status


@pytest.mark.parametrize("signature", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "RPC V1"])
def test_the_official_sdk_over_https(world, signature):
    server, folder = world
    key = {"access_key_id": server.key_id, "access_key_secret": server.key_secret, "ca": str(folder / "ca.pem")}
    sdk = Client(Config(endpoint=f"localhost:{port(server)}", protocol="https", **key, **signature))
    now_ms = int(time.time() * 1000)
    question = {"mqtt_region_id": "cn-hangzhou", "instance_id": server.instance, "client_id": "nobody"}
    question |= {"begin_time": now_ms - 1000, "end_time": now_ms, "current_page": 1, "page_size": 10, "reverse": False}
    answer = sdk.query_mqtt_trace_device(QueryMqttTraceDeviceRequest(**question))
    assert (answer.status_code, answer.body.total) == (200, 0)


def test_who_does_not_have_our_ca_does_not_believe_us(world):
    server, _ = world
    connection = http.client.HTTPSConnection("localhost", port(server), timeout=PATIENCE_S)
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/livez")


def test_plain_http_is_told_to_write_https(world):
    server, _ = world
    connection = http.client.HTTPConnection("localhost", port(server), timeout=PATIENCE_S)
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["code"]) == (400, "tls-required")
    connection.close()


@pytest.mark.skipif(not CURL, reason="curl is not installed")
@pytest.mark.parametrize("version", ["--tlsv1.3", "--tls-max=1.2"])
def test_curl_over_https(world, version):
    server, folder = world
    flags = [version.partition("=")[0], *filter(None, [version.partition("=")[2]])]
    url = f"https://localhost:{port(server)}/api/v1/gaps"
    command = [CURL, "-sS", *flags, "--cacert", folder / "ca.pem", "-u", f"{server.key_id}:{server.key_secret}", url]
    answer = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    assert json.loads(answer.stdout)["items"] == []


def test_a_changed_certificate_is_served_after_sighup(world):
    server, folder = world
    assert served_name(server, folder) == ("first", 200)
    make(folder, "server", "second")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: served_name(server, folder) == ("second", 200), "the new certificate")
