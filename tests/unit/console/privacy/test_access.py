"""What a person is handed about themselves: every field of it, in the order of time, and nothing of anybody else."""

from __future__ import annotations

import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.utils.timezone import now

from console.audit.models import Entry
from console.clients.models import Client
from console.datasets.models import Dataset, Label
from console.errors import NotAllowed, NotAvailable, NotFound
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.privacy import services
from console.privacy.access import export_person
from console.privacy.holdings import Whose
from console.privacy.inventory import TABLES
from console.privacy.models import PrivacyRequest
from console.review.models import Decided, ExpertDecision, ReviewItem
from console.review.services import Decision, decide, take
from console.sheets.models import Kind as SheetKind
from console.sheets.models import Sheet, SheetAnswer, SheetItem
from console.site.roles import Role
from console.staff.models import User
from console.vault import queries as vault_queries
from console.vault import services as vault
from console.vault.folder import Folder
from console.vault.models import StoredObject, Subject
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import feedback_event, prediction_event
from tests.tiny_archive import CLASSES
from tests.unit.console.people import member
from tests.unit.console.privacy.planted import PERSON, plant
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db

NOTHING_DECIDED = {"extended_at": None, "extension_reason": "", "reason": "", "closed_at": None}
UNCHECKED = {"identity_method": "", "identity_checked_at": None}
BEGIN = datetime(2026, 3, 1, 5, tzinfo=UTC)


def asks(officer: User, person: str, received_at: datetime | None = None) -> PrivacyRequest:
    """Access, in progress."""
    request = services.receive(
        actor=officer, pseudonym=person, kind="access", laws="both", channel="letter", received_at=received_at
    )
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    return services.start(actor=officer, request_id=request.pk)


def handed(officer: User, request: PrivacyRequest) -> tuple[dict[str, Any], dict[str, bytes]]:
    """person.json, and every file by name."""
    with export_person(actor=officer, request_id=request.pk) as file:
        content = file.read()
    assert content.startswith(b"PK\x03\x04")  # from its beginning
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(files["person.json"]), files


def words_of(page: bytes) -> str:
    """What a reader sees of a page, its white space as single blanks."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.decode(), flags=re.DOTALL)).split())


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PRIVACY_OFFICER])
def test_nobody_but_a_privacy_officer_hands_out_what_is_known(officer: User, role: Role) -> None:
    request = asks(officer, "nobody-known")
    with pytest.raises(NotAllowed):
        export_person(actor=member(role), request_id=request.pk)
    assert not Entry.objects.filter(type="privacy.exported").exists()


def test_a_request_that_does_not_exist_is_named(officer: User) -> None:
    with pytest.raises(NotFound, match="4711"):
        export_person(actor=officer, request_id=4711)


def test_whoever_is_unknown_is_told_what_they_ask_and_nothing_of_anybody_else(officer: User) -> None:
    plant(officer, member(Role.REVIEWER), person="somebody-else")
    apply_batch([prediction_event()])  # of nobody
    asks(officer, "somebody-else")
    services.receive(actor=officer, pseudonym="nobody-known", kind="erasure", laws="both", channel="letter")
    request = asks(officer, "nobody-known")
    person, files = handed(officer, request)
    assert (person["known"], person["consents"], person["predictions"]) == (False, [], [])
    assert [(row["kind"], row["state"]) for row in person["requests"]] == [
        ("erasure", "received"),
        ("access", "in_progress"),
    ]
    assert set(files) == {"README.txt", "person.json", "person.th.html", "person.en.html"}
    assert "Nothing is kept about you." in words_of(files["person.en.html"])


def test_each_field_of_what_is_known_is_told_in_the_order_of_time(officer: User) -> None:
    expert, person = member(Role.REVIEWER), "of-march"
    asks(officer, "somebody-else")
    older, newer = (
        vault.give_consent(
            actor=officer,
            pseudonym=person,
            purpose="keep_photograph",
            text_version=f"text-{days}",
            channel=f"counter-{days}",
            given_at=BEGIN + timedelta(days=days),
            expires_at=BEGIN + timedelta(days=3649 + days),
        )
        for days in (0, 1)
    )
    vault.withdraw_consent(actor=officer, reference=older.reference, channel="telephone")
    # Answers from before any erasure that is remembered count as those of a person who was known then.
    Subject.objects.filter(pk=older.subject_id).update(created_at=BEGIN - timedelta(days=1))
    version = a_version(member(Role.MODEL_ENGINEER)).version
    late, early = (
        prediction_event(
            model="tiny",
            version=version,
            top_class=CLASSES[0],
            happened_at=BEGIN + timedelta(hours=hours),
            subject=pb.Subject(pseudonym=person),
            request_id=f"call-{hours}",
            confidence=0.625,
        )
        for hours in (2, 1)
    )
    said = feedback_event(
        early.prediction.prediction_id,
        happened_at=BEGIN + timedelta(hours=3),
        true_class_id=CLASSES[1],
        comment="a comment & more",
    )
    apply_batch([late, early, said])
    item = ReviewItem.objects.get(prediction=early.prediction.prediction_id)
    take(actor=expert, item_id=item.pk)
    decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, CLASSES[2], note="a note"))
    decision = ExpertDecision.objects.get()
    since = {str(item.prediction_id): item.created_at.isoformat() for item in ReviewItem.objects.all()}
    day = timedelta(days=1)
    first = services.receive(
        actor=officer, pseudonym=person, kind="objection", laws="gdpr", channel="letter", received_at=BEGIN + day
    )
    request = asks(officer, person, BEGIN + 2 * day)

    before = now()
    told, files = handed(officer, request)

    older.refresh_from_db()
    assert before <= datetime.fromisoformat(told.pop("made_at")) <= now()
    rows = {row.request_id: row for row in Prediction.objects.all()}
    assert told.pop("uses").keys() == {"th", "en"}  # see below
    assert len(told.pop("log")) == 7  # two consents, a withdrawal, two answers, feedback, a review
    assert told == {
        "form": "amulet person 1",
        "known": True,
        "id": str(older.subject_id),
        "known_since": (BEGIN - timedelta(days=1)).isoformat(),
        "restricted_at": None,
        "callers": [],
        "consents": [
            {
                "reference": consent.reference,
                "purpose": "keep_photograph",
                "text_version": f"text-{days}",
                "channel": f"counter-{days}",
                "given_at": (BEGIN + timedelta(days=days)).isoformat(),
                "expires_at": consent.expires_at.isoformat(),
                "recorded_at": consent.recorded_at.isoformat(),
                "withdrawn_at": consent.withdrawn_at and consent.withdrawn_at.isoformat(),
                "withdrawal_channel": channel,
            }
            for days, consent, channel in ((0, older, "telephone"), (1, newer, ""))
        ],
        "predictions": [
            {
                "id": event.prediction.prediction_id,
                "happened_at": (BEGIN + timedelta(hours=hours)).isoformat(),
                "model": "tiny",
                "version": version,
                "verdict": "IN_DOMAIN",
                "class": CLASSES[0],
                "confidence": 0.625,
                "input_hash": bytes(rows[f"call-{hours}"].input_hash).hex(),
                "request_id": f"call-{hours}",
                "detail": rows[f"call-{hours}"].detail_document,
                "feedback": feedback,
                "review": {"why": why, "state": state, "since": since[event.prediction.prediction_id]},
                "reviews": reviews,
                "known_answer": None,
                "labels": [],
                "sheets": [],
                "on_sheets": [],
            }
            for hours, event, why, state, feedback, reviews in (
                (
                    1,
                    early,
                    "FLAGGED",
                    "decided",
                    [
                        {
                            "kind": "WRONG",
                            "true_class": CLASSES[1],
                            "comment": "a comment & more",
                            "happened_at": (BEGIN + timedelta(hours=3)).isoformat(),
                        }
                    ],
                    [
                        {
                            "decided": "class",
                            "class": CLASSES[2],
                            "agrees": False,
                            "part": "alone",
                            "note": "a note",
                            "decided_at": decision.decided_at.isoformat(),
                        }
                    ],
                ),
                (2, late, "LOW_CONFIDENCE", "open", [], []),
            )
        ],
        "requests": [
            {
                "number": first.pk,
                "kind": "objection",
                "laws": "gdpr",
                "channel": "letter",
                "received_at": first.received_at.isoformat(),
                "recorded_at": first.recorded_at.isoformat(),
                "due_at": first.due_at.astimezone(UTC).isoformat(),
                "state": "received",
                **UNCHECKED,
                **NOTHING_DECIDED,
            },
            {
                "number": request.pk,
                "kind": "access",
                "laws": "both",
                "channel": "letter",
                "received_at": request.received_at.isoformat(),
                "recorded_at": request.recorded_at.isoformat(),
                "due_at": request.due_at.astimezone(UTC).isoformat(),
                "state": "in_progress",
                "identity_method": "card",
                "identity_checked_at": request.identity_checked_at and request.identity_checked_at.isoformat(),
                **NOTHING_DECIDED,
            },
        ],
        "learnt": [],
        "refused": [],
    }
    english, thai = (words_of(files[f"person.{language}.html"]) for language in ("en", "th"))
    consent = f"keep the photograph for review and audit {older.reference} text-0 1 Mar 2026, 12:00 counter-0"
    assert f"{consent} 26 Feb 2036, 12:00" in english
    assert "telephone keep the photograph" in english  # beside when it was withdrawn
    answer = (
        f"1 Mar 2026, 13:00 Answer Red (in domain) Confidence 0.625 Model tiny {version} The caller's own id call-1"
    )
    feedback_and_review = (
        "Feedback wrong Green a comment & more 1 Mar 2026, 15:00 Expert review it is this class Blue a note"
    )
    assert f"{answer} {feedback_and_review}" in english
    assert (
        f"State {first.pk} objection 2 Mar 2026, 12:00 letter received "
        f"{request.pk} access 3 Mar 2026, 12:00 letter in progress"
    ) in english
    assert "1 มี.ค. 2569, 13:00 คำตอบ แดง (อยู่ในขอบเขต)" in thai
    assert f"{request.pk} ขอเข้าถึงข้อมูล 3 มี.ค. 2569, 12:00 letter กำลังดำเนินการ" in thai
    for language in ("en", "th"):
        assert f'<html lang="{language}">'.encode() in files[f"person.{language}.html"]


def test_nothing_half_is_handed_out_while_the_photographs_cannot_be_reached(officer: User) -> None:
    plant(officer, member(Role.REVIEWER))
    request = asks(officer, PERSON)
    kept, store = StoredObject.objects.filter(kind="heat_map").order_by("owner").last(), vault_queries.store()
    assert kept is not None
    assert isinstance(store, Folder)
    store._path(kept.pk).unlink()
    store._path(kept.pk).mkdir()  # reading it fails as a disk that is away does
    with pytest.raises(NotAvailable):
        export_person(actor=officer, request_id=request.pk)
    assert not Entry.objects.filter(type="privacy.exported").exists()


def test_beside_the_data_stands_what_the_law_wants_told_with_it(officer: User) -> None:
    """GDPR 15(1), PDPA 30: for what, on what basis, how long, from where, to whom, and what may be asked for."""
    client = Client.objects.create(name="shop")
    apply_batch([prediction_event(subject=pb.Subject(pseudonym=PERSON), client_id=str(client.client_id))])
    refused = asks(officer, PERSON)
    services.refuse(actor=officer, request_id=refused.pk, reason="asked yesterday")
    restriction = services.receive(actor=officer, pseudonym=PERSON, kind="restriction", laws="both", channel="web")
    services.check_identity(actor=officer, request_id=restriction.pk, method="card")
    services.start(actor=officer, request_id=restriction.pk)
    person, files = handed(officer, asks(officer, PERSON))

    assert person["callers"] == ["shop"]
    assert person["restricted_at"] is not None
    assert [row["reason"] for row in person["requests"]] == ["asked yesterday", "", ""]
    said = {
        (str(table.activity.purpose), str(table.activity.basis))
        for table in TABLES
        if any(holds is not None and holds.whose is Whose.PERSON for holds in table.field_holds().values())
    }
    assert {(use["purpose"], use["basis"]) for use in person["uses"]["en"]} == said
    assert all(use["holds"] and use["kept"] for language in ("en", "th") for use in person["uses"][language])
    assert "ความยินยอม" in json.dumps(person["uses"]["th"], ensure_ascii=False)

    english, thai = (words_of(files[f"person.{language}.html"]) for language in ("en", "th"))
    for use in person["uses"]["en"]:
        assert f"{use['purpose']} {use['basis']}" in english
    for words in (
        "Those were: shop.", "asked yesterday", "is left alone", "You may take a consent back at any time",
        "complain to the authority", "Experts look at some",
    ):  # fmt: skip
        assert words in english
    assert "คณะกรรมการคุ้มครองข้อมูลส่วนบุคคล" in thai


def test_what_was_said_on_sheets_and_what_learnt_of_them_is_told(officer: User) -> None:
    mine = plant(officer, member(Role.REVIEWER))
    engineer = member(Role.MODEL_ENGINEER)
    key = mine.prediction_ids[0]
    sheet = Sheet.objects.create(kind=SheetKind.HEAT_MAPS, sha256="0" * 64, size=1, imported_by=engineer)
    item = SheetItem.objects.create(sheet=sheet, number=1, name=str(key), prediction_id=key, photo=b"x")
    SheetAnswer.objects.create(item=item, expert=engineer, verdict="yes", note="at the face")
    made = Dataset.objects.create(
        model="tiny", fingerprint="0" * 64, photographs=1, per_class={}, outside=0, left_out=0, made_by=engineer
    )
    Label.objects.create(
        dataset=made,
        prediction_id=key,
        decision=ExpertDecision.objects.get(),
        part=0,
        class_id=CLASSES[0],
        sha256="0" * 64,
    )
    person, files = handed(officer, asks(officer, PERSON))
    told = {row["id"]: row["sheets"] for row in person["predictions"]}
    assert [(answer["verdict"], answer["note"]) for answer in told[str(key)]] == [("yes", "at the face")]
    assert [(row["photographs"], row["versions"]) for row in person["learnt"]] == [(1, [])]
    english = words_of(files["person.en.html"])
    assert "On a review sheet" in english
    assert "at the face" in english
    assert "Taken out for training" in english
