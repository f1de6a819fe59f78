"""Calls that share a request: when it is sent, what each gets back, and that none suffers from another."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BackendUnavailable, DeadlineExceeded
from gateway.serving import batches as batches_module
from gateway.serving.batches import IMAGES_MAX, Batches
from gateway.serving.torchserve import (
    NO_EXTRAS,
    BackendFaulty,
    Extras,
    GraphImage,
    GraphOutput,
    GraphResult,
    TorchServe,
)
from tests.unit.gateway.serving.backend import NAME, VERSION, FakeTorchServe

FAULTY = b"faulty"


def image(name: str) -> GraphImage:
    return GraphImage(encoded=name.encode())


@dataclass
class Request:
    kind: tuple[str, str, Extras]
    images: list[bytes]
    alone: bool
    deadline_s: float
    answer: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def finish(self) -> None:
        self.answer.set_result(None)
        await settle()


@dataclass
class Held:
    """A backend that answers when it is told to, each image with its own name."""

    requests: list[Request] = field(default_factory=list)

    async def predict(
        self,
        backend_name: str,
        version: str,
        images: Sequence[GraphImage],
        *,
        extras: Extras = NO_EXTRAS,
        alone: bool = False,
        deadline_s: float,
    ) -> GraphResult:
        assert deadline_s > 0
        names = [one.encoded or b"" for one in images]
        request = Request((backend_name, version, extras), names, alone, deadline_s)
        self.requests.append(request)
        await request.answer
        if FAULTY in names:
            raise BackendFaulty("an image gave a value that is not finite")
        return GraphResult(tuple(map(output_of, names)), 1.0, len(images))

    @property
    def open(self) -> list[Request]:
        return [request for request in self.requests if not request.answer.done()]


def output_of(name: bytes) -> GraphOutput:
    return GraphOutput((), (), MappingProxyType({name.decode(): 1.0}), None, None)


async def settle() -> None:
    """Until everything that can run without the backend has run."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def held() -> Held:
    return Held()


@pytest_asyncio.fixture
async def batches(held: Held) -> AsyncIterator[Batches]:
    async with Batches(held) as batches:
        yield batches


async def ask(
    batches: Batches, *names: str, version: str = VERSION, extras: Extras = NO_EXTRAS, deadline_s: float = 30.0
) -> list[str]:
    """The names of the images whose outputs came back."""
    result = await batches.predict(NAME, version, [image(name) for name in names], extras=extras, deadline_s=deadline_s)
    return [name for output in result.outputs for name in output.scores]


async def begin(batches: Batches, *names: str, **how: object) -> asyncio.Task[list[str]]:
    task = asyncio.create_task(ask(batches, *names, **how))  # type: ignore[arg-type]  # passed on as they are
    await settle()
    return task


async def test_a_lone_call_waits_for_nobody(held: Held, batches: Batches) -> None:
    call = await begin(batches, "one")

    assert [request.images for request in held.requests] == [[b"one"]]
    await held.requests[0].finish()
    assert await call == ["one"]


async def test_half_of_those_who_are_here_go_out_beside_the_first(held: Held, batches: Batches) -> None:
    calls = [await begin(batches, name) for name in ("first", "second")]
    assert [request.images for request in held.requests] == [[b"first"]]
    calls.append(await begin(batches, "third"))
    assert [request.images for request in held.requests[1:]] == [[b"second", b"third"]]

    for request in held.requests:
        await request.finish()
    assert [await call for call in calls] == [["first"], ["second"], ["third"]]


async def test_calls_that_come_meanwhile_share_the_next_request(held: Held, batches: Batches) -> None:
    calls = [await begin(batches, str(number)) for number in range(3)]  # two requests
    calls += [await begin(batches, str(number)) for number in range(3, 9)]
    assert [len(request.images) for request in held.requests] == [1, 2]

    await held.requests[0].finish()
    assert [len(request.images) for request in held.requests] == [1, 2, 6]
    calls.append(await begin(batches, "9"))
    assert len(held.requests) == 3  # one is not half of ten
    for request in held.requests[1:]:
        await request.finish()
    await held.requests[3].finish()
    assert await asyncio.gather(*calls) == [[str(number)] for number in range(10)]


async def test_a_crowd_that_has_gone_holds_nobody_up(
    held: Held, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "_CROWD_S", 0.0)
    calls = [await begin(batches, *map(str, range(IMAGES_MAX)))]
    calls += [await begin(batches, "second"), await begin(batches, "third")]
    assert [len(request.images) for request in held.requests] == [IMAGES_MAX]
    await held.requests[0].finish()
    calls += [await begin(batches, "fourth"), await begin(batches, "fifth")]
    assert [request.images for request in held.requests[1:]] == [[b"second", b"third"], [b"fourth", b"fifth"]]
    for request in held.requests[1:]:
        await request.finish()
    await asyncio.gather(*calls)


async def test_the_next_request_goes_out_before_those_who_have_their_answer_go_on(held: Held, batches: Batches) -> None:
    order: list[str] = []

    async def first() -> None:
        await ask(batches, "first")
        order.append(f"answered after {len(held.requests)} requests")

    task = asyncio.create_task(first())
    await settle()
    second = await begin(batches, "second")
    await held.requests[0].finish()
    await task
    assert order == ["answered after 2 requests"]
    await held.requests[1].finish()
    await second


async def test_a_full_request_does_not_wait_for_those_under_way(held: Held, batches: Batches) -> None:
    calls = [await begin(batches, str(number)) for number in range(3 + IMAGES_MAX)]

    assert [len(request.images) for request in held.requests] == [1, 2, IMAGES_MAX]
    for request in held.requests:
        await request.finish()
    assert await asyncio.gather(*calls) == [[str(number)] for number in range(3 + IMAGES_MAX)]


async def test_who_is_alone_is_said_to_be(held: Held, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "after it"):
        call = await begin(batches, name)
        await held.open[0].finish()
        await call
    assert [request.alone for request in held.requests] == [True, True]

    calls = [await begin(batches, "first"), await begin(batches, "of another version", version="other")]
    for request in held.open:
        await request.finish()
    await asyncio.gather(*calls)
    soon = await begin(batches, "soon after company")
    await held.open[0].finish()
    await soon
    assert [request.alone for request in held.requests[2:]] == [True, False, False]

    monkeypatch.setattr(batches_module, "_CROWD_S", 0.0)
    call = await begin(batches, "long after company")
    await held.open[0].finish()
    await call
    assert held.requests[-1].alone


async def test_versions_and_wishes_never_mix(held: Held, batches: Batches) -> None:
    wishes = (
        NO_EXTRAS,
        Extras(heat_map=True),
        Extras(heat_map=True, plus_plus=True),
        Extras(embedding=True),
        Extras(neighbours=3),
    )
    for version in ("one", "other"):
        for extras in wishes:
            await begin(batches, "image", version=version, extras=extras)

    assert {request.kind for request in held.requests} == {
        (NAME, version, extras) for version in ("one", "other") for extras in wishes
    }
    for request in held.open:
        await request.finish()


async def test_one_who_leaves_strands_nobody(held: Held, batches: Batches) -> None:
    first, leaver, other, never_sent = [
        await begin(batches, name) for name in ("first", "leaver", "other", "never sent")
    ]
    never_sent.cancel()
    await held.requests[0].finish()
    leaver.cancel()
    await settle()
    assert held.requests[1].images == [b"leaver", b"other"]
    await held.requests[1].finish()

    assert (await first, await other) == (["first"], ["other"])


async def test_a_request_that_nobody_waits_for_is_ended_and_the_next_one_sent(held: Held, batches: Batches) -> None:
    leaver = await begin(batches, "leaver")
    waiting = await begin(batches, "waiting")

    leaver.cancel()
    await settle()

    assert held.requests[0].answer.cancelled()
    await held.requests[1].finish()
    assert await waiting == ["waiting"]


async def test_each_has_a_deadline_of_its_own(held: Held, batches: Batches) -> None:
    first = await begin(batches, "first")
    hasty = await begin(batches, "hasty", deadline_s=0.01)
    with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):
        await hasty
    patient = await begin(batches, "patient")
    await held.requests[0].finish()
    await held.requests[1].finish()

    assert held.requests[1].images == [b"patient"]
    assert (await first, await patient) == (["first"], ["patient"])


async def test_a_shared_request_has_the_time_of_whoever_has_most(held: Held, batches: Batches) -> None:
    calls = [await begin(batches, "first")]
    calls += [await begin(batches, name, deadline_s=s) for name, s in (("hasty", 60.0), ("patient", 3600.0))]
    for request in range(2):
        await held.requests[request].finish()

    assert await asyncio.gather(*calls) == [["first"], ["hasty"], ["patient"]]
    assert held.requests[1].images == [b"hasty", b"patient"]
    assert held.requests[1].deadline_s > 1800.0


async def test_nothing_is_kept_of_kinds_that_nobody_asks_for_any_more(held: Held, batches: Batches) -> None:
    """Versions come and go for as long as a gateway runs."""
    answered = await begin(batches, "answered")
    given_up = await begin(batches, "given up", version="v2")
    late = await begin(batches, "late", version="v3", deadline_s=0.01)
    assert len(batches._lanes) == 3
    given_up.cancel()
    await held.requests[0].finish()

    await asyncio.gather(answered, given_up, late, return_exceptions=True)
    await settle()

    assert batches._lanes == {}


async def test_a_faulty_image_harms_no_other(held: Held, batches: Batches) -> None:
    names = ("first", "good", FAULTY.decode(), "better")
    calls = [await begin(batches, name) for name in names]
    await held.requests[0].finish()
    await held.requests[1].finish()
    while held.open:
        await held.open[0].finish()

    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [outcomes[0], outcomes[1], outcomes[3]] == [["first"], ["good"], ["better"]]
    assert isinstance(outcomes[2], BackendFaulty)


async def test_a_backend_that_is_down_is_not_asked_again_for_each(held: Held, batches: Batches) -> None:
    calls = [await begin(batches, name) for name in ("first", "second", "third")]
    await held.requests[0].finish()
    held.requests[1].answer.set_exception(BackendUnavailable("the model's worker died"))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert outcomes[0] == ["first"]
    assert [type(outcome) for outcome in outcomes[1:]] == [BackendUnavailable] * 2
    assert len(held.requests) == 2


async def test_a_refusal_leaves_nothing_that_only_the_collection_of_garbage_frees(held: Held, batches: Batches) -> None:
    calls = [await begin(batches, name) for name in ("first", "second", "third")]
    await held.requests[0].finish()
    gc.collect()
    gc.disable()
    try:
        held.requests[1].answer.set_exception(BackendUnavailable("the model's worker died"))
        await asyncio.gather(*calls, return_exceptions=True)
        held.requests.clear()
        calls.clear()
        await settle()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = [found for found in gc.garbage if isinstance(found, BackendUnavailable)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert not kept


Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["ask", "finish", "leave"]), st.integers(0, 7)), max_size=60)


@given(steps=STEPS)
def test_whatever_comes_goes_and_ends_everyone_gets_his_own(steps: list[Step]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: Sequence[Step]) -> None:
    """ask n: a call with n + 1 images; finish n, leave n: of the open requests, of the calls, the one numbered so."""
    held, calls, left = Held(), list[tuple[list[str], asyncio.Task[list[str]]]](), set[int]()
    async with Batches(held) as batches:
        for number, (what, which) in enumerate(steps):
            if what == "ask":
                idle = not held.open
                names = [f"{number}.{index}" for index in range(which + 1)]
                calls.append((names, await begin(batches, *names)))
                assert not idle or held.open, "a lone call was kept waiting"
            elif what == "finish" and held.open:
                await held.open[which % len(held.open)].finish()
            elif what == "leave" and calls:
                index = which % len(calls)
                left.add(index)
                calls[index][1].cancel()
                await settle()
        while held.open:
            await held.open[0].finish()
    for index, (names, call) in enumerate(calls):
        assert call.done(), "a call was stranded"
        if index not in left:
            assert call.result() == names
    assert all(len(request.images) <= IMAGES_MAX for request in held.requests)
    assert all(len(set(request.images)) == len(request.images) for request in held.requests)


async def test_it_speaks_to_torchserve_as_one_caller_would(fake: FakeTorchServe, torchserve: TorchServe) -> None:
    async with Batches(torchserve) as batches:
        results = await asyncio.gather(
            *(
                batches.predict(NAME, VERSION, [image(str(number))], extras=Extras(heat_map=True), deadline_s=20)
                for number in range(5)
            )
        )

    assert sorted(len(request.images) for request in fake.requests) == [1, 2, 2]  # the first two in either order
    assert all(len(result.outputs) == 1 and result.outputs[0].heat_map is not None for result in results)
