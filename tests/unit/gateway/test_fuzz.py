"""Whatever callers write into identifiers and headers: one clear status, and nothing of it in the log."""

from __future__ import annotations

import logging
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ask import TEXT_MAX
from gateway.wording import LANGUAGES, language_of
from protos.amulet.v1 import prediction_pb2 as pb
from tests import http2
from tests.http2 import Connection
from tests.unit.gateway.cast import SOMCHAI, Gateway, photo

pytestmark = pytest.mark.asyncio(loop_scope="module")
MARK: Final = "m4rk"  # of what a caller wrote; no identifier of ours, nor a digest in hex, can hold it
SMALL: Final = photo()
# What has ended lines, logs, headers and databases elsewhere.
ODD: Final = st.sampled_from(
    [
        "\0",
        "\n",
        "\r\n",
        "\x1b[31m",
        "\x7f",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\uffff",
        "%s",
        "{0}",
        "'\"",
        "พระ",
        "😀",
        "\u0301",
    ]
)
texts = st.lists(st.one_of(ODD, st.text(max_size=4), st.just("a" * 60)), max_size=5).map(
    lambda parts: MARK + "".join(parts)
)
often = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def allowed(text: str) -> bool:
    return len(text) <= TEXT_MAX and text.isprintable()


@often
@given(request_id=texts, key=texts, subject=texts, consent=texts)
async def test_an_identifier_is_kept_as_it_is_or_refused_and_never_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, request_id: str, key: str, subject: str, consent: str
) -> None:
    caplog.clear()
    key = f"{uuid4()}{key}"  # no other example's
    request = pb.PredictRequest(
        views=[pb.View(photo=SMALL)],
        request_id=request_id,
        idempotency_key=key,
        subject=pb.Subject(pseudonym=subject, consent_reference=consent),
    )
    with caplog.at_level(logging.DEBUG):
        outcome = await outcome_of(gateway.stub.Predict(request, metadata=SOMCHAI.metadata, timeout=20))

    if all(map(allowed, (request_id, key, subject, consent))):
        assert isinstance(outcome, pb.PredictResponse)
        assert outcome.request_id == request_id
        event = await gateway.event_of(outcome)  # through the journal and the shipper
        assert (event.request_id, event.subject.pseudonym) == (request_id, subject)
        assert event.subject.consent_reference == consent
    else:
        assert outcome is grpc.StatusCode.INVALID_ARGUMENT
    assert MARK not in caplog.text


@often
@given(prediction_id=texts, class_id=texts, comment=texts, key=texts)
async def test_feedback_is_taken_or_refused_and_never_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, prediction_id: str, class_id: str, comment: str, key: str
) -> None:
    caplog.clear()
    key = f"{uuid4()}{key}"
    with caplog.at_level(logging.DEBUG):
        for of in (prediction_id, "01999999-9999-7999-8999-999999999999"):
            request = pb.SubmitFeedbackRequest(
                prediction_id=of, kind=pb.SubmitFeedbackRequest.KIND_WRONG, true_class_id=class_id, comment=comment,
                idempotency_key=key,
            )  # fmt: skip
            outcome = await outcome_of(gateway.stub.SubmitFeedback(request, metadata=SOMCHAI.metadata, timeout=20))
            if of == prediction_id:
                assert outcome is grpc.StatusCode.NOT_FOUND
            elif allowed(class_id) and allowed(key):
                assert isinstance(outcome, pb.SubmitFeedbackResponse)
            else:
                assert outcome is grpc.StatusCode.INVALID_ARGUMENT
    assert MARK not in caplog.text


@often
@given(model=texts, version=texts, level=texts, class_id=texts)
async def test_a_name_that_nobody_knows_is_said_so_and_never_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, model: str, version: str, level: str, class_id: str
) -> None:
    caplog.clear()
    asked: list[dict[str, Any]] = [
        {"model": model},
        {"version": version},
        {"level": level},
        {"explain": pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, class_id=class_id)},
    ]
    with caplog.at_level(logging.DEBUG):
        outcomes = [await outcome_of(gateway.predict(SMALL, **fields)) for fields in asked]

    assert set(outcomes) <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert MARK not in caplog.text


NAMES: Final = [
    "x-api-key",
    "authorization",
    "accept-language",
    "traceparent",
    "tracestate",
    "grpc-timeout",
    "baggage",
    "x-more",
    "x-more-bin",
]


@often
@given(name=st.sampled_from(NAMES), text=texts)
async def test_a_header_of_whatever_bytes_ends_no_more_than_its_own_connection_and_is_never_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    """Byte by byte: gRPC's own clients send none of it."""
    caplog.clear()
    content = http2.message(pb.GetModelRequest().SerializeToString())
    key = () if name == "x-api-key" else (("x-api-key", SOMCHAI.text),)
    with caplog.at_level(logging.DEBUG):
        async with Connection.to(gateway.listening.grpc_port) as connection:
            stream = connection.begin(http2.call_fields("/amulet.v1.PredictionService/GetModel", (name, text), *key))
            await connection.give(stream, content)
            end = await connection.end_of(stream)
        await gateway.stub.GetModel(pb.GetModelRequest(), metadata=SOMCHAI.metadata, timeout=20)

    assert b"grpc-status" in end or not end  # gRPC resets what is no header
    assert not {line.levelname for line in caplog.records} & {"ERROR", "CRITICAL"}
    assert MARK not in caplog.text


@given(header=st.one_of(st.text(max_size=300), st.from_regex(r"[a-z*;q=0-9., -]{0,80}")))
async def test_whatever_language_is_asked_for_the_answer_has_one_of_ours(header: str) -> None:
    assert language_of(header) in LANGUAGES


async def outcome_of(call: Any) -> Any:
    """The answer, or the status."""
    try:
        return await call
    except aio.AioRpcError as error:
        return error.code()
