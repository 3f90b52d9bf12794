"""Starts the binary named by TRACEMQ_BIN for the tests, and asks its REST API what is on record."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
import tomllib
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENCE_S = 20


def wait_until(probe, what="what was waited for"):
    """Asks `probe` until it gives something true; fails with its last answer when patience runs out."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"no {what} in {PATIENCE_S} s: {found!r}"
        time.sleep(0.01)


@dataclass
class Server:
    """A running `tracemq serve`."""

    process: subprocess.Popen
    mqtt_port: int
    http: str
    key_id: str
    key_secret: str
    instance: str
    ports: dict[str, int]
    host: str = "127.0.0.1"

    def events(self, client_id):
        """The client's history as our own API tells it, oldest first."""
        return self._events(f"clients/{urllib.parse.quote(client_id, safe='')}")

    def _events(self, subject):
        path = f"/api/v1/{subject}/events?order=asc&limit=1000"
        request = urllib.request.Request(f"http://{self.http}{path}")
        login = base64.b64encode(f"{self.key_id}:{self.key_secret}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)["items"]

    def wait_for_reasons_at(self, address, *reasons):
        """The same for the connections from an address that named no client."""

        def as_expected():
            events = self._events(f"addresses/{address}")
            return events if [event["reason"] for event in events] == list(reasons) else None

        return wait_until(as_expected, f"history of {address} with {reasons}")

    def wait_for_reasons(self, client_id, *reasons):
        """Waits until the history has exactly these reasons, oldest first, and gives its events."""

        def as_expected():
            events = self.events(client_id)
            return events if [event["reason"] for event in events] == list(reasons) else None

        return wait_until(as_expected, f"history of {client_id} with {reasons}")


@contextlib.contextmanager
def run_server(folder: Path, config: str = "", *, own_listeners: bool = False):
    """Runs a server in `folder`; `own_listeners` says that `config` has `[[mqtt.listeners]]`."""
    binary = os.environ.get("TRACEMQ_BIN")
    if not binary:
        pytest.exit("TRACEMQ_BIN must name the tracemq binary, such as target/debug/tracemq", returncode=2)
    (folder / "tracemq.toml").write_text(config)
    data = folder / "data"
    command = [binary, "serve", "--config", folder / "tracemq.toml", "--data-dir", data]
    command += ["--http", "127.0.0.1:0"]
    if not own_listeners:
        command += ["--mqtt", "127.0.0.1:0"]
    with open(folder / "stderr", "wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
    try:
        printed, addresses, ports = [], {}, {}
        while not {"mqtt", "http", "data"} <= addresses.keys():
            line = process.stdout.readline()
            assert line, f"the server did not get ready: {printed} {(folder / 'stderr').read_text()}"
            printed.append(line)
            words = line.split()
            if len(words) > 2 and words[0] == "mqtt":
                ports[words[2]] = int(words[1].rpartition(":")[2])
            if len(words) > 1:
                addresses[{"console": "http"}.get(words[0], words[0])] = words[1]
        key = tomllib.loads((data / "credentials.toml").read_text())
        yield Server(
            process=process,
            mqtt_port=int(addresses["mqtt"].rpartition(":")[2]),
            ports=ports,
            http=addresses["http"].partition("://")[2],
            key_id=key["access_key_id"],
            key_secret=key["access_key_secret"],
            instance=key["instance_id"],
        )
        assert process.poll() is None, f"the server died: {(folder / 'stderr').read_text()}"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        print((folder / "stderr").read_text())


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server with its defaults, for all tests; each test uses client ids of its own."""
    with run_server(tmp_path_factory.mktemp("server"), '[instance]\nregion = "cn-hangzhou"\n') as running:
        yield running
