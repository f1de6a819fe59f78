"""Requests: what has the contract's form, and what is said where one has not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway import errors
from gateway.ask import ask_of
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words

VIEW = pb.View(photo=b"photo", side=words.SIDE_FRONT)
GRAD_CAM = pb.Explain.METHOD_GRAD_CAM


def request(**fields: Any) -> pb.PredictRequest:
    return pb.PredictRequest(**{"views": [VIEW], **fields})


@pytest.mark.parametrize(
    ("fields", "refusal", "field"),
    [
        ({"views": []}, errors.PhotoMissing, "views"),
        ({"views": [VIEW] * 9}, errors.TooManyViews, "views"),
        ({"views": [VIEW, pb.View(photo=b"x", side=77)]}, errors.FieldInvalid, "views[1].side"),  # type: ignore[arg-type]  # open enum
        ({"top_k": -1}, errors.FieldInvalid, "top_k"),
        ({"top_k": 51}, errors.FieldInvalid, "top_k"),
        ({"nearest_examples": 11}, errors.FieldInvalid, "nearest_examples"),
        ({"level": "x" * 129}, errors.FieldInvalid, "level"),
        ({"request_id": "x" * 129}, errors.FieldInvalid, "request_id"),
        ({"request_id": "a\nb"}, errors.FieldInvalid, "request_id"),
        ({"idempotency_key": "\x00"}, errors.FieldInvalid, "idempotency_key"),
        ({"subject": pb.Subject(pseudonym="x" * 129)}, errors.FieldInvalid, "subject.pseudonym"),
        ({"subject": pb.Subject(consent_reference="\x1b")}, errors.FieldInvalid, "subject.consent_reference"),
        ({"subject": pb.Subject(retention=9)}, errors.FieldInvalid, "subject.retention"),  # type: ignore[arg-type]  # open enum
        ({"model": "x" * 129}, errors.FieldInvalid, "model"),
        ({"explain": pb.Explain(method=9)}, errors.FieldInvalid, "explain.method"),  # type: ignore[arg-type]  # open enum
        ({"explain": pb.Explain(overlay=True)}, errors.FieldInvalid, "explain.method"),
        ({"explain": pb.Explain(method=GRAD_CAM, class_id="x" * 129)}, errors.FieldInvalid, "explain.class_id"),
    ],
)
def test_a_request_of_another_form_is_refused_naming_the_field(
    fields: dict[str, Any], refusal: type[errors.Refusal], field: str
) -> None:
    with pytest.raises(refusal) as refused:
        ask_of(request(**fields))

    assert refused.value.field == field
    assert refused.value.wanted


def test_what_is_not_said_has_its_default() -> None:
    ask = ask_of(pb.PredictRequest(views=[pb.View(photo=b"x")]))

    assert (ask.top_k, ask.explanation, ask.views[0].side) == (5, None, words.SIDE_UNSPECIFIED)
    assert not ask.subject.may_keep_photo


@pytest.mark.parametrize(
    ("subject", "may"),
    [
        (pb.Subject(consent_reference="c", retention=pb.RETENTION_KEEP), True),
        (pb.Subject(consent_reference="", retention=pb.RETENTION_KEEP), False),
        (pb.Subject(consent_reference="c", retention=pb.RETENTION_NONE), False),
        (pb.Subject(consent_reference="c"), False),
    ],
)
def test_a_photograph_may_be_kept_only_when_wished_and_with_a_consent(subject: pb.Subject, may: bool) -> None:
    assert ask_of(request(subject=subject)).subject.may_keep_photo is may


@pytest.mark.parametrize(
    "fields",
    [
        {"views": [pb.View(photo=b"other", side=words.SIDE_FRONT)]},
        {"views": [pb.View(photo=b"photo", side=words.SIDE_BACK)]},
        {"views": [VIEW, VIEW]},
        {"views": [pb.View(photo=b"pho"), pb.View(photo=b"to")]},
        {"model": "m"},
        {"version": "v"},
        {"top_k": 3},
        {"explain": pb.Explain(method=GRAD_CAM)},
        {"explain": pb.Explain(method=GRAD_CAM, overlay=True)},
        {"explain": pb.Explain(method=GRAD_CAM, class_id="red")},
        {"nearest_examples": 1},
        {"subject": pb.Subject(pseudonym="p")},
        {"subject": pb.Subject(consent_reference="p")},
        {"subject": pb.Subject(retention=pb.RETENTION_KEEP)},
    ],
)
def test_every_difference_makes_it_another_request(fields: dict[str, Any]) -> None:
    assert ask_of(request(**fields)).digest() != ask_of(request()).digest()


def test_a_new_id_for_the_same_request_does_not() -> None:
    ask = ask_of(request(request_id="first"))

    assert replace(ask, request_id="second").digest() == ask.digest()


def test_a_subject_stays_on_one_version_whatever_the_request() -> None:
    subject = pb.Subject(pseudonym="p-1")

    assert ask_of(request(subject=subject, request_id="a")).sticky_key("id") == "p-1"
    assert ask_of(request(request_id="a")).sticky_key("id") == "a"
    assert ask_of(request()).sticky_key("id") == "id"


def test_the_method_of_an_explanation_makes_it_another_request() -> None:
    plain = ask_of(request(explain=pb.Explain(method=GRAD_CAM)))
    plus_plus = ask_of(request(explain=pb.Explain(method=pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS)))

    assert plain.digest() != plus_plus.digest()
