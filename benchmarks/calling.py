"""The callers of a server under measurement, in a process of their own.

    python -m benchmarks.calling '{"target": "127.0.0.1:7443", "authority": "ca.pem", ...}'

Closed loop: so many connections, each asking again as soon as it is answered. Open loop:
requests at a fixed rate whatever the answers do, over the same connections; their latency
counts from the moment they were due, so that a server which stalls does not hide it. A refusal for
want of room (RESOURCE_EXHAUSTED, UNAVAILABLE) is no error but counted and timed apart. Prints
one JSON object: the latency of every answer to a request that was due within the measured seconds, in milliseconds,
however late it came; how many answers came within them, which is the throughput; refusals, errors, CPU seconds
and how many answers they were spent on, and what our own server says of its stages.

An answer counts for the throughput when it came within the seconds, whenever its request was sent: requests on their
way at the beginning stand for those on their way at the end. To wait for the last of them instead would add the time
in which connections fall idle one by one, and take most from who is asked by many at once.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import grpc
import uvloop
from grpc import aio

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc

Stages = dict[str, float]  # stage -> milliseconds, as the server says
Ask = Callable[[bytes], Awaitable[Stages]]
_ANSWER_S_MAX: Final = 30.0
_OPEN_CALLERS: Final = 128  # an open loop that has more than this unanswered counts the rest as errors
_STAGES: Final = ("total", "decode", "inference", "journal")
_NO_ROOM: Final = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


class WrongAnswer(Exception):
    """An answer that is none."""


class NoRoom(Exception):
    """The server refused for want of room; `hinted`: it said when to call again."""

    def __init__(self, *, hinted: bool) -> None:
        super().__init__("no room")
        self.hinted = hinted


@dataclass(frozen=True, slots=True)
class Wish:
    target: str  # host:port
    photos: str  # folder of JPEG files
    connections: int
    seconds: float
    warm_s: float
    rate: float = 0.0  # requests a second; 0: closed loop
    calls_at_once: int = 1  # open loop: on one connection; more than one needs gRPC
    path: str = ""  # http
    multipart: bool = False  # http: the field `request`, else the body is the photograph
    key: str = ""  # grpc
    keyed: bool = False  # grpc: an idempotency key of its own for each call
    authority: str = ""  # file of the certificate authority; empty: HTTP instead of gRPC


@dataclass(slots=True)
class Tally:
    began_s: float  # nothing before counts
    ends_s: float
    answered: int = 0  # between the two
    answers: int = 0  # ever
    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0
    first_error: str = ""
    refused_ms: list[float] = field(default_factory=list)
    refused_without_hint: int = 0
    stages_ms: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def count(self, ask: Ask, photo: bytes, due_s: float) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                stages = await ask(photo)
        except NoRoom as refusal:
            if due_s >= self.began_s:
                self.refused_ms.append((time.perf_counter() - due_s) * 1000)
                self.refused_without_hint += not refusal.hinted
            return
        except (OSError, EOFError, TimeoutError, WrongAnswer, grpc.RpcError) as error:
            self.errors += due_s >= self.began_s
            self.first_error = self.first_error or f"{type(error).__name__}: {error}"[:500]
            return
        came_s = time.perf_counter()
        self.answers += 1
        self.answered += self.began_s <= came_s < self.ends_s
        if due_s >= self.began_s:
            self.latencies_ms.append((came_s - due_s) * 1000)
            for stage, took_ms in stages.items():
                self.stages_ms[stage].append(took_ms)


async def run(wish: Wish, photos: Sequence[bytes], authority: bytes) -> dict[str, Any]:
    """authority: PEM certificates for gRPC; empty for HTTP."""
    asks = [await (_grpc(wish, authority) if authority else _http(wish)) for _ in range(wish.connections)]
    began_s = time.perf_counter() + wish.warm_s
    tally = Tally(began_s, began_s + wish.seconds)
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    if wish.rate:
        await _open_loop(asks * wish.calls_at_once, photos, tally, wish.rate)
    else:
        await asyncio.gather(*(_closed_loop(ask, photos, tally, start=index) for index, ask in enumerate(asks)))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "latencies_ms": tally.latencies_ms,
        "answered": tally.answered,
        "answers": tally.answers,
        "errors": tally.errors,
        "first_error": tally.first_error,
        "refused_ms": tally.refused_ms,
        "refused_without_hint": tally.refused_without_hint,
        "stages_ms": dict(tally.stages_ms),
        "cpu_s": {"user": used.ru_utime - cpu.ru_utime, "system": used.ru_stime - cpu.ru_stime},
        "waits": used.ru_nvcsw - cpu.ru_nvcsw,
        "rss_mib": used.ru_maxrss / 1024,
    }


async def _closed_loop(ask: Ask, photos: Sequence[bytes], tally: Tally, *, start: int) -> None:
    turn = start * 7
    while (now_s := time.perf_counter()) < tally.ends_s:
        await tally.count(ask, photos[turn % len(photos)], now_s)
        turn += 1


async def _open_loop(asks: Sequence[Ask], photos: Sequence[bytes], tally: Tally, rate: float) -> None:
    free: asyncio.Queue[Ask] = asyncio.Queue()
    for ask in asks:
        free.put_nowait(ask)
    waiting = 0

    async def one(turn: int, due_s: float) -> None:
        nonlocal waiting
        ask = await free.get()
        try:
            await tally.count(ask, photos[turn % len(photos)], due_s)
        finally:
            waiting -= 1
            free.put_nowait(ask)

    async with asyncio.TaskGroup() as group:
        began_s, turn = time.perf_counter(), 0
        while (due_s := began_s + turn / rate) < tally.ends_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            if waiting < max(_OPEN_CALLERS, len(asks)):
                waiting += 1
                group.create_task(one(turn, due_s))
            else:
                tally.errors += 1
            turn += 1


async def _grpc(wish: Wish, authority: bytes) -> Ask:
    """amulet.v1 over TLS, as a caller would who wants everything: key, heat map."""
    credentials = grpc.ssl_channel_credentials(authority)
    channel = aio.secure_channel(wish.target, credentials, options=(("grpc.use_local_subchannel_pool", 1),))
    stub: prediction_pb2_grpc.PredictionServiceAsyncStub = prediction_pb2_grpc.PredictionServiceStub(channel)  # type: ignore[assignment]  # the stubs' one class serves both
    explain = pb.Explain(method=pb.Explain.METHOD_GRAD_CAM)
    await asyncio.wait_for(channel.channel_ready(), _ANSWER_S_MAX)

    async def ask(photo: bytes) -> Stages:
        try:
            response = await stub.Predict(
                pb.PredictRequest(
                    views=[pb.View(photo=photo)], explain=explain, idempotency_key=uuid4().hex if wish.keyed else ""
                ),
                metadata=(("x-api-key", wish.key),),
                timeout=_ANSWER_S_MAX,
            )
        except aio.AioRpcError as error:
            if error.code() not in _NO_ROOM:
                raise
            details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
            raise NoRoom(hinted=b"google.rpc.RetryInfo" in details) from None
        if not response.candidates or not response.heat_maps:
            raise WrongAnswer(f"{len(response.candidates)} candidates, {len(response.heat_maps)} heat maps")
        return {name: getattr(response.timings, name).ToNanoseconds() / 1e6 for name in _STAGES}

    return ask


async def _http(wish: Wish) -> Ask:
    """HTTP/1.1 with keep-alive, as little of it as the peers need: a costly client would be held against them."""
    host, _, port = wish.target.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    boundary = b"amulet-boundary"

    def body_of(photo: bytes) -> tuple[bytes, bytes]:
        if not wish.multipart:
            return b"image/jpeg", photo
        head = b'Content-Disposition: form-data; name="request"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        return (
            b"multipart/form-data; boundary=" + boundary,
            b"--" + boundary + b"\r\n" + head + photo + b"\r\n--" + boundary + b"--\r\n",
        )

    async def ask(photo: bytes) -> Stages:
        kind, body = body_of(photo)
        writer.write(
            b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
            % (wish.path.encode(), host.encode(), kind, len(body))
        )
        writer.write(body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await _body(head, reader)
        if not head.startswith(b"HTTP/1.1 200") or b"heatmap" not in answer:
            raise WrongAnswer((head + answer)[:300].decode("latin-1"))
        return {}

    return ask


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    headers = head.lower()
    at = headers.find(b"content-length:")
    if at >= 0:
        return await reader.readexactly(int(headers[at + 15 : headers.index(b"\r\n", at)]))
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def main() -> None:
    wish = Wish(**json.loads(sys.argv[1]))
    photos = [path.read_bytes() for path in sorted(Path(wish.photos).glob("*.jpg"))]
    authority = Path(wish.authority).read_bytes() if wish.authority else b""
    found = uvloop.run(run(wish, photos, authority))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
