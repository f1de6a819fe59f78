"""Weights: the shares are right, and a caller stays where it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gateway.routing.weights import choose, uniform_of
from gateway.snapshot import Route, Snapshot
from tests.unit.gateway.cast import policy

CALLERS = [f"subject-{number}" for number in range(4000)]


def routes(**weights: float) -> list[Route]:
    (version,) = Snapshot.parse(policy().SerializeToString()).models["tiny"].versions.values()
    return [Route(replace(version, version=name), weight) for name, weight in weights.items()]


def test_each_version_gets_its_share() -> None:
    table = routes(champion=0.9, canary=0.1)

    canary = sum(choose(table, caller).version.version == "canary" for caller in CALLERS)

    assert canary / len(CALLERS) == pytest.approx(0.1, abs=0.015)  # three standard deviations


def test_each_of_several_versions_gets_its_share_and_what_one_leaves_goes_by_the_weights_of_the_others() -> None:
    three, two = routes(a=0.5, b=0.3, c=0.2), routes(a=0.5, b=0.3)

    shares = Counter(chosen(three, caller) for caller in CALLERS)
    heirs = Counter(chosen(two, caller) for caller in CALLERS if chosen(three, caller) == "c")

    for name, share in (("a", 0.5), ("b", 0.3), ("c", 0.2)):
        assert shares[name] / len(CALLERS) == pytest.approx(share, abs=0.025)  # three standard deviations
    assert heirs["a"] / shares["c"] == pytest.approx(0.5 / 0.8, abs=0.055)


def chosen(table: list[Route], caller: str) -> str:
    return choose(table, caller).version.version


def test_a_caller_stays_with_its_version_in_whatever_order_routes_are_listed() -> None:
    table = routes(champion=0.5, canary=0.5)

    assert all(choose(table, caller) == choose(table[::-1], caller) for caller in CALLERS[:200])


def test_a_growing_canary_only_takes_and_never_swaps() -> None:
    small, large = routes(champion=0.9, canary=0.1), routes(champion=0.6, canary=0.4)

    for caller in CALLERS:
        if choose(small, caller).version.version == "canary":
            assert choose(large, caller).version.version == "canary"


def test_a_version_that_leaves_moves_nobody_but_its_own_callers() -> None:
    three, two = routes(a=0.4, b=0.4, c=0.2), routes(a=0.4, b=0.4)

    for caller in CALLERS:
        before = choose(three, caller).version.version
        if before != "c":
            assert choose(two, caller).version.version == before


@pytest.mark.parametrize("digest", [bytes(8), b"\xff" * 8])
def test_no_caller_draws_a_number_whose_logarithm_divides_nothing(digest: bytes) -> None:
    assert 0.0 < uniform_of(digest) < 1.0
