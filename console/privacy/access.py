"""What a person is told about themselves: a ZIP that a person opens and a program reads.

    README.txt          what is in it, in Thai and English
    person.th.html      consents, predictions, feedback, reviews, requests, what was done with it and when, to read, and
                        what the law wants told beside them: for what it is used, how long, who gets it, what may be
                        asked for
    person.en.html
    person.json         the same for programs
    photographs/        the kept photographs, as the model saw them
    heat_maps/          rows and columns (2 bytes each, little-endian), then one byte a cell
    sheets/             copies of photographs on review sheets, and heat maps drawn on them

It is made when it is asked for and kept nowhere. What an erasure would delete is in it, store by store; a test compares
the two. Whoever of the staff did something is named nowhere: that person's data is not this person's.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, Final
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.queries import entries_of
from console.audit.services import record
from console.audit.words import typed_about
from console.datasets.queries import labels_by_prediction, learnt_of
from console.errors import Conflict, NotFound
from console.predictions.models import Feedback, FeedbackKind, Prediction, Verdict
from console.predictions.queries import feedback_on
from console.privacy import refused
from console.privacy.access_page import LANGUAGES, SHEETS, pages
from console.privacy.models import Kind, PrivacyRequest, State
from console.privacy.notice import callers, uses_by_language
from console.privacy.services import link_person
from console.privacy.stores import collect, sought
from console.privacy.typed import IN_AUDIT
from console.review.models import GoldItem, ReviewItem, Why
from console.review.queries import items_by_prediction
from console.sheets.models import SheetItem
from console.sheets.queries import items_by_prediction as sheet_items_by_prediction
from console.staff.models import User
from console.staff.services import require
from console.vault.models import Consent
from console.vault.models import Kind as ObjectKind
from console.vault.opening import open_for_the_person

_MEMORY_BYTES_MAX: Final = 8 * 2**20
_PICTURES_AT_ONCE: Final = 50
_PLACE: Final = {ObjectKind.PHOTOGRAPH: ("photographs", "png"), ObjectKind.HEAT_MAP: ("heat_maps", "bin")}
_UNREADABLE: Final = (
    "สิ่งนี้เก็บไว้ แต่ไฟล์เสียหายและอ่านไม่ได้อีกต่อไป\nThis is kept, and its file is damaged: it cannot be read any more.\n"
).encode()
_README: Final = """\
ข้อมูลของคุณ / What is known of you

person.th.html  ความยินยอม ผลการทำนาย ความเห็น การตรวจโดยผู้เชี่ยวชาญ คำขอ และสิ่งที่ทำกับข้อมูลเมื่อใด ใช้เพื่ออะไร
                เก็บนานเท่าใด และสิทธิของคุณ เปิดอ่านได้ด้วยเบราว์เซอร์
person.en.html  consents, predictions, feedback, expert reviews, requests, and what was done with it and when, what
                it is used for and how long it is kept, and your rights, to read in a browser
person.json     เนื้อหาเดียวกันสำหรับโปรแกรม (the same for programs)
photographs/    ภาพถ่ายที่เก็บไว้ (photographs that are kept)
heat_maps/      แผนที่ความร้อน: จำนวนแถว จำนวนคอลัมน์ (2 ไบต์) แล้วตามด้วยค่าช่องละหนึ่งไบต์
                heat maps: rows, columns (2 bytes each, little-endian), then one byte a cell
sheets/         สำเนาภาพถ่ายบนแผ่นตรวจ (copies of photographs on review sheets)

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
            for name, content in _pictures(request):
                archive.writestr(name, content)
            folders = (f"{_PLACE[ObjectKind.PHOTOGRAPH][0]}/", f"{SHEETS}/")
            pictures = [name for name in archive.namelist() if name.startswith(folders)]
            for name, text in pages(person, pictures):
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
    feedback, reviews, labels = feedback_on(ids), items_by_prediction(ids), labels_by_prediction(ids)
    on_sheets: dict[UUID, list[SheetItem]] = {}
    for item in sheet_items_by_prediction(ids):
        if item.prediction_id is not None:
            on_sheets.setdefault(item.prediction_id, []).append(item)
    return {
        "form": "amulet person 1",
        "made_at": now().isoformat(),
        "known": subject is not None,
        "id": str(subject) if subject else None,
        "known_since": _text(request.subject.created_at if request.subject else None),
        "restricted_at": _text(request.subject.restricted_at if request.subject else None),
        "uses": uses_by_language(LANGUAGES),
        "callers": callers({prediction.client_id for prediction in made}),
        "consents": [_consent(row) for row in Consent.objects.filter(subject=subject).order_by("given_at")]
        if subject
        else [],
        "predictions": [
            _prediction(row, feedback.get(row.pk, []), reviews.get(row.pk), on_sheets.get(row.pk, []))
            | {"labels": [{"part": part, "class": class_id} for part, class_id in labels.get(row.pk, ())]}
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
        "refused": _refused(request),
        "log": _log(request, ids),
    }


def _request(row: PrivacyRequest) -> dict[str, Any]:
    return {
        "number": row.pk,
        "kind": row.kind,
        "laws": row.laws,
        "channel": row.channel,
        "received_at": row.received_at.isoformat(),
        "recorded_at": row.recorded_at.isoformat(),
        "due_at": row.due_at.isoformat(),
        "state": row.state,
        "identity_method": row.identity_method,
        "identity_checked_at": _text(row.identity_checked_at),
        "extended_at": _text(row.extended_at),
        "extension_reason": row.extension_reason,
        "reason": row.reason,
        "closed_at": _text(row.closed_at),
    }


def _refused(request: PrivacyRequest) -> list[dict[str, Any]]:
    """What a gateway on this machine sent of the person and the console did not take: no row leads to it."""
    subject = request.subject_id or uuid4()  # nobody is known by this name; what was refused may have it all the same
    return [
        {
            "happened_at": _text(event.happened_at),
            "why": event.why,
            "request_id": event.request_id,
            "comment": event.comment,
            "photographs": event.photographs,
        }
        for event in refused.of(sought(collect(subject, bytes(request.found_by))))
    ]


def _log(request: PrivacyRequest, prediction_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """What the audit log says of the person, in its order: who looked at a photograph is not told, and when is."""
    numbers = [str(number) for number in _requests(request).values_list("pk", flat=True)]
    found = entries_of("prediction", map(str, prediction_ids))
    if request.subject_id is not None:
        found += entries_of("subject", [str(request.subject_id)])
    typed = set(typed_about("privacy_request", numbers, fields=IN_AUDIT))
    words = entries_of("words", [f"privacy_request:{number}" for number in numbers])
    found += words + [entry for entry in entries_of("privacy_request", numbers) if entry.pk in typed]
    return [
        {
            "number": entry.sequence,
            "happened_at": entry.recorded_at.isoformat(),
            "type": entry.type,
            "about": list(entry.payload.about),
            "said": _said_in(entry.payload.text),
        }
        for entry in sorted(found, key=lambda entry: entry.sequence)
    ]


def _said_in(text: str) -> Mapping[str, Any]:
    """Without what the entry is about. Nothing of a text that was spoilt, which the verifier names."""
    try:
        said = json.loads(text)
        return {name: value for name, value in said.items() if name != "about"}
    except (AttributeError, ValueError):
        return {}


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
        "recorded_at": row.recorded_at.isoformat(),
        "withdrawn_at": row.withdrawn_at.isoformat() if row.withdrawn_at else None,
        "withdrawal_channel": row.withdrawal_channel,
    }


def _prediction(
    row: Prediction, feedback: list[Feedback], review: ReviewItem | None, on_sheets: list[SheetItem]
) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "happened_at": row.happened_at.isoformat(),
        "model": row.model,
        "version": row.version,
        "verdict": Verdict(row.verdict).name,
        "class": row.top_class,
        "confidence": row.confidence,
        "input_hash": bytes(row.input_hash).hex(),
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
        "review": None
        if review is None
        else {"why": Why(review.why).name, "state": review.state, "since": review.created_at.isoformat()},
        "reviews": []
        if review is None
        else [
            {
                "decided": item.decided,
                "class": item.class_id,
                "agrees": item.agrees,
                "part": item.part,
                "note": item.note,
                "decided_at": item.decided_at.isoformat(),
            }
            for item in review.decisions.all()
        ],
        "known_answer": _known_answer(getattr(review, "gold", None)),
        "sheets": [
            {
                "verdict": answer.verdict,
                "problems": answer.problems,
                "note": answer.note,
                "answered_at": answer.answered_at.isoformat(),
            }
            for item in on_sheets
            for answer in item.answers.all()
        ],
        "on_sheets": [
            {
                "sheet": item.sheet_id,
                "number": item.number,
                "label": item.label,
                "predicted": item.predicted,
                "confidence": item.confidence,
            }
            for item in on_sheets
        ],
    }


def _known_answer(gold: GoldItem | None) -> dict[str, Any] | None:
    """What the photograph is held to show, and what experts said who were tested with it."""
    if gold is None:
        return None
    return {
        "decided": gold.decided,
        "class": gold.class_id,
        "answers": [
            {
                "decided": answer.decided,
                "class": answer.class_id,
                "note": answer.note,
                "answered_at": _text(answer.answered_at),
            }
            for answer in gold.answers.all()
            if answer.answered_at is not None
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


def _pictures(request: PrivacyRequest) -> Iterator[tuple[str, bytes]]:
    """What lies on review sheets of the person's photographs: a sheet holds copies of its own."""
    if request.subject_id is None:
        return
    mine = SheetItem.objects.filter(prediction__subject=request.subject_id).order_by("pk")
    for item in mine.iterator(chunk_size=_PICTURES_AT_ONCE):
        name = f"{SHEETS}/{item.prediction_id}-{item.sheet_id}-{item.number}"
        yield f"{name}.jpg", bytes(item.photo)
        if item.overlay:
            yield f"{name}_map.jpg", bytes(item.overlay)
