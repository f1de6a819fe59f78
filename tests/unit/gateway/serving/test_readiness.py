"""A version is ready only while a golden photograph is answered rightly, and soon enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import grpc
import numpy as np
import pytest
import pytest_asyncio

from gateway.serving import readiness as module
from gateway.serving.readiness import Change, Readiness, difference
from gateway.serving.torchserve import GraphImage, GraphOutput, TorchServe
from gateway.snapshot import Golden
from protos.amulet.graph.v1 import graph_pb2
from tests.unit.gateway.serving.backend import NAME, VERSION, Answer, FakeTorchServe, Trouble, answer_of

WAIT_S = 30.0  # until a test that hangs is ended
GOLDEN = Golden("golden_0.png", b"photo-0", (0.9, 0.1), {"mahalanobis": 1.0})


@dataclass(frozen=True)
class Served:
    backend_name: str
    version: str
    goldens: tuple[Golden, ...]


SERVED = Served(NAME, VERSION, tuple(replace(GOLDEN, name=f"golden_{n}.png", photo=b"%d" % n) for n in range(3)))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks fifteen times as often. How long an answer may take stays: a busy machine is no slow worker."""
    for name in ("PROBE_EVERY_S", "RETRY_EVERY_S"):
        monkeypatch.setattr(module, name, getattr(module, name) / 15)


@dataclass
class Watch:
    readiness: Readiness
    changes: list[Change]

    def is_ready(self) -> bool:
        return self.readiness.is_ready(NAME, VERSION)

    async def until(self, ready: bool) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.is_ready() is not ready:  # noqa: ASYNC110 - the condition is what is tested
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def watch(torchserve: TorchServe) -> AsyncIterator[Watch]:
    changes: list[Change] = []
    readiness = Readiness(torchserve, on_change=changes.append)
    running = asyncio.create_task(readiness.run())
    yield Watch(readiness, changes)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    outlived = [task for task in asyncio.all_tasks() if "Readiness" in repr(task.get_coro())]
    assert not outlived, "a probe outlived the one who ran it"


async def test_all_photographs_are_asked_before_it_is_ready_and_one_by_one_after(
    fake: FakeTorchServe, watch: Watch
) -> None:
    assert not watch.is_ready()
    watch.readiness.watch([SERVED])

    await watch.until(True)
    async with asyncio.timeout(WAIT_S):
        while len(fake.requests) < 5:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)

    photos = [[image.encoded for image in request.images] for request in fake.requests[:5]]
    assert photos == [[b"0", b"1", b"2"], [b"0"], [b"1"], [b"2"], [b"0"]]
    assert watch.changes == [Change(NAME, VERSION, True, "")]
    assert watch.readiness.why_not(NAME, VERSION) == ""


async def test_sixteen_photographs_need_two_requests(fake: FakeTorchServe, watch: Watch) -> None:
    watch.readiness.watch([replace(SERVED, goldens=SERVED.goldens[:1] * 16)])
    await watch.until(True)
    assert [len(request.images) for request in fake.requests[:2]] == [8, 8]


@pytest.mark.parametrize(
    "answer",
    [
        partial(answer_of, probabilities=(0.85, 0.15)),
        partial(answer_of, probabilities=(0.9, 0.05, 0.05)),
        partial(answer_of, score=1.2),
        partial(answer_of, score=float("nan")),
    ],
)
async def test_a_wrong_answer_ends_readiness(
    fake: FakeTorchServe, watch: Watch, answer: Callable[[graph_pb2.GraphRequest], graph_pb2.GraphAnswer]
) -> None:
    watch.readiness.watch([SERVED])
    await watch.until(True)

    async def wrong(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        return answer(request)

    fake.answer = wrong
    await watch.until(False)

    assert "wrong answer" in watch.readiness.why_not(NAME, VERSION)
    assert [change.ready for change in watch.changes] == [True, False]


async def test_rounding_of_another_processor_does_not(fake: FakeTorchServe, watch: Watch) -> None:
    async def rounded(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        return answer_of(request, probabilities=(0.885, 0.115), score=1.04)

    fake.answer = rounded
    watch.readiness.watch([SERVED])
    await watch.until(True)


SIX = replace(SERVED, goldens=tuple(replace(GOLDEN, name=f"golden_{n}.png", photo=b"%d" % n) for n in range(6)))
PROBABILITIES = dict.fromkeys((b"0", b"1", b"2", b"3", b"4", b"5"), (0.9, 0.1))


def answering(probabilities: Mapping[bytes, tuple[float, ...]]) -> Answer:
    """Each golden photograph gets its own probabilities."""

    async def answer(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        said = answer_of(request)
        del said.outputs[:]
        for image in request.images:
            said.outputs.extend(answer_of(request, probabilities=probabilities[image.encoded]).outputs[:1])
        return said

    return answer


async def asked(fake: FakeTorchServe, requests: int) -> list[int]:
    """Wait for so many more requests; how many photographs each of them held."""
    fake.requests.clear()
    async with asyncio.timeout(WAIT_S):
        while len(fake.requests) < requests:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    return [len(request.images) for request in fake.requests]


@pytest.mark.parametrize("wrong", [b"0", b"3", b"5"])
async def test_weights_that_one_photograph_alone_tells_are_found_before_its_turn(
    fake: FakeTorchServe, watch: Watch, wrong: bytes
) -> None:
    watch.readiness.watch([SIX])
    await watch.until(True)

    near = dict.fromkeys(PROBABILITIES, (0.89, 0.11))  # right, and not as before
    fake.requests.clear()
    fake.answer = answering({**near, wrong: (0.5, 0.5)})
    await watch.until(False)

    assert "wrong answer" in watch.readiness.why_not(NAME, VERSION)
    assert len(fake.requests) <= 3  # one that may have been under way, its turn's, and that of all


async def test_other_answers_that_are_right_are_a_doubt_for_one_round(fake: FakeTorchServe, watch: Watch) -> None:
    watch.readiness.watch([SIX])
    await watch.until(True)
    assert await asked(fake, 3) == [1, 1, 1]

    fake.answer = answering(dict.fromkeys(PROBABILITIES, (0.9 + 1e-6, 0.1 - 1e-6)))  # another kernel's rounding
    assert await asked(fake, 8) == [1] * 8
    fake.answer = answering(dict.fromkeys(PROBABILITIES, (0.89, 0.11)))
    sizes = await asked(fake, 10)

    assert sorted(sizes) == [1] * 9 + [6]
    assert watch.is_ready()
    assert [change.ready for change in watch.changes] == [True]


async def test_a_doubt_that_a_full_queue_leaves_open_ends_readiness(
    fake: FakeTorchServe, watch: Watch, torchserve: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.readiness.watch([SIX])
    await watch.until(True)

    async def full_for_all_of_them(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        if len(request.images) == 6:
            raise Trouble(grpc.StatusCode.INTERNAL, "has no worker to serve inference request\nException")
        return answer_of(request, probabilities=(0.89, 0.11))

    fake.answer = full_for_all_of_them
    monkeypatch.setattr(module, "FRESH_S", 0.5)
    image = GraphImage(pixels=np.zeros((2, 2, 3), dtype=np.uint8))
    async with asyncio.timeout(WAIT_S):
        while watch.is_ready():
            await torchserve.predict(NAME, VERSION, [image], deadline_s=5)  # others are answered all the time
    assert watch.readiness.why_not(NAME, VERSION) == "its last right answer is too old"

    fake.answer = answering(dict.fromkeys(PROBABILITIES, (0.89, 0.11)))
    await watch.until(True)


async def test_a_hanging_worker_ends_readiness_and_its_return_restores_it(fake: FakeTorchServe, watch: Watch) -> None:
    watch.readiness.watch([SERVED])
    await watch.until(True)
    right = fake.answer

    async def hangs(_: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    fake.answer = hangs
    await watch.until(False)
    assert "did not answer within" in watch.readiness.why_not(NAME, VERSION)
    fake.answer = right
    await watch.until(True)

    assert [change.ready for change in watch.changes] == [True, False, True]


async def test_a_full_queue_is_not_broken_while_others_are_answered(
    fake: FakeTorchServe, watch: Watch, torchserve: TorchServe
) -> None:
    watch.readiness.watch([SERVED])
    await watch.until(True)

    refused = 0

    async def full_for_golden_ones(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        nonlocal refused
        if request.images[0].encoded:
            refused += 1
            raise Trouble(grpc.StatusCode.INTERNAL, "has no worker to serve inference request\nException")
        return answer_of(request)

    fake.answer = full_for_golden_ones
    image = GraphImage(pixels=np.zeros((2, 2, 3), dtype=np.uint8))
    async with asyncio.timeout(WAIT_S):
        while refused < 20:
            await torchserve.predict(NAME, VERSION, [image], deadline_s=5)
            assert watch.is_ready()

    await watch.until(False)  # nobody is answered any more


async def test_what_is_not_watched_any_more_is_not_ready(watch: Watch) -> None:
    watch.readiness.watch([SERVED])
    await watch.until(True)

    watch.readiness.watch([])

    assert not watch.is_ready()
    assert watch.readiness.why_not(NAME, VERSION) == "the version is not served"
    assert watch.changes[-1] == Change(NAME, VERSION, False, "the version is not served any more")


async def test_what_is_not_watched_any_more_is_not_asked_any_more(watch: Watch) -> None:
    """Versions come and go: each would be asked for as long as the gateway runs."""

    def probes() -> int:
        return sum("_follow" in repr(task.get_coro()) for task in asyncio.all_tasks())

    watch.readiness.watch([SERVED])
    await watch.until(True)
    assert probes() == 1

    watch.readiness.watch([])

    async with asyncio.timeout(WAIT_S):
        while probes():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)


async def test_the_same_photographs_keep_their_standing_and_others_do_not(watch: Watch) -> None:
    watch.readiness.watch([SERVED])
    await watch.until(True)

    watch.readiness.watch([replace(SERVED)])
    assert watch.is_ready()
    watch.readiness.watch([replace(SERVED, goldens=SERVED.goldens[:2])])
    assert not watch.is_ready()

    await watch.until(True)


async def test_a_version_without_photographs_never_becomes_ready(fake: FakeTorchServe, watch: Watch) -> None:
    other = Served("other", "v20260101_other_0.500", SERVED.goldens)
    watch.readiness.watch([replace(SERVED, goldens=()), other])
    async with asyncio.timeout(WAIT_S):
        while fake.calls < 2:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    assert watch.readiness.why_not(NAME, VERSION) == "it has no golden photographs"


async def test_a_hanging_version_keeps_no_other_waiting(fake: FakeTorchServe, watch: Watch) -> None:
    hanging = Served("hanging", VERSION, (replace(GOLDEN, photo=b"hang"),))

    async def hangs_for_one(request: graph_pb2.GraphRequest) -> graph_pb2.GraphAnswer:
        if request.images[0].encoded == b"hang":
            await asyncio.Event().wait()
        return answer_of(request)

    fake.answer = hangs_for_one
    watch.readiness.watch([hanging, SERVED])
    await watch.until(True)
    asked = fake.calls
    async with asyncio.timeout(WAIT_S):
        while fake.calls < asked + 20:  # noqa: ASYNC110 - more probes than fit beside one that hangs, were they in turn
            await asyncio.sleep(0.005)
    await watch.until(True)
    assert not watch.readiness.is_ready("hanging", VERSION)


def test_differences_are_told_by_name() -> None:
    output = GraphOutput((), (0.9, 0.1), {"mahalanobis": 1.0}, None, None)
    assert difference(GOLDEN, output) == ""
    assert "class 0" in difference(GOLDEN, replace(output, probabilities=(0.5, 0.5)))
    assert "mahalanobis score nan" in difference(GOLDEN, replace(output, scores={}))
