"""Load shedding: a full house refuses at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack

import pytest

from gateway import errors
from gateway.admission.shedding import CALLS_A_CORE, COMFORT_S, STANDING_S, Shedder


def test_the_call_after_the_last_place_is_refused_until_a_place_is_free() -> None:
    shedder = Shedder(2)
    with shedder.place():
        with shedder.place(), pytest.raises(errors.Overloaded) as refused, shedder.place():
            pass
        with shedder.place():
            assert shedder.in_flight == 2

    assert shedder.in_flight == 0
    assert refused.value.retry_after_s


def test_a_call_that_fails_gives_its_place_back() -> None:
    shedder = Shedder(1)
    with pytest.raises(ValueError), shedder.place():
        raise ValueError

    assert shedder.in_flight == 0


class House:
    """A shedder with a clock that is turned by hand, and calls that stay."""

    def __init__(self, calls_in_flight_max: int) -> None:
        self.now_s = 0.0
        self.shedder = Shedder(calls_in_flight_max, cores=1, clock=lambda: self.now_s)
        self._inside: list[AbstractContextManager[None]] = []

    def enter(self, calls: int) -> int:
        """How many of them got in."""
        before = len(self._inside)
        for _ in range(calls):
            place = self.shedder.place()
            try:
                place.__enter__()
            except errors.Overloaded:
                break
            self._inside.append(place)
        return len(self._inside) - before

    def leave(self, calls: int) -> None:
        for _ in range(calls):
            self._inside.pop().__exit__(None, None, None)


def test_a_burst_fills_the_house_and_a_queue_that_stands_does_not() -> None:
    house = House(64)
    assert house.enter(100) == 64

    house.leave(1)
    house.now_s += STANDING_S
    assert house.enter(1) == 0  # far more than comfortable, for a second

    house.leave(63 - CALLS_A_CORE + 1)
    assert house.enter(100) == 1  # the comfortable number, no more


def test_a_house_that_was_half_empty_takes_bursts_again() -> None:
    house = House(64)
    house.enter(64)
    house.now_s += STANDING_S
    house.leave(64 - CALLS_A_CORE // 2 + 1)

    assert house.enter(100) == 64 - CALLS_A_CORE // 2 + 1


def test_answers_that_come_in_batches_do_not_open_the_house_to_a_queue_that_stands() -> None:
    house = House(64)
    house.enter(64)
    house.leave(1)
    house.now_s += STANDING_S
    assert house.enter(1) == 0

    house.leave(63)
    assert house.enter(100) == CALLS_A_CORE
    house.now_s += STANDING_S * 0.9
    house.leave(CALLS_A_CORE)
    assert house.enter(100) == CALLS_A_CORE

    house.leave(CALLS_A_CORE)
    house.now_s += STANDING_S  # in which nobody was refused
    assert house.enter(100) == 64


def test_what_is_comfortable_follows_what_was_answered_in_a_second() -> None:
    house = House(64)
    for _ in range(300):
        with house.shedder.place():
            house.now_s += 1 / 300

    assert house.shedder.comfortable == round(300 * COMFORT_S)
    with ExitStack() as later:
        house.now_s += 31.0
        later.enter_context(house.shedder.place())
    assert house.shedder.comfortable == CALLS_A_CORE
