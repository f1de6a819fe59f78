"""Three times as many calls as a gateway and its TorchServe just answered: counts and ratios, no times."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import grpc
import psutil
import pytest
from grpc import aio

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from tests.integration.gateway.conftest import environment
from tests.integration.gateway.process import GatewayProcess, memory_of, until
from tests.integration.torchserve.server import RunningTorchServe
from tests.unit.gateway.cast import SOMCHAI, Console, client, photo, policy, refused

pytestmark = pytest.mark.torchserve

BOUND: Final = 24  # predictions inside at once, less than the default so that three times the rate fills them
TIMES: Final = 3
CONNECTIONS: Final = 8
CALLERS: Final = 16  # of the closed loop: what is answered at best, and fits in
OUTSTANDING_MAX: Final = 250  # of the open loop, which leaves a call out beyond: gRPC itself refuses some more
SECONDS: Final = 2.0
ROUNDS: Final = 5
GOODPUT_RATIO_MIN: Final = 0.5  # of the closed loops before and after it; callers and server share the processors
GROWTH_RATIO_MAX: Final = 0.2
LONG_S: Final = 120.0  # of a call that is held
TOLD_TO_WAIT: Final = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
# Whoever comes is let in, and no photograph of a caller gets its answer while there is a file "hold". The golden ones
# get theirs: a worker that is stopped instead is no longer ready after some seconds, and then replaced.
UNBOUNDED: Final = """
import asyncio, runpy, gateway.admission.shedding as shedding, gateway.serving.torchserve as torchserve
from pathlib import Path
predict = torchserve.TorchServe.predict
async def held(self, name, version, images, **rest):
    while images[0].pixels is not None and Path({hold!r}).exists():
        await asyncio.sleep(0.05)
    return await predict(self, name, version, images, **rest)
torchserve.TorchServe.predict = held
shedding.Shedder.check = lambda self, client_id: ""
runpy.run_module("gateway", run_name="__main__")
"""


@dataclass
class Ends:
    """What calls ended with."""

    answered: int = 0
    told_to_wait: int = 0
    otherwise: Counter[str] = field(default_factory=Counter)

    async def of(
        self, stub: prediction_pb2_grpc.PredictionServiceAsyncStub, content: bytes, *, timeout_s: float = 20.0
    ) -> None:
        request = pb.PredictRequest(views=[pb.View(photo=content)])
        try:
            await stub.Predict(request, metadata=SOMCHAI.metadata, timeout=timeout_s)
        except aio.AioRpcError as error:
            found = refused(error)
            if found.code in TOLD_TO_WAIT and found.retry_after_s is not None:
                self.told_to_wait += 1
            else:
                self.otherwise[f"{found.code.name} {found.message}"] += 1
        else:
            self.answered += 1


Stubs: TypeAlias = "Sequence[prediction_pb2_grpc.PredictionServiceAsyncStub]"


async def closed_loop(stubs: Stubs, content: bytes) -> float:
    """Calls answered in a second, by callers who wait for each answer."""
    ends, began_s = Ends(), time.monotonic()

    async def call(stub: prediction_pb2_grpc.PredictionServiceAsyncStub) -> None:
        while time.monotonic() - began_s < SECONDS:
            await ends.of(stub, content)

    await asyncio.gather(*(call(stubs[number % len(stubs)]) for number in range(CALLERS)))
    assert ends.otherwise == {}
    return ends.answered / (time.monotonic() - began_s)


async def open_loop(stubs: Stubs, content: bytes, rate: float, ends: Ends) -> float:
    """Calls that come at this rate whatever becomes of them; how many are answered in a second until the last ended."""
    began_s, calls, sent = time.monotonic(), set[asyncio.Task[None]](), 0
    while (passed_s := time.monotonic() - began_s) < SECONDS:
        due = int(passed_s * rate)
        for number in range(sent, due):
            if len(calls) < OUTSTANDING_MAX:
                call = asyncio.create_task(ends.of(stubs[number % len(stubs)], content))
                calls.add(call)
                call.add_done_callback(calls.discard)
        sent = max(sent, due)
        await asyncio.sleep(0.005)  # the pace, not a wait for something
    await asyncio.gather(*calls)
    return ends.answered / (time.monotonic() - began_s)


@contextmanager
def most_inside(gateway: GatewayProcess) -> Iterator[list[int]]:
    """How many predictions were inside, as the gateway's page said again and again meanwhile."""
    seen, over = list[int](), threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            seen.append(inside(gateway))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def inside(gateway: GatewayProcess) -> int:
    found = re.search(r"^amulet_calls_in_flight (\d+)", gateway.page("/metrics")[1], re.MULTILINE)
    assert found is not None
    return int(found[1])


async def connected(target: str, down: AsyncExitStack) -> Stubs:
    apart = (("grpc.use_local_subchannel_pool", 1),)
    channels = [aio.insecure_channel(target, options=apart) for _ in range(CONNECTIONS)]
    return [
        prediction_pb2_grpc.PredictionServiceStub(await down.enter_async_context(channel))  # type: ignore[misc]  # async
        for channel in channels
    ]


@contextmanager
def bounded(
    folder: Path, server: RunningTorchServe, console: Console, *program: str, **more: str
) -> Iterator[GatewayProcess]:
    console.issue(policy(clients=[client(SOMCHAI, calls_per_minute=1_000_000)]))
    variables = environment(folder, server, console) | {"AMULET_CALLS_IN_FLIGHT_MAX": str(BOUND)} | more
    with GatewayProcess(variables, folder / "gateway.log", program or ("-m", "gateway")) as gateway:
        until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")
        yield gateway


def test_at_three_times_what_it_answers_calls_are_answered_or_told_to_wait_and_as_many_are_answered(
    tmp_path: Path, server: RunningTorchServe, console: Console
) -> None:
    ratios, closed_loops = list[float](), list[float]()
    content = photo()

    async def one_round(gateway: GatewayProcess) -> tuple[float, Ends]:
        async with AsyncExitStack() as down:
            stubs = await connected(gateway.target, down)
            before, ends = await closed_loop(stubs, content), Ends()
            closed_loops.append(before)  # of all rounds the best: one that others slowed is no capacity to exceed
            goodput = await open_loop(stubs, content, TIMES * max(closed_loops), ends)
            after = await closed_loop(stubs, content)
            closed_loops.append(after)
        return goodput / min(before, after), ends

    with bounded(tmp_path, server, console) as gateway:
        asyncio.run(one_round(gateway))  # what it once needs for so many it keeps
        process = psutil.Process(gateway.process.pid)
        before_mib = sum(each.memory_info().rss for each in (process, *process.children())) / 2**20
        for _ in range(ROUNDS):
            with memory_of(gateway) as grown_mib, most_inside(gateway) as seen:
                ratio, ends = asyncio.run(one_round(gateway))
                grown_ratio = grown_mib() / before_mib
            print(f"{ends}; {ratio:.2f} of the closed loop; {max(seen)} inside; memory +{grown_ratio:.1%}")
            assert ends.otherwise == {}
            assert max(seen) <= BOUND
            assert grown_ratio < GROWTH_RATIO_MAX
            if ends.told_to_wait > 0:  # so it was too much
                ratios.append(ratio)
            if max(ratios, default=0) >= GOODPUT_RATIO_MIN:  # what others do on this machine falls into single rounds
                break
    assert ratios, "in no round did so many calls come that one was told to wait"
    assert max(ratios) >= GOODPUT_RATIO_MIN


def test_a_gateway_that_lets_everybody_in_is_noticed(
    tmp_path: Path, server: RunningTorchServe, console: Console
) -> None:
    """Negative control of the test above. No call ends meanwhile: that many came is no matter of how fast who is."""
    content, hold = photo(), tmp_path / "hold"
    hold.touch()

    async def flood(gateway: GatewayProcess) -> Ends:
        async with AsyncExitStack() as down:
            stubs, ends = await connected(gateway.target, down), Ends()
            calls = [
                asyncio.create_task(ends.of(stubs[number % len(stubs)], content, timeout_s=LONG_S))
                for number in range(2 * BOUND)
            ]
            try:
                await asyncio.to_thread(until, lambda: inside(gateway) > BOUND, s_max=60, what="more than the bound")
            finally:
                hold.unlink()
            await asyncio.gather(*calls)
        return ends

    program = ("-c", UNBOUNDED.format(hold=str(hold)))
    with bounded(tmp_path, server, console, *program, AMULET_REQUEST_S_MAX=f"{LONG_S:.0f}") as gateway:
        ends = asyncio.run(flood(gateway))
    assert ends == Ends(answered=2 * BOUND)
