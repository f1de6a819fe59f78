"""The refusals of one caller: the first at once, those that follow together and apart."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.admission import spacing
from gateway.admission.spacing import APART_S, Spacing
from tests.unit.gateway.admission.test_limits import Clock

BUSY = errors.Overloaded.for_now("64 calls are being answered already")


def test_the_first_leaves_at_once_and_the_next_ones_together() -> None:
    clock = Clock()
    held = Spacing(clock)

    assert held.hold_s("a", BUSY) == 0
    clock.now_s += 0.2 * APART_S
    assert held.hold_s("a", BUSY) == pytest.approx(0.8 * APART_S)
    clock.now_s += 0.5 * APART_S
    assert held.hold_s("a", BUSY) == pytest.approx(0.3 * APART_S)  # with the one before
    clock.now_s += 0.5 * APART_S
    assert held.hold_s("a", BUSY) == pytest.approx(0.8 * APART_S)  # those two are gone
    clock.now_s += 1.8 * APART_S
    assert held.hold_s("a", BUSY) == 0


def test_nobody_waits_for_another_ones_refusals() -> None:
    held = Spacing(Clock())
    assert [held.hold_s(caller, BUSY) for caller in ("a", "b", "a", "c")] == pytest.approx([0, 0, APART_S, 0])


@pytest.mark.parametrize(
    "error",
    [errors.PhotoCorrupt("broken"), errors.DeadlineExceeded("late"), errors.ShuttingDown("bye"), RuntimeError("ours")],
)
def test_what_is_no_refusal_of_the_caller_is_said_at_once(error: Exception) -> None:
    held = Spacing(Clock())
    assert [held.hold_s("a", error) for _ in range(3)] == [0, 0, 0]
    assert held.hold_s("a", BUSY) == 0


def test_it_remembers_so_many_callers_and_those_refused_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spacing, "CALLERS_MAX", 2)
    clock = Clock()
    held = Spacing(clock)

    for caller in ("a", "b", "c"):
        assert held.hold_s(caller, BUSY) == 0

    assert held.hold_s("c", BUSY) == pytest.approx(APART_S)
    assert held.hold_s("b", BUSY) == pytest.approx(APART_S)
    assert held.hold_s("a", BUSY) == 0  # forgotten


def test_who_is_refused_again_is_forgotten_after_who_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spacing, "CALLERS_MAX", 2)
    clock = Clock()
    held = Spacing(clock)
    for caller in ("a", "b"):
        assert held.hold_s(caller, BUSY) == 0
    clock.now_s += 2 * APART_S

    assert held.hold_s("a", BUSY) == 0
    assert held.hold_s("c", BUSY) == 0

    assert held.hold_s("a", BUSY) == pytest.approx(APART_S)
