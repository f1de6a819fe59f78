"""Answers above the classes, and what further photograph would decide between look-alikes."""

from __future__ import annotations

import numpy as np
import pytest

from gateway import errors
from gateway.answer import Conclusion, Timing, ViewAnswer, conclude, response_of
from gateway.ask import Ask
from gateway.fusion import Fused
from gateway.intake.photo import Photo
from gateway.intake.quality import Quality, Shortcoming
from gateway.prediction import check_level
from gateway.snapshot import PolicyInvalid, ServedVersion, Snapshot
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.tiny_archive import NAME, VERSION
from tests.unit.gateway.cast import policy, served_model

TONE = pb.Level(
    id="tone",
    display_names={"en": "Tone", "th": "โทนสี"},
    set_probability_min=0.2,
    groups=[
        pb.Group(id="warm", display_names={"en": "Warm", "th": "โทนร้อน"}, class_ids=["red"]),
        pb.Group(id="cold", display_names={"en": "Cold", "th": "โทนเย็น"}, class_ids=["blue", "green"]),
    ],
)
# red, green, blue
TORN = (0.05, 0.5, 0.45)
SURE = (0.9, 0.06, 0.04)
GREEN_OR_RED = (0.45, 0.5, 0.05)


def served(*levels: pb.Level, look_alikes: tuple[pb.LookAlikes, ...] = ()) -> ServedVersion:
    model = served_model()
    model.versions[0].card.levels.extend(levels)
    model.versions[0].card.look_alikes.extend(look_alikes)
    snapshot = Snapshot.parse(policy(models=[model]).SerializeToString())
    return snapshot.models[NAME].versions[VERSION]


def view(side: words.Side.ValueType, probabilities: tuple[float, ...], *, grave: bool = False) -> ViewAnswer:
    photo = Photo(np.zeros((2, 2, 3), np.uint8), (2, 2), Quality(100.0, 0.5, 0.2, 0.0, 0.0), b"", 1.0)
    shortcomings = (Shortcoming(words.REASON_BLURRED, grave=True),) if grave else ()
    return ViewAnswer(photo, side, shortcomings, 1.0, np.array(probabilities))


def concluded(
    version: ServedVersion,
    probabilities: tuple[float, ...],
    *,
    level: str = "",
    sides: tuple[words.Side.ValueType, ...] = (words.SIDE_FRONT,),
    grave: bool = False,
    disagree: bool = False,
) -> Conclusion:
    scores = {limit.name: limit.typical for limit in version.limits.detectors}
    fused = Fused(np.array(probabilities), scores, (1.0,), disagree)
    views = [view(side, probabilities, grave=grave) for side in sides]
    return conclude(version, fused, views, level=level)


def answered(conclusion: Conclusion, language: str = "en") -> pb.PredictResponse:
    return response_of(
        conclusion,
        prediction_id="p",
        request_id="",
        top_k=5,
        heats=[],
        examples=[],
        remarks=[],
        will_be_reviewed=False,
        timing=Timing(0.0, 0.0, 0.0, 0.0),
        audit_checkpoint="",
        language=language,
    )


def test_an_answer_that_is_torn_within_a_group_stands_on_the_group() -> None:
    response = answered(concluded(served(TONE), TORN), "th")

    assert (response.verdict, response.level) == (words.VERDICT_UNSURE, "tone")
    assert [(each.class_id, each.display_name) for each in response.candidates] == [
        ("cold", "โทนเย็น"),
        ("warm", "โทนร้อน"),
    ]
    assert response.candidates[0].probability == pytest.approx(0.95)
    assert list(response.prediction_set.class_ids) == ["cold"]
    assert [each.class_id for each in response.class_candidates] == ["green", "blue", "red"]
    assert response.views[0].candidates[0].class_id == "cold"
    assert {each.reason for each in response.reasons} == {
        words.REASON_LOW_CONFIDENCE,
        words.REASON_TOO_CLOSE_TO_CALL,
    }


def test_a_sure_answer_and_one_that_no_level_is_sure_of_stand_on_the_classes() -> None:
    for probabilities in (SURE, GREEN_OR_RED):
        response = answered(concluded(served(TONE), probabilities))
        assert response.level == ""
        assert {each.class_id for each in response.candidates} == {"red", "green", "blue"}
        assert not response.class_candidates


def test_without_a_tree_nothing_changes() -> None:
    with_tree, without = (answered(concluded(version, SURE)) for version in (served(TONE), served()))
    for response in (with_tree, without):
        response.ClearField("answered_at")
    assert with_tree == without
    assert answered(concluded(served(), TORN)).level == ""


def test_what_cannot_be_seen_is_sure_at_no_level() -> None:
    assert answered(concluded(served(TONE), TORN, grave=True)).level == ""
    assert answered(concluded(served(TONE), TORN, disagree=True)).level == ""


def test_a_caller_may_ask_for_a_level_or_for_the_classes() -> None:
    asked = answered(concluded(served(TONE), TORN, level="tone"))
    assert (asked.verdict, asked.level, list(asked.reasons)) == (words.VERDICT_IN_DOMAIN, "tone", [])
    unsure = answered(concluded(served(TONE), GREEN_OR_RED, level="tone"))
    assert (unsure.verdict, unsure.level) == (words.VERDICT_UNSURE, "tone")
    classes = answered(concluded(served(TONE), TORN, level="class"))
    assert (classes.level, classes.candidates[0].class_id) == ("", "green")


def test_a_level_that_the_version_has_not_is_refused_naming_those_it_has() -> None:
    check_level("tone", served(TONE))
    check_level("", served())
    with pytest.raises(errors.FieldInvalid, match="no level 'temple'") as refused:
        check_level("temple", served(TONE))
    assert (refused.value.field, refused.value.wanted) == ("level", "leave it empty, or use class, tone")


def test_a_level_that_leaves_a_class_out_is_no_policy() -> None:
    torn = pb.Level()
    torn.CopyFrom(TONE)
    del torn.groups[1].class_ids[0]
    with pytest.raises(PolicyInvalid, match="level tone"):
        served(torn)


def test_the_level_makes_another_request() -> None:
    def ask(level: str) -> Ask:
        from gateway.ask import ask_of

        return ask_of(pb.PredictRequest(views=[pb.View(photo=b"x")], level=level))

    assert ask("tone").digest() != ask("").digest()


BACKS_ALIKE = pb.LookAlikes(class_ids=["green", "blue"], side=words.SIDE_BACK, decided_by=[words.SIDE_FRONT])


@pytest.mark.parametrize(
    ("sides", "advice"),
    [
        ((words.SIDE_BACK,), "Photograph the front as well."),
        ((words.SIDE_UNSPECIFIED,), "Photograph the front as well."),  # it may be the back
        ((words.SIDE_EDGE,), None),  # from which nobody knows them to look alike
        ((words.SIDE_FRONT,), None),
        ((words.SIDE_BACK, words.SIDE_FRONT), None),  # the front is there, and did not decide
    ],
)
def test_look_alikes_are_told_which_photograph_would_decide(
    sides: tuple[words.Side.ValueType, ...], advice: str | None
) -> None:
    response = answered(concluded(served(look_alikes=(BACKS_ALIKE,)), TORN, sides=sides))

    said = [(each.message, each.advice) for each in response.reasons if each.reason == words.REASON_LOOK_ALIKES]
    assert said == ([] if advice is None else [("The two best candidates look alike from the back.", advice)])


def test_look_alikes_from_every_side_are_left_to_an_expert_and_others_to_nobody() -> None:
    anywhere = pb.LookAlikes(class_ids=["blue", "green"])
    version = served(look_alikes=(anywhere,))

    (said,) = [each for each in answered(concluded(version, TORN)).reasons if each.reason == words.REASON_LOOK_ALIKES]
    assert "expert" in said.advice
    other_pair = answered(concluded(version, GREEN_OR_RED))
    assert words.REASON_LOOK_ALIKES not in {each.reason for each in other_pair.reasons}
