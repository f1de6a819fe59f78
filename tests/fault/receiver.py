"""A process that stands where the console is: takes event batches, remembers them, misbehaves on demand.

    python -m tests.fault.receiver FOLDER

It prints its port once it listens. FOLDER/applied holds the id of every event in the order in
which it was first seen, one a line, and is read again after a restart; FOLDER/port keeps the
port over restarts. FOLDER/batches has the number of events of each batch that was applied, one a line.
FOLDER/behaviour is read before each request:

    ok            answer with a receipt (also when the file is missing)
    500           refuse everything
    lose-answer   apply the batch, then close the connection without an answer
    page          answer 200 with a page that is no receipt
    403           refuse everything as what a proxy of the console's may
    short         apply nothing, but send a receipt that leaves events out
    long          apply nothing, but send a receipt for one event more
    trickle       send an answer whose end never comes, a byte now and then
    claim ID...   apply nothing, but send a receipt that refuses these, sent or not, and takes the rest for applied
    one-at-a-time 500 for a batch of more than one event
    hold          wait until the behaviour is another one, then do that; FOLDER/held says that a batch waits
    reject ID...  refuse these events for good, take the others
"""

from __future__ import annotations

import gzip
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from protos.amulet.events.v1 import events_pb2 as pb

TOKEN = "a-control-token"


class Memory:
    """Which events were seen, in order; survives a kill."""

    def __init__(self, folder: Path) -> None:
        self.behaviour_file, self.held_file = folder / "behaviour", folder / "held"
        self._applied, self._batches = folder / "applied", folder / "batches"
        self._lock = Lock()
        self._known = set(self._applied.read_text().split()) if self._applied.exists() else set[str]()

    def behaviour(self) -> list[str]:
        return self.behaviour_file.read_text().split() if self.behaviour_file.exists() else ["ok"]

    def apply(self, batch: pb.EventBatch, refused: list[str]) -> pb.EventReceipt:
        receipt = pb.EventReceipt()
        with self._lock:
            new = []
            for event in batch.events:
                if event.event_id in refused:
                    receipt.rejected.add(event_id=event.event_id, why="refused by the test")
                elif event.event_id in self._known:
                    receipt.known_before += 1
                else:
                    self._known.add(event.event_id)
                    new.append(event.event_id)
                    receipt.applied += 1
            with self._applied.open("a") as file:
                file.write("".join(f"{event_id}\n" for event_id in new))
            with self._batches.open("a") as file:
                file.write(f"{len(batch.events)}\n")
        return receipt


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    memory: Memory

    def do_POST(self) -> None:
        """As the console: what says that it is something else is refused, and so is what is none of its business."""
        if (self.headers["Content-Type"], self.headers["Content-Encoding"]) != ("application/x-protobuf", "gzip"):
            return self._answer(415, b"")
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/internal/events" or self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, b"")
        batch = pb.EventBatch.FromString(body)
        if any(event.HasField("replay") for event in batch.events):  # the gateway's own memory
            return self._answer(400, b"")
        behaviour, *named = self.memory.behaviour()
        while behaviour == "hold":
            self.memory.held_file.touch()
            time.sleep(0.01)
            behaviour, *named = self.memory.behaviour()
        if behaviour == "500" or (behaviour == "one-at-a-time" and len(batch.events) > 1):
            return self._answer(500, b"")
        if behaviour == "page":
            return self._answer(200, b"<html>a proxy's page</html>")
        if behaviour == "403":
            return self._answer(403, b"")
        if behaviour in ("short", "long"):
            told = len(batch.events) + (1 if behaviour == "long" else -1)
            return self._answer(200, pb.EventReceipt(applied=told).SerializeToString())
        if behaviour == "trickle":
            return self._trickle()
        if behaviour == "claim":
            claimed = pb.EventReceipt(applied=len(batch.events) - len(named))
            for event_id in named:
                claimed.rejected.add(event_id=event_id, why="claimed by the test")
            return self._answer(200, claimed.SerializeToString())
        receipt = self.memory.apply(batch, named if behaviour == "reject" else [])
        if behaviour == "lose-answer":
            self.close_connection = True
            return None
        return self._answer(200, receipt.SerializeToString())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _trickle(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        with suppress(OSError):  # whoever asked has gone
            while self.memory.behaviour() == ["trickle"]:
                self.wfile.write(b"\0")
                time.sleep(0.02)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main(folder: Path) -> None:
    port_file = folder / "port"
    Handler.memory = Memory(folder)
    server = ThreadingHTTPServer(("127.0.0.1", int(port_file.read_text()) if port_file.exists() else 0), Handler)
    port_file.write_text(str(server.server_port))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
