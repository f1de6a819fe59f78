from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import DecisionLimits, DetectorLimits, Level, decide, prediction_set, sure_level

MAHALANOBIS = DetectorLimits("mahalanobis", typical=10.0, unsure_at=20.0, out_at=30.0)
FOREST = DetectorLimits("isolation_forest", typical=0.4, unsure_at=0.6, out_at=0.7)
LIMITS = DecisionLimits(
    confidence_min=0.6, margin_min=0.1, detectors=(MAHALANOBIS, FOREST), set_coverage=0.9, set_probability_min=0.2
)
NEAR = {"mahalanobis": 10.0, "isolation_forest": 0.4}


@pytest.mark.parametrize(
    ("probabilities", "scores", "verdict", "reasons"),
    [
        ([0.9, 0.1], NEAR, words.VERDICT_IN_DOMAIN, ()),
        ([0.55, 0.45], NEAR, words.VERDICT_UNSURE, (words.REASON_LOW_CONFIDENCE,)),
        ([0.5, 0.45, 0.05], NEAR, words.VERDICT_UNSURE, (words.REASON_LOW_CONFIDENCE, words.REASON_TOO_CLOSE_TO_CALL)),
        ([0.9, 0.1], NEAR | {"mahalanobis": 20.0}, words.VERDICT_UNSURE, (words.REASON_UNFAMILIAR,)),
        ([0.9, 0.1], NEAR | {"mahalanobis": 30.0}, words.VERDICT_OUT_OF_DISTRIBUTION, (words.REASON_NOT_OUR_KIND,)),
        (
            [0.3, 0.3, 0.4],
            NEAR | {"isolation_forest": 0.7},
            words.VERDICT_OUT_OF_DISTRIBUTION,
            (words.REASON_NOT_OUR_KIND,),
        ),
        ([1.0], NEAR, words.VERDICT_IN_DOMAIN, ()),
    ],
)
def test_the_verdict_follows_the_limits(
    probabilities: list[float], scores: dict[str, float], verdict: int, reasons: tuple[int, ...]
) -> None:
    decision = decide(probabilities, scores, LIMITS)

    assert (decision.verdict, decision.reasons) == (verdict, reasons)


@given(score=st.floats(-1e6, 1e6), forest=st.floats(0.0, 1.0))
def test_the_combined_score_reaches_one_exactly_where_the_verdict_is_out(score: float, forest: float) -> None:
    decision = decide([0.9, 0.1], {"mahalanobis": score, "isolation_forest": forest}, LIMITS)

    out = decision.verdict == words.VERDICT_OUT_OF_DISTRIBUTION
    assert out == (score >= 30.0 or forest >= 0.7)
    assert decision.ood_score >= 1.0 - 1e-9 if out else decision.ood_score <= 1.0 + 1e-9


def test_below_its_border_only_the_first_detector_orders_photographs() -> None:
    suspicious = decide([0.9, 0.1], NEAR | {"isolation_forest": 0.69}, LIMITS)
    alarmed = decide([0.9, 0.1], NEAR | {"isolation_forest": 0.73}, LIMITS)

    assert suspicious.ood_score == 0.0
    assert alarmed.ood_score == pytest.approx(1.1)


def test_who_stands_exactly_on_a_limit_of_probability_is_sure() -> None:
    limits = DecisionLimits(confidence_min=0.625, margin_min=0.25, detectors=())

    assert decide([0.625, 0.375], {}, limits).reasons == ()
    assert decide([0.625, 0.375], {}, replace(limits, confidence_min=0.626)).reasons == (words.REASON_LOW_CONFIDENCE,)
    assert decide([0.625, 0.375], {}, replace(limits, margin_min=0.251)).reasons == (words.REASON_TOO_CLOSE_TO_CALL,)


def test_a_detector_that_does_not_lead_counts_from_its_border_on() -> None:
    assert decide([0.9, 0.1], NEAR | {"isolation_forest": 0.7}, LIMITS).ood_score == 1.0


def test_without_a_detector_nothing_is_further_out_than_anything() -> None:
    assert decide([0.9, 0.1], {}, replace(LIMITS, detectors=())).ood_score == 0.0


def test_a_missing_score_is_an_error_and_not_a_verdict() -> None:
    with pytest.raises(ValueError, match="isolation_forest"):
        decide([0.9, 0.1], {"mahalanobis": 1.0}, LIMITS)
    with pytest.raises(ValueError, match="at least one"):
        decide([], NEAR, LIMITS)


def test_limits_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must rise"):
        DetectorLimits("x", typical=1.0, unsure_at=0.5, out_at=2.0)
    with pytest.raises(ValueError, match="must rise"):
        DetectorLimits("x", typical=1.0, unsure_at=1.0, out_at=2.0)


def test_a_detector_may_go_from_sure_to_out_at_one_border() -> None:
    scored = {"x": 2.0}
    limits = replace(LIMITS, detectors=(DetectorLimits("x", typical=1.0, unsure_at=2.0, out_at=2.0),))

    assert decide([0.9, 0.1], scored, limits).verdict == words.VERDICT_OUT_OF_DISTRIBUTION


def test_the_prediction_set_holds_the_best_class_and_every_probable_one() -> None:
    assert prediction_set([0.15, 0.25, 0.6], LIMITS) == (2, 1)
    assert prediction_set([0.19, 0.18, 0.17, 0.16, 0.15, 0.15], LIMITS) == (0,)


def test_a_version_that_promises_no_coverage_gives_no_set() -> None:
    assert prediction_set([0.9, 0.1], DecisionLimits(0.5, 0.0, ())) == ()


FAMILY = Level("family", (0, 0, 1, 1), 0.3)
TEMPLE = Level("temple", (0, 0, 0, 1), 0.05)


def test_a_groups_probability_is_the_sum_over_its_classes() -> None:
    assert FAMILY.of([0.125, 0.25, 0.5, 0.125]) == (0.375, 0.625)


@pytest.mark.parametrize(
    ("probabilities", "scores", "level"),
    [
        ([0.5, 0.45, 0.03, 0.02], NEAR, 0),  # one family, whichever of its classes
        ([0.4, 0.25, 0.3, 0.05], NEAR, None),  # two groups in the family's set; the temple's set holds two as well
        ([0.4, 0.25, 0.32, 0.03], NEAR, 1),  # the temple's set holds one
        ([0.3, 0.2, 0.2, 0.3], NEAR, None),
        ([0.5, 0.45, 0.03, 0.02], NEAR | {"mahalanobis": 20.0}, None),  # what is unfamiliar is unsure at every level
        ([0.5, 0.45, 0.03, 0.02], NEAR | {"mahalanobis": 30.0}, None),
    ],
)
def test_an_answer_stands_on_the_lowest_level_that_is_sure(
    probabilities: list[float], scores: dict[str, float], level: int | None
) -> None:
    assert sure_level(probabilities, scores, LIMITS, (FAMILY, TEMPLE)) == level
