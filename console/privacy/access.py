"""What a person is told about themselves: a ZIP that a person opens and a program reads.

    README.txt          what is in it, in Thai and English
    person.th.html      consents, predictions, feedback, reviews, requests, to read, and what the law wants told
                        beside them: for what it is used, how long, who gets it, what may be asked for
    person.en.html
    person.json         the same for programs
    photographs/        the kept photographs, as the model saw them
    heat_maps/          rows and columns (2 bytes each, little-endian), then one byte a cell

It is made when it is asked for and kept nowhere.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any, Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import record
from console.datasets.queries import learnt_of
from console.errors import Conflict, NotFound
from console.predictions.models import Feedback, FeedbackKind, Prediction, Verdict
from console.predictions.queries import feedback_on
from console.privacy.access_page import LANGUAGES, pages
from console.privacy.models import Kind, PrivacyRequest, State
from console.privacy.notice import callers, uses_by_language
from console.privacy.services import link_person
from console.review.models import ExpertDecision
from console.review.queries import decisions_by_prediction
from console.sheets.models import SheetAnswer
from console.sheets.queries import answers_by_prediction
from console.staff.models import User
from console.staff.services import require
from console.vault.models import Consent
from console.vault.models import Kind as ObjectKind
from console.vault.opening import open_for_the_person

_MEMORY_BYTES_MAX: Final = 8 * 2**20
_PLACE: Final = {ObjectKind.PHOTOGRAPH: ("photographs", "png"), ObjectKind.HEAT_MAP: ("heat_maps", "bin")}
_UNREADABLE: Final = (
    "สิ่งนี้เก็บไว้ แต่ไฟล์เสียหายและอ่านไม่ได้อีกต่อไป\nThis is kept, and its file is damaged: it cannot be read any more.\n"
).encode()
_README: Final = """\
ข้อมูลของคุณ / What is known of you

person.th.html  ความยินยอม ผลการทำนาย ความเห็น การตรวจโดยผู้เชี่ยวชาญ และคำขอ ใช้เพื่ออะไร เก็บนานเท่าใด
                และสิทธิของคุณ เปิดอ่านได้ด้วยเบราว์เซอร์
person.en.html  consents, predictions, feedback, expert reviews and requests, what they are used for and how long
                they are kept, and your rights, to read in a browser
person.json     เนื้อหาเดียวกันสำหรับโปรแกรม (the same for programs)
photographs/    ภาพถ่ายที่เก็บไว้ (photographs that are kept)
heat_maps/      แผนที่ความร้อน: จำนวนแถว จำนวนคอลัมน์ (2 ไบต์) แล้วตามด้วยค่าช่องละหนึ่งไบต์
                heat maps: rows, columns (2 bytes each, little-endian), then one byte a cell

ผลประเมินเป็นเบื้องต้น ควรให้ผู้เชี่ยวชาญยืนยัน
A preliminary assessment: have an expert confirm it.
"""


def export_person(*, actor: User, request_id: int) -> IO[bytes]:
    """The ZIP for a request for access or portability that is in progress, as an open file at its beginning.

    It holds what is known of the person now, however little was when the request came in.
    Each photograph that it holds is an audit entry, and so is the export. Raises NotAllowed,
    NotFound, Conflict.
    """
    require(actor, "privacy.export_privacyrequest")
    request = PrivacyRequest.objects.filter(pk=request_id).first()
    if request is None:
        raise NotFound(_("There is no request {number}.").format(number=request_id))
    if request.kind not in (Kind.ACCESS, Kind.PORTABILITY) or request.state != State.IN_PROGRESS:
        raise Conflict(_("Only a request for access or portability that is in progress is answered with an export."))
    link_person(request)
    out: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES_MAX)  # noqa: SIM115 - the caller closes it
    try:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README.txt", _README)
            archive.writestr("person.json", json.dumps(person := _person(request), ensure_ascii=False, indent=1))
            for name, content in _objects(actor, request):
                archive.writestr(name, content)
            photographs = [name for name in archive.namelist() if name.startswith(_PLACE[ObjectKind.PHOTOGRAPH][0])]
            for name, text in pages(person, photographs):
                archive.writestr(name, text)
        with transaction.atomic():
            record(
                actor=actor,
                action="privacy.exported",
                subject_type="privacy_request",
                subject_id=str(request.pk),
                details={},
            )
        out.seek(0)
    except BaseException:
        out.close()
        raise
    return out


def _person(request: PrivacyRequest) -> dict[str, Any]:
    subject = request.subject_id
    made = list(Prediction.objects.filter(subject=subject).order_by("happened_at")) if subject else []
    ids = [prediction.pk for prediction in made]
    feedback, decisions = feedback_on(ids), decisions_by_prediction(ids)
    answers = answers_by_prediction(ids)
    return {
        "form": "amulet person 1",
        "made_at": now().isoformat(),
        "known": subject is not None,
        "restricted_at": _text(request.subject.restricted_at if request.subject else None),
        "uses": uses_by_language(LANGUAGES),
        "callers": callers({prediction.client_id for prediction in made}),
        "consents": [_consent(row) for row in Consent.objects.filter(subject=subject).order_by("given_at")]
        if subject
        else [],
        "predictions": [
            _prediction(row, feedback.get(row.pk, []), decisions.get(row.pk, []), answers.get(row.pk, []))
            for row in made
        ],
        "learnt": [
            {
                "photographs": row.photographs,
                "taken_out_at": row.dataset.made_at.isoformat(),
                "versions": [f"{version.model} {version.version}" for version in row.versions],
            }
            for row in (learnt_of(subject) if subject else [])
        ],
        "requests": [_request(row) for row in _requests(request).order_by("pk")],
    }


def _request(row: PrivacyRequest) -> dict[str, Any]:
    return {
        "number": row.pk,
        "kind": row.kind,
        "channel": row.channel,
        "received_at": row.received_at.isoformat(),
        "state": row.state,
        "extended_at": _text(row.extended_at),
        "extension_reason": row.extension_reason,
        "reason": row.reason,
        "closed_at": _text(row.closed_at),
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _requests(request: PrivacyRequest) -> QuerySet[PrivacyRequest]:
    """Of somebody whom nothing else is known of, those that are open: a closed one forgets whose it was."""
    if request.subject_id is None:
        return PrivacyRequest.objects.filter(found_by=bytes(request.found_by), closed_at=None)
    return PrivacyRequest.objects.filter(subject=request.subject_id)


def _consent(row: Consent) -> dict[str, Any]:
    return {
        "reference": row.reference,
        "purpose": row.purpose,
        "text_version": row.text_version,
        "channel": row.channel,
        "given_at": row.given_at.isoformat(),
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "withdrawn_at": row.withdrawn_at.isoformat() if row.withdrawn_at else None,
        "withdrawal_channel": row.withdrawal_channel,
    }


def _prediction(
    row: Prediction, feedback: list[Feedback], decisions: list[ExpertDecision], answers: list[SheetAnswer]
) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "happened_at": row.happened_at.isoformat(),
        "model": row.model,
        "version": row.version,
        "verdict": Verdict(row.verdict).name,
        "class": row.top_class,
        "confidence": row.confidence,
        "request_id": row.request_id,
        "detail": row.detail_document,
        "feedback": [
            {
                "kind": FeedbackKind(item.kind).name,
                "true_class": item.true_class,
                "comment": item.comment,
                "happened_at": item.happened_at.isoformat(),
            }
            for item in feedback
        ],
        # Without the name of whoever decided: that person's data is not this person's.
        "reviews": [
            {
                "decided": item.decided,
                "class": item.class_id,
                "note": item.note,
                "decided_at": item.decided_at.isoformat(),
            }
            for item in decisions
        ],
        "sheets": [
            {"verdict": item.verdict, "note": item.note, "answered_at": item.answered_at.isoformat()}
            for item in answers
        ],
    }


def _objects(actor: User, request: PrivacyRequest) -> Iterator[tuple[str, bytes]]:
    if request.subject_id is None:
        return
    for kept in open_for_the_person(actor=actor, subject_id=request.subject_id):
        folder, ending = _PLACE[kept.kind]
        if kept.content is None:  # a damaged file keeps nobody from all the rest
            yield f"unreadable/{kept.owner}-{kept.part}.{kept.kind}.txt", _UNREADABLE
        else:
            yield f"{folder}/{kept.owner}-{kept.part}.{ending}", kept.content
