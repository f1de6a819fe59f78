"""Whose messages end when they have taken more memory than they may, with a process that holds what it is told to."""

from __future__ import annotations

import asyncio
import mmap
import threading
from typing import Any, Final

import psutil
import pytest
from structlog.testing import capture_logs

from gateway import errors
from gateway.admission.arrivals import Arrivals
from gateway.admission.fullness import Fullness
from gateway.admission.streams import Streams
from gateway.memory import resident_bytes

REST: Final = 100
MAX: Final = 50
GREEDY: Final = "client-greedy"
POLITE: Final = "client-polite"


class House:
    """Calls and streams that wait for a message, in a process of `bytes_held`."""

    def __init__(self, *, freed_by_trimming: int = 0) -> None:
        self.bytes_held = REST
        self.arrivals = Arrivals(8, arrive_s_max=60.0)
        self.streams = Streams(8, last_s_max=60.0)
        self._freed = freed_by_trimming
        self.strangers = Arrivals(8, arrive_s_max=60.0)
        self.fullness = Fullness(
            MAX,
            (self.arrivals, self.streams),
            (self.strangers,),
            resident=lambda: self.bytes_held,
            trim=self._give_back,
        )
        self.begun = asyncio.Event()  # of a stream: what it has begun is done

    def _give_back(self) -> None:
        self.bytes_held -= self._freed
        self._freed = 0

    async def call(self, client_id: str) -> asyncio.Task[Any]:
        return await _started(self.arrivals.message(client_id, asyncio.Event().wait))

    async def stream(self, client_id: str) -> asyncio.Task[Any]:
        async def stay() -> None:
            async with self.streams.place(client_id, last=self.begun.wait):  # type: ignore[arg-type]  # what it returns is not looked at
                await asyncio.Event().wait()

        return await _started(stay())


async def _started(work: Any) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def refusal_of(task: asyncio.Task[Any]) -> errors.Refusal:
    with pytest.raises(errors.Refusal) as refused:
        async with asyncio.timeout(30):
            await task
    return refused.value


async def test_whoever_has_most_on_its_way_loses_all_of_it_and_nobody_else_anything() -> None:
    house = House()
    await house.fullness.look()
    greedy = [await house.call(GREEDY), await house.stream(GREEDY), await house.stream(GREEDY)]
    polite = [await house.call(POLITE), await house.stream(POLITE)]
    house.begun.set()
    house.bytes_held = REST + MAX + 1

    await house.fullness.look()

    ends = [await refusal_of(task) for task in greedy]
    assert [(type(end), end.retry_after_s) for end in ends] == [(errors.Overloaded, 2.0)] * 3
    assert "this client has most on their way" in ends[0].message
    assert not any(task.done() for task in polite)
    assert house.fullness.ended == 3
    for task in polite:
        task.cancel()


async def test_while_it_is_full_who_has_nothing_on_its_way_is_let_in_and_nobody_else() -> None:
    house = House()
    await house.fullness.look()
    greedy = [await house.call(GREEDY) for _ in range(3)]
    polite = await house.stream(POLITE)
    house.bytes_held = REST + MAX + 1
    await house.fullness.look()

    house.fullness.check("client-third")
    with pytest.raises(errors.Overloaded, match="as much of messages as it may"):
        house.fullness.check(POLITE)

    house.bytes_held = REST
    await house.fullness.look()
    house.fullness.check(POLITE)
    polite.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)


async def test_while_it_is_full_a_stranger_who_holds_something_is_not_let_in() -> None:
    house = House()
    await house.fullness.look()
    greedy = [await house.call(GREEDY) for _ in range(3)]
    stranger = await _started(house.strangers.message("ipv4:192.0.2.7", asyncio.Event().wait))
    house.bytes_held = REST + MAX + 1
    await house.fullness.look()

    house.fullness.check("ipv4:192.0.2.8")
    with pytest.raises(errors.Overloaded):
        house.fullness.check("ipv4:192.0.2.7")

    stranger.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)


async def test_what_may_be_held_is_counted_from_the_least_that_was_held() -> None:
    """A start takes more than what comes after it: that is no room for messages."""
    house = House()
    house.bytes_held = REST + MAX
    await house.fullness.look()
    call = await house.call(GREEDY)
    house.bytes_held = REST
    await house.fullness.look()
    assert not call.done()
    house.bytes_held = REST + MAX + 1

    await house.fullness.look()

    assert house.fullness.full
    await refusal_of(call)


async def test_what_glibc_only_has_not_given_back_ends_nobody() -> None:
    house = House(freed_by_trimming=MAX)
    await house.fullness.look()
    call = await house.call(GREEDY)
    house.bytes_held = REST + MAX + 1

    await house.fullness.look()

    assert not call.done()
    assert not house.fullness.full
    call.cancel()


async def test_the_log_names_a_client_and_no_address_of_a_stranger() -> None:
    told = []
    for of_strangers in (False, True):
        house = House()
        await house.fullness.look()
        arrivals = house.strangers if of_strangers else house.arrivals
        call = await _started(arrivals.message("ipv4:192.0.2.7" if of_strangers else GREEDY, asyncio.Event().wait))
        house.bytes_held = REST + MAX + 1
        with capture_logs() as lines:
            await house.fullness.look()
        await refusal_of(call)
        told += [(line["event"], line["client_id"], line["ended"]) for line in lines]

    assert told == [("messages_ended_for_memory", GREEDY, 1), ("messages_ended_for_memory", "", 1)]


async def test_while_it_goes_on_it_is_logged_once_and_all_of_it_is_counted() -> None:
    """One who begins anew each time would write ten lines a second."""
    house = House()
    await house.fullness.look()
    house.bytes_held = REST + MAX + 1
    with capture_logs() as lines:
        for _ in range(3):
            call = await house.call(GREEDY)
            await house.fullness.look()
            await refusal_of(call)

    assert house.fullness.ended == 3
    assert [line["event"] for line in lines] == ["messages_ended_for_memory"]


async def test_the_log_says_how_much_may_be_held() -> None:
    held_bytes, arrivals = REST, Arrivals(8, arrive_s_max=60.0)
    fullness = Fullness(192 * 2**20, (arrivals,), resident=lambda: held_bytes, trim=lambda: None)
    await fullness.look()
    call = await _started(arrivals.message(GREEDY, asyncio.Event().wait))
    held_bytes = 2**30
    with capture_logs() as lines:
        await fullness.look()
    await refusal_of(call)

    assert [line["mib_max"] for line in lines] == [192]


async def test_it_is_full_no_more_once_nothing_is_on_its_way() -> None:
    house = House()
    await house.fullness.look()
    call = await house.call(GREEDY)
    house.bytes_held = REST + MAX + 1
    await house.fullness.look()
    assert house.fullness.full
    await refusal_of(call)

    await house.fullness.look()

    assert not house.fullness.full


async def test_a_stream_that_was_told_to_end_is_not_counted_and_not_told_again() -> None:
    """It may take a moment to end: who has most by then is another one."""
    house = House()
    streams = [await house.stream(GREEDY) for _ in range(2)]

    assert house.streams.end_all_of(GREEDY, errors.Overloaded.for_now("too much")) == 2

    assert not house.streams.counts()
    assert house.streams.end_all_of(GREEDY, errors.Overloaded.for_now("too much")) == 0
    assert house.streams.open == 2
    house.begun.set()
    for stream in streams:
        await refusal_of(stream)


@pytest.mark.parametrize(("moment_s", "call_s"), [(0.01, 60.0), (3600.0, 0.01)])
async def test_a_stream_that_ends_for_memory_finishes_what_it_began_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch, moment_s: float, call_s: float
) -> None:
    """A caller that does not read its answers would hold what it sent for as long as a call may take."""
    monkeypatch.setattr("gateway.admission.streams.LAST_S_FOR_MEMORY", moment_s)
    house = House()
    house.streams = Streams(8, last_s_max=call_s)
    stream = await house.stream(GREEDY)

    house.streams.end_all_of(GREEDY, errors.Overloaded.for_now("too much"))

    assert (await refusal_of(stream)).message == "too much"
    assert house.streams.open == 0


async def test_a_look_that_finds_room_waits_for_no_thread() -> None:
    """In one it waits for the loop that is busy with what has come, twice, while more comes."""
    looked_in = set[int]()

    def resident() -> int:
        looked_in.add(threading.get_ident())
        return REST

    arrivals = Arrivals(8, arrive_s_max=60.0)
    fullness = Fullness(MAX, (arrivals,), resident=resident, trim=lambda: None)
    call = await _started(arrivals.message(GREEDY, asyncio.Event().wait))

    await fullness.look()

    assert looked_in == {threading.get_ident()}
    call.cancel()


async def test_what_a_process_holds_is_what_the_system_says() -> None:
    ours, counted = resident_bytes(), psutil.Process().memory_info().rss
    held = mmap.mmap(-1, 64 * 2**20)  # pages of its own: malloc may have as many to give that other tests have left
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1

    assert abs(ours - counted) < 8 * 2**20
    assert resident_bytes() - ours > 56 * 2**20
