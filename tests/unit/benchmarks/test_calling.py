"""The callers of a benchmark, against a real HTTP server that answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import SimpleNamespace

import pytest

from benchmarks import calling
from benchmarks.calling import Wish, run

ANSWER = b'{"heatmap": [[0]]}'


class Place:
    """Answers every request, or every other one with a failure."""

    def __init__(self, *, failing: bool = False, chunked: bool = False, wait_s: float = 0.0) -> None:
        place, turn = self, count()
        self.bodies: set[bytes] = set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                place.bodies.add(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(wait_s)  # a slow server, not a wait for something
                self.send_response(500 if failing and next(turn) % 2 else 200)
                if chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for part in (ANSWER[:5], ANSWER[5:], b""):
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                    return
                self.send_header("Content-Length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def log_message(self, *_: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wish(self, **fields: float) -> Wish:
        wanted = {"connections": 2, "seconds": 0.5, "warm_s": 0.1, **fields}
        return Wish(target=f"127.0.0.1:{self.server.server_port}", photos="", path="/predict", **wanted)  # type: ignore[arg-type]  # by name


@pytest.fixture
def places() -> Iterator[list[Place]]:
    made: list[Place] = []
    yield made
    for place in made:
        place.server.shutdown()
        place.server.server_close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_closed_loop_asks_again_when_it_is_answered(places: list[Place], chunked: bool) -> None:
    places.append(Place(chunked=chunked))

    found = await run(places[0].wish(), [b"one", b"two"], b"")

    assert found["errors"] == 0
    assert len(found["latencies_ms"]) > 2
    assert places[0].bodies == {b"one", b"two"}


@pytest.mark.parametrize(
    ("due_s", "came_s", "answered", "latencies_ms"),
    [
        (8.0, 9.0, 0, []),  # all of it before the measured seconds
        (9.0, 10.0, 1, []),  # sent before them
        (11.0, 12.0, 1, [1000.0]),
        (19.0, 20.0, 0, [1000.0]),  # answered after them: late, and not left out of the latencies
    ],
)
async def test_throughput_is_what_came_within_the_seconds(
    monkeypatch: pytest.MonkeyPatch, due_s: float, came_s: float, answered: int, latencies_ms: list[float]
) -> None:
    monkeypatch.setattr(calling, "time", SimpleNamespace(perf_counter=lambda: came_s))
    tally = calling.Tally(began_s=10.0, ends_s=20.0)

    async def ask(_: bytes) -> calling.Stages:
        return {}

    await tally.count(ask, b"one", due_s)

    assert (tally.answered, tally.answers, tally.latencies_ms) == (answered, 1, latencies_ms)


async def test_an_answer_that_is_none_counts_as_an_error(places: list[Place]) -> None:
    places.append(Place(failing=True))

    found = await run(places[0].wish(), [b"one"], b"")

    assert found["errors"] > 0
    assert found["latencies_ms"]
    assert "WrongAnswer" in found["first_error"]


async def test_an_open_loop_counts_from_when_a_request_was_due(places: list[Place]) -> None:
    places.append(Place(wait_s=0.1))

    # One connection that takes 100 ms, asked 40 times a second: later requests wait for earlier ones.
    found = await run(places[0].wish(connections=1, rate=40.0, seconds=0.6), [b"one"], b"")

    assert max(found["latencies_ms"]) > 3 * 100
