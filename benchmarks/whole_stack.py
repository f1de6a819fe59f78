"""The whole stack as its operators run it: `amulet bench stack`.

    start    from `amulet up` to the first answer, and what each process then holds while nobody asks
    switch   callers in a closed loop while a second version is rolled out
    away     calls at 0.7 of what the stack manages, while the console goes away and comes back several times

Every process is real, the console included, and every call counts: a caller that is refused is
not asked again. At the end the audit log must have one record for each answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
from grpc import aio

from benchmarks.machine import busy_ratio, cpu_ticks, machine
from cli import supervision
from handlers import amulet_handler
from model_store import archive, signing
from model_store.card import Card
from protos.amulet.graph.v1 import graph_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from tests.fault.processes import start
from tests.fault.truth import audited
from tests.stack import Stack, until  # drives a stack by its commands, as this does

_FOLDERS: Final = re.compile(r"(?:/[^\s/=:,]+)*/(?=[^\s/])")  # where a machine keeps its files is nobody's figure
CONNECTIONS: Final = 8
RATE_RATIO: Final = 0.7
CAPACITY_S: Final = 8.0
TURNS: Final = 3  # how often the console goes away: a machine that drifts is in every part then
CALLS_PER_MINUTE: Final = 1_000_000
SETTLED_S: Final = 15.0  # after the start, until nothing is loaded any more
_ANSWER_S_MAX: Final = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """On the monotonic clock."""

    due_s: float
    ended_s: float
    prediction_id: str  # empty: not answered
    version: str
    error: str
    journal_s: float = 0.0  # of the time, what the disk took to make the event durable, as the answer says


@dataclass(slots=True)
class Callers:
    """Calls from so many connections; what became of each is kept."""

    stack: Stack
    key: str
    photos: Sequence[bytes]
    calls: list[Call] = field(default_factory=list)

    async def closed(self, enough: Callable[[], bool]) -> None:
        """Each connection asks again as soon as it is answered, until `enough`."""

        async def one(stub: rpc.PredictionServiceAsyncStub) -> None:
            while not enough():
                await self._call(stub, time.monotonic())

        async with connections(self.stack) as stubs:
            await asyncio.gather(*map(one, stubs))

    async def open(self, rate: float, *, seconds: float) -> None:
        """`rate` calls a second, whatever becomes of them; a call's time counts from when it was due."""
        began_s = time.monotonic()
        async with connections(self.stack) as stubs, asyncio.TaskGroup() as group:
            for turn in range(int(rate * seconds)):
                due_s = began_s + turn / rate
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                group.create_task(self._call(stubs[turn % len(stubs)], due_s))

    async def _call(self, stub: rpc.PredictionServiceAsyncStub, due_s: float) -> None:
        photo = self.photos[len(self.calls) % len(self.photos)]
        try:
            answer = await stub.Predict(
                pb.PredictRequest(views=[pb.View(photo=photo)]),
                metadata=(("x-api-key", self.key),),
                timeout=_ANSWER_S_MAX,
            )
        except grpc.RpcError as error:
            self.calls.append(Call(due_s, time.monotonic(), "", "", f"{error.code().name}: {error.details()}"))
        else:
            journal_s = answer.timings.journal.ToNanoseconds() / 1e9
            self.calls.append(Call(due_s, time.monotonic(), answer.prediction_id, answer.version, "", journal_s))


@asynccontextmanager
async def connections(stack: Stack) -> AsyncIterator[list[rpc.PredictionServiceAsyncStub]]:
    """CONNECTIONS new ones to the gateway."""
    trust = grpc.ssl_channel_credentials((stack.layout.tls / "ca.pem").read_bytes())
    apart = (("grpc.use_local_subchannel_pool", 1),)  # else all share one connection
    channels = [aio.secure_channel(stack.layout.gateway_address, trust, options=apart) for _ in range(CONNECTIONS)]
    try:
        yield [rpc.PredictionServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


def measure(
    run: Path,
    photos: Path,
    *,
    calls: int = 10_000,
    seconds: float = 240.0,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """run: a training run.  calls: at least, around the switch.  seconds: of the time around the console's absence.

    Raises CommandFailed with what an `amulet` command said.
    """
    described, ticks = machine(), cpu_ticks()
    contents = [path.read_bytes() for path in sorted(photos.glob("*.jpg"))]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as work,
        serving_stack(Path(work), run, tell) as (stack, versions),
    ):
        callers = Callers(stack, stack.new_key("bench", calls_per_minute=CALLS_PER_MINUTE), contents)
        found = {"start": _start(stack, callers, tell)}
        tell(f"{calls} calls around a switch")
        found["switch"] = asyncio.run(_switch(callers, versions[1], calls))
        tell(f"{seconds:.0f} s at {RATE_RATIO} of capacity, the console away {TURNS} times")
        found["away"] = asyncio.run(_away(callers, seconds))
        found["after"] = _held(stack)
        tell("comparing the audit log with the answers")
        found["audit"] = compare_with_audit(
            stack, {call.prediction_id for call in callers.calls if call.prediction_id}, Path(work)
        )
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {"calls": calls, "seconds": seconds, "connections": CONNECTIONS, "model": versions[0]},
        "stack": found,
    }


@contextmanager
def serving_stack(work: Path, run: Path, tell: Callable[[str], None]) -> Iterator[tuple[Stack, tuple[str, str]]]:
    """A running stack that serves the run, and the names of its version and of a second one with the same graph."""
    tell("starting a stack")
    key = work / "release.key"
    signing.generate_key(key)
    (work / "release.pem").write_bytes(signing.public_pem(key))
    stack = Stack.start(work / "state")
    try:
        stack.trust(work / "release.pem")
        card = Card.parse((run / "model.json").read_bytes())
        versions = (card.version, f"{card.version.partition('-')[0]}-second")
        for version in versions:
            made = work / f"{version}.mar"
            _archive(run, replace(card, version=version), made, key)
            stack.amulet("models", "push", str(made), role="model-engineer")
            stack.amulet("models", "approve", version, "--reason", "bench", role="approver")
        stack.amulet("models", "rollout", versions[0], "--reason", "bench", role="approver")
        until(lambda: any(each["version"] == versions[0] and each["ready"] for each in stack.status()["models"]))
        yield stack, versions
    finally:
        stack.stop()


def _archive(run: Path, card: Card, out: Path, key: Path) -> None:
    copy = out.with_suffix("")
    shutil.copytree(run, copy)
    (copy / "model.json").write_text(card.render(), "utf-8")
    handler, stub = Path(amulet_handler.__file__), Path(graph_pb2.__file__)
    archive.build(copy, out, handler=handler, stub=stub, sign_key=key)


def _start(stack: Stack, callers: Callers, tell: Callable[[str], None]) -> dict[str, Any]:
    """The stack stopped and started again; then what it holds when nobody asks."""
    tell("stopping and starting it")
    stack.stop()
    began_s = time.monotonic()
    stack.up()
    until(lambda: asyncio.run(_answered(callers)))
    ready_s = time.monotonic() - began_s
    time.sleep(SETTLED_S)
    return {"ready_s": round(ready_s, 2), **_held(stack)}


def processes_of(stack: Stack) -> list[tuple[str, psutil.Process]]:
    """Every process of the stack, with the program that it belongs to."""
    supervisor = psutil.Process(supervision.pid(stack.layout) or 0)
    names = {state.pid: state.name for state in supervision.states(stack.layout)} | {supervisor.pid: "supervisor"}
    return [
        (next((names[each.pid] for each in (process, *process.parents()) if each.pid in names), "supervisor"), process)
        for process in (supervisor, *supervisor.children(recursive=True))
    ]


def _held(stack: Stack) -> dict[str, Any]:
    """What every process of the stack holds at this moment."""
    processes: list[dict[str, Any]] = []
    for program, process in processes_of(stack):
        held = process.memory_full_info()
        processes.append(
            {
                "program": program,
                "command": _FOLDERS.sub("", " ".join(process.cmdline()))[-60:],
                "rss_mib": round(held.rss / 2**20, 1),
                "pss_mib": round(held.pss / 2**20, 1),
            }
        )
    return {
        "rss_mib": round(sum(each["rss_mib"] for each in processes), 1),
        "pss_mib": round(sum(each["pss_mib"] for each in processes), 1),
        "processes": processes,
    }


async def _answered(callers: Callers) -> bool:
    probe = replace(callers, calls=[])
    await probe.closed(lambda: bool(probe.calls))
    callers.calls += [call for call in probe.calls if call.prediction_id]  # before it is ready nothing has failed yet
    return any(call.prediction_id for call in probe.calls)


async def _switch(callers: Callers, version: str, calls: int) -> dict[str, Any]:
    first = len(callers.calls)
    asked_s = 0.0

    async def roll_out() -> None:
        nonlocal asked_s
        while len(callers.calls) - first < calls // 3:  # noqa: ASYNC110 - the callers announce nothing
            await asyncio.sleep(0.01)
        asked_s = time.monotonic()
        await asyncio.to_thread(
            callers.stack.amulet, "models", "rollout", version, "--reason", "bench", role="approver"
        )

    def enough() -> bool:
        return len(callers.calls) - first >= calls and callers.calls[-1].version == version

    await asyncio.gather(callers.closed(enough), roll_out())
    made = callers.calls[first:]
    old = [call.ended_s for call in made if call.version not in ("", version)]
    new = [call.ended_s for call in made if call.version == version]
    failed = [call.error for call in made if call.error]
    return {
        "calls": len(made),
        "failed": len(failed),
        "first_failure": failed[0] if failed else "",
        "by_the_new": len(new),
        "first_new_after_s": round(min(new) - asked_s, 2),  # the command itself included
        "last_old_after_s": round(max(old) - asked_s, 2),
    }


async def _away(callers: Callers, seconds: float) -> dict[str, Any]:
    first, ends_s = len(callers.calls), time.monotonic() + CAPACITY_S
    await callers.closed(lambda: time.monotonic() > ends_s)
    capacity = (len(callers.calls) - first) / CAPACITY_S
    first, began_s = len(callers.calls), time.monotonic()
    quarter = seconds / TURNS / 4

    async def console() -> list[float]:
        back_after_s = []
        for turn in range(TURNS):
            leaves_s = began_s + (4 * turn + 1) * quarter
            await asyncio.sleep(max(0.0, leaves_s - time.monotonic()))
            await asyncio.to_thread(supervision.stop_program, callers.stack.layout, "console")
            await asyncio.sleep(max(0.0, leaves_s + quarter - time.monotonic()))
            await asyncio.to_thread(start, callers.stack, "console")
            back_after_s.append(round(time.monotonic() - leaves_s - quarter, 1))
        return back_after_s

    _, back_after_s = await asyncio.gather(callers.open(RATE_RATIO * capacity, seconds=seconds), console())
    made = callers.calls[first:]
    failed = [call.error for call in made if call.error]
    return {
        "capacity_rps": round(capacity, 1),
        "calls": len(made),
        "failed": len(failed),
        "first_failure": failed[0] if failed else "",
        "console_back_after_s": back_after_s,
        **in_parts(made, began_s=began_s, quarter_s=quarter),
    }


def in_parts(made: Sequence[Call], *, began_s: float, quarter_s: float) -> dict[str, Any]:
    """What p99 is while the console is there (calm), away, and catching up: a quarter, a quarter and a half of a turn.

    `..._of_turns`: each absence against the calm quarter before it, which tells how far the ratio of all is chance.
    A disk that stands still for a moment is in p99 whoever else is there: `..._without_journal` is told apart.
    """
    names = ("calm", "away", "catching_up", "catching_up")

    def p99_ms(part: str, *, disk: bool = True, turn: int | None = None) -> float:
        took = []
        for call in made:
            at = int((call.due_s - began_s) / quarter_s)
            if not call.error and names[at % 4] == part and turn in (None, at // 4):
                took.append((call.ended_s - call.due_s - (0.0 if disk else call.journal_s)) * 1000)
        return statistics.quantiles(took, n=100)[98]

    found: dict[str, Any] = {}
    for suffix, disk in (("", True), ("_without_journal", False)):
        took_ms = {part: p99_ms(part, disk=disk) for part in dict.fromkeys(names)}
        found |= {f"p99_{part}{suffix}_ms": round(value, 1) for part, value in took_ms.items()}
        found[f"p99_away_to_calm{suffix}"] = round(took_ms["away"] / took_ms["calm"], 3)
        found[f"p99_away_to_calm{suffix}_of_turns"] = [
            round(p99_ms("away", disk=disk, turn=turn) / p99_ms("calm", disk=disk, turn=turn), 3)
            for turn in range(TURNS)
        ]
    return found


def compare_with_audit(stack: Stack, answers: Collection[str], work: Path) -> dict[str, int]:
    """Every answer, by its prediction id, against the exported and verified audit log."""
    count: Counter[str] = audited(stack, work)
    return {
        "answers": len(answers),
        "lost": sum(count[answer] == 0 for answer in answers),
        "doubled": sum(times > 1 for times in count.values()),
    }


def table(found: dict[str, Any]) -> str:
    """As a person reads it."""
    stack = found["stack"]
    lines = [
        f"answers {stack['start']['ready_s']:.1f} s after `amulet up`; idle {stack['start']['rss_mib']:.0f} MiB "
        f"resident ({stack['start']['pss_mib']:.0f} MiB with shared pages counted once)"
    ]
    lines += _processes(stack["start"])
    lines += [f"after all calls {stack['after']['rss_mib']:.0f} MiB ({stack['after']['pss_mib']:.0f} MiB)"]
    lines += _processes(stack["after"])
    lines += [f"{part}: {json.dumps(stack[part])}" for part in ("switch", "away", "audit")]
    return "\n".join(lines) + "\n"


def _processes(held: dict[str, Any]) -> list[str]:
    return [
        f"  {each['program']:<14}{each['rss_mib']:>8.1f}{each['pss_mib']:>8.1f}  {each['command']}"
        for each in held["processes"]
    ]
