"""What is concluded from the photographs, and how it is told: on conclusions made by hand, without a gateway."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.answer import (
    ALL_VIEWS,
    Conclusion,
    Heat,
    Remark,
    Timing,
    ViewAnswer,
    best_group,
    committed,
    conclude,
    display_name,
    nearest_of,
    response_of,
)
from gateway.fusion import Fused
from gateway.intake.photo import Photo
from gateway.intake.quality import Quality, Shortcoming
from gateway.serving.torchserve import Neighbour
from gateway.snapshot import ClassName, ServedVersion
from gateway.wording import words_for
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.wording import DISCLAIMER
from tests.unit.gateway.test_levels import SURE, TONE, TORN, served

BLURRED = Shortcoming(words.REASON_BLURRED, grave=True)
DARK = Shortcoming(words.REASON_TOO_DARK, grave=True)
SMALL = Shortcoming(words.REASON_SMALL_SOURCE, grave=False)
ELSEWHERE = pb.LookAlikes(class_ids=["green", "blue"], side=words.SIDE_BACK, decided_by=[words.SIDE_FRONT])


def view(*shortcomings: Shortcoming, side: words.Side.ValueType = words.SIDE_BACK) -> ViewAnswer:
    photo = Photo(np.zeros((2, 3, 3), np.uint8), (30, 20), Quality(100.0, 0.5, 0.2, 0.01, 0.02), b"", 1.0)
    return ViewAnswer(photo, side, shortcomings, 0.25, np.array([0.1, 0.2, 0.7]))


def concluded(
    *views: ViewAnswer,
    version: ServedVersion | None = None,
    probabilities: tuple[float, ...] = SURE,
    out: bool = False,
    disagree: bool = False,
    level: str = "",
) -> Conclusion:
    version = version or served(TONE)
    scores = {limit.name: limit.out_at if out else limit.typical for limit in version.limits.detectors}
    views = views or (view(),)
    fused = Fused(np.array(probabilities), scores, tuple(one.share_ratio for one in views), disagree)
    return conclude(version, fused, views, level=level)


def reasons(conclusion: Conclusion) -> list[tuple[words.Reason.ValueType, int]]:
    return [(remark.reason, remark.view) for remark in conclusion.remarks]


def answered(
    conclusion: Conclusion, *, top_k: int = 5, language: str = "en", heats: tuple[Heat, ...] = ()
) -> pb.PredictResponse:
    return response_of(
        conclusion,
        prediction_id="p",
        request_id="r",
        top_k=top_k,
        heats=heats,
        examples=[Neighbour("a", 1, words.SIDE_FRONT, 0.5, b"jpeg")],
        remarks=[Remark(words.REASON_NO_TIME_TO_EXPLAIN)],
        will_be_reviewed=True,
        timing=Timing(0.4, 0.1, 0.2, 0.0),
        audit_checkpoint="checkpoint 7",
        language=language,
    )


def test_a_remark_that_is_not_grave_leaves_a_sure_answer_alone() -> None:
    conclusion = concluded(view(SMALL))

    assert (conclusion.verdict, reasons(conclusion)) == (words.VERDICT_IN_DOMAIN, [])
    assert [finding.reason for finding in answered(conclusion).views[0].findings] == [words.REASON_SMALL_SOURCE]


def test_one_view_that_can_be_seen_is_enough() -> None:
    assert concluded(view(BLURRED), view(SMALL)).verdict == words.VERDICT_IN_DOMAIN
    torn = concluded(view(BLURRED), view(), probabilities=TORN)
    assert torn.level is not None


@pytest.mark.parametrize("out", [False, True])
def test_what_stands_in_the_way_comes_first_and_nothing_is_claimed_about_the_object(out: bool) -> None:
    one = concluded(view(BLURRED, SMALL), out=out)
    two = concluded(view(DARK, BLURRED), view(SMALL, DARK), out=out)

    assert one.verdict == two.verdict == words.VERDICT_UNSURE
    assert reasons(one) == [(words.REASON_BLURRED, ALL_VIEWS)]  # there is but one view: nothing to point at
    assert reasons(two) == [(words.REASON_TOO_DARK, 0), (words.REASON_BLURRED, 0), (words.REASON_TOO_DARK, 1)]


def test_what_else_is_unsure_follows_after_the_quality() -> None:
    found = reasons(concluded(view(BLURRED), probabilities=TORN))

    assert found[0] == (words.REASON_BLURRED, ALL_VIEWS)
    assert {reason for reason, _ in found[1:]} == {words.REASON_LOW_CONFIDENCE, words.REASON_TOO_CLOSE_TO_CALL}


def test_views_that_disagree_make_a_claim_unsure_and_leave_what_is_out_out() -> None:
    sure, out = concluded(disagree=True), concluded(disagree=True, out=True)

    assert (sure.verdict, reasons(sure)) == (words.VERDICT_UNSURE, [(words.REASON_VIEWS_DISAGREE, ALL_VIEWS)])
    assert out.verdict == words.VERDICT_OUT_OF_DISTRIBUTION
    assert [reason for reason, _ in reasons(out)] == [words.REASON_NOT_OUR_KIND, words.REASON_VIEWS_DISAGREE]
    assert answered(sure).level == answered(concluded(disagree=True, probabilities=TORN)).level == ""


def test_what_is_out_of_distribution_stands_on_no_level() -> None:
    assert concluded(out=True, probabilities=TORN).level is None


def test_look_alikes_are_no_matter_where_another_reason_makes_unsure_or_a_level_was_asked_for() -> None:
    version = served(TONE, look_alikes=(ELSEWHERE,))

    assert words.REASON_LOOK_ALIKES in [reason for reason, _ in reasons(concluded(version=version, probabilities=TORN))]
    torn_but_out = concluded(version=version, probabilities=TORN, out=True)
    assert [reason for reason, _ in reasons(torn_but_out)] == [words.REASON_NOT_OUR_KIND]
    level = pb.Level()
    level.CopyFrom(TONE)
    level.groups[0].class_ids[:], level.groups[1].class_ids[:] = ["red", "green"], ["blue"]
    between_groups = concluded(version=served(level, look_alikes=(ELSEWHERE,)), probabilities=TORN, level="tone")
    assert between_groups.verdict == words.VERDICT_UNSURE
    assert words.REASON_LOOK_ALIKES not in [reason for reason, _ in reasons(between_groups)]


def test_a_pair_that_shares_one_class_with_the_two_best_is_another_pair() -> None:
    version = served(look_alikes=(pb.LookAlikes(class_ids=["red", "blue"]),))
    found = reasons(concluded(version=version, probabilities=TORN))
    assert words.REASON_LOOK_ALIKES not in [reason for reason, _ in found]


def test_nothing_is_said_of_look_alikes_that_there_are_not_or_that_are_shown_from_a_side_that_decides() -> None:
    nobody_said = view(side=words.SIDE_UNSPECIFIED)
    assert words.REASON_LOOK_ALIKES not in dict(reasons(concluded(nobody_said, probabilities=TORN)))
    decided = pb.LookAlikes(class_ids=["green", "blue"], decided_by=[words.SIDE_FRONT])  # alike from any side but it
    for sides in ([words.SIDE_FRONT], [words.SIDE_BACK, words.SIDE_FRONT]):
        shown = [view(side=side) for side in sides]
        found = reasons(concluded(*shown, version=served(look_alikes=(decided,)), probabilities=TORN))
        assert words.REASON_LOOK_ALIKES not in dict(found)


def test_the_prediction_set_holds_every_class_that_may_be_meant() -> None:
    version = served()
    version = replace(version, limits=replace(version.limits, set_coverage=0.95, set_probability_min=0.3))
    told = answered(concluded(version=version, probabilities=TORN)).prediction_set

    assert (list(told.class_ids), told.coverage) == (["green", "blue"], 0.95)


def test_the_prediction_set_of_a_level_goes_by_the_levels_own_limit() -> None:
    """Asked for or not: 0.25 for the warm is enough at the level, and would not be among the classes."""
    version = served(TONE)
    version = replace(version, limits=replace(version.limits, set_coverage=0.9, set_probability_min=0.3))
    asked = answered(concluded(version=version, probabilities=(0.25, 0.4, 0.35), level="tone"))

    assert list(asked.prediction_set.class_ids) == ["cold", "warm"]
    assert concluded(version=version, probabilities=(0.25, 0.4, 0.35)).level is None  # two groups are not sure


def test_an_answer_tells_all_that_was_measured() -> None:
    heat = Heat(pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS, 1, 2, np.arange(6, dtype=np.float32).reshape(2, 3), b"png")
    conclusion = concluded(view(), view(SMALL, side=words.SIDE_EDGE))
    response = answered(conclusion, top_k=2, language="th", heats=(heat,))

    assert (response.prediction_id, response.request_id, response.will_be_reviewed) == ("p", "r", True)
    assert (response.model, response.version) == (conclusion.version.model, conclusion.version.version)
    assert (response.audit_checkpoint, response.disclaimer) == ("checkpoint 7", DISCLAIMER["th"])
    told = words_for(words.REASON_NO_TIME_TO_EXPLAIN, "th")
    assert [(finding.reason, finding.message, finding.advice) for finding in response.reasons] == [
        (words.REASON_NO_TIME_TO_EXPLAIN, told.message, told.advice)
    ]
    timings = response.timings
    assert [part.ToMilliseconds() for part in (timings.total, timings.decode, timings.inference, timings.journal)] == [
        400,
        100,
        200,
        0,
    ]
    assert response.HasField("answered_at")
    (example,) = response.nearest_examples
    assert (example.example_id, example.class_id, example.display_name) == ("a", "green", "เขียว")
    assert (example.similarity_ratio, example.side, example.thumbnail_jpeg) == (0.5, words.SIDE_FRONT, b"jpeg")
    for limit, told in zip(conclusion.version.limits.detectors, response.ood_scores, strict=True):
        wanted = (limit.name, limit.typical, limit.unsure_at, limit.out_at)
        assert (told.detector, told.score, told.unsure_at, told.out_at) == pytest.approx(wanted)
    first, second = response.views
    assert (first.width_px, first.height_px, first.weight_ratio) == (30, 20, 0.25)
    assert (first.side, second.side) == (words.SIDE_BACK, words.SIDE_EDGE)
    quality = first.quality
    assert (
        quality.sharpness_var,
        quality.brightness_ratio,
        quality.contrast_ratio,
        quality.clipped_dark_ratio,
        quality.clipped_bright_ratio,
    ) == pytest.approx((100.0, 0.5, 0.2, 0.01, 0.02))
    assert [known.class_id for known in first.candidates] == ["blue", "green"]  # of this view alone
    assert [known.class_id for known in response.candidates] == ["red", "green"]
    assert [known.probability for known in response.candidates] == pytest.approx(SURE[:2])
    assert [finding.view for finding in second.findings] == [1]
    (told_heat,) = response.heat_maps
    assert (told_heat.view, told_heat.class_id, told_heat.rows, told_heat.columns) == (1, "blue", 2, 3)
    assert (list(told_heat.values), told_heat.overlay_png) == ([0, 1, 2, 3, 4, 5], b"png")
    assert told_heat.method == pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS


def test_an_answer_on_a_level_tells_no_more_groups_and_classes_than_were_asked_for() -> None:
    response = answered(concluded(probabilities=TORN), top_k=1)

    assert [(known.class_id, known.display_name) for known in response.candidates] == [("cold", "Cold")]
    assert [known.class_id for known in response.class_candidates] == ["green"]
    assert [known.class_id for known in response.views[0].candidates] == ["cold"]


def test_an_answer_that_is_on_disk_says_when_and_how_long_it_took() -> None:
    response = answered(concluded())
    response.answered_at.Clear()

    committed(response, total_s=1.5, journal_s=0.25)

    assert (response.timings.total.ToMilliseconds(), response.timings.journal.ToMilliseconds()) == (1500, 250)
    assert response.answered_at.seconds > 0


def test_an_event_names_the_best_group_and_no_display_name() -> None:
    best = best_group(concluded(probabilities=TORN))

    assert best is not None
    assert (best.class_id, best.display_name) == ("cold", "")
    assert best.probability == pytest.approx(0.95)
    assert best_group(concluded()) is None


@pytest.mark.parametrize(
    ("names", "told"),
    [({"en": "Red", "th": "แดง"}, "แดง"), ({"en": "Red"}, "Red"), ({"de": "Rot"}, "red"), ({"th": ""}, "red")],
)
def test_a_name_is_told_in_the_callers_language_or_in_english_or_as_the_class_id(
    names: dict[str, str], told: str
) -> None:
    assert display_name(ClassName("red", names), "th") == told


def test_the_nearest_examples_are_each_as_near_as_to_their_nearest_view() -> None:
    def near(example_id: str, cosine: float) -> Neighbour:
        return Neighbour(example_id, 0, words.SIDE_FRONT, cosine, b"")

    views = [[near("a", 0.9), near("b", 0.5)], [near("b", 0.95), near("c", 0.7), near("a", 0.1)]]

    assert [(each.example_id, each.cosine) for each in nearest_of(views, 2)] == [("b", 0.95), ("a", 0.9)]
    assert len(nearest_of(views, 9)) == 3
    assert nearest_of(views, 0) == []
