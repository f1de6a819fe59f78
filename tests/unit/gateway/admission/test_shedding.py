"""Load shedding: a full house refuses at once, and shares its places among its clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest

from gateway import errors
from gateway.admission.shedding import CALLS_A_CORE, COMFORT_S, STANDING_S, Shedder
from gateway.deadline import Deadline

LATER: Final = Deadline(float("inf"))
FLOOD, POLITE = "client-flood", "client-polite"


async def test_the_call_after_the_last_place_is_refused_until_a_place_is_free() -> None:
    shedder = Shedder(2)
    async with shedder.place(FLOOD, LATER):
        async with shedder.place(FLOOD, LATER):
            with pytest.raises(errors.Overloaded) as refused:
                shedder.check(FLOOD)
        async with shedder.place(FLOOD, LATER):
            assert shedder.in_flight == 2

    assert shedder.in_flight == 0
    assert refused.value.retry_after_s


async def test_a_call_that_fails_gives_its_place_back() -> None:
    shedder = Shedder(1)
    with pytest.raises(ValueError):
        async with shedder.place(FLOOD, LATER):
            raise ValueError

    assert shedder.in_flight == 0


async def test_a_place_is_kept_until_all_that_was_begun_for_its_call_has_ended() -> None:
    shedder, loop = Shedder(1), asyncio.get_running_loop()
    begun: list[asyncio.Future[None]] = [loop.create_future(), loop.create_future()]
    async with shedder.place(FLOOD, LATER) as place:
        for work in begun:
            place.until(work)

    held = []
    for work in begun:
        held.append(shedder.in_flight)
        with pytest.raises(errors.Overloaded):
            shedder.check(FLOOD)
        work.set_result(None)
        await asyncio.sleep(0)  # its callbacks are called

    assert held == [1, 1]
    assert shedder.in_flight == 0


@pytest.mark.parametrize("end", [lambda work: work.cancel(), lambda work: work.set_exception(ValueError("down"))])
async def test_work_that_is_called_off_or_fails_gives_its_place_back(
    end: Callable[[asyncio.Future[None]], object],
) -> None:
    shedder = Shedder(1)
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with shedder.place(FLOOD, LATER) as place:
        place.until(work)

    end(work)
    await asyncio.wait([work])
    await asyncio.sleep(0)  # its callbacks are called

    assert shedder.in_flight == 0
    assert work.cancelled() or isinstance(work.exception(), ValueError)


async def test_the_place_of_a_call_that_has_left_goes_to_who_waits_once_its_work_has_ended() -> None:
    house = House(CALLS_A_CORE + 1)
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with house.shedder.place(FLOOD, LATER) as place:
        place.until(work)
    await house.enter(CALLS_A_CORE, POLITE)
    assert (house.shedder.waiting, len(house.worked_on)) == (1, CALLS_A_CORE - 1)

    work.set_result(None)
    await house.settle()

    assert (house.shedder.waiting, len(house.worked_on)) == (0, CALLS_A_CORE)


class House:
    """A shedder with a clock that is turned by hand, and calls that stay until they are told to leave."""

    def __init__(self, calls_in_flight_max: int) -> None:
        self.now_s = 0.0
        self.shedder = Shedder(calls_in_flight_max, cores=1, clock=lambda: self.now_s)
        self.worked_on: list[tuple[str, asyncio.Event]] = []  # in the order in which they were called in
        self.began: list[str] = []  # their clients, those that have left included
        self.shed: Counter[str] = Counter()
        self._calls: set[asyncio.Task[None]] = set()

    async def enter(self, calls: int, client: str = FLOOD, deadline: Deadline = LATER) -> int:
        """How many of them got in, to be worked on or to wait."""
        before = self.shedder.in_flight
        for _ in range(calls):
            call = asyncio.create_task(self._call(client, deadline))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        await self.settle()
        return self.shedder.in_flight - before

    async def leave(self, calls: int) -> None:
        """The oldest of those worked on, one after the other."""
        for _ in range(calls):
            self.worked_on.pop(0)[1].set()
            await self.settle()

    async def settle(self) -> None:
        for _ in range(5):  # turns of the loop in which nothing else is due
            await asyncio.sleep(0)

    async def _call(self, client: str, deadline: Deadline) -> None:
        leaving = asyncio.Event()
        try:
            async with self.shedder.place(client, deadline):
                self.worked_on.append((client, leaving))
                self.began.append(client)
                await leaving.wait()
        except errors.Overloaded:
            self.shed[client] += 1


async def test_a_burst_fills_the_house_and_a_queue_that_stands_does_not() -> None:
    house = House(64)
    assert await house.enter(100) == 64

    await house.leave(1)
    house.now_s += STANDING_S
    assert await house.enter(1) == 0  # far more than comfortable, for a second

    await house.leave(63 - CALLS_A_CORE + 1)
    assert await house.enter(100) == 1  # the comfortable number, no more


async def test_a_house_that_was_half_empty_takes_bursts_again() -> None:
    house = House(64)
    await house.enter(64)
    house.now_s += STANDING_S
    await house.leave(64 - CALLS_A_CORE // 2 + 1)

    assert await house.enter(100) == 64 - CALLS_A_CORE // 2 + 1


async def test_a_house_in_which_nobody_waits_takes_a_burst_however_long_it_was_so_full() -> None:
    house = House(64)
    await house.enter(CALLS_A_CORE - 1)
    house.shedder.check(FLOOD)
    house.now_s += STANDING_S

    assert await house.enter(100) == 64 - CALLS_A_CORE + 1


async def test_a_house_that_is_half_full_is_not_half_empty() -> None:
    house = House(64)
    await house.enter(64)
    house.now_s += STANDING_S
    await house.leave(64 - CALLS_A_CORE // 2)

    assert await house.enter(100) == CALLS_A_CORE // 2


async def test_answers_that_come_in_batches_do_not_open_the_house_to_a_queue_that_stands() -> None:
    house = House(64)
    await house.enter(64)
    await house.leave(1)
    house.now_s += STANDING_S
    assert await house.enter(1) == 0

    await house.leave(63)
    assert await house.enter(100) == CALLS_A_CORE
    house.now_s += STANDING_S * 0.9
    await house.leave(CALLS_A_CORE)
    assert await house.enter(100) == CALLS_A_CORE

    await house.leave(CALLS_A_CORE)
    house.now_s += STANDING_S  # in which nobody was refused
    assert await house.enter(100) == 64


async def test_what_is_comfortable_follows_what_was_answered_in_a_second() -> None:
    house = House(64)
    for _ in range(900):
        async with house.shedder.place(FLOOD, LATER):
            house.now_s += 1 / 300

    assert house.shedder.comfortable == round(300 * COMFORT_S)
    for passed_s, comfortable in ((25.0, round(300 * COMFORT_S)), (6.0, CALLS_A_CORE)):
        house.now_s += passed_s
        async with house.shedder.place(FLOOD, LATER):
            pass
        assert house.shedder.comfortable == comfortable


async def test_what_fails_is_not_answered_and_makes_nothing_comfortable() -> None:
    house = House(64)
    for _ in range(300):
        with pytest.raises(ValueError):
            async with house.shedder.place(FLOOD, LATER):
                raise ValueError

    assert house.shedder.comfortable == CALLS_A_CORE


async def test_the_waiting_take_turns_by_client() -> None:
    house = House(64)
    await house.enter(CALLS_A_CORE + 20)
    await house.enter(1, POLITE)
    await house.enter(3, "client-third")

    await house.leave(6)

    assert house.began[CALLS_A_CORE:] == [FLOOD, POLITE, "client-third", FLOOD, "client-third", FLOOD]


async def test_a_full_house_sheds_the_newest_call_of_whoever_has_most_for_a_client_with_less_than_its_share() -> None:
    house = House(16)
    assert await house.enter(100) == 16
    refused = house.shed[FLOOD]

    assert await house.enter(100, POLITE) == 0  # one for one
    assert (house.shed[FLOOD] - refused, house.shed[POLITE]) == (8, 92)  # half of the house each
    assert house.shedder.in_flight == 16

    await house.leave(8)  # all that was worked on is the flood's, and its waiting calls are gone
    assert Counter(house.began[CALLS_A_CORE:]) == {POLITE: 8}


async def test_where_all_are_worked_on_a_client_with_less_than_its_share_waits_for_the_next_place() -> None:
    house = House(CALLS_A_CORE)
    await house.enter(50)

    assert await house.enter(1, POLITE) == 1
    await house.enter(50)
    await house.leave(1)

    assert house.began[-1] == POLITE
    assert house.shed[POLITE] == 0


async def test_whoever_has_left_takes_no_share_of_the_house() -> None:
    house = House(CALLS_A_CORE)
    for client in (POLITE, "second", "third"):
        async with house.shedder.place(client, LATER):
            pass
    await house.enter(CALLS_A_CORE)

    assert await house.enter(CALLS_A_CORE, POLITE) == CALLS_A_CORE // 2


def test_what_is_comfortable_before_anything_was_answered_keeps_every_core_busy() -> None:
    assert [Shedder(64, cores=cores).comfortable for cores in (1, 3, 100)] == [CALLS_A_CORE, 3 * CALLS_A_CORE, 64]


async def test_with_more_clients_than_places_whoever_has_none_inside_waits_and_the_queue_has_an_end() -> None:
    house = House(2)
    assert [await house.enter(1, client) for client in ("first", "second", "third", "fourth")] == [1, 1, 1, 1]

    assert await house.enter(1, "fifth") == 0
    assert await house.enter(1, "first") == 0
    await house.leave(2)

    assert house.began == ["first", "second", "third", "fourth"]


async def test_whoever_comes_does_not_overtake_those_who_wait_when_more_has_become_comfortable() -> None:
    house = House(64)
    for _ in range(85):
        async with house.shedder.place(FLOOD, LATER):
            pass
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with house.shedder.place(FLOOD, LATER) as place:
        await house.enter(CALLS_A_CORE)
        place.until(work)  # it was answered, which makes one more comfortable, and keeps its place
    assert (house.shedder.comfortable, house.shedder.waiting) == (CALLS_A_CORE + 1, 1)

    await house.enter(1, POLITE)

    assert house.began == [FLOOD] * CALLS_A_CORE
    work.set_result(None)
    await house.settle()
    assert house.began[-1] == POLITE


async def test_a_queue_that_stands_does_not_keep_out_whoever_sends_one_at_a_time() -> None:
    house = House(64)
    await house.enter(64)
    house.now_s += STANDING_S
    assert await house.enter(1) == 0
    while house.shedder.waiting:
        await house.leave(1)
    assert await house.enter(100) == 0

    assert await house.enter(1, POLITE) == 1
    await house.leave(1)
    assert house.began[-1] == POLITE


async def test_who_leaves_while_waiting_or_has_no_time_left_leaves_nothing_behind() -> None:
    house = House(64)
    await house.enter(CALLS_A_CORE)
    waiting = asyncio.create_task(house._call(POLITE, LATER))
    await house.settle()
    waiting.cancel()
    with pytest.raises(errors.DeadlineExceeded, match="waiting for a place"):
        async with house.shedder.place(POLITE, Deadline(0.0)):
            pass
    await house.settle()

    called_in_and_gone = asyncio.create_task(house._call(POLITE, LATER))
    await house.settle()
    house.worked_on.pop(0)[1].set()
    await asyncio.sleep(0)  # its place is given up, and given on
    called_in_and_gone.cancel()
    await house.settle()

    assert (house.shedder.in_flight, house.shedder.waiting) == (CALLS_A_CORE - 1, 0)
    assert await house.enter(1) == 1
    assert house.began[-1] == FLOOD
    await house.leave(CALLS_A_CORE)
    assert house.shedder.in_flight == 0
    await house.enter(CALLS_A_CORE + 1)
    assert house.shedder.waiting == 1  # as many are worked on as ever


async def test_the_place_of_who_was_called_in_and_is_gone_goes_to_the_next() -> None:
    house = House(64)
    await house.enter(CALLS_A_CORE)
    called_in_and_gone = asyncio.create_task(house._call(POLITE, LATER))
    await house.settle()
    await house.enter(1, "client-third")
    house.worked_on.pop(0)[1].set()
    await asyncio.sleep(0)  # its place is given up, and given on
    called_in_and_gone.cancel()
    await house.settle()

    assert house.began[CALLS_A_CORE:] == ["client-third"]
    assert (house.shedder.in_flight, house.shedder.waiting) == (CALLS_A_CORE, 0)


async def test_a_place_does_not_go_to_who_has_just_left_but_to_the_next() -> None:
    house = House(64)
    await house.enter(CALLS_A_CORE)
    leaving = asyncio.create_task(house._call(POLITE, LATER))
    await house.settle()
    await house.enter(1, "client-third")
    house.worked_on.pop(0)[1].set()
    leaving.cancel()  # not yet cleared away when the place is given on
    await house.settle()

    assert house.began[CALLS_A_CORE:] == ["client-third"]
    assert (house.shedder.in_flight, house.shedder.waiting) == (CALLS_A_CORE, 0)
    await house.leave(CALLS_A_CORE)
    assert house.shedder.in_flight == 0


async def test_a_call_that_goes_for_another_clients_may_just_have_left() -> None:
    house = House(CALLS_A_CORE + 2)
    await house.enter(CALLS_A_CORE + 1)
    leaving = asyncio.create_task(house._call(FLOOD, LATER))
    await house.settle()
    polite = asyncio.create_task(house._call(POLITE, LATER))
    leaving.cancel()  # not yet cleared away when the other one comes in
    await house.settle()

    assert (house.shedder.in_flight, house.shedder.waiting) == (CALLS_A_CORE + 2, 2)
    assert not polite.done()
