"""All rules of a canary together: how often one that is no worse is ended, and how soon one that loses five points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from console.rollout.guardrails import ENOUGH, Definition, rules_for
from console.rollout.models import Mode, Rule
from console.rollout.sequential import Count

SEED = 20261128
RUNS = 200
# What production does, as shares of its answers; of ten answers an expert judges one.
USUAL = {Rule.ERRORS: 0.02, Rule.LATENCY: 0.05, Rule.VERDICTS: 0.2, Rule.OVERRIDES: 0.15}
JUDGED_RATIO = {Rule.OVERRIDES: 0.1}
OTHERS = 9  # production's answers for each of the canary's
A_LOOK, LOOKS = 50, 120
# docs/engineers/README.md says so.
MEDIAN_MAX, FOUND_WITHIN, FOUND_RATIO = 800, 1500, 0.95


Fires = Callable[[Definition, Count, Count], bool]


def as_they_are(rule: Definition, watched: Count, standard: Count) -> bool:
    return rule.evidence(watched, standard, rule.limit) >= ENOUGH


def without_evidence(rule: Definition, watched: Count, standard: Count) -> bool:
    """What decision 0076 decided against: fired when the shares that were seen are further apart than accepted."""
    return watched.yes / watched.n > standard.yes / standard.n + rule.limit


def ended_at(random: np.random.Generator, loss: dict[Rule, float], fires: Fires = as_they_are) -> float:
    """After how many of its answers a canary is ended by any of its rules; infinite: by none within 6,000."""
    return min(_fires_at(random, rule, loss.get(rule.rule, 0.0), fires) for rule in rules_for(Mode.CANARY))


def _fires_at(random: np.random.Generator, rule: Definition, loss: float, fires: Fires) -> float:
    a_look = int(A_LOOK * JUDGED_RATIO.get(rule.rule, 1.0))
    watched = random.binomial(a_look, USUAL[rule.rule] + loss, LOOKS).cumsum()
    standard = random.binomial(a_look * OTHERS, USUAL[rule.rule], LOOKS).cumsum()
    for look in range(1, LOOKS + 1):
        one = Count(int(watched[look - 1]), a_look * look)
        other = Count(int(standard[look - 1]), a_look * OTHERS * look)
        if one.n >= rule.count_min and fires(rule, one, other):
            return look * A_LOOK
    return float("inf")


def test_a_canary_that_is_no_worse_is_ended_in_at_most_five_of_a_hundred_rollouts() -> None:
    assert {rule.rule for rule in rules_for(Mode.CANARY)} == set(USUAL)
    random = np.random.default_rng(SEED)

    ended = sum(np.isfinite(ended_at(random, {})) for _ in range(RUNS))
    control = sum(np.isfinite(ended_at(random, {}, without_evidence)) for _ in range(RUNS))

    # At 5 %, more than this happens once in a thousand such tests.
    assert ended <= stats.binom.ppf(0.999, RUNS, 0.05) < control


def test_five_points_more_failed_calls_are_found_within_the_stated_number_of_answers() -> None:
    random = np.random.default_rng(SEED)

    ends = np.array([ended_at(random, {Rule.ERRORS: 0.05}) for _ in range(RUNS)])

    assert np.median(ends) <= MEDIAN_MAX
    assert (ends <= FOUND_WITHIN).mean() >= FOUND_RATIO
