"""Idempotency: one answer for one key, and no caller strands another."""

from __future__ import annotations

import asyncio

import pytest

from gateway import errors, replays
from gateway.replays import KEPT_S, Replays


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

    assert await kept.once("somchai", "k", b"d", work) == (b"answer 1", False)
    assert await kept.once("somchai", "k", b"d", work) == (b"answer 1", True)
    assert work.runs == 1


async def test_the_key_of_another_client_is_another_key() -> None:
    kept, work = Replays(), Work()
    await kept.once("somchai", "k", b"d", work)

    assert await kept.once("malee", "k", b"other", work) == (b"answer 2", False)


async def test_the_same_key_for_another_request_is_a_conflict() -> None:
    kept, work = Replays(), Work()
    await kept.once("somchai", "k", b"d", work)

    with pytest.raises(errors.IdempotencyConflict):
        await kept.once("somchai", "k", b"other", work)


async def test_calls_that_overlap_share_one_answer() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    calls = [asyncio.create_task(kept.once("somchai", "k", b"d", work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.go_on.set()

    answers = await asyncio.gather(*calls)

    assert work.runs == 1
    assert sorted(replayed for _, replayed in answers) == [False, True, True, True, True]


async def test_when_the_first_leaves_the_next_one_is_worked_on() -> None:
    kept, work = Replays(), Work()
    work.go_on.clear()
    first = asyncio.create_task(kept.once("somchai", "k", b"d", work))
    second = asyncio.create_task(kept.once("somchai", "k", b"d", work))
    await asyncio.sleep(0)
    first.cancel()
    work.go_on.set()

    assert await second == (b"answer 2", False)


async def test_a_failure_is_not_remembered() -> None:
    kept, work = Replays(), Work()
    work.fails = True
    with pytest.raises(errors.BackendUnavailable):
        await kept.once("somchai", "k", b"d", work)
    work.fails = False

    assert await kept.once("somchai", "k", b"another request", work) == (b"answer 2", False)


async def test_an_answer_is_kept_for_a_day() -> None:
    now_s = 0.0
    kept, work = Replays(clock=lambda: now_s), Work()
    await kept.once("somchai", "k", b"d", work)
    now_s = KEPT_S - 1
    assert (await kept.once("somchai", "k", b"d", work))[1]
    now_s = KEPT_S

    assert not (await kept.once("somchai", "k", b"d", work))[1]


async def test_what_is_kept_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "KEPT_BYTES_MAX", 100_000)
    kept, work = Replays(), Work()
    for number in range(1000):
        await kept.once("somchai", f"k{number}", b"d", work)

    assert kept.kept_bytes <= 100_000
    assert (await kept.once("somchai", "k999", b"d", work))[1]
    assert not (await kept.once("somchai", "k0", b"d", work))[1]
