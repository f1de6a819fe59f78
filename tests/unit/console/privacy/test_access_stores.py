"""What an erasure of a person deletes is what the person is handed on asking, store by store and field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import settings

from console.audit.models import Payload
from console.audit.verifier import GO_WITH_SOMEBODY
from console.datasets.models import Dataset, Label
from console.privacy import services
from console.privacy.holdings import Whose
from console.privacy.inventory import TABLES
from console.privacy.models import PrivacyRequest
from console.privacy.stores import STORES, collect, find_all
from console.review.models import Decided, ExpertDecision, GoldAnswer, GoldItem, ReviewItem
from console.sheets.models import Sheet, SheetAnswer, SheetItem
from console.site.roles import Role
from console.staff.models import User
from console.vault import opening, restriction
from console.vault.models import Kind, Subject
from gateway.journal.rejected import RejectedEvent, RejectedEvents
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import member
from tests.unit.console.privacy.planted import PERSON, plant
from tests.unit.console.privacy.test_access import asks, handed, words_of

pytestmark = pytest.mark.django_db

# Stores of which nothing is handed out, and why not.
SILENT: Final = {
    "key": "it opens what is handed out, and says nothing",
    "files": "what is in them is handed out as photographs and heat maps",
    "training": "copies of photographs that are handed out, gone when the job ends",
    "broker": "numbers of rows",
    "journal": "on its way: it is here, or refused, within seconds",
    "logs": "random ids",
}
# Fields that hold something of a person and that nobody is told, and why not.
UNTOLD: Final = {
    ("vault.Subject", "found_by"): "a hash under a key of ours of what the caller named the person by",
    ("vault.Subject", "wrapped_key"): "a key",
    ("vault.Subject", "shut_at"): "nothing is handed out while it is set",
    ("vault.StoredObject", "id"): "name of a file, whose content is handed out",
    ("datasets.Label", "sha256"): "of a photograph that is handed out",
    ("privacy.PrivacyRequest", "found_by"): "as a person's",
    ("privacy.PrivacyRequest", "told"): "whom of the staff was told that its limit comes near",
    ("audit.Payload", "text"): "as what it says, below",
    ("audit.Payload", "subject_id"): "as what each entry is about",
}


@dataclass(frozen=True, slots=True)
class Mine:
    subject_id: UUID
    request: PrivacyRequest


@pytest.fixture
def mine(officer: User, expert: User) -> Iterator[Mine]:
    """Somebody with something in each store that is told of."""
    planted = plant(officer, expert)
    key = planted.prediction_ids[0]
    engineer = member(Role.MODEL_ENGINEER)
    sheet = Sheet.objects.create(kind="heat_maps", sha256="0" * 64, size=1, imported_by=engineer)
    item = SheetItem.objects.create(
        sheet=sheet, number=1, name=f"{key}_0.png", prediction_id=key, photo=b"a copy", overlay=b"drawn on a copy",
        label="canary-label", predicted="canary-predicted", confidence=0.4375,
    )  # fmt: skip
    SheetAnswer.objects.create(
        item=item, expert=engineer, verdict="no", problems=["canary-problem"], note="canary-sheet"
    )
    made = Dataset.objects.create(
        model="tiny", fingerprint="0" * 64, photographs=1, per_class={}, outside=0, left_out=0, made_by=engineer
    )
    decision = ExpertDecision.objects.get()
    Label.objects.create(
        dataset=made, prediction_id=key, decision=decision, part=0, class_id="canary-class", sha256="0" * 64
    )
    gold = GoldItem.objects.create(
        item=ReviewItem.objects.get(prediction=key), decided=Decided.CLASS, class_id=CLASSES[3], made_by=engineer
    )
    GoldAnswer.objects.create(
        gold=gold, expert=expert, decided=Decided.CLASS, class_id=CLASSES[4], note="canary-test", right=False,
        answered_at=decision.decided_at,
    )  # fmt: skip
    opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=str(key), part=0)
    settings.AMULET.journal_dir.mkdir(parents=True, exist_ok=True)
    refused = prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="canary-refused")
    RejectedEvents(settings.AMULET.journal_dir).keep([RejectedEvent(1, "", "canary-why", refused.SerializeToString())])
    earlier = asks(officer, PERSON)
    services.extend(actor=officer, request_id=earlier.pk, reason="canary-extended")
    services.pause(actor=officer, request_id=earlier.pk, reason="canary-paused")
    services.resume(actor=officer, request_id=earlier.pk)  # the row has the reason no more
    services.finish(actor=officer, request_id=earlier.pk, outcome="canary-outcome")
    found_by = bytes(Subject.objects.get(pk=planted.subject_id).found_by)
    restriction.restrict(actor=officer, found_by=found_by)
    yield Mine(planted.subject_id, asks(officer, PERSON))
    for file in (settings.AMULET.journal_dir / "rejected").glob("*"):
        file.unlink()


def test_each_store_that_an_erasure_empties_is_in_what_the_person_is_handed(officer: User, mine: Mine) -> None:
    found_by = bytes(Subject.objects.get(pk=mine.subject_id).found_by)
    there = find_all(collect(mine.subject_id, found_by))
    person, files = handed(officer, mine.request)
    made = person["predictions"]
    told = {
        "photographs": sum(name.startswith(("photographs/", "heat_maps/")) for name in files),
        "consents": len(person["consents"]),
        "reviews": sum((row["review"] is not None) + len(row["reviews"]) for row in made),
        "labels": sum(len(row["labels"]) for row in made),
        "sheets": sum(len(row["on_sheets"]) for row in made),
        "feedback": sum(len(row["feedback"]) for row in made),
        "predictions": len(made),
        "audit": len(person["log"]),
        "requests": len(person["requests"]),
        "person": int(person["known"]),
        "refused": len(person["refused"]),
    }
    assert told.keys() | SILENT.keys() == {store.name for store in STORES}
    # The export itself opens photographs, which is in the log by now and was not when the person's part was read.
    assert told == {name: there[name] for name in told}
    assert all(told.values())


def test_each_field_of_a_person_is_told_or_it_is_said_why_not(officer: User, mine: Mine) -> None:
    _person, files = handed(officer, mine.request)
    said = files["person.json"].decode()
    silent = []
    for table in TABLES:
        if not table.stores:
            continue
        for row in apps.get_model(table.label)._default_manager.all():
            for name, holds in table.field_holds().items():
                if holds is None or holds.whose != Whose.PERSON or (table.label, name) in UNTOLD:
                    continue
                value = getattr(row, row._meta.get_field(name).attname)
                if not _is_told(value, said, files):
                    silent.append((table.label, name, value))
    assert {each[:2] for each in silent} == set()


def _is_told(value: Any, said: str, files: dict[str, bytes]) -> bool:
    if isinstance(value, bytes | memoryview):
        return not value or bytes(value).hex() in said or bytes(value) in files.values()
    if isinstance(value, datetime):
        return value.isoformat() in said
    if isinstance(value, str | UUID):
        return not value or json.dumps(str(value), ensure_ascii=False)[1:-1] in said
    if isinstance(value, list):
        return all(_is_told(each, said, files) for each in value)
    return True  # a number, of which there are few; a document is compared in `test_access`


def test_what_the_log_says_of_a_person_is_told_and_who_of_the_staff_did_it_is_not(officer: User, mine: Mine) -> None:
    before = {
        row.entry_id: {name: value for name, value in json.loads(row.text).items() if name != "about"}
        for row in Payload.objects.filter(subject_type__in=("prediction", "subject"))
    }
    person, files = handed(officer, mine.request)
    told = {row["number"]: row["said"] for row in person["log"]}
    assert before.items() <= told.items()
    assert {"vault.opened", "review.decided", "consent.given", "vault.restricted"} <= {
        row["type"] for row in person["log"]
    }
    # Whoever deletes what one of these said is not told from an erasure: the verifier knows them by their names.
    assert {row["type"] for row in person["log"]} <= GO_WITH_SOMEBODY
    everything = b"".join(files.values()).decode(errors="replace")
    for user in User.objects.all():
        assert str(user.pseudonym) not in everything
        assert user.username not in everything
    english = words_of(files["person.en.html"])
    for words in (
        "canary-test", "canary-why", "canary-refused", "photograph or heat map opened", "What was done, and when",
        "For experts to look at low confidence",
    ):  # fmt: skip
        assert words in english, words
    pictures = [name for name in files if name.startswith("sheets/")]
    assert sorted(files[name] for name in pictures) == [b"a copy", b"drawn on a copy"]
    assert all(f'src="{name}"' in files["person.en.html"].decode() for name in pictures)
    assert "สิ่งที่ทำกับข้อมูล และเมื่อใด" in words_of(files["person.th.html"])
