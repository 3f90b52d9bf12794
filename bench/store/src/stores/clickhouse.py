"""ClickHouse for the bench: its engine as the Python package chdb has it, in a process of its own, asked through a socket.

Arguments: the folder of the data, the path of the socket. A question is a line of JSON {"sql": ...}; the answer is one too: {"rows": [[...], ...]} or
{"error": ...}. Ends when the first one that connected goes away.
"""

import json
import os
import socket
import sys
import threading

try:
    from chdb import session
except ImportError as error:
    sys.exit(f"not available: {error}; pip install chdb==4.4.0, and name its python in TRACEMQ_BENCH_PYTHON")


def serve(connection, database):
    with connection, connection.makefile("rwb") as lines:
        for line in lines:
            try:
                found = database.query(json.loads(line)["sql"], "JSONCompactEachRow").bytes()
                answer = b'{"rows":[' + b",".join(found.splitlines()) + b"]}"
            except RuntimeError as error:
                answer = json.dumps({"error": str(error)}).encode()
            lines.write(answer + b"\n")
            lines.flush()


def main():
    folder, path = sys.argv[1:]
    database = session.Session(folder)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    first, _ = listener.accept()

    def others():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, database), daemon=True).start()

    threading.Thread(target=others, daemon=True).start()
    serve(first, database)
    database.close()
    sys.stdout.flush()
    os._exit(0)


main()
