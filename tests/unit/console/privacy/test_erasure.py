"""An erasure from the request to the last row: every store, at any moment, once, and again after a restore."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models, transaction
from django.utils.timezone import now
from pytest_django import DjangoCaptureOnCommitCallbacks

from console.audit.models import Entry, Payload
from console.audit.services import record
from console.audit.signer import Signer
from console.errors import Conflict, NotFound
from console.ingest.services import apply_batch
from console.predictions.models import Feedback, Prediction
from console.privacy import erasure, ledger, refused, services, tasks
from console.privacy.access import export_person
from console.privacy.models import Erasure, PrivacyRequest, State, Step
from console.privacy.stores import STORES, collect, find_all
from console.review.models import ExpertDecision, ReviewItem
from console.sheets.models import Sheet, SheetItem
from console.staff.models import User
from console.vault import opening
from console.vault import queries as vault_queries
from console.vault import services as vault
from console.vault.folder import Folder
from console.vault.models import Consent, Kind, StoredObject, Subject
from protos.amulet.v1 import prediction_pb2
from tests.console_events import kept_event, prediction_event
from tests.unit.console.privacy.planted import (
    PERSON,
    ask_erasure,
    everything,
    plant,
    recipient,
)

pytestmark = pytest.mark.django_db


def test_an_erasure_empties_every_store_and_touches_nobody_else(officer: User, expert: User, signer: Signer) -> None:
    other = plant(officer, expert, person="somebody-else", tag="-other")
    kept = find_all(collect(other.subject_id, b""))
    mine = plant(officer, expert)
    sheet = Sheet.objects.create(kind="heat_maps", sha256="0" * 64, size=1, imported_by=expert)
    SheetItem.objects.create(
        sheet=sheet,
        number=1,
        name=f"{mine.prediction_ids[0]}_0.png",
        prediction_id=mine.prediction_ids[0],
        photo=b"jpeg",
    )
    traces = collect(mine.subject_id, b"")
    files = list(traces.object_ids)
    assert vault_queries.store().held(files) == len(files)
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)

    found = find_all(traces)
    assert found == {store.name: 0 for store in STORES}
    assert find_all(collect(other.subject_id, b"")) == kept
    done = Erasure.objects.select_related("request").get(pk=request.pk)
    assert (done.step, done.request.state, done.traces, done.remaining) == (Step.DONE, State.DONE, {}, {})
    assert {name: done.before[name] for name in ("key", "photographs", "consents", "predictions", "feedback")} == {
        "key": 1, "photographs": 6, "consents": 1, "predictions": 4, "feedback": 1,
    }  # fmt: skip
    assert done.before["reviews"] == 4  # three items, one decision
    assert done.before["sheets"] == 1
    left = everything()
    for canary in (PERSON, "consent-7701'", "call-7701'", "comment-7701'", "note-7701'", str(mine.subject_id)):
        assert canary not in left, canary
    assert not any(str(key) in left for key in mine.prediction_ids)


def test_while_it_goes_on_nothing_is_opened_or_agreed_to(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    request = ask_erasure(officer)
    erasure._advance(request.pk)
    row = StoredObject.objects.filter(subject=mine.subject_id).first()
    assert row is not None
    with pytest.raises(NotFound):
        opening.open_kept(actor=expert, kind="photograph", owner=row.owner, part=row.part)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="being erased"):
        vault.give_consent(actor=officer, pseudonym=PERSON, purpose="training", text_version="1", channel="web")
    assert not vault.lock_consents(["canary-consent-7701"], purpose="keep_photograph", at=now())  # type: ignore[arg-type]


@pytest.mark.parametrize("door", ["one", "all"])
def test_who_is_erased_while_a_store_hands_something_out_leaves_no_trace_of_it(
    officer: User, expert: User, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = plant(officer, expert)
    request = ask_erasure(officer)
    row = StoredObject.objects.filter(subject=mine.subject_id, kind="photograph").first()
    assert row is not None
    read = opening._opened

    def slowly(row: StoredObject) -> bytes:
        content = read(row)
        monkeypatch.setattr(opening, "_opened", read)
        assert erasure.carry_out(request.pk)
        return content

    monkeypatch.setattr(opening, "_opened", slowly)
    if door == "one":
        with pytest.raises(NotFound):
            opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=row.owner, part=row.part)
    else:
        assert list(opening.open_for_the_person(actor=officer, subject_id=mine.subject_id)) == []
    assert not Payload.objects.filter(subject_id__in=map(str, mine.prediction_ids)).exists()


def test_what_was_being_added_while_the_rows_went_counts_too(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    request = ask_erasure(officer)
    while erasure._advance(request.pk)[1] != Step.SUBJECT:
        pass
    before = Erasure.objects.get(pk=request.pk).before
    late = prediction_event()
    apply_batch([late])
    prediction = UUID(late.prediction.prediction_id)
    Prediction.objects.filter(pk=prediction).update(subject=mine.subject_id)
    sheet = Sheet.objects.create(kind="heat_maps", sha256="0" * 64, size=1, imported_by=expert)
    SheetItem.objects.create(sheet=sheet, number=1, name="a.png", prediction_id=prediction, photo=b"jpeg")
    assert erasure.carry_out(request.pk)
    more = {"predictions": 1, "sheets": 1, "audit": 1}
    assert Erasure.objects.get(pk=request.pk).before == {name: n + more.get(name, 0) for name, n in before.items()}
    assert not SheetItem.objects.exists()


def test_what_the_second_search_finds_counts_too(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    request = ask_erasure(officer)
    while erasure._advance(request.pk)[1] != Step.SEARCH:
        pass
    before = Erasure.objects.get(pk=request.pk).before
    record(actor=None, action="test.late", subject_type="subject", subject_id=str(mine.subject_id), details={})
    assert not erasure.carry_out(request.pk)  # back to the rows, for the next call
    assert erasure.carry_out(request.pk)
    done = Erasure.objects.get(pk=request.pk)
    assert done.before == {**before, "audit": before["audit"] + 1}
    assert done.statement is not None
    assert done.statement["stores"]["audit"] == {"before": before["audit"] + 1, "after": 0}


def test_somebody_unknown_is_erased_with_nothing_to_show(officer: User) -> None:
    vault.subjects_of({"somebody-else"})
    request = ask_erasure(officer, "nobody-knows-me")
    assert erasure.carry_out(request.pk)
    assert set(Erasure.objects.get(pk=request.pk).before.values()) == {0}
    assert Subject.objects.get().shut_at is None
    assert not settings.AMULET.erasure_ledger.exists()


def test_a_duplicate_is_done_with_the_first(officer: User, expert: User) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    second = services.receive(actor=officer, pseudonym=PERSON, kind="erasure", laws="both", channel="web")
    other = services.receive(actor=officer, pseudonym=PERSON, kind="access", laws="both", channel="web")
    services.extend(actor=officer, request_id=request.pk, reason="Khun Malee is abroad")
    assert erasure.carry_out(request.pk)
    second.refresh_from_db()
    other.refresh_from_db()
    assert (second.state, bytes(second.found_by)) == (State.DONE, b"")
    closed = Entry.objects.get(type="privacy.closed_with").payload
    assert (closed.subject_id, json.loads(closed.text)["first"]) == (str(second.pk), request.pk)
    request.refresh_from_db()
    assert (request.reason, request.extension_reason) == ("", "")
    assert (other.state, other.subject_id) == (State.RECEIVED, None)


def test_a_task_that_is_delivered_twice_has_one_effect(
    officer: User, expert: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    for _ in range(2):
        tasks.carry_out(request.pk)
    assert Entry.objects.filter(type="erasure.key_destroyed").count() == 1
    assert len(list(ledger.read(settings.AMULET.erasure_ledger))) == 1


def test_a_restore_is_erased_again_from_the_ledger(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    others = plant(officer, expert, person="somebody-else", tag="-other")
    traces = collect(mine.subject_id, b"")
    lines = [ledger.Line(subject_id=mine.subject_id, erased_at=now(), request_id=7)]
    lines.append(ledger.Line(subject_id=UUID(int=5), erased_at=now(), request_id=8))
    for line in lines:
        ledger.enter(settings.AMULET.erasure_ledger, line)
    with settings.AMULET.erasure_ledger.open("ab") as file:
        file.write(b'\n{"subject": "cut sh')
    assert list(ledger.read(settings.AMULET.erasure_ledger)) == lines
    assert erasure.replay() == 1
    assert find_all(traces) == {store.name: 0 for store in STORES}
    assert list(Subject.objects.values_list("pk", flat=True)) == [others.subject_id]
    assert erasure.replay() == 0
    assert Entry.objects.filter(type="erasure.replayed").count() == 1
    ledger.enter(settings.AMULET.erasure_ledger, lines[0])
    assert len(list(ledger.read(settings.AMULET.erasure_ledger))) == 3


@pytest.mark.parametrize("steps", range(6))
def test_a_backup_that_was_made_during_an_erasure_brings_nobody_back(
    officer: User, expert: User, signer: Signer, tmp_path: Path, steps: int
) -> None:
    """After so many of its steps. The files are of before it began; the ledger is the one of now."""
    mine = plant(officer, expert)
    request = ask_erasure(officer)
    traces = collect(mine.subject_id, bytes(request.found_by))
    files = shutil.copytree(settings.AMULET.storage_dir, tmp_path / "objects")
    for _step in range(steps):
        erasure._advance(request.pk)
    backup = transaction.savepoint()
    tasks.find_work()
    assert PrivacyRequest.objects.get().state == State.DONE

    transaction.savepoint_rollback(backup)
    shutil.copytree(files, settings.AMULET.storage_dir, dirs_exist_ok=True)
    assert PrivacyRequest.objects.get().state == State.IN_PROGRESS
    erasure.replay()
    # Before any worker has looked nobody opens or adds anything.
    assert not Subject.objects.filter(shut_at=None).exists()
    for _look in range(2):  # the first finds files behind their rows
        tasks.find_work()

    assert PrivacyRequest.objects.get().state == State.DONE
    assert find_all(traces) == {store.name: 0 for store in STORES}
    assert not Subject.objects.exists()
    assert vault_queries.store().held(traces.object_ids) == 0
    assert erasure.replay() == 0


def test_a_replay_that_failed_on_its_way_is_done_the_next_time(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    traces = collect(mine.subject_id, b"")
    ledger.enter(settings.AMULET.erasure_ledger, ledger.Line(subject_id=mine.subject_id, erased_at=now(), request_id=7))
    in_the_way = settings.AMULET.journal_dir / refused._FOLDER
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.touch()
    try:
        with pytest.raises(NotADirectoryError):
            erasure.replay()
    finally:
        in_the_way.unlink()
    assert erasure.replay() == 1
    assert find_all(traces) == {store.name: 0 for store in STORES}


def test_access_is_answered_with_what_is_known_and_no_more(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    plant(officer, expert, person="somebody-else", tag="-other")
    request = services.receive(actor=officer, pseudonym=PERSON, kind="access", laws="both", channel="letter")
    with pytest.raises(Conflict):
        export_person(actor=officer, request_id=request.pk)
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    services.start(actor=officer, request_id=request.pk)
    with (
        export_person(actor=officer, request_id=request.pk) as file,
        zipfile.ZipFile(io.BytesIO(file.read())) as zipped,
    ):
        names = zipped.namelist()
        person = json.loads(zipped.read("person.json"))
        photograph = zipped.read(next(name for name in names if name.startswith("photographs/")))
        thai, english = (zipped.read(f"person.{language}.html").decode() for language in ("th", "en"))
    assert "README.txt" in names
    assert len([name for name in names if name.startswith("photographs/")]) == 3
    assert len([name for name in names if name.startswith("heat_maps/")]) == 3
    assert photograph.startswith(b"\x89PNG")
    assert {row["id"] for row in person["predictions"]} == {str(key) for key in mine.prediction_ids}
    assert "canary-comment-7701" in json.dumps(person)
    assert "canary-note-7701" in json.dumps(person)
    assert "-other" not in json.dumps(person)
    assert expert.username not in json.dumps(person)
    assert Entry.objects.filter(type="privacy.exported").count() == 1
    assert Entry.objects.filter(type="vault.opened").count() == 6
    shown = re.findall(r'<img src="([^"]+)"', english)
    assert sorted(shown) == sorted(name for name in names if name.startswith("photographs/"))
    for page in (thai, english):
        assert "canary-comment-7701" in page
        assert "canary-note-7701" in page
        assert "ผลประเมินเป็นเบื้องต้น" in page
        assert "-other" not in page
        assert expert.username not in page
        assert not re.search(r"https?://|<script", page)
    assert "ข้อมูลที่ทราบเกี่ยวกับคุณ" in thai
    assert str(now().year + 543) in thai
    assert "What is known of you" in english


def test_a_damaged_file_keeps_nobody_from_what_else_is_known(officer: User, expert: User) -> None:
    plant(officer, expert)
    request = services.receive(actor=officer, pseudonym=PERSON, kind="access", laws="both", channel="letter")
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    services.start(actor=officer, request_id=request.pk)
    store, row = vault_queries.store(), StoredObject.objects.filter(kind="photograph").order_by("pk").first()
    assert row is not None
    assert isinstance(store, Folder)
    store._path(row.pk).write_bytes(store.read(row.pk)[:-1])
    with (
        export_person(actor=officer, request_id=request.pk) as file,
        zipfile.ZipFile(io.BytesIO(file.read())) as zipped,
    ):
        names = zipped.namelist()
        said = zipped.read(f"unreadable/{row.owner}-{row.part}.photograph.txt").decode()
    assert "cannot be read any more" in said
    assert len([name for name in names if name.startswith("photographs/")]) == 2
    assert Entry.objects.filter(type="vault.opened").count() == 5


def test_every_table_that_leads_to_a_person_is_in_a_store() -> None:
    """A table with a person's or a prediction's row behind a foreign key goes with it, or has a store of its own."""
    covered = {
        Subject,
        Consent,
        StoredObject,
        Prediction,
        Feedback,
        ReviewItem,
        ExpertDecision,
        Payload,
        PrivacyRequest,
    }
    goes_with = {Erasure}  # forgets by itself, see its constraint
    people = {Subject, Prediction}
    missing = []
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if not isinstance(field, models.ForeignKey | models.OneToOneField) or model in covered | goes_with:
                continue
            if field.related_model in people | covered and field.remote_field.on_delete is not models.CASCADE:
                missing.append(f"{model._meta.label}.{field.name}")
    assert missing == []


def test_a_withdrawal_needs_no_erasure(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    with transaction.atomic():
        vault.withdraw_consent(actor=officer, reference="canary-consent-7701", channel="telephone")
    assert not StoredObject.objects.filter(subject=mine.subject_id).exists()
    event = kept_event(pseudonym=PERSON, consent="canary-consent-7701", recipient=recipient())
    assert event.prediction.subject.retention == prediction_pb2.RETENTION_KEEP
    apply_batch([event])
    assert not StoredObject.objects.filter(subject=mine.subject_id).exists()
