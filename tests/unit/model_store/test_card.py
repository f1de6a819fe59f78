"""A card is read as strictly as it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import json_format

from model_store.card import (
    DEPTH_MAX,
    VERSION_CHARACTERS_MAX,
    CalibrationCard,
    Card,
    CardInvalid,
    ExamplesCard,
    FormChoice,
    check_suffix,
    version_name,
)
from protos.amulet.policy.v1 import policy_pb2
from protos.amulet.v1 import prediction_pb2


@pytest.fixture
def document(good: dict[str, bytes]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(good["model.json"])
    return parsed


@pytest.fixture
def card(good: dict[str, bytes]) -> Card:
    return Card.parse(good["model.json"])


def test_a_card_survives_its_text(card: Card) -> None:
    assert Card.parse(card.render()) == card
    assert Card.parse(card.render()).render() == card.render()


def test_a_card_is_text_that_people_read(card: Card) -> None:
    assert "แดง" in card.render()
    assert card.render().endswith("}\n")


def test_no_part_of_a_card_is_lost_in_reading(document: dict[str, Any]) -> None:
    decision = document["decision"]
    decision |= {"confidence_min": 0.51, "margin_min": 0.13, "set_coverage": 0.93, "set_probability_min": 0.07}
    document["graph"] |= {
        "explanations": ["grad_cam_plus_plus", "grad_cam"],
        "choice": {"processor": "x86_64 with VNNI", "why": "8 bits were refused"},
    }

    card = Card.parse(json.dumps(document))

    limits = card.decision.limits
    assert (limits.confidence_min, limits.margin_min) == (0.51, 0.13)
    assert (limits.set_coverage, limits.set_probability_min) == (0.93, 0.07)
    assert card.graph.explanations == ("grad_cam_plus_plus", "grad_cam")
    assert card.graph.choice == FormChoice("x86_64 with VNNI", "8 bits were refused")
    written = json.loads(card.render())
    assert (written["decision"], written["graph"]) == (document["decision"], document["graph"])


def test_a_metric_is_found_by_its_name(card: Card) -> None:
    (f1,) = card.metrics
    accuracy = replace(f1, name="accuracy", value=0.9)
    both = replace(card, metrics=(f1, accuracy))

    assert (both.metric(f1.name), both.metric("accuracy"), both.metric("nonesuch")) == (f1, accuracy, None)


@pytest.mark.parametrize(("config", "drawn"), [({"golden": "drawn"}, True), ({"golden": "kept"}, False), ({}, False)])
def test_golden_photographs_are_nobodys_only_where_the_card_says_so(
    card: Card, config: dict[str, str], drawn: bool
) -> None:
    assert replace(card, training=replace(card.training, config=config)).golden_are_drawn is drawn


def test_a_card_may_say_how_its_temperature_was_tried(card: Card) -> None:
    tried = replace(card, calibration=CalibrationCard((1.2, 0.5), (0.4, 0.1), ""))
    assert Card.parse(tried.render()) == tried
    assert "calibration" not in json.loads(card.render())


TONE = {
    "id": "tone",
    "names": {"en": "Tone"},
    "set_probability_min": 0.25,
    "groups": [
        {"id": "warm", "names": {"en": "Warm"}, "classes": ["red"]},
        {"id": "cold", "names": {"en": "Cold"}, "classes": ["blue", "green"]},
    ],
}
ALIKE = {
    "classes": ["green", "blue"],
    "side": "back",
    "photos": 20,
    "confused": 6,
    "separation": 0.5,
    "decided_by": ["front"],
}


def test_a_card_may_hold_a_class_tree_and_look_alikes(document: dict[str, Any]) -> None:
    document |= {"levels": [TONE], "look_alikes": [ALIKE]}

    card = Card.parse(json.dumps(document))

    assert Card.parse(card.render()) == card
    (level,) = card.level_rules
    assert level.of([0.5, 0.25, 0.25]) == (0.5, 0.5)
    assert level.group_of == (0, 1, 1)
    assert card.look_alikes[0].decided_by == ("front",)


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ({"warm": ["red"], "cold": ["blue"]}, "exactly one group"),
        ({"warm": ["red", "green"], "cold": ["blue", "green"]}, "exactly one group"),
        ({"warm": ["red"], "cold": ["blue", "pink"]}, "all and no others"),
        ({"warm": ["red", "green"], "green": ["blue"]}, "the id of a class"),
        ({"warm": ["red", "green"], "cold": ["blue"]}, "stands in several"),
    ],
)
def test_a_tree_that_is_none_is_refused(document: dict[str, Any], groups: dict[str, list[str]], why: str) -> None:
    above = {
        **TONE,
        "id": "above",
        "groups": [{"id": name, "names": {"en": name}, "classes": classes} for name, classes in groups.items()],
    }
    with pytest.raises(CardInvalid, match=why):
        Card.parse(json.dumps({**document, "levels": [TONE, above]}))


def test_two_levels_of_one_name_are_no_tree(document: dict[str, Any]) -> None:
    with pytest.raises(CardInvalid, match="every level has an id of its own"):
        Card.parse(json.dumps({**document, "levels": [TONE, TONE]}))


def test_a_card_may_name_reference_examples(card: Card) -> None:
    for named in (ExamplesCard(3, "0" * 64, thumbnails=True), None):
        assert Card.parse(replace(card, examples=named).render()).examples == named


def test_two_groups_of_one_name_are_no_level(document: dict[str, Any]) -> None:
    groups = [{"id": "one", "names": {"en": "One"}, "classes": classes} for classes in (["red"], ["blue", "green"])]
    with pytest.raises(CardInvalid, match="exactly one group of tone"):
        Card.parse(json.dumps({**document, "levels": [{**TONE, "groups": groups}]}))


def test_a_class_that_ends_above_the_cut_stands_for_itself(document: dict[str, Any]) -> None:
    groups = [{**TONE["groups"][0], "id": "red"}, TONE["groups"][1]]  # type: ignore[index]  # of a list
    card = Card.parse(json.dumps({**document, "levels": [{**TONE, "groups": groups}]}))
    assert [group.id for group in card.levels[0].groups] == ["red", "cold"]


@pytest.mark.parametrize("pair", [["green", "green"], ["green", "pink"]])
def test_look_alikes_that_are_no_pair_are_refused(document: dict[str, Any], pair: list[str]) -> None:
    with pytest.raises(CardInvalid, match="a pair is two of the classes"):
        Card.parse(json.dumps({**document, "look_alikes": [{**ALIKE, "classes": pair}]}))


def _set(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_set("name", value="tiny\n"), r"\$\.name"),
        (_set("name", value="../tiny"), r"\$\.name"),
        (_set("version", value="v20260101_tiny_1.000\n"), r"\$\.version"),
        (_set("version", value="latest"), r"\$\.version"),
        (_set("created_at", value="2026-01-01T00:00:00"), r"\$\.created_at"),
        (_set("version", value="v20260101_" + "a" * 90 + "_1.000"), r"\$\.version"),  # 106: columns have 100
        (_set("created_at", value="2026-13-01T00:00:00Z"), "month"),
        (_set("created_at", value="2026-W05-2T00:00:00Z"), r"\$\.created_at"),
        (_set("created_at", value="0001-01-01T00:00:00+14:00"), r"\$\.created_at"),  # no year in UTC
        (_set("created_at", value="9999-12-31T23:59:59-14:00"), r"\$\.created_at"),
        (_set("data", "photos", value=2**31), r"\$\.data\.photos"),  # an int32 to callers
        (_set("data", "name", value="a\0b"), r"U\+0000"),
        (_set("training", "config", value={"deep": ["\0"]}), r"U\+0000"),
        (_set("classes", 0, "names", value={"en": "Red", "\0": "Red"}), r"U\+0000"),
        (_set("input", "height_px", value=64.0), r"\$\.input\.height_px"),
        (_set("input", "height_px", value=True), r"\$\.input\.height_px"),
        (_set("temperature", value=0), r"\$\.temperature"),
        (_set("temperature", value="1.5"), r"\$\.temperature"),
        (_set("classes", 1, "id", value="red"), r"\$\.classes"),
        (_set("classes", 1, "id", value=".."), r"\$\.classes"),
        (_set("classes", 1, "id", value="."), r"\$\.classes"),
        (_set("classes", 1, "id", value="a/b"), r"\$\.classes"),
        (_set("classes", 1, "names", value={"th": "แดง"}), r"\$\.classes"),
        (_set("data", "per_class", value={"purple": 1}), r"\$\.data\.per_class"),
        (_set("decision", "detectors", 0, "name", value="energy"), r"\$\.decision\.detectors"),
        (_set("decision", "detectors", 0, "unsure_at", value=-100), "rise in this order"),
        (_set("graph", "detectors", value=["mahalanobis"]), r"\$\.decision\.detectors"),
        (
            lambda document: document["decision"]["detectors"].append(document["decision"]["detectors"][0]),
            r"\$\.decision\.detectors",
        ),
        (lambda document: document["metrics"].append(document["metrics"][0]), r"\$\.metrics"),
        (_set("golden", 0, "probabilities", value=[0.5, 0.5]), r"\$\.golden"),
        (_set("golden", 0, "scores", value={"mahalanobis": 1}), r"\$\.golden"),
        (_set("golden", 1, "file", value="golden_0.png"), r"\$\.golden"),
        (_set("golden", 0, "file", value="../golden_0.png"), r"\$\.golden"),
        (_set("schema", value=2), r"\$\.schema"),
        (_set("schema", value=True), r"\$\.schema"),
        (_set("schema", value=1.0), r"\$\.schema"),
        (_set("hook", value="x"), "hook"),
    ],
)
def test_what_is_wrong_on_a_card_is_named(
    change: Callable[[dict[str, Any]], None], place: str, document: dict[str, Any]
) -> None:
    change(document)
    with pytest.raises(CardInvalid, match=place):
        Card.parse(json.dumps(document))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": 1' + b"0" * 5000 + b"}",
        b'{"a": 18446744073709551616}',
        b'{"a": "\\ud800"}',
    ],
)
def test_what_two_readers_could_read_differently_is_no_card(text: bytes) -> None:
    with pytest.raises(CardInvalid, match=r"model\.json"):
        Card.parse(text)


def _nested(deep: int) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for _ in range(deep):
        config = {"inner": config}
    return config


def test_a_card_is_nested_no_deeper_than_its_readers_follow(document: dict[str, Any]) -> None:
    """A gateway gets it inside of a policy, and one message that it cannot read is all of the policy."""
    room = DEPTH_MAX - 3  # the card, its training, its config
    _set("training", "config", value=_nested(room))(document)
    card = Card.parse(json.dumps(document))
    assert Card.parse(card.render()) == card
    sent = prediction_pb2.Card()
    json_format.ParseDict(document, sent.document)
    policy = policy_pb2.Policy(
        models=[policy_pb2.ServedModel(versions=[policy_pb2.ServedVersion(card=sent) for _ in range(2)])]
    )
    assert policy_pb2.Policy.FromString(policy.SerializeToString()) == policy

    _set("training", "config", value=_nested(room + 1))(document)
    with pytest.raises(CardInvalid, match="24 deep"):
        Card.parse(json.dumps(document))


def test_whatever_is_nested_on_it_is_refused_however_deep(document: dict[str, Any]) -> None:
    """Also just less deep than JSON is read: whoever complains of a value would have to follow it further down."""
    document["graph"]["detectors"] = "here"
    text = json.dumps(document)
    for deep in range(DEPTH_MAX, 1000):
        with pytest.raises(CardInvalid):
            Card.parse(text.replace('"here"', f'["a", {"[" * deep}{"]" * deep}]'))


def test_a_card_that_contradicts_itself_is_not_written(card: Card) -> None:
    with pytest.raises(CardInvalid, match=r"\$\.decision\.detectors"):
        replace(card, graph=replace(card.graph, detectors=("mahalanobis", "other"))).render()


def test_a_card_that_its_schema_refuses_is_not_written(card: Card) -> None:
    with pytest.raises(CardInvalid, match=r"\$\.temperature"):
        replace(card, temperature=0.0).render()


def test_what_is_wrong_is_told_in_a_few_lines_however_large_it_is(document: dict[str, Any]) -> None:
    document["temperature"] = "1" * 100_000
    with pytest.raises(CardInvalid, match="is not of type 'number'") as refused:
        Card.parse(json.dumps(document))
    assert len(str(refused.value)) < 400


def test_a_version_is_named_by_day_backbone_and_score() -> None:
    at = datetime(2026, 3, 14, tzinfo=UTC)
    assert version_name(created_at=at, backbone="tf_lite0", macro_f1=0.87549) == "v20260314_tf_lite0_0.875"
    assert version_name(created_at=at, backbone="tf_lite0", macro_f1=1.0, suffix="b") == "v20260314_tf_lite0_1.000-b"
    with pytest.raises(ValueError, match="not a version name"):
        version_name(created_at=at, backbone="TF Lite", macro_f1=0.5)
    with pytest.raises(ValueError, match="not a version name"):
        version_name(created_at=at, backbone="tf_lite0", macro_f1=0.5, suffix="b\n")


def test_a_version_name_is_no_longer_than_what_keeps_it() -> None:
    at, room = datetime(2026, 3, 14, tzinfo=UTC), VERSION_CHARACTERS_MAX - len("v20260314__1.000")
    assert len(version_name(created_at=at, backbone="a" * room, macro_f1=1.0)) == VERSION_CHARACTERS_MAX
    with pytest.raises(ValueError, match="of at most 100 characters"):
        version_name(created_at=at, backbone="a" * (room + 1), macro_f1=1.0)


@pytest.mark.parametrize("suffix", ["", "b", "job12", "a" * 12])
def test_a_suffix_is_a_short_word(suffix: str) -> None:
    check_suffix(suffix)


@pytest.mark.parametrize("suffix", ["a" * 13, "B", "a-b", "b\n", "ก"])
def test_any_other_suffix_is_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match="as job12"):
        check_suffix(suffix)


MEASURED = {
    "confusion": {"data": "nine photographs", "counts": {"red": {"red": 4, "blue": 1}, "blue": {"blue": 4}}},
    "reliability": {
        "data": "nine photographs",
        "bins": [
            {"low": 0.6, "high": 0.7, "photos": 2, "confidence": 0.65, "accuracy": 0.5},
            {"low": 0.9, "high": 1.0, "photos": 7, "confidence": 0.97, "accuracy": 1.0},
        ],
    },
}


def test_a_card_may_carry_what_was_confused_and_how_sure_it_was(document: dict[str, Any], card: Card) -> None:
    found = Card.parse(json.dumps({**document, **MEASURED}))

    assert Card.parse(found.render()) == found
    assert found.confusion is not None
    assert found.reliability is not None
    assert (found.confusion.count("red", "blue"), found.confusion.count("green", "red")) == (1, 0)
    assert found.confusion.photos == found.reliability.photos == 9
    assert not {"confusion", "reliability"} & set(json.loads(card.render()))  # an older card stays as it was


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set("confusion", "counts", "pink", value={"red": 1}), r"\$\.confusion\.counts: pink is none"),
        (_set("confusion", "counts", "red", "pink", value=1), r"\$\.confusion\.counts: pink is none"),
        (_set("confusion", "counts", "red", "red", value=0), r"\$\.confusion\.counts\.red\.red"),
        (_set("confusion", "counts", "red", "red", value=1.5), r"\$\.confusion\.counts\.red\.red"),
        (_set("confusion", "data", value=""), r"\$\.confusion\.data"),
        (_set("reliability", "bins", value=[]), r"\$\.reliability\.bins"),
        (_set("reliability", "bins", 0, "high", value=0.95), "do not overlap"),
        (_set("reliability", "bins", 0, "low", value=0.7), "rise"),
        (_set("reliability", "bins", 1, "confidence", value=0.5), "lies within it"),
        (_set("reliability", "bins", 1, "accuracy", value=1.1), r"\$\.reliability\.bins\[1\]\.accuracy"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(
    change: Callable[[dict[str, Any]], None], why: str, document: dict[str, Any]
) -> None:
    wrong = {**document, **json.loads(json.dumps(MEASURED))}
    change(wrong)
    with pytest.raises(CardInvalid, match=why):
        Card.parse(json.dumps(wrong))
