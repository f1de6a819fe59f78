"""What is counted beside which route: every kind once, of whoever was in force at that moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.utils.timezone import now

from console.predictions.detail import Shadow
from console.predictions.models import Verdict
from console.registry.models import ModelVersion
from console.rollout.models import Arm, Mode, Observed, Route, What
from console.rollout.observations import (
    NEW,
    Answer,
    Failed,
    Given,
    latency_bin,
    latency_quantile,
    observe,
    observe_late,
    totals,
)
from tests.unit.console.rollout.desk import Desk

pytestmark = pytest.mark.django_db

IN, UNSURE = Verdict.IN_DOMAIN, Verdict.UNSURE
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def desk() -> Desk:
    """The first version has been in production for two hours."""
    made = Desk()
    made.roll_out(made.first)
    Route.objects.update(started_at=now() - timedelta(hours=2))
    return made


def given(
    version: ModelVersion, *shadows: Shadow, at: datetime | None = None, answer: Answer | None = None, model: str = ""
) -> Given:
    said = answer or Answer(IN, "a", 0.93, 20.0)
    return Given(at or now(), model or version.model, version.version, said, shadows)


def failed(version: ModelVersion, calls: int, at: datetime | None = None) -> Failed:
    return Failed(at or now(), version.model, version.version, "late", calls)


def a_shadow(version: ModelVersion) -> Shadow:
    return Shadow(version=version.version, verdict=UNSURE, top_class="b", confidence=1.0, inference_ms=300.0)


def counted(route: Route) -> Mapping[tuple[str, str, str, str], int]:
    return {
        (row.arm, row.what, row.key, row.other): row.count for row in Observed.objects.filter(route=route) if row.count
    }


def verdicts(route: Route, arm: Arm) -> int:
    return totals(route).n(arm, What.VERDICT)


def test_each_answer_is_counted_for_the_routes_that_it_tells_of(desk: Desk) -> None:
    canary, shadow = desk.roll_out(desk.second, Mode.CANARY, 0.5), desk.roll_out(desk.third, Mode.SHADOW)
    elsewhere = desk.approved(7, model="coins")
    coins = desk.roll_out(elsewhere)
    observe(
        [
            given(
                desk.first, replace(a_shadow(elsewhere), top_class="c"), a_shadow(desk.third)
            ),  # of two shadows its own
            given(desk.first),  # the shadow had no place
            given(desk.second, a_shadow(desk.third), answer=Answer(UNSURE, "a", 0.0, 250.0)),
            given(desk.first, a_shadow(desk.third), model="coins"),  # two models may have a version of the same name
        ],
        [failed(desk.first, 3), failed(desk.second, 1), failed(desk.second, 1), failed(desk.approved(9), 5)],
    )
    assert counted(canary) == {
        ("watched", "verdict", str(UNSURE.value), ""): 1,
        ("watched", "confidence", "0", ""): 1,
        ("watched", "latency", "31", ""): 1,  # 4 · log2(250) = 31.9; as slow as that is not slow yet
        ("watched", "failed", "late", ""): 2,
        ("production", "verdict", str(IN.value), ""): 2,
        ("production", "confidence", "18", ""): 2,
        ("production", "latency", "17", ""): 2,
        ("production", "failed", "late", ""): 3,
    }
    assert counted(shadow) == {
        ("watched", "verdict", str(UNSURE.value), ""): 1,
        ("watched", "confidence", "19", ""): 1,  # 1.0 is in the last twentieth
        ("watched", "latency", "32", ""): 1,
        ("watched", "slow", "", ""): 1,
        ("watched", "unanswered", "", ""): 1,
        ("production", "verdict", str(IN.value), ""): 1,
        ("production", "confidence", "18", ""): 1,
        ("production", "latency", "17", ""): 1,
        ("both", "class", "a", "b"): 1,
        ("both", "verdict", str(IN.value), str(UNSURE.value)): 1,
    }
    assert counted(coins) == {}


def test_a_route_counts_from_its_first_instant_until_its_end(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    begin, end = now() - timedelta(hours=1), now() - timedelta(minutes=30)
    Route.objects.filter(pk=route.pk).update(started_at=begin, ended_at=end)
    moments = (begin - INSTANT, begin, end - INSTANT, end, now())
    observe(
        [given(version, at=at) for at in moments for version in (desk.first, desk.second)],
        [failed(desk.second, 1, at) for at in moments],
    )
    assert (verdicts(route, Arm.WATCHED), verdicts(route, Arm.PRODUCTION)) == (2, 2)
    assert totals(route).n(Arm.WATCHED, What.FAILED) == 2


def test_production_is_counted_in_its_first_day_alone(desk: Desk) -> None:
    route, canary = Route.objects.get(), desk.roll_out(desk.second, Mode.CANARY, 0.5)
    begin = now() - 2 * NEW
    Route.objects.update(started_at=begin)
    for at in (begin, begin + NEW - INSTANT, begin + NEW):
        observe([given(desk.first, at=at)], [failed(desk.first, 1, at)])
    assert (verdicts(route, Arm.WATCHED), totals(route).n(Arm.WATCHED, What.FAILED)) == (2, 2)
    # And beside a canary for as long as there is one.
    assert (verdicts(canary, Arm.PRODUCTION), totals(canary).n(Arm.PRODUCTION, What.FAILED)) == (3, 3)


def test_what_was_in_production_once_is_no_standard_now(desk: Desk) -> None:
    desk.roll_out(desk.second)
    canary, shadow = desk.roll_out(desk.third, Mode.CANARY, 0.5), desk.roll_out(desk.approved(4), Mode.SHADOW)
    an_hour_ago = now() - timedelta(hours=1)  # when it was
    observe([given(desk.first, at=an_hour_ago), given(desk.first, a_shadow(shadow.version))], [failed(desk.first, 1)])
    assert (counted(canary), counted(shadow)) == ({}, {})


def test_what_follows_late_takes_the_place_of_what_was_missing(desk: Desk) -> None:
    shadow, other = desk.roll_out(desk.second, Mode.SHADOW), desk.roll_out(desk.third, Mode.SHADOW)
    made = given(desk.first)
    observe([made, made], [])
    Route.objects.filter(pk=shadow.pk).update(ended_at=now())
    observe_late(
        [
            given(desk.first, a_shadow(desk.second), at=made.happened_at),
            given(desk.third, a_shadow(desk.second), at=made.happened_at),  # not production: nobody waited for it
            given(desk.first, a_shadow(desk.third)),
        ]
    )
    for route in (shadow, other):
        assert (totals(route).n(Arm.WATCHED, What.UNANSWERED), totals(route).n(Arm.BOTH, What.CLASS)) == (1, 1)


@pytest.mark.parametrize(("ms", "number"), [(0.0, 0), (0.5, 0), (1.0, 0), (1.99, 3), (2.0, 4), (1e3, 39), (1e9, 59)])
def test_a_time_is_kept_in_quarters_of_a_doubling(ms: float, number: int) -> None:
    assert latency_bin(ms) == number


def test_a_quantile_is_the_upper_end_of_the_bin_that_reaches_it() -> None:
    counts = {("0", ""): 1, ("4", ""): 2, ("20", ""): 1}
    assert [latency_quantile(counts, ratio) for ratio in (0.25, 0.26, 0.75, 0.76, 1.0)] == [
        2**0.25,
        2**1.25,
        2**1.25,
        2**5.25,
        2**5.25,
    ]
