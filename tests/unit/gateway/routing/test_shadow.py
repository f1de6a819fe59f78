"""Shadows look when a core is free of answers, few at a time, and give way to newer ones while they wait."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gateway.background import Background
from gateway.errors import BackendUnavailable
from gateway.journal.errors import JournalUnavailable
from gateway.routing.shadow import WAITING_MAX, ShadowAnswer, Shadows
from gateway.snapshot import ServedVersion

VERSION = cast(ServedVersion, SimpleNamespace(model="amulets", version="v20260101_tiny_1.000"))


class Looks:
    """Each look begins, and ends when it is let."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.told: list[str] = []
        self.may_end = asyncio.Event()
        self.look_fails: Exception | None = None
        self.tell_fails: Exception | None = None

    def add(self, shadows: Shadows, name: str) -> None:
        async def look() -> ShadowAnswer:
            self.begun.append(name)
            await self.may_end.wait()
            if self.look_fails is not None:
                raise self.look_fails
            return ShadowAnswer(cast(Any, name), 0.01)

        async def tell(answer: ShadowAnswer) -> None:
            if self.tell_fails is not None:
                raise self.tell_fails
            self.told.append(str(answer.conclusion))

        shadows.follow(VERSION, look, tell)


async def turns() -> None:
    """Whatever can run has run: a shadow needs a handful of turns of the loop from its begin to its end."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_looks_only_while_a_core_is_free_of_answers() -> None:
    async with Background() as background:
        shadows, looks = Shadows(background, cores=2), Looks()
        looks.may_end.set()
        with shadows.answering():
            with shadows.answering():
                looks.add(shadows, "first")
                await turns()
                assert looks.begun == []
            await turns()
            assert looks.told == ["first"]
    assert (shadows.answered, shadows.dropped) == (1, 0)


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 1), (4, 3)])
async def test_one_core_is_left_for_a_call_that_comes_meanwhile(cores: int, at_once: int) -> None:
    async with Background() as background:
        shadows, looks = Shadows(background, cores=cores), Looks()
        for number in range(4):
            looks.add(shadows, str(number))
        await turns()
        assert looks.begun == [str(number) for number in range(at_once)]
        looks.may_end.set()
        await turns()
        assert looks.told == ["0", "1", "2", "3"]


async def test_shadows_that_look_and_calls_in_hand_share_the_cores() -> None:
    async with Background() as background:
        shadows, looks = Shadows(background, cores=4), Looks()
        with shadows.answering(), shadows.answering():
            for number in range(4):
                looks.add(shadows, str(number))
            await turns()
            assert looks.begun == ["0", "1"]  # two calls, two shadows: no core is left
        await turns()
        assert looks.begun == ["0", "1", "2"]
        looks.may_end.set()
        await turns()
    assert shadows.answered == 4


async def test_the_oldest_gives_way_where_too_many_wait() -> None:
    async with Background() as background:
        shadows, looks = Shadows(background, cores=2), Looks()
        looks.may_end.set()
        with shadows.answering(), shadows.answering():
            for number in range(WAITING_MAX + 2):
                looks.add(shadows, str(number))
        await turns()
    assert looks.told == [str(number) for number in range(2, WAITING_MAX + 2)]
    assert (shadows.answered, shadows.dropped) == (WAITING_MAX, 2)


@pytest.mark.parametrize("wrong", ["look", "tell", "bug"])
async def test_one_that_fails_is_dropped_and_the_next_one_looks(wrong: str) -> None:
    """What is to be expected is noted, and a fault of ours comes with its trace; neither ends the task in an error."""
    with capture_logs() as logs:
        await _one_fails_and_the_next_one_looks(wrong)
    (said,) = logs
    assert (said["event"], said["version"]) == ("shadow_failed", VERSION.version)
    assert (said["log_level"], "why" in said) == (("error", False) if wrong == "bug" else ("info", True))


async def _one_fails_and_the_next_one_looks(wrong: str) -> None:
    async with Background() as background:
        shadows, looks = Shadows(background, cores=1), Looks()
        looks.look_fails = {"look": BackendUnavailable("it is down"), "bug": ZeroDivisionError()}.get(wrong)
        looks.tell_fails = JournalUnavailable("the disk is full") if wrong == "tell" else None
        looks.add(shadows, "first")
        looks.may_end.set()
        await turns()
        looks.look_fails = looks.tell_fails = None
        looks.add(shadows, "second")
        await turns()
    assert looks.told == ["second"]
    assert (shadows.answered, shadows.dropped) == (1, 1)
