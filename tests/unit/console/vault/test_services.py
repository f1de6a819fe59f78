from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from pytest_django import Settings

from console.audit.models import Entry
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.site.roles import Role
from console.staff.models import User
from console.vault import opening, queries, restriction, services
from console.vault.cipher import Unopenable, unwrap
from console.vault.folder import Folder
from console.vault.models import Consent, Kind, Purpose, StoredObject, Subject
from console.vault.ownership import MARK, StoreIsAnothers, is_ours
from console.vault.tasks import tidy
from tests.unit.console.people import member

pytestmark = pytest.mark.django_db


def give(officer: User, **changes: object) -> Consent:
    values = {
        "pseudonym": "shop-17",
        "purpose": Purpose.KEEP_PHOTOGRAPH,
        "text_version": "2026-01",
        "channel": "counter",
        **changes,
    }
    return services.give_consent(actor=officer, **values)  # type: ignore[arg-type]


def keep(consent: Consent, content: bytes = b"pixels", *, owner: str = "") -> str:
    owner = owner or str(uuid4())
    with transaction.atomic():
        photograph = services.NewObject(Kind.PHOTOGRAPH, 0, content)
        (rows,) = services.write(wanted=[services.ToKeep(consent, owner, (photograph,))], tried=[])
        services.keep(rows)
    return owner


def test_a_consent_is_provable(officer: User) -> None:
    consent = give(officer, reference="c-1")
    assert (consent.reference, consent.text_version, consent.channel) == ("c-1", "2026-01", "counter")
    entry = Entry.objects.get(type="consent.given")
    assert entry.actor == str(officer.pseudonym)
    assert str(consent.subject_id) in entry.payload.text


def test_no_pseudonym_is_stored_anywhere(officer: User) -> None:
    consent = give(officer, pseudonym="canary-pseudonym")
    row = Subject.objects.get(pk=consent.subject_id)
    assert b"canary" not in bytes(row.found_by) + bytes(row.wrapped_key)
    assert not any("canary" in entry.payload.text for entry in Entry.objects.select_related("payload"))
    assert queries.subject_of("canary-pseudonym") == row
    assert queries.subject_of("another") is None


@pytest.mark.parametrize("ends", ["withdrawal", "restriction"])
def test_what_ends_while_a_store_hands_it_out_is_not_shown(
    officer: User, reviewer: User, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent = give(officer, reference="c-1")
    owner = keep(consent)
    read = opening._opened

    def slowly(row: StoredObject) -> bytes:
        content = read(row)
        if ends == "withdrawal":
            services.withdraw_consent(actor=officer, reference="c-1", channel="counter")
        else:
            restriction.restrict(actor=officer, found_by=bytes(consent.subject.found_by))
        return content

    monkeypatch.setattr(opening, "_opened", slowly)
    with pytest.raises(NotFound):
        opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=owner, part=0)
    assert not Entry.objects.filter(type="vault.opened").exists()


def test_one_pseudonym_is_one_subject(officer: User) -> None:
    assert give(officer).subject_id == give(officer).subject_id
    assert services.subjects_of({"shop-17", "shop-18"}).keys() == {"shop-17", "shop-18"}
    assert Subject.objects.count() == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pseudonym": ""}, "subject"),
        ({"pseudonym": "x" * 129}, "subject"),
        ({"purpose": "fun"}, "purpose"),
        ({"text_version": ""}, "text_version"),
        ({"channel": "a\nb"}, "channel"),
        ({"reference": "two words"}, "reference"),
        ({"given_at": now() + timedelta(hours=1)}, "given_at"),
        ({"given_at": datetime(1999, 12, 31, 23, 59, tzinfo=UTC)}, "given_at"),
        ({"expires_at": now() - timedelta(hours=1)}, "expires_at"),
    ],
)
def test_an_unfit_consent_is_refused_naming_the_field(officer: User, changes: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        give(officer, **changes)
    assert refused.value.field == field
    assert not Consent.objects.exists()


def test_a_reference_is_given_once(officer: User) -> None:
    give(officer, reference="c-1")
    with pytest.raises(Conflict):
        give(officer, reference="c-1")


def test_only_who_may_records_consents(reviewer: User) -> None:
    with pytest.raises(NotAllowed):
        give(reviewer)


def test_what_is_kept_is_encrypted_and_opened_with_an_audit_entry(officer: User, reviewer: User) -> None:
    owner = keep(give(officer), b"canary pixels")
    row = StoredObject.objects.get()
    assert b"canary" not in queries.store().read(row.pk)
    assert opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=owner, part=0) == b"canary pixels"
    entry = Entry.objects.get(type="vault.opened")
    assert entry.actor == str(reviewer.pseudonym)
    assert (entry.payload.subject_type, entry.payload.subject_id) == ("prediction", owner)
    assert queries.kept_of([owner, "other"]) == {owner: queries.Kept(photographs=(0,))}


def test_only_who_may_opens_what_is_kept(officer: User) -> None:
    owner = keep(give(officer))
    with pytest.raises(NotAllowed):
        opening.open_kept(actor=member(Role.VIEWER), kind=Kind.PHOTOGRAPH, owner=owner, part=0)
    assert not Entry.objects.filter(type="vault.opened").exists()


def test_withdrawal_ends_reading_and_keeping(
    officer: User, reviewer: User, django_capture_on_commit_callbacks: object
) -> None:
    consent = give(officer, reference="c-1")
    owner = keep(consent)
    row = StoredObject.objects.get()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        services.withdraw_consent(actor=officer, reference="c-1", channel="telephone")
    with pytest.raises(NotFound):
        opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=owner, part=0)
    with pytest.raises(FileNotFoundError):
        queries.store().read(row.pk)
    consent.refresh_from_db()
    assert consent.withdrawn_at
    assert consent.withdrawal_channel == "telephone"
    services.withdraw_consent(actor=officer, reference="c-1", channel="again")
    assert Entry.objects.filter(type="consent.withdrawn").count() == 1
    assert services.lock_consents(["c-1"], purpose=Purpose.KEEP_PHOTOGRAPH, at=now()) == {}


def test_withdrawing_what_was_never_given_is_an_error(officer: User) -> None:
    with pytest.raises(NotFound):
        services.withdraw_consent(actor=officer, reference="nobody", channel="web")


def test_a_consent_covers_its_own_subject_from_its_own_time_on(officer: User) -> None:
    given_at = now() - timedelta(days=1)
    consent = give(officer, reference="c-1", given_at=given_at)
    other = services.subjects_of({"another"})["another"]
    assert services.covers(consent, subject=consent.subject, at=given_at)
    assert not services.covers(consent, subject=consent.subject, at=given_at - timedelta(seconds=1))
    assert not services.covers(consent, subject=other, at=now())


def test_a_consent_for_another_purpose_is_none(officer: User) -> None:
    give(officer, reference="c-1", purpose=Purpose.TRAINING)
    assert services.lock_consents(["c-1"], purpose=Purpose.KEEP_PHOTOGRAPH, at=now()) == {}


def test_what_ran_out_is_neither_read_nor_kept(officer: User, reviewer: User) -> None:
    begun = now() - timedelta(days=10)
    consent = give(officer, reference="c-1", given_at=begun, expires_at=begun + timedelta(days=9))
    owner = keep(consent)
    assert services.lock_consents(["c-1"], purpose=Purpose.KEEP_PHOTOGRAPH, at=now()) == {}
    with pytest.raises(NotFound):
        opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=owner, part=0)
    assert services.discard_expired() == 1
    assert services.discard_expired() == 0
    assert not StoredObject.objects.exists()


def test_what_somebody_restricts_while_it_goes_by_its_time_stays(
    officer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, hold = now() - timedelta(days=10), restriction.hold
    kept = give(officer, reference="c-1", given_at=begun, expires_at=begun + timedelta(days=9))
    keep(kept)
    give(officer, reference="c-2", given_at=begun, expires_at=begun + timedelta(days=9))

    def restricts(rows: QuerySet[Any]) -> None:
        """Whoever is asked for now has restricted it since they were first looked for."""
        restriction.restrict(actor=officer, found_by=bytes(kept.subject.found_by))
        hold(rows)

    monkeypatch.setattr(restriction, "hold", restricts)
    assert services.discard_expired() == 0
    restriction.lift(actor=officer, subject_id=kept.subject_id, reason="settled")
    assert services.discard_ended(before=now()) == 0
    assert StoredObject.objects.count() == 1
    restriction.lift(actor=officer, subject_id=kept.subject_id, reason="settled")
    monkeypatch.undo()
    assert services.discard_expired() == 1
    assert services.discard_ended(before=now()) == 2


def test_erasure_leaves_no_key_no_object_and_nothing_to_find_the_person_by(
    officer: User, django_capture_on_commit_callbacks: object
) -> None:
    consent = give(officer, reference="c-1")
    keep(consent)
    kept = StoredObject.objects.get().pk
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        assert not services.erase(subject_id=consent.subject_id)  # its records are not shut yet
        assert services.shut(subject_id=consent.subject_id)
        assert services.erase(subject_id=consent.subject_id)
        assert not services.erase(subject_id=consent.subject_id)
    assert queries.subject_of("shop-17") is None
    assert not any(model.objects.exists() for model in (Subject, Consent, StoredObject))
    with pytest.raises(FileNotFoundError):
        queries.store().read(kept)
    again = services.subjects_of({"shop-17"})["shop-17"]
    assert again.pk != consent.subject_id


def test_without_its_key_nothing_that_is_kept_can_be_read(officer: User) -> None:
    consent = give(officer)
    keep(consent)
    assert services.destroy_key(subject_id=consent.subject_id) == 0  # its records are not shut yet
    services.shut(subject_id=consent.subject_id)
    assert services.destroy_key(subject_id=consent.subject_id) == 1
    assert services.destroy_key(subject_id=consent.subject_id) == 0
    with pytest.raises(Unopenable):
        unwrap(queries.keys(), consent.subject_id, bytes(Subject.objects.get().wrapped_key))


def test_a_file_that_was_cut_off_is_said_to_be_unreadable(officer: User, reviewer: User) -> None:
    owner = keep(give(officer))
    store, kept = queries.store(), StoredObject.objects.get().pk
    assert isinstance(store, Folder)
    store._path(kept).write_bytes(store.read(kept)[:-1])
    with pytest.raises(NotFound, match="cannot be read") as refused:
        opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=owner, part=0)
    assert refused.value.reason == "unreadable"


def test_the_key_of_another_vault_is_told_from_ours(officer: User, settings: Settings, tmp_path: Path) -> None:
    assert not queries.key_is_anothers()  # of a database without people every key may be the one
    give(officer)
    assert queries.key_complaint() is None
    key = tmp_path / "vault.key"
    key.write_bytes(os.urandom(32))
    with another_key(settings, key):
        assert f"{key}, which is not the key" in (queries.key_complaint() or "")


def test_a_key_that_cannot_be_used_is_told_before_anybody_is_known(
    settings: Settings, db: None, tmp_path: Path
) -> None:
    key = tmp_path / "vault.key"
    with another_key(settings, key):
        assert f"{key}, which cannot be read (No such file" in (queries.key_complaint() or "")
        key.write_bytes(b"short")
        assert f"AMULET_VAULT_KEY_FILE: {key} must hold exactly 32" in (queries.key_complaint() or "")
        key.write_bytes(os.urandom(32))
        assert queries.key_complaint() is None


@contextmanager
def another_key(settings: Settings, file: Path) -> Iterator[None]:
    own = settings.AMULET
    settings.AMULET = own.model_copy(update={"vault_key_file": file})
    try:
        yield
    finally:
        settings.AMULET = own


def test_a_full_disk_keeps_no_piece_of_what_it_refused(tmp_path: Path) -> None:
    code = (
        "import resource, sys, uuid; from pathlib import Path; from console.vault.folder import Folder;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "Folder(Path(sys.argv[1])).write([(uuid.uuid4(), bytes(5000))])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "OSError" in done.stderr
    assert not list(tmp_path.glob("*/*.bin"))


def test_the_sweep_removes_what_no_row_names_and_nothing_else(
    officer: User, clock_was_set: Callable[[timedelta], None]
) -> None:
    keep(give(officer))
    kept, orphan, fresh = StoredObject.objects.get().pk, uuid4(), uuid4()
    store = queries.store()
    assert isinstance(store, Folder)
    store.write([(orphan, b"noise"), (fresh, b"being written")])
    long_ago = time.time() - 2 * services.ORPHAN_AGE_S
    for object_id in (kept, orphan):
        os.utime(store._path(object_id), (long_ago, long_ago))
    # Each turn looks at a part of the shelves, and a whole round at all of them.
    mine = orphan.bytes[0] % services.SWEEP_TURNS
    others = [turn for turn in range(services.SWEEP_TURNS) if turn != mine]
    assert sum(services.sweep(turn=turn) for turn in others) == 0
    assert store.read(orphan)
    clock_was_set(timedelta(days=1))  # since they were written, as far as this process knows
    assert services.sweep(turn=mine) == 0
    clock_was_set(timedelta())
    assert services.sweep(turn=3 * services.SWEEP_TURNS + mine) == 1
    assert store.read(kept)
    assert store.read(fresh)
    with pytest.raises(FileNotFoundError):
        store.read(orphan)


def test_nothing_is_swept_that_another_console_keeps_in_the_same_store(
    officer: User, caplog: pytest.LogCaptureFixture
) -> None:
    kept = uuid4()
    theirs = queries.store()
    assert isinstance(theirs, Folder)
    theirs.delete([MARK])
    theirs.write([(kept, b"theirs"), (MARK, os.urandom(32))])
    long_ago = time.time() - 2 * services.ORPHAN_AGE_S
    for object_id in (kept, MARK):
        os.utime(theirs._path(object_id), (long_ago, long_ago))

    for turn in range(services.SWEEP_TURNS):
        with pytest.raises(StoreIsAnothers):
            services.sweep(turn=turn)
    tidy()

    assert theirs.read(kept) == b"theirs"
    assert "AMULET_STORAGE_URL names the photographs of another console" in caplog.text
    for left in (b"", b"half of one"):  # of a mark, after a power cut
        theirs.delete([MARK])
        theirs.write([(MARK, left)])
        os.utime(theirs._path(MARK), (long_ago, long_ago))
        services.sweep(turn=0)
        os.utime(theirs._path(MARK), (long_ago, long_ago))
        services.sweep(turn=0)  # it is no rubbish itself
        assert is_ours(theirs, queries.keys())
