"""Every reason has its status, every refusal its reason."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from gateway import errors
from gateway.errors import STATUS_OF, Refusal, code_of, internal_status, retry_after_s, status_of
from protos.amulet.v1 import vocabulary_pb2 as words

ABSTENTIONS, REFUSALS = range(1, 100), range(100, 500)


def refusals(base: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for kind in base.__subclasses__():
        yield from refusals(kind)
        if "reason" in vars(kind):
            yield kind


def test_every_reason_has_a_status() -> None:
    assert set(STATUS_OF) == set(words.Reason.values())


def test_abstentions_are_no_errors_and_refusals_are() -> None:
    for reason, status in STATUS_OF.items():
        assert (status is grpc.StatusCode.OK) == (reason in ABSTENTIONS)


def test_every_reason_that_a_call_can_meet_has_exactly_one_refusal() -> None:
    reasons = [kind.reason for kind in refusals()]

    assert sorted(reasons) == sorted(reason for reason in words.Reason.values() if reason in REFUSALS)


def test_the_numbers_are_google_rpc_codes() -> None:
    for kind in refusals():
        assert code_pb2.Code.Name(code_of(kind("x"))) == STATUS_OF[kind.reason].name


def test_a_refusal_travels_with_its_details() -> None:
    refusal = errors.PhotoTooSmall("the photograph has 10 x 10 pixels", field="views[2].photo", wanted="send more")

    status = status_of(refusal, request_id="r-1", language="th", text="ภาพเล็กเกินไป")

    info, bad, local = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.LocalizedMessage(),
    )
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert status.details[2].Unpack(local)
    assert len(status.details) == 3  # no RetryInfo: asking the same again never helps
    assert (info.reason, info.domain, info.metadata["request_id"]) == ("REASON_PHOTO_TOO_SMALL", "amulet", "r-1")
    assert bad.field_violations[0].field == "views[2].photo"
    assert (local.locale, local.message) == ("th", "ภาพเล็กเกินไป")
    assert status.message == "the photograph has 10 x 10 pixels; send more"


@pytest.mark.parametrize("kind", list(refusals()), ids=lambda kind: kind.__name__)
def test_waiting_is_advised_exactly_where_it_helps(kind: type[Refusal]) -> None:
    helps = STATUS_OF[kind.reason] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

    assert (retry_after_s(kind("x")) is not None) == helps


def test_our_own_fault_says_nothing_but_the_request_id() -> None:
    status = internal_status("r-7")

    assert status.message == "internal error; quote the request id r-7"
