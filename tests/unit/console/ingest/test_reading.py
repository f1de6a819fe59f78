from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from console.ingest.reading import FeedbackEvent, PredictionEvent, Unfit, read_event
from console.predictions.detail import Detail, Group, Neighbour
from console.predictions.models import FeedbackKind, Verdict
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from tests.console_events import feedback_event, prediction_event, uuid7, view_record

MOMENT = datetime(2026, 11, 23, 14, 4, 30, 123456, tzinfo=UTC)


def test_a_prediction_is_read_whole() -> None:
    event = read_event(prediction_event(happened_at=MOMENT, confidence=0.875, request_id="r-1"))
    assert isinstance(event, PredictionEvent)
    assert event.happened_at == MOMENT
    assert event.verdict == Verdict.IN_DOMAIN
    assert (event.top.class_id, event.top.probability) == ("somdej", 0.875)
    assert event.ood_scores[0].detector == "mahalanobis"
    assert event.views[0].side == "front"
    assert event.views[0].quality["sharpness_var"] == 180.0
    assert event.sealed[0].heat_map[:4] == b"\x07\0\x07\0"
    assert event.sealed[0].photo is None


def test_feedback_is_read() -> None:
    event = read_event(feedback_event(uuid7(), comment="no\0"))
    assert isinstance(event, FeedbackEvent)
    assert event.kind == FeedbackKind.WRONG
    assert event.comment == "no\ufffd"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda event: event.ClearField("event_id"), "event_id"),
        (lambda event: setattr(event, "event_id", event.event_id.upper()), "event_id"),
        (lambda event: setattr(event, "event_id", "{" + event.event_id + "}"), "event_id"),
        (lambda event: event.ClearField("happened_at"), "happened_at"),
        (lambda event: setattr(event.happened_at, "seconds", 1 << 60), "happened_at"),
        (lambda event: event.ClearField("prediction"), "no body"),
        (lambda event: setattr(event.prediction, "prediction_id", "7"), "prediction_id"),
        (lambda event: setattr(event.prediction, "verdict", 0), "verdict"),
        (lambda event: setattr(event.prediction, "verdict", 99), "verdict"),
        (lambda event: event.prediction.ClearField("client_id"), "client"),
    ],
)
def test_what_no_gateway_can_have_written_is_named(spoil: object, why: str) -> None:
    event = prediction_event()
    spoil(event)  # type: ignore[operator]
    with pytest.raises(Unfit, match=why):
        read_event(event)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (f"00-{'a1' * 16}-{'b2' * 8}-01", f"00-{'a1' * 16}-{'b2' * 8}-01"),
        (f"00-{'a1' * 16}-{'b2' * 8}-00", ""),  # its caller traces nothing
        (f"00-{'00' * 16}-{'b2' * 8}-01", ""),
        ("<script>", ""),
        ("", ""),
    ],
)
def test_what_names_no_trace_is_none_and_holds_up_no_event(sent: str, read: str) -> None:
    made = prediction_event()
    given = feedback_event(made.prediction.prediction_id)
    made.traceparent = given.traceparent = sent
    assert [read_event(event).traceparent for event in (made, given)] == [read, read]  # type: ignore[union-attr]


def test_values_that_no_database_holds_are_bounded_and_not_lost() -> None:
    """An acknowledged prediction keeps its record even where a number in it is absurd."""
    event = prediction_event(
        request_id="x" * 500,
        model="a\0b",
        total_ms=math.inf,
        ood_scores=[prediction_pb2.OodScore(detector="d", score=math.inf, unsure_at=math.nan, out_at=-math.inf)],
        candidates=[prediction_pb2.Candidate(class_id="c", probability=math.nan)],
        views=[pb.ViewRecord(heat_map_rows=7, heat_map_columns=7, heat_map=b"short")],
    )
    event.happened_at.nanos = 1_500_000_000
    read = read_event(event)
    assert isinstance(read, PredictionEvent)
    assert read.happened_at.microsecond == 999_999
    assert len(read.request_id) == 128
    assert read.model == "a\ufffdb"
    assert read.ood_scores[0].score > 1e300
    assert read.top.probability == 0.0
    assert read.sealed[0].heat_map == b""
    json.dumps([read.total_ms, *vars_of(read)], allow_nan=False)


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (np.array([0.5, -1.25, 0.333, 2.0], "<f2").tobytes(), (0.5, -1.25, 0.333, 2.0)),
        (b"", ()),
        (np.zeros(3, "<f2").tobytes(), ()),
        (np.array([0.5, np.nan, 0.0, 0.0], "<f2").tobytes(), ()),
        (np.array([0.5, np.inf, 0.0, 0.0], "<f2").tobytes(), ()),
    ],
)
def test_a_projection_is_four_numbers_or_none(content: bytes, numbers: tuple[float, ...]) -> None:
    read = read_event(prediction_event(views=[pb.ViewRecord(embedding_projection=content)]))
    assert isinstance(read, PredictionEvent)
    assert read.views[0].projection == numbers


def vars_of(event: PredictionEvent) -> list[float]:
    score = event.ood_scores[0]
    return [score.score, score.unsure_at, score.out_at]


@given(st.binary(max_size=400))
def test_no_message_of_the_contract_breaks_the_reader(content: bytes) -> None:
    try:
        event = pb.Event.FromString(content)
    except DecodeError:
        return
    try:
        read_event(event)
    except Unfit as error:
        assert str(error)  # noqa: PT017 - any sentence will do


def test_a_detail_survives_its_document() -> None:
    event = prediction_event(views=[view_record(projection=(0.5, -1.25, 0.333, 2.0)), view_record()])
    event.prediction.level = "family"
    event.prediction.group.CopyFrom(prediction_pb2.Candidate(class_id="seated", probability=0.75))
    event.prediction.nearest_examples.add(example_id="00ff", class_id="somdej", similarity_ratio=float("nan"))
    read = read_event(event)
    assert isinstance(read, PredictionEvent)
    detail = Detail(
        candidates=read.candidates,
        ood_scores=read.ood_scores,
        views=read.views,
        reasons=read.reasons,
        prediction_set=read.prediction_set,
        shadows=read.shadows,
        total_ms=read.total_ms,
        inference_ms=read.inference_ms,
        policy_digest=read.policy_digest,
        idempotency_key_digest=read.idempotency_key_digest,
        group=read.group,
        nearest=read.nearest,
    )
    assert detail.group == Group("family", "seated", 0.75)
    assert detail.nearest == (Neighbour("00ff", "somdej", 0.0),)
    assert Detail.parse(json.loads(json.dumps(detail.render()))) == detail
    with pytest.raises(ValueError, match="not of its form"):
        Detail.parse({})
