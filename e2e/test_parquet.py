"""Promise: an exported Parquet file is a table to programs that nobody here wrote, and a table of theirs can be imported."""

import base64
import copy
import json
import os
import socket
import subprocess
import urllib.request

import paho.mqtt.client as mqtt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import PATIENCE_S, run_server, wait_until

TEXT, FLAG, LONG = pa.string(), pa.bool_(), pa.uint64()
COLUMNS = {
    "time": pa.timestamp("ms", tz="UTC"),
    "instance": TEXT,
    "connection": TEXT,
    "action": TEXT,
    "reason": TEXT,
    "provenance": TEXT,
    "client": TEXT,
    "peer_address": TEXT,
    "peer_port": pa.uint16(),
    "listener": TEXT,
    "protocol": TEXT,
    "username": TEXT,
    "keep_alive_s": pa.uint16(),
    "clean_start": FLAG,
    "session_present": FLAG,
    "reason_code": pa.uint8(),
    "detail": TEXT,
    "other_connection": TEXT,
    "duration_ms": LONG,
    "bytes_in": LONG,
    "bytes_out": LONG,
    "packets_in": LONG,
    "packets_out": LONG,
    "last_in_age_ms": LONG,
    "last_out_age_ms": LONG,
    "tls_version": TEXT,
    "server_name": TEXT,
    "certificate_subject": TEXT,
    "certificate_not_after": pa.timestamp("ms", tz="UTC"),
    "count": LONG,
    "last_in_kind": TEXT,
    "last_out_kind": TEXT,
    "subscriptions": LONG,
    "in_flight": LONG,
    "missed_keep_alives": LONG,
    "message_id": pa.string(),
    "message_topic": pa.string(),
    "message_qos": pa.uint8(),
    "message_payload_bytes": LONG,
    "message_client": pa.string(),
    "certificate_issuer": TEXT,
}
NEVER_NULL = ["time", "instance", "connection", "action", "reason", "provenance"]


def store(data, *words):
    command = [os.environ["TRACEMQ_BIN"], "store", *words, "--data-dir", data]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def flat(line):
    """The row that a line of the other format is."""
    row = {**line, **line["details"], **(line["details"]["traffic"] or {})}
    message = line["details"].get("message") or {}
    row.update({f"message_{name}": value for name, value in message.items()})
    address, _, port = (line["peer"] or "").rpartition(":")
    row["peer_address"], row["peer_port"] = address.strip("[]") or None, int(port) if port else None
    return {name: row.get(name) for name in COLUMNS}


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A data folder in which something happened, and its history as lines of JSON."""
    folder = tmp_path_factory.mktemp("parquet")
    with run_server(folder) as server:
        for client_id in ["pump 07 é", "pump-08"]:
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id)
            client.username_pw_set("someone", "a password")
            client.connect("127.0.0.1", server.mqtt_port)
            client.loop_start()
            wait_until(client.is_connected)
            client.disconnect()
            client.loop_stop()
            server.wait_for_reasons(client_id, "accepted", "client-disconnected")
        with socket.create_connection(("127.0.0.1", server.mqtt_port)) as nameless:
            nameless.sendall(b"GET / HTTP/1.0\r\n\r\n")
            nameless.recv(1)
    # The time until the next start is a gap.
    with run_server(folder):
        wait_until(lambda: '"gap"' in store(folder / "data", "export"))
    lines = [json.loads(line) for line in store(folder / "data", "export").splitlines()]
    assert len(lines) >= 6
    return folder / "data", lines


def test_a_table_holds_the_same_as_the_lines(history, tmp_path):
    data, lines = history
    store(data, "export", tmp_path / "all.parquet")
    file = pq.ParquetFile(tmp_path / "all.parquet")
    schema = file.schema_arrow
    assert {field.name: field.type for field in schema} == COLUMNS
    assert [field.name for field in schema if not field.nullable] == NEVER_NULL
    events = [line for line in lines if "gap" not in line]
    table = file.read()
    assert table.num_rows == len(events) == file.metadata.num_rows
    found = table.set_column(0, "time", table["time"].cast(pa.int64())).to_pylist()
    assert found == [flat(event) for event in events]
    assert table["client"].null_count > 0 and table["username"].null_count > 0
    gaps = json.loads(file.metadata.metadata[b"tracemq.gaps"])
    assert gaps == [line["gap"] for line in lines if "gap" in line] != []


def test_the_table_over_http_is_the_same(tmp_path):
    with run_server(tmp_path) as server:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "pump-09")
        client.connect("127.0.0.1", server.mqtt_port)
        client.loop_start()
        wait_until(client.is_connected)
        client.disconnect()
        client.loop_stop()
        server.wait_for_reasons("pump-09", "accepted", "client-disconnected")
        url = f"http://{server.http}/api/v1/export?format=parquet&client=pump-09&order=asc"
        login = base64.b64encode(f"{server.key_id}:{server.key_secret}".encode()).decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Type"] == "application/vnd.apache.parquet"
            (tmp_path / "http.parquet").write_bytes(answer.read())
    store(tmp_path / "data", "export", "--client", "pump-09", tmp_path / "whole.parquet")
    over_http, whole = (pq.read_table(tmp_path / name) for name in ["http.parquet", "whole.parquet"])
    assert over_http.num_rows == 2 and over_http == whole
    store(tmp_path / "elsewhere", "import", tmp_path / "http.parquet")


@pytest.mark.parametrize("how", [{}, {"compression": "none", "use_dictionary": False}, {"data_page_version": "2.0"}])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_table_that_another_program_wrote_is_imported(history, tmp_path, how, unit):
    lines = copy.deepcopy(history[1])
    next(line for line in lines if "gap" not in line)["details"]["certificate_not_after"] = 1_900_000_000_000
    rows = [flat(line) for line in lines if "gap" not in line]
    schema = pa.schema([pa.field(name, kind, name not in NEVER_NULL) for name, kind in COLUMNS.items()])
    if unit != "ms":  # others have finer clocks, and don't say what is never null
        schema = pa.schema(COLUMNS)
        for name in ["time", "certificate_not_after"]:
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.timestamp(unit, tz="UTC")))
        for row in rows:
            for name in ["time", "certificate_not_after"]:
                if row[name] is not None:
                    row[name] *= {"us": 1_000, "ns": 1_000_000}[unit]
    gaps = json.dumps([line["gap"] for line in lines if "gap" in line])
    table = pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata({"tracemq.gaps": gaps})
    pq.write_table(table, tmp_path / "theirs.parquet", **how)
    store(tmp_path / "data", "import", tmp_path / "theirs.parquet")
    exported = [json.loads(line) for line in store(tmp_path / "data", "export").splitlines()]
    assert exported == lines


def test_what_can_not_be_unpacked_is_said(history, tmp_path):
    _, lines = history
    table = pa.Table.from_pylist([flat(lines[0])], schema=pa.schema(COLUMNS))
    pq.write_table(table, tmp_path / "theirs.parquet", compression="zstd")
    command = [os.environ["TRACEMQ_BIN"], "store", "import", tmp_path / "theirs.parquet", "-D", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "ZSTD" in done.stderr and "write it with Snappy" in done.stderr, done.stderr
    assert not (tmp_path / "data").exists()
