from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.apps import apps
from django.conf import settings
from django.db import models, transaction
from django.utils.timezone import now
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from console.audit.commands import check_document
from console.audit.export import export
from console.audit.models import Entry, Payload
from console.audit.notes import load_public_key
from console.audit.receipt import ReceiptInvalid
from console.audit.services import record
from console.audit.signer import Signer
from console.audit.verifier import verify
from console.errors import Conflict, NotAvailable, NotFound
from console.ingest.services import apply_batch
from console.predictions.models import Feedback, Prediction
from console.predictions.services import discard_orphan_feedback
from console.privacy import erasure, ledger, refused, services, tasks
from console.privacy.access import export_person
from console.privacy.certificate import certificate_of
from console.privacy.clocks import day_of
from console.privacy.models import Erasure, PrivacyRequest, State, Step
from console.privacy.stores import STORES, collect, find_all
from console.review.models import ExpertDecision, ReviewItem
from console.sheets.models import Sheet, SheetItem
from console.site.roles import Role
from console.staff.models import User
from console.vault import opening
from console.vault import queries as vault_queries
from console.vault import services as vault
from console.vault.cipher import find_by
from console.vault.folder import Folder
from console.vault.models import Consent, Erased, Kind, StoredObject, Subject
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import feedback_event, kept_event, prediction_event, shadow_event
from tests.unit.console.people import caller, member
from tests.unit.console.privacy.planted import CALL, CANARY, CONSENT, PERSON, ask_erasure, late_event, plant

pytestmark = pytest.mark.django_db


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Signer(tmp_path / "key", tmp_path / "checkpoints")


def everything() -> str:
    """Every row of every table, as text: what a canary is looked for in."""
    rows = [list(model._default_manager.values()) for model in apps.get_models()]
    return repr(rows)


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


def test_a_certificate_says_what_learnt_and_when_and_what_a_folder_held_that_is_gone_since(
    officer: User, expert: User, settings: Settings, tmp_path: Path
) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    while erasure._advance(request.pk)[1] != Step.FINISH:
        pass
    row = Erasure.objects.get(pk=request.pk)
    row.before["journal"], row.learnt = 2, ["tiny 1"]
    row.save()
    settings.AMULET = settings.AMULET.model_copy(update={"journal_dir": tmp_path / "gone"})
    assert erasure.carry_out(request.pk)
    row.refresh_from_db()
    assert row.statement is not None
    assert row.statement["stores"]["journal"] == {"before": 2, "after": 0}
    assert row.statement["versions_that_learnt"] == ["tiny 1"]
    assert row.key_destroyed_at is not None
    assert row.statement["key_destroyed_at"] == row.key_destroyed_at.isoformat()
    limits = request.limits().by_law
    assert row.statement["due_on"] == {law.value: day.isoformat() for law, day in limits.items()}


def test_no_nought_is_certified_of_a_journal_that_is_on_another_machine(
    officer: User, expert: User, settings: Settings, tmp_path: Path
) -> None:
    plant(officer, expert)
    elsewhere = settings.AMULET.model_copy(update={"journal_dir": tmp_path / "in another pod"})
    (tmp_path / "here").mkdir()
    here = settings.AMULET.model_copy(update={"journal_dir": tmp_path / "here"})
    said = []
    for settings.AMULET in (elsewhere, here):
        request = ask_erasure(officer)
        assert erasure.carry_out(request.pk)
        statement = Erasure.objects.get(pk=request.pk).statement
        assert statement is not None
        said.append({name: statement["stores"][name] for name in ("journal", "refused", "predictions")})
        assert any("Journals on other machines are not searched" in limit for limit in statement["limits"])
    unsearched, nothing = {"before": None, "after": None}, {"before": 0, "after": 0}
    assert said[0] == {"journal": unsearched, "refused": unsearched, "predictions": {"before": 4, "after": 0}}
    assert said[1] == {"journal": nothing, "refused": nothing, "predictions": nothing}


def test_the_chain_verifies_afterwards_and_the_certificate_proves_itself(
    officer: User, expert: User, signer: Signer, tmp_path: Path
) -> None:
    plant(officer, expert)
    signer.sign(now())
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    with pytest.raises(NotAvailable):
        certificate_of(request.pk)  # no checkpoint covers it yet
    auditor = caller(Role.AUDITOR)
    for form in ("certificate/", "certificate/pdf/"):
        refused = auditor.get(f"/api/v1/privacy/requests/{request.pk}/{form}")
        assert (refused.status_code, refused.json()["reason"]) == (503, "not_signed_yet")
    signer.sign(now())
    key = load_public_key(tmp_path / "checkpoints" / "audit_public.pem")
    certificate = certificate_of(request.pk)
    proved = check_document(json.loads(json.dumps(certificate)), key)
    assert (proved.type, proved.payload["about"]) == ("erasure.done", ["privacy_request", str(request.pk)])
    assert certificate["statement"]["stores"]["predictions"] == {"before": 4, "after": 0}
    assert CANARY not in json.dumps(certificate)
    spoilt = json.loads(json.dumps(certificate))
    spoilt["statement"]["stores"]["predictions"]["before"] = 3
    with pytest.raises(ReceiptInvalid):
        check_document(spoilt, key)
    report = verify(b"".join(export(key)).splitlines(), key)
    assert report.whole
    assert report.erased == 4 + 1 + 1 + 1  # predictions, feedback, decision, consent


def test_what_comes_late_brings_nobody_back(officer: User, expert: User) -> None:
    plant(officer, expert)
    early, traced = [late_event(), late_event()], f"00-{'a1' * 16}-{'b2' * 8}-01"
    for event in early:
        event.traceparent = traced
    request = ask_erasure(officer)
    erasure._advance(request.pk)  # the records are shut
    assert apply_batch(early[:1]).applied == 1
    assert erasure.carry_out(request.pk)
    assert apply_batch(early[1:]).applied == 1
    assert not Subject.objects.exists()
    for event in early:
        row = Prediction.objects.get(pk=event.prediction.prediction_id)
        assert (row.subject_id, row.request_id, row.detail().trace_id) == (None, "", "")
    # Whoever comes back is somebody new.
    Erased.objects.update(erased_at=now() - timedelta(minutes=6))
    fresh = late_event()
    fresh.traceparent = traced
    assert apply_batch([fresh]).applied == 1
    row = Prediction.objects.get(pk=fresh.prediction.prediction_id)
    assert (row.request_id, row.detail().trace_id) == (CALL, "a1" * 16)
    assert Subject.objects.count() == 1


def test_the_memory_of_an_erasure_ends_when_nothing_can_come_any_more(
    officer: User, expert: User, clock_was_set: Callable[[timedelta], None]
) -> None:
    mine = plant(officer, expert)
    assert erasure.carry_out(ask_erasure(officer).pk)
    assert Erased.objects.filter(found_by=find_by(vault_queries.keys(), PERSON)).exists()
    assert Erased.objects.count() == 1 + len(mine.prediction_ids)
    assert vault.forget_erased() == 0
    Erased.objects.update(erased_at=now() - vault.LATE_EVENTS_MAX - timedelta(minutes=1))
    clock_was_set(timedelta(days=1))
    assert vault.forget_erased() == 0  # nobody knows whether it is so late
    clock_was_set(timedelta())
    assert vault.forget_erased() == 1 + len(mine.prediction_ids)


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


def test_it_is_not_done_while_the_journal_holds_anything(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    segment = settings.AMULET.journal_dir / "000001.journal"
    segment.write_bytes(b"\0\1" + str(mine.prediction_ids[2]).encode() + b"\0")
    request = ask_erasure(officer)
    try:
        assert not erasure.carry_out(request.pk)
        waiting = Erasure.objects.get(pk=request.pk)
        assert (waiting.step, waiting.remaining) == (Step.SEARCH, {"journal": 1})
        assert not erasure.carry_out(request.pk)
        assert PrivacyRequest.objects.get(pk=request.pk).state == State.IN_PROGRESS
    finally:
        segment.unlink()
    tasks.find_work()
    assert PrivacyRequest.objects.get(pk=request.pk).state == State.DONE


@pytest.fixture
def segment() -> Iterator[Path]:
    """A segment of the gateway's journal, which is not there yet."""
    path = settings.AMULET.journal_dir / "000001.journal"
    yield path
    path.unlink(missing_ok=True)


def test_a_name_that_callers_give_to_many_calls_keeps_no_erasure_waiting(officer: User, segment: Path) -> None:
    def called(by: str) -> pb.Event:
        return prediction_event(subject=pb.Subject(pseudonym=by), request_id="mobile-app-v2")

    assert apply_batch([called(PERSON), called("somebody-else")]).applied == 2
    segment.write_bytes(called("somebody-else").SerializeToString())
    assert erasure.carry_out(ask_erasure(officer).pk)


def test_nor_does_a_name_that_stands_in_calls_of_nobody(officer: User, segment: Path) -> None:
    mine = prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="mobile-app-v2")
    nobodys = [prediction_event(request_id="mobile-app-v2") for _ in range(2)]
    assert apply_batch([mine, nobodys[0]]).applied == 2
    segment.write_bytes(nobodys[1].SerializeToString())
    assert erasure.carry_out(ask_erasure(officer).pk)


@pytest.mark.parametrize(
    "waiting",
    [
        prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="cart"),
        prediction_event(subject=pb.Subject(pseudonym=PERSON, consent_reference="training")),
    ],
)
def test_an_event_under_a_name_of_this_persons_own_is_waited_for(
    officer: User, segment: Path, waiting: pb.Event
) -> None:
    vault.give_consent(
        actor=officer, pseudonym=PERSON, purpose="training", text_version="1", channel="web", reference="training"
    )
    mine = prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="cart")
    assert apply_batch([mine]).applied == 1
    segment.write_bytes(waiting.SerializeToString())  # its id is not known here yet
    request = ask_erasure(officer)
    assert not erasure.carry_out(request.pk)
    assert Erasure.objects.get(pk=request.pk).remaining == {"journal": 1}
    segment.unlink()
    assert erasure.carry_out(request.pk)


@pytest.mark.parametrize("place", ["journal", "broker", "logs"])
def test_a_name_that_is_a_common_word_keeps_no_erasure_waiting(officer: User, place: str) -> None:
    folder = {
        "journal": settings.AMULET.journal_dir,
        "broker": settings.AMULET.data_dir / "broker",
        "logs": settings.AMULET.state_dir / "logs",
    }[place]
    mine = prediction_event(subject=pb.Subject(pseudonym=PERSON), request_id="prediction")
    assert apply_batch([mine]).applied == 1
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "some.text"
    text.write_text('{"event": "a prediction was answered"}')
    try:
        assert erasure.carry_out(ask_erasure(officer).pk)
    finally:
        text.unlink()


def test_an_erasure_that_began_before_names_were_told_apart_goes_on(officer: User, expert: User) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    erasure._advance(request.pk)
    row = Erasure.objects.get(pk=request.pk)
    names = [*row.traces.pop("references"), *row.traces.pop("calls")]
    row.traces["words"] = names
    row.save()
    assert erasure.carry_out(request.pk)


def test_a_paused_erasure_waits_and_goes_on(officer: User, expert: User) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    erasure._advance(request.pk)
    services.pause(actor=officer, request_id=request.pk, reason="a question")
    assert not erasure.carry_out(request.pk)
    assert Erasure.objects.get(pk=request.pk).step == Step.KEY
    services.resume(actor=officer, request_id=request.pk)
    assert erasure.carry_out(request.pk)
    assert erasure.carry_out(request.pk)  # twice is harmless
    assert Entry.objects.filter(type="erasure.done").count() == 1


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


def test_what_other_gateways_still_hold_of_a_person_leaves_the_certificate_true(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    traces = collect(mine.subject_id, find_by(vault_queries.keys(), PERSON))
    unknown, answer = late_event(), pb.ShadowAnswer(version="v2", verdict=words.VERDICT_IN_DOMAIN)
    # Two gateways: what was said of an answer is here before the answer itself.
    apply_batch([feedback_event(unknown.prediction.prediction_id, comment=f"{CANARY}first")])
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    told = str(mine.prediction_ids[0])
    late = [
        kept_event(pseudonym=PERSON, consent=CONSENT, recipient=_recipient(), request_id=CALL),
        unknown,
        feedback_event(unknown.prediction.prediction_id, comment=f"{CANARY}second"),
        feedback_event(told, comment=f"{CANARY}third"),
        shadow_event(told, answer),
    ]
    for event in late:  # each by another gateway
        assert apply_batch([event]).applied == 1
        assert not any(find_all(traces).values())
    assert not Subject.objects.exists()
    assert not StoredObject.objects.exists()
    assert not Feedback.objects.exists()
    assert CANARY not in everything()
    assert not any(str(key) in everything() or key.hex in everything() for key in mine.prediction_ids)
    assert Erasure.objects.get(pk=request.pk).step == Step.DONE
    assert Entry.objects.filter(type__in=["feedback.given", "shadow.followed"]).count() == 5  # each event once


@pytest.mark.parametrize("begun", ["begun_at", "key_destroyed_at", "searched_at"])
def test_a_certificate_keeps_its_order_when_the_clock_is_set_back_meanwhile(
    officer: User, expert: User, begun: str
) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    while Erasure.objects.get(pk=request.pk).step < Step.FINISH:
        erasure._advance(request.pk)
    tomorrow = now() + timedelta(days=1)
    PrivacyRequest.objects.update(received_at=tomorrow)
    Erasure.objects.update(**{begun: tomorrow})
    assert erasure.carry_out(request.pk)
    statement = Erasure.objects.get(pk=request.pk).statement
    assert statement is not None
    times = [statement[name] for name in ("begun_at", "key_destroyed_at", "searched_at", "finished_at")]
    assert times == sorted(times)
    finished_at = datetime.fromisoformat(times[-1])
    assert finished_at <= now()
    assert statement["received_on"] <= day_of(finished_at).isoformat()
    assert date.fromisoformat(statement["due_on"]["pdpa"]) - date.fromisoformat(statement["received_on"]) == timedelta(
        days=90
    )


def test_feedback_waits_for_its_prediction_and_goes_when_that_cannot_come(officer: User, expert: User) -> None:
    apply_batch([feedback_event(prediction_event().prediction.prediction_id)])
    discard_orphan_feedback(before=now() - vault.LATE_EVENTS_MAX)
    assert Feedback.objects.count() == 1  # its prediction may still come
    Feedback.objects.update(happened_at=now() - vault.LATE_EVENTS_MAX - timedelta(days=1))
    event = prediction_event()
    told = feedback_event(event.prediction.prediction_id)
    told.happened_at.FromDatetime(now() - timedelta(days=90))
    apply_batch([event, told])
    discard_orphan_feedback(before=now() - vault.LATE_EVENTS_MAX)
    assert list(Feedback.objects.values_list("prediction_id", flat=True)) == [UUID(event.prediction.prediction_id)]


def test_a_withdrawal_needs_no_erasure(officer: User, expert: User) -> None:
    mine = plant(officer, expert)
    with transaction.atomic():
        vault.withdraw_consent(actor=officer, reference="canary-consent-7701", channel="telephone")
    assert not StoredObject.objects.filter(subject=mine.subject_id).exists()
    event = kept_event(pseudonym=PERSON, consent="canary-consent-7701", recipient=_recipient())
    assert event.prediction.subject.retention == prediction_pb2.RETENTION_KEEP
    apply_batch([event])
    assert not StoredObject.objects.filter(subject=mine.subject_id).exists()


def _recipient() -> object:
    from console.ingest.retention import photo_key

    return photo_key().public_key()
