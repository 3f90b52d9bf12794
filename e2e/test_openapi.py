"""Promise: the REST API does what its document says, for requests that nobody here thought of."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from conftest import PATIENCE_S, run_server
from test_official_sdk import connected

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
SECONDS = 45
# It asks faster than a caller may by default.
CONFIG = "[api]\ncalls_per_second = 1000000\ncalls_per_second_of_address = 0\n[trace.messages]\ntopics = ['#']\n"
LEFT_OUT = [
    # What a document can't say: parameters that exclude each other, cursors that belong to a question, words for times.
    "positive_data_acceptance",
    # It takes the login away and sends it all the same; tables of bad requests stand in for it (tests/api/bad_requests).
    "negative_data_rejection",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("openapi"), CONFIG) as running:
        for number in range(3):
            device = connected(running, f"GID_fleet@@@{number}")
            device.publish("telemetry/1", "hello")
            device.disconnect()
            device.loop_stop()
        running.wait_for_reasons("GID_fleet@@@2", "accepted", "client-disconnected")
        device = connected(running, "pump-07")
        yield running
        device.loop_stop()


def test_the_document_is_one(server):
    with urllib.request.urlopen(f"http://{server.http}/api/v1/openapi.json", timeout=PATIENCE_S) as answer:
        document = json.load(answer)
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_operation_answers_as_the_document_says(server, tmp_path):
    command = [SCHEMATHESIS, "run", f"http://{server.http}/api/v1/openapi.json", "--no-color"]
    command += ["--auth", f"{server.key_id}:{server.key_secret}", "--seed", "1", "--max-time", str(SECONDS)]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "10", "--continue-on-failure"]
    command += ["--exclude-path", "/api/v1/live"]  # a stream has no end
    command += ["--exclude-checks", ",".join(LEFT_OUT)]
    # It leaves notes where it runs.
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3 * SECONDS)
    told = done.stdout[-8_000:] + done.stderr[-2_000:]
    assert done.returncode == 0, told
    # Nothing was passed over for a part of the document that leads nowhere.
    assert "nresolvable" not in done.stdout, told
