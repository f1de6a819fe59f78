"""What a caller asks for, once the request has the contract's form."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway import errors
from gateway.messages import NOTHING_CUT, Cut
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words

VIEWS_MAX: Final = 8
TOP_K_DEFAULT: Final = 5
TOP_K_MAX: Final = 50
NEAREST_MAX: Final = 10
TEXT_MAX: Final = 128  # request id, idempotency key, pseudonym, consent reference
NAME_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class AskedView:
    photo: bytes | memoryview  # encoded, as sent; or pixels
    side: words.Side.ValueType
    raw_px: tuple[int, int] | None = None  # (width, height) of RGB pixels that were never encoded


@dataclass(frozen=True, slots=True)
class AskedExplanation:
    """Heat maps."""

    method: pb.Explain.Method.ValueType
    class_id: str  # empty: the best candidate
    overlay: bool


@dataclass(frozen=True, slots=True)
class AskedSubject:
    """The person behind the photograph. Never logged."""

    pseudonym: str
    consent_reference: str
    retention: pb.Retention.ValueType

    @property
    def may_keep_photo(self) -> bool:
        """The caller wishes it and names a consent; whether it is valid is for the console."""
        return self.retention == pb.RETENTION_KEEP and bool(self.consent_reference)


@dataclass(frozen=True, slots=True)
class Ask:
    request_id: str
    views: tuple[AskedView, ...]
    model: str
    version: str
    top_k: int
    explanation: AskedExplanation | None
    idempotency_key: str
    subject: AskedSubject
    level: str = ""  # of the class tree; empty: the lowest that is sure
    batch_id: str = ""  # what it came in with; one version answers all of that
    nearest_examples: int = 0
    rather: tuple[str, ...] = ()  # versions that go before the weights: they have answered others of its batch

    def sticky_key(self, prediction_id: str) -> str:
        """What keeps a caller on one version: the subject, else the request's own identity."""
        return self.subject.pseudonym or self.batch_id or self.idempotency_key or self.request_id or prediction_id

    def digest(self) -> bytes:
        """SHA-256 of everything that makes this request another request; its own id does not."""
        hasher = hashlib.sha256()
        for part in self._parts():
            hasher.update(struct.pack("<Q", len(part)))
            hasher.update(part)
        return hasher.digest()

    def _parts(self) -> Iterator[bytes | memoryview]:
        explanation = self.explanation
        for text in (
            self.model,
            self.version,
            str(self.top_k),
            "" if explanation is None else f"{explanation.class_id}:{explanation.overlay:d}:{explanation.method}",
            str(explanation is None),
            str(self.nearest_examples),
            self.subject.pseudonym,
            self.subject.consent_reference,
            str(self.subject.retention),
            self.level,
        ):
            yield text.encode()
        for view in self.views:
            yield f"{view.side}:{view.raw_px}".encode()
            yield view.photo


def ask_of(request: pb.PredictRequest, cut: Cut = NOTHING_CUT) -> Ask:
    """Read a request. cut: photographs that were left where they came.

    Raises FieldInvalid, PhotoMissing or TooManyViews, naming the field.
    """
    check_text("request_id", request.request_id)
    check_text("idempotency_key", request.idempotency_key)
    check_text("subject.pseudonym", request.subject.pseudonym)
    check_text("subject.consent_reference", request.subject.consent_reference)
    check_text("model", request.model)
    check_text("version", request.version)
    if not request.views:
        raise errors.PhotoMissing("the request has no view", field="views", wanted=f"send one to {VIEWS_MAX}")
    if len(request.views) > VIEWS_MAX:
        raise errors.TooManyViews(
            f"the request has {len(request.views)} views", field="views", wanted=f"send one to {VIEWS_MAX}"
        )
    if not 0 <= request.top_k <= TOP_K_MAX:
        raise errors.FieldInvalid(f"top_k is {request.top_k}", field="top_k", wanted=f"0 to {TOP_K_MAX} are allowed")
    if not 0 <= request.nearest_examples <= NEAREST_MAX:
        raise errors.FieldInvalid(
            f"nearest_examples is {request.nearest_examples}",
            field="nearest_examples",
            wanted=f"0 to {NEAREST_MAX} are allowed",
        )
    check_text("level", request.level)
    if request.subject.retention not in pb.Retention.values():
        raise errors.FieldInvalid(
            f"{request.subject.retention} is no retention", field="subject.retention", wanted="see the Retention enum"
        )
    return Ask(
        request_id=request.request_id,
        views=tuple(_view_of(index, view, cut) for index, view in enumerate(request.views)),
        model=request.model,
        version=request.version,
        top_k=request.top_k or TOP_K_DEFAULT,
        explanation=_explanation_of(request.explain),
        idempotency_key=request.idempotency_key,
        subject=AskedSubject(request.subject.pseudonym, request.subject.consent_reference, request.subject.retention),
        nearest_examples=request.nearest_examples,
        level=request.level,
    )


def _view_of(index: int, view: pb.View, cut: Cut) -> AskedView:
    if view.side not in words.Side.values():
        raise errors.FieldInvalid(
            f"{view.side} is no side",
            field=f"views[{index}].side",
            wanted="see the Side enum; SIDE_UNSPECIFIED is allowed",
        )
    return AskedView(cut.of(view.photo), view.side)


def _explanation_of(explain: pb.Explain) -> AskedExplanation | None:
    if explain.method in (pb.Explain.METHOD_GRAD_CAM, pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS):
        check_text("explain.class_id", explain.class_id)
        return AskedExplanation(explain.method, explain.class_id, explain.overlay)
    if explain.method != pb.Explain.METHOD_UNSPECIFIED:
        raise errors.FieldInvalid(
            f"{explain.method} is no method", field="explain.method", wanted="see the Explain.Method enum"
        )
    if explain.overlay or explain.class_id:
        raise errors.FieldInvalid(
            "an explanation is described but no method is named", field="explain.method", wanted="use METHOD_GRAD_CAM"
        )
    return None


def check_text(field: str, text: str) -> None:
    """Raises FieldInvalid."""
    if len(text) > TEXT_MAX or not text.isprintable():
        raise errors.FieldInvalid(
            f"{field} is too long or holds characters that cannot be printed",
            field=field,
            wanted=f"at most {TEXT_MAX} printable characters are allowed",
        )
