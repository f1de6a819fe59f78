"""Answers of the contract become values, whole and in their own units."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from amulet_client import Candidate, Finding, Prediction, Quality, Refused
from amulet_client.results import document_of, line_of
from amulet_client.synchronous import outcome_of
from amulet_client.work import Outcome
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.wording import DISCLAIMER
from tests.unit.client.cast import full_response


def test_every_field_of_an_answer_arrives() -> None:
    response = full_response()
    assert {field.name for field, _ in response.ListFields()} == {
        field.name for field in pb.PredictResponse.DESCRIPTOR.fields
    }, "the canned answer must set every field"

    answer = Prediction.of(response)

    assert answer.verdict == "UNSURE"
    assert answer.reasons == (Finding("REASON_LOW_CONFIDENCE", "Not sure enough.", "Ask.", -1),)
    assert answer.best == Candidate("a", "Alpha", 0.5)
    assert answer.class_candidates == (Candidate("aa", "Alpha one", 0.25),)
    assert (answer.prediction_set, answer.set_coverage) == (("a", "b"), 0.9)
    assert answer.ood_scores[0].out_at == 3
    front, unknown = answer.views
    assert (front.width_px, front.height_px, front.side, front.weight_ratio) == (480, 640, "back", 0.5)
    assert front.quality == Quality(50, 0.5, 0.25, 0.0, 0.0)
    assert front.findings[0].reason == "REASON_BLURRED"
    assert unknown.side == ""
    assert list(answer.heat_maps[0].values) == [0, 1, 2, 3, 4, 8]
    assert answer.nearest_examples[0].similarity_ratio == 0.75
    assert answer.timings.total_ms == 20
    assert answer.timings.journal_ms == 1.5
    assert answer.answered_at == datetime(2026, 11, 23, 10, 0, 0, 500_000, tzinfo=UTC)
    assert (answer.replayed, answer.will_be_reviewed, answer.level) == (True, True, "group")
    assert answer.audit_checkpoint == "checkpoint"


def test_an_answer_without_candidates_has_no_best_one() -> None:
    assert Prediction.of(pb.PredictResponse()).best is None


def test_words_of_a_newer_gateway_are_kept_as_numbers() -> None:
    newer = pb.PredictResponse(reasons=[pb.Finding(reason=4711, message="New.")])  # type: ignore[arg-type]  # on purpose
    assert Prediction.of(newer).reasons[0].reason == "4711"
    error = pb.StreamError(code=9, reason=4711)  # type: ignore[arg-type]  # on purpose
    refused = outcome_of(pb.StreamResult(request_id="r", error=error))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.code, refused.retry_after_s) == ("4711", "FAILED_PRECONDITION", None)


def test_a_refusal_reads_as_one_line() -> None:
    error = pb.StreamError(
        code=3, message="the file is empty", reason=words.REASON_PHOTO_MISSING, field="views[0].photo"
    )
    assert str(outcome_of(pb.StreamResult(error=error))) == "the file is empty (views[0].photo) [REASON_PHOTO_MISSING]"


def test_a_line_of_results_has_the_fields_that_the_page_for_callers_lists() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/callers.md").read_text("utf-8")
    found = re.search(r"\nA line has (.*?) of what was refused it has (.*?)\. Names stay", page, re.DOTALL)
    assert found is not None
    listed = re.findall(r"`([a-z_]+)`", found[1].partition(", as ")[0])
    photos = (Path("photo.jpg"),)

    answered = document_of(Outcome(photos, Prediction.of(full_response())))
    refused = document_of(Outcome(photos, Refused("busy", "REASON_RATE_LIMITED", "RESOURCE_EXHAUSTED")))

    assert listed == list(answered)
    assert json.loads(line_of(answered))["disclaimer"] == DISCLAIMER["en"]
    assert list(refused) == ["file", "error"]
    assert re.findall(r'"([a-z_]+)"', found[2]) == list(refused["error"])
