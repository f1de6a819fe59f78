"""Idempotency: one answer for one key, and no caller strands another."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

import pytest

from gateway import errors, replays
from gateway.deadline import Deadline
from gateway.replays import KEPT_S, Remembered, Replays, place_of, remembered
from protos.amulet.events.v1 import events_pb2
from tests.unit.gateway.cast import until

LATER: Final = Deadline(float("inf"))


class Work:
    def __init__(self) -> None:
        self.runs = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fails = False

    async def __call__(self) -> bytes:
        self.runs += 1
        run = self.runs
        await self.go_on.wait()
        if self.fails:
            raise errors.BackendUnavailable("down")
        return f"answer {run}".encode()


async def test_the_second_call_gets_the_first_answer() -> None:
    kept, work = Replays(), Work()

    assert await kept.once("somchai", "k", b"d", work, deadline=LATER) == (b"answer 1", False)
    assert await kept.once("somchai", "k", b"d", work, deadline=LATER) == (b"answer 1", True)
    assert work.runs == 1


async def test_the_key_of_another_client_is_another_key() -> None:
    kept, work = Replays(), Work()
    await kept.once("somchai", "k", b"d", work, deadline=LATER)

    assert await kept.once("malee", "k", b"other", work, deadline=LATER) == (b"answer 2", False)


def test_where_a_client_ends_and_its_key_begins_is_part_of_both() -> None:
    assert len({place_of("somchai", "k1"), place_of("somcha", "ik1"), place_of("", "somchaik1")}) == 3


async def test_the_same_key_for_another_request_is_a_conflict() -> None:
    kept, work = Replays(), Work()
    await kept.once("somchai", "k", b"d", work, deadline=LATER)

    with pytest.raises(errors.IdempotencyConflict):
        await kept.once("somchai", "k", b"other", work, deadline=LATER)


async def test_calls_that_overlap_share_one_answer() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    calls = [asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER)) for _ in range(5)]
    await asyncio.sleep(0)
    work.go_on.set()

    answers = await asyncio.gather(*calls)

    assert work.runs == 1
    assert sorted(replayed for _, replayed in answers) == [False, True, True, True, True]


async def test_when_the_first_leaves_the_next_one_is_worked_on() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    first = asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER))
    second = asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER))
    await asyncio.sleep(0)
    first.cancel()
    work.go_on.set()

    assert await second == (b"answer 2", False)


async def test_who_comes_after_the_first_has_failed_shares_the_work_of_who_waited() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    first, second = (asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: work.runs == 2, what="the second is worked on in the place of the first")
    third = asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER))
    await asyncio.sleep(0)
    work.go_on.set()

    assert [await second, await third] == [(b"answer 2", False), (b"answer 2", True)]
    assert work.runs == 2


async def test_who_waits_for_the_answer_of_another_call_waits_no_longer_than_its_own_deadline() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    first = asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER))
    await asyncio.sleep(0)

    with pytest.raises(errors.DeadlineExceeded, match="the same idempotency key"):
        await kept.once("somchai", "k", b"d", work, deadline=Deadline(time.monotonic() + 0.01))
    work.go_on.set()

    assert await first == (b"answer 1", False)
    assert await kept.once("somchai", "k", b"d", work, deadline=LATER) == (b"answer 1", True)


async def test_work_that_outlasts_its_deadline_is_remembered() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    deadline = Deadline(time.monotonic() + 60.0)
    first = asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=deadline))
    await until(lambda: work.runs == 1, what="the work has begun")
    object.__setattr__(deadline, "ends_at_s", time.monotonic() - 1.0)  # over now, and on no machine before
    second = asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER))
    work.go_on.set()

    assert await first == (b"answer 1", False)
    assert await second == (b"answer 1", True)


async def test_a_failure_is_not_remembered() -> None:
    kept, work = Replays(), Work()
    work.fails = True
    with pytest.raises(errors.BackendUnavailable):
        await kept.once("somchai", "k", b"d", work, deadline=LATER)
    work.fails = False

    assert await kept.once("somchai", "k", b"another request", work, deadline=LATER) == (b"answer 2", False)


async def test_what_is_forgotten_is_answered_anew_and_takes_no_room() -> None:
    kept, work = Replays(), Work()
    await kept.once("somchai", "k", b"d", work, deadline=LATER)
    first = kept.kept("somchai", "k")
    assert first is not None
    assert (first.digest, first.answer) == (b"d", b"answer 1")

    kept.forget(first)
    kept.forget(first)  # as another try of the same batch does

    assert (kept.kept("somchai", "k"), kept.kept_bytes) == (None, 0)
    assert await kept.once("somchai", "k", b"d", work, deadline=LATER) == (b"answer 2", False)
    kept.forget(first)  # it was, and another one has come
    assert await kept.once("somchai", "k", b"d", work, deadline=LATER) == (b"answer 2", True)


async def test_what_is_being_worked_on_is_not_kept_yet() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    call = asyncio.create_task(kept.once("somchai", "k", b"d", work, deadline=LATER))
    await asyncio.sleep(0)

    assert kept.kept("somchai", "k") is None
    work.go_on.set()
    await call


async def test_an_answer_is_kept_for_a_day() -> None:
    now_s = 100.0
    kept, work = Replays(clock=lambda: now_s), Work()
    await kept.once("somchai", "k", b"d", work, deadline=LATER)
    now_s += KEPT_S - 1
    assert kept.kept("somchai", "k") == Remembered(place_of("somchai", "k"), b"d", b"answer 1", KEPT_S - 1)
    assert (await kept.once("somchai", "k", b"d", work, deadline=LATER))[1]
    now_s += 1

    assert kept.kept("somchai", "k") is None
    assert not (await kept.once("somchai", "k", b"d", work, deadline=LATER))[1]


async def test_the_day_of_an_answer_begins_as_it_is_given_and_not_with_its_call() -> None:
    now_s = 2 * KEPT_S  # a machine that has been up for longer than answers are kept
    kept, slow, quick = Replays(clock=lambda: now_s), Work(), Work()
    slow.go_on.clear()
    calls = [asyncio.create_task(kept.once("somchai", "slow", b"d", slow, deadline=LATER))]
    await asyncio.sleep(0)
    await kept.once("somchai", "quick", b"d", quick, deadline=LATER)  # looks for what is old meanwhile
    calls.append(asyncio.create_task(kept.once("somchai", "slow", b"d", slow, deadline=LATER)))
    await asyncio.sleep(0)
    now_s += 10
    slow.go_on.set()
    assert await asyncio.gather(*calls) == [(b"answer 1", False), (b"answer 1", True)]

    now_s += KEPT_S - 10

    assert await kept.once("somchai", "quick", b"d", quick, deadline=LATER) == (b"answer 2", False)
    assert await kept.once("somchai", "slow", b"d", slow, deadline=LATER) == (b"answer 1", True)


async def test_what_is_kept_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "KEPT_BYTES_MAX", 100_000)
    kept, work = Replays(), Work()
    for number in range(1000):
        await kept.once("somchai", f"k{number}", b"d", work, deadline=LATER)

    assert kept.kept_bytes <= 100_000
    assert (await kept.once("somchai", "k999", b"d", work, deadline=LATER))[1]
    assert not (await kept.once("somchai", "k0", b"d", work, deadline=LATER))[1]


class LookedAt(OrderedDict[bytes, Any]):
    """A table that counts the entries that somebody looked at on their way through it."""

    looked_at = 0

    def items(self) -> Iterator[tuple[bytes, Any]]:  # type: ignore[override]  # no view: it is only gone through
        for item in super().items():
            self.looked_at += 1
            yield item


@pytest.mark.parametrize("kept_answers", [10, 5000])
async def test_a_call_looks_at_the_oldest_answers_alone_however_many_are_kept(kept_answers: int) -> None:
    kept, work = Replays(), Work()
    for number in range(kept_answers):
        await kept.once("somchai", f"k{number}", b"d", work, deadline=LATER)
    table = kept._entries = LookedAt(kept._entries)

    await kept.once("somchai", "another", b"d", work, deadline=LATER)

    assert table.looked_at == 2  # the oldest one, before its work and after it


def event_with(client_id: str, key: str, answer: bytes, *, at_s: float = 1000.0) -> bytes:
    replay = events_pb2.Replay(place=place_of(client_id, key), request_digest=b"d", answer=answer)
    event = events_pb2.Event(event_id=key, replay=replay)
    event.happened_at.FromMicroseconds(int(at_s * 1e6))
    return event.SerializeToString()


async def test_what_a_journal_still_has_is_answered_and_nothing_else() -> None:
    other = events_pb2.Event(event_id="no key").SerializeToString()
    torn = b"\xff no event"
    records = [torn, event_with("somchai", "k", b"first"), other, torn, event_with("malee", "k", b"hers")]
    kept, work = Replays(), Work()
    kept.recall(remembered(records, now_s=1010.0))

    assert await kept.once("somchai", "k", b"d", work, deadline=LATER) == (b"first", True)
    assert await kept.once("malee", "k", b"d", work, deadline=LATER) == (b"hers", True)
    assert await kept.once("somchai", "another", b"d", work, deadline=LATER) == (b"answer 1", False)
    with pytest.raises(errors.IdempotencyConflict):
        await kept.once("somchai", "k", b"other", work, deadline=LATER)


def test_what_a_journal_has_is_as_old_as_its_event_and_never_of_tomorrow() -> None:
    records = [event_with("somchai", "k", b"first", at_s=1000.25), event_with("somchai", "k", b"later", at_s=1020.0)]

    assert list(remembered(records, now_s=1010.75)) == [
        Remembered(place_of("somchai", "k"), b"d", b"first", 10.5),
        Remembered(place_of("somchai", "k"), b"d", b"later", 0.0),  # the clock was set back since
    ]
    assert not list(remembered([events_pb2.Event(event_id="no key").SerializeToString()], now_s=1010.0))


def test_what_a_journal_has_twice_counts_once_as_it_was_last() -> None:
    once, twice = Replays(), Replays()
    last = event_with("somchai", "k", b"last")
    once.recall(remembered([last], now_s=1000.0))
    twice.recall(remembered([event_with("somchai", "k", b"before"), last], now_s=1000.0))

    found = twice.kept("somchai", "k")
    assert found is not None
    assert (found.answer, twice.kept_bytes) == (b"last", once.kept_bytes)


async def test_what_a_journal_has_is_forgotten_a_day_after_it_happened() -> None:
    now_s = 100.0
    kept, work = Replays(clock=lambda: now_s), Work()
    records = [event_with("somchai", "old", b"o", at_s=0.0), event_with("somchai", "new", b"n", at_s=KEPT_S / 2)]
    kept.recall(remembered(records, now_s=KEPT_S + 1))

    assert await kept.once("somchai", "old", b"d", work, deadline=LATER) == (b"answer 1", False)
    assert await kept.once("somchai", "new", b"d", work, deadline=LATER) == (b"n", True)
    now_s += KEPT_S / 2 + 1
    assert await kept.once("somchai", "new", b"d", work, deadline=LATER) == (b"answer 2", False)


async def test_an_answer_of_no_moment_keeps_no_gateway_from_starting() -> None:
    event = events_pb2.Event.FromString(event_with("somchai", "k", b"first"))
    event.happened_at.seconds = -(2**62)
    kept, work = Replays(), Work()
    kept.recall(remembered([event.SerializeToString()], now_s=1010.0))

    assert await kept.once("somchai", "k", b"d", work, deadline=LATER) == (b"answer 1", False)


async def test_a_journal_fills_no_more_memory_than_calls_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "KEPT_BYTES_MAX", 3000)
    kept, work = Replays(), Work()
    records = [event_with("somchai", str(number), bytes(400)) for number in range(20)]
    kept.recall(remembered([*records, *records], now_s=1000.0))

    assert kept.kept_bytes <= 3000
    assert await kept.once("somchai", "19", b"d", work, deadline=LATER) == (bytes(400), True)  # the newest are kept
    assert await kept.once("somchai", "0", b"d", work, deadline=LATER) == (b"answer 1", False)
