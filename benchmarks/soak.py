"""Hours of mixed calls on the whole stack: `amulet bench soak`.

What a stack of years must not do shows in no case of seconds: a process that grows with every
call, a file that stays open, a thread that stays behind, an answer without its record. Callers
of every kind ask at a fixed rate, those included whom a gateway must refuse and those who give
up; every so often they all hang up and come back on new connections, and each process is looked
at. At the end the audit log must have one record for each answer.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import psutil

from benchmarks.machine import busy_ratio, cpu_ticks, machine
from benchmarks.whole_stack import CALLS_PER_MINUTE, compare_with_audit, connections, processes_of, serving_stack
from cli.connection import RemoteError
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from tests.stack import Stack

LOOK_EVERY_S: Final = 30.0
_MIB: Final = 2**20
_GIVES_UP_S: Final = 0.01
_WAITS_S: Final = 30.0
_EXPLAINED: Final = pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, overlay=True)
# Twenty calls of the day; their order is that of `itertools.cycle`.
_DAY: Final = (
    *("plain",) * 9,
    *("explained", "views", "examples", "repeated", "stream", "feedback"),
    *("broken", "stranger", "gives_up", "models", "console"),
)
# What may become of a call of a kind; whatever is not named here is a failure.
_ENDS: Final[Mapping[str, tuple[str, ...]]] = {
    "broken": ("INVALID_ARGUMENT",),
    "stranger": ("UNAUTHENTICATED",),
    "gives_up": ("DEADLINE_EXCEEDED", "OK"),
}


@dataclass(slots=True)
class Traffic:
    """Calls of every kind; how they ended is counted, what was answered is kept."""

    stack: Stack
    key: str
    photos: Sequence[bytes]
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind, code)
    answers: set[str] = field(default_factory=set)  # prediction ids
    unexpected: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)  # of plain calls, since the last look
    made: int = 0

    async def pour(self, rate: float, *, until_s: float) -> None:
        """`rate` calls a second on connections of their own, until the monotonic clock shows `until_s`."""
        began_s = time.monotonic()
        async with connections(self.stack) as stubs, asyncio.TaskGroup() as calls:
            for turn in itertools.count():
                due_s = began_s + turn / rate
                if due_s >= until_s:
                    return
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                calls.create_task(self._call(stubs[turn % len(stubs)]))

    async def _call(self, stub: rpc.PredictionServiceAsyncStub) -> None:
        kind = _DAY[self.made % len(_DAY)]
        self.made += 1
        began_s = time.monotonic()
        try:
            await self._kinds()[kind](stub)
        except grpc.RpcError as error:
            code, why = error.code().name, str(error.details())
        except RemoteError as error:
            code, why = "REFUSED", error.message
        else:
            code, why = "OK", ""
        if kind == "plain":
            self.took_ms.append((time.monotonic() - began_s) * 1000)
        self.ends[kind, code] += 1
        if code not in _ENDS.get(kind, ("OK",)):
            self.unexpected.append(f"{kind}: {code}: {why}")

    def _kinds(self) -> Mapping[str, Callable[[rpc.PredictionServiceAsyncStub], Awaitable[None]]]:
        return {
            "plain": lambda stub: self._predict(stub, pb.PredictRequest(views=self._views(1))),
            "explained": lambda stub: self._predict(stub, pb.PredictRequest(views=self._views(1), explain=_EXPLAINED)),
            "views": lambda stub: self._predict(stub, pb.PredictRequest(views=self._views(3))),
            "examples": lambda stub: self._predict(stub, pb.PredictRequest(views=self._views(1), nearest_examples=3)),
            "repeated": self._repeated,
            "stream": self._stream,
            "feedback": self._feedback,
            "broken": lambda stub: self._predict(stub, pb.PredictRequest(views=[pb.View(photo=self._photo()[:900])])),
            "stranger": lambda stub: self._predict(stub, pb.PredictRequest(views=self._views(1)), key="amk_nobody"),
            "gives_up": lambda stub: self._predict(stub, pb.PredictRequest(views=self._views(1)), wait_s=_GIVES_UP_S),
            "models": self._models,
            "console": self._console,
        }

    def _photo(self) -> bytes:
        return self.photos[self.made % len(self.photos)]

    def _views(self, count: int) -> list[pb.View]:
        return [pb.View(photo=self.photos[(self.made + turn) % len(self.photos)]) for turn in range(count)]

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", self.key),)

    async def _predict(
        self,
        stub: rpc.PredictionServiceAsyncStub,
        request: pb.PredictRequest,
        *,
        key: str = "",
        wait_s: float = _WAITS_S,
    ) -> None:
        answer = await stub.Predict(request, metadata=(("x-api-key", key or self.key),), timeout=wait_s)
        self.answers.add(answer.prediction_id)

    async def _repeated(self, stub: rpc.PredictionServiceAsyncStub) -> None:
        """Asked twice under one key: one answer."""
        request = pb.PredictRequest(views=self._views(1), idempotency_key=f"soak-{self.made}")
        await self._predict(stub, request)
        await self._predict(stub, request)

    async def _stream(self, stub: rpc.PredictionServiceAsyncStub) -> None:
        wanted = [pb.PredictRequest(request_id=str(turn), views=self._views(1)) for turn in range(4)]
        async for result in stub.PredictStream(iter(wanted), metadata=self._metadata(), timeout=_WAITS_S):
            if result.HasField("error"):
                self.unexpected.append(f"stream: {result.error.message}")
            else:
                self.answers.add(result.response.prediction_id)

    async def _feedback(self, stub: rpc.PredictionServiceAsyncStub) -> None:
        answer = await stub.Predict(
            pb.PredictRequest(views=self._views(1)), metadata=self._metadata(), timeout=_WAITS_S
        )
        self.answers.add(answer.prediction_id)
        said = pb.SubmitFeedbackRequest(
            prediction_id=answer.prediction_id, kind=pb.SubmitFeedbackRequest.KIND_COMPLAINT, comment="soak"
        )
        await stub.SubmitFeedback(said, metadata=self._metadata(), timeout=_WAITS_S)

    async def _models(self, stub: rpc.PredictionServiceAsyncStub) -> None:
        found = await stub.ListModels(pb.ListModelsRequest(), metadata=self._metadata(), timeout=_WAITS_S)
        await stub.GetModel(pb.GetModelRequest(model=found.models[0].name), metadata=self._metadata(), timeout=_WAITS_S)

    async def _console(self, _: rpc.PredictionServiceAsyncStub) -> None:
        await asyncio.to_thread(self.stack.console().call, "GET", "predictions/")


def measure(
    run: Path, photos: Path, *, minutes: float, rate: float, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """run: a training run.  rate: calls a second.

    Raises CommandFailed with what an `amulet` command said.
    """
    described, ticks = machine(), cpu_ticks()
    contents = [path.read_bytes() for path in sorted(photos.glob("*.jpg"))]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as work,
        serving_stack(Path(work), run, tell) as (stack, versions),
    ):
        traffic = Traffic(stack, stack.new_key("soak", calls_per_minute=CALLS_PER_MINUTE), contents)
        tell(f"{minutes:.0f} minutes at {rate:g} calls a second")
        looks = asyncio.run(_looks(traffic, minutes * 60.0, rate, tell))
        tell("comparing the audit log with the answers")
        audit = compare_with_audit(stack, traffic.answers, Path(work))
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {"minutes": minutes, "rate": rate, "model": versions[0]},
        "calls": {f"{kind} {code}": count for (kind, code), count in sorted(traffic.ends.items())},
        "unexpected": len(traffic.unexpected),
        "first_unexpected": traffic.unexpected[:5],
        "audit": audit,
        "growth": growth(looks),
        "ended": ended(looks),
        "looks": looks,
    }


async def _looks(traffic: Traffic, seconds: float, rate: float, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    began_s = time.monotonic()
    found: list[dict[str, Any]] = []
    while (at_s := time.monotonic() - began_s) < seconds:
        await traffic.pour(rate, until_s=began_s + min(seconds, at_s + LOOK_EVERY_S))
        found.append({"at_s": round(time.monotonic() - began_s, 1), **await asyncio.to_thread(_look, traffic)})
        last = found[-1]
        tell(f"{last['at_s']:.0f} s, {last['calls']} calls, p99 {last['p99_ms']} ms, {last['pss_mib']:.0f} MiB")
    return found


def _look(traffic: Traffic) -> dict[str, Any]:
    """Every program of the stack at this moment, while nobody asks."""
    programs: dict[str, dict[str, float]] = {}
    pids: dict[str, list[int]] = {}
    for program, process in processes_of(traffic.stack):
        try:
            held = {
                "processes": 1,
                "pss_mib": process.memory_full_info().pss / _MIB,
                "files": process.num_fds(),
                "threads": process.num_threads(),
            }
        except psutil.NoSuchProcess:
            continue
        pids.setdefault(program, []).append(process.pid)
        own = programs.setdefault(program, dict.fromkeys(held, 0.0))
        own.update({name: round(own[name] + value, 1) for name, value in held.items()})
    took_ms, traffic.took_ms = traffic.took_ms, []
    shares = statistics.quantiles(took_ms, n=100)
    state = [path.stat().st_size for path in traffic.stack.layout.state.rglob("*") if path.is_file()]
    return {
        "calls": traffic.made,
        "p50_ms": round(shares[49], 1),
        "p99_ms": round(shares[98], 1),
        "pss_mib": round(sum(own["pss_mib"] for own in programs.values()), 1),
        "state_mib": round(sum(state) / _MIB, 1),
        "programs": programs,
        "pids": pids,
    }


def ended(looks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """program -> its processes that were there at one look and not at the next: the supervisor starts them again."""
    gone: Counter[str] = Counter()
    for before, after in itertools.pairwise(looks):
        for program, pids in before["pids"].items():
            gone[program] += len(set(pids) - set(after["pids"].get(program, ())))
    return dict(+gone)


def growth(looks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """program -> KiB that a thousand calls add, and files and threads at the end less those in the middle.

    Of the second half, when everything has been loaded that ever is; the median of the slopes between all pairs of
    looks (Theil 1950, Sen 1968), which one look at a bad moment does not move.
    """
    half = looks[len(looks) // 2 :]
    found: dict[str, dict[str, float]] = {}
    for program in half[-1]["programs"]:
        seen = [(look["calls"], look["programs"][program]) for look in half if program in look["programs"]]
        slopes = [
            (after["pss_mib"] - before["pss_mib"]) * 1024.0 / (later - sooner) * 1000.0
            for (sooner, before), (later, after) in itertools.combinations(seen, 2)
            if later > sooner
        ]
        found[program] = {
            "kib_per_thousand_calls": round(statistics.median(slopes), 2) if slopes else 0.0,
            **{name: seen[-1][1][name] - seen[0][1][name] for name in ("files", "threads")},
        }
    return found


def table(found: Mapping[str, Any]) -> str:
    """As a person reads it."""
    first, last = found["looks"][0], found["looks"][-1]
    lines = [
        f"{last['calls']} calls in {last['at_s'] / 60:.0f} minutes, {found['unexpected']} ended in another way than "
        f"they should; audit: {found['audit']}; processes that ended: {found['ended'] or 'none'}",
        f"{'program':<16}{'MiB first':>10}{'last':>8}{'KiB a 1,000 calls':>20}{'files more':>12}{'threads more':>14}",
    ]
    for program, grown in found["growth"].items():
        before = first["programs"].get(program, {"pss_mib": 0.0})
        lines.append(
            f"{program:<16}{before['pss_mib']:>10.1f}{last['programs'][program]['pss_mib']:>8.1f}"
            f"{grown['kib_per_thousand_calls']:>20.2f}{grown['files']:>12.0f}{grown['threads']:>14.0f}"
        )
    return "\n".join([*lines, *found["first_unexpected"]]) + "\n"
