"""Identifiers, deadlines, paces and work in the background."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from gateway import errors
from gateway.background import Background
from gateway.deadline import Deadline
from gateway.identity import is_uuid7, uuid7
from gateway.pace import Pace


def test_an_identifier_is_a_version_7_uuid_of_this_moment() -> None:
    before_ms = time.time_ns() // 1_000_000

    parsed = uuid.UUID(text := uuid7())

    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
    assert before_ms <= parsed.int >> 80 <= time.time_ns() // 1_000_000
    assert is_uuid7(text)


def test_every_bit_of_an_identifier_that_may_be_random_is() -> None:
    free, ones, zeros = (1 << 76) - 1 & ~(0b11 << 62), 0, 0

    for text in (uuid7() for _ in range(200)):
        assert is_uuid7(text), text
        ones |= uuid.UUID(text).int
        zeros |= ~uuid.UUID(text).int

    assert (ones & free, zeros & free) == (free, free)


def test_identifiers_do_not_repeat_and_nothing_else_is_one() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000
    assert not any(map(is_uuid7, ["", "p-1", str(uuid.uuid4()), uuid7().upper(), uuid7() + "\n"]))


@pytest.mark.parametrize(
    ("remaining_s", "wanted_s"),
    [(None, 30), (500, 30), (30, 29.5), (1, 0.9), (0.05, 0.045), (0.02, 0.015), (0.004, 0.002)],
)
def test_a_call_has_its_own_deadline_less_the_way_home_capped_by_ours(
    remaining_s: float | None, wanted_s: float
) -> None:
    began_s = time.monotonic()
    left_s = Deadline.of_call(remaining_s, request_s_max=30).left_s
    took_s = time.monotonic() - began_s

    assert wanted_s - took_s <= left_s + 1e-9
    assert left_s <= wanted_s + 1e-9


async def test_work_past_the_deadline_is_cancelled_and_named() -> None:
    with pytest.raises(errors.DeadlineExceeded, match="while sleeping"):
        async with Deadline.of_call(0.01, request_s_max=30).while_("sleeping"):
            await asyncio.sleep(30)


async def test_work_after_the_deadline_does_not_begin() -> None:
    with pytest.raises(errors.DeadlineExceeded, match="before opening"):
        async with Deadline.of_call(0.0, request_s_max=30).while_("opening"):
            raise AssertionError("it began")


async def test_a_timeout_of_something_else_stays_what_it_is() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline.of_call(5, request_s_max=30).while_("connecting"):
            raise TimeoutError


def test_a_pace_follows_what_is_measured() -> None:
    pace = Pace()
    assert pace.expected_s == 0.0
    for _ in range(100):
        pace.add(0.1)

    assert pace.expected_s == pytest.approx(0.1, abs=0.01)
    pace.add(1.0)
    assert pace.expected_s > 0.5  # a surprise widens it at once


async def test_work_in_the_background_outlives_its_caller_and_is_waited_for_at_the_end() -> None:
    done: list[str] = []
    go_on = asyncio.Event()

    async def work() -> str:
        await go_on.wait()
        done.append("work")
        return "result"

    async with Background() as background:
        caller = asyncio.ensure_future(asyncio.shield(background.start(work())))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()

    assert done == ["work"]


async def test_work_that_fails_fails_its_own_caller_alone() -> None:
    async def good() -> str:
        await asyncio.sleep(0)
        return "fine"

    async def bad() -> str:
        raise ValueError("mine")

    async with Background() as background:
        fine = background.start(good())
        with pytest.raises(ValueError, match="mine"):
            await asyncio.shield(background.start(bad()))
        assert await fine == "fine"
