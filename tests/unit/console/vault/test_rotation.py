"""The master key is rotated: nothing is unreadable meanwhile, nothing erased comes back, each step is in the log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from pytest_django import Settings

from console.audit.models import Entry, Payload
from console.errors import NotAvailable
from console.staff.models import User
from console.vault import key_file, opening, queries, rotation, services
from console.vault.cipher import KeyUnreadable, MasterKeys, Unopenable, as_file, load_master_keys, unwrap, wrapped_under
from console.vault.key_file import KeyFile, KeyRefused
from console.vault.models import Kind, Subject
from console.vault.tasks import rotate
from tests.unit.console.vault.test_services import give, keep

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """A vault of its own, as `amulet provision` makes it."""
    own, file = settings.AMULET, tmp_path / "vault.key"
    file.write_bytes(os.urandom(32))
    file.chmod(0o600)
    settings.AMULET = own.model_copy(update={"vault_key_file": file})
    yield file
    settings.AMULET = own


def told() -> list[tuple[str, dict[str, object]]]:
    rows = Payload.objects.filter(subject_type="vault_key").order_by("entry_id").values_list("entry__type", "text")
    return [(type_, json.loads(text)) for type_, text in rows]


def people() -> dict[str, int]:
    return {each.id: each.people for each in rotation.states()}


def under() -> set[str]:
    rows = Subject.objects.exclude(wrapped_key=b"").values_list("wrapped_key", flat=True)
    return {wrapped_under(bytes(wrapped)) for wrapped in rows}


def seen(reviewer: User, owner: str) -> bytes:
    return opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=owner, part=0)


def test_a_rotation_from_the_first_key_to_the_second(officer: User, reviewer: User, key: Path) -> None:
    owners = [keep(give(officer, pseudonym=f"shop-{number}")) for number in range(450)]
    (first,) = (each.id for each in rotation.states())

    (second,) = rotation.add_key()
    assert people() == {first: 450, second: 0}
    assert seen(reviewer, owners[0]) == b"pixels"
    late = keep(give(officer, pseudonym="who comes meanwhile"))
    assert under() == {"", first}

    rotation.use_key(second)
    later = keep(give(officer, pseudonym="who comes then"))
    assert people() == {second: 1, first: 451}
    assert seen(reviewer, owners[1]) == b"pixels"
    with pytest.raises(KeyRefused, match="451 people's keys are still wrapped under"):
        rotation.remove_key(first)

    rotate()
    assert people() == {second: 452, first: 0}
    rotation.remove_key(first)
    assert people() == {second: 452}
    assert all(seen(reviewer, owner) == b"pixels" for owner in (*owners[:3], late, later))
    assert queries.subject_of("shop-7") is not None
    assert queries.key_complaint() is None
    assert [type_ for type_, _said in told()] == [
        "vault.key_added", "vault.key_used", "vault.rewrapped", "vault.key_removed",
    ]  # fmt: skip
    assert told()[2][1] == {"about": ["vault_key", second], "people": 451, "left": 0}
    assert key.stat().st_mode & 0o777 == 0o600


def test_the_old_key_opens_nothing_of_a_database_from_after(officer: User, key: Path) -> None:
    old = load_master_keys(key)
    give(officer)
    before = bytes(Subject.objects.get().wrapped_key)
    (second,) = rotation.add_key()
    rotation.use_key(second)
    rotation.rewrap()
    subject = Subject.objects.get()
    with pytest.raises(Unopenable):
        unwrap(old, subject.pk, bytes(subject.wrapped_key))
    assert queries.key_of(subject) == unwrap(old, subject.pk, before)


def test_a_key_that_an_erasure_overwrote_stays_overwritten(officer: User, key: Path) -> None:
    for number in range(3):
        give(officer, pseudonym=f"shop-{number}")
    gone = queries.subject_of("shop-1")
    assert gone is not None
    (second,) = rotation.add_key()
    rotation.use_key(second)
    services.shut(subject_id=gone.pk)
    services.destroy_key(subject_id=gone.pk)
    assert rotation.rewrap() == 2
    assert bytes(Subject.objects.get(pk=gone.pk).wrapped_key) == b""


def test_it_goes_on_where_it_was_stopped(officer: User, key: Path) -> None:
    for number in range(450):
        give(officer, pseudonym=f"shop-{number}")
    (second,) = rotation.add_key()
    rotation.use_key(second)
    turns = iter([False, True])
    assert rotation.rewrap(enough=lambda: next(turns)) == 200
    assert people()[second] == 200
    said: list[int] = []
    assert rotation.rewrap(said=said.append) == 250
    assert said == [200, 50]
    assert rotation.rewrap() == 0
    assert [said["left"] for type_, said in told() if type_ == "vault.rewrapped"] == [250, 0]


def test_whoever_comes_under_the_old_key_while_another_wraps_is_under_the_new_one(key: Path, officer: User) -> None:
    """Between the reading of the keys and the insertion the other key was taken into use, and nothing was left."""
    stale = queries.keys()
    (second,) = rotation.add_key()
    rotation.use_key(second)
    fresh = Subject(id=uuid4(), found_by=os.urandom(32))
    fresh.wrapped_key = services.cipher.new_subject_key(stale, fresh.id)
    with transaction.atomic():
        Subject.objects.bulk_create([fresh])
        rotation.of_now([fresh], stale)
    assert under() == {second}
    assert queries.key_of(fresh) == queries.key_of(Subject.objects.get(pk=fresh.pk))


def test_who_read_a_row_before_its_key_was_wrapped_anew_opens_it_still(
    officer: User, reviewer: User, key: Path
) -> None:
    keep(give(officer))
    read = Subject.objects.get()
    subject_key = queries.key_of(read)
    (first,) = people()
    (second,) = rotation.add_key()
    rotation.use_key(second)
    rotation.rewrap()
    rotation.remove_key(first)
    assert queries.key_of(read) == subject_key


def test_a_backup_from_before_names_the_key_that_it_needs(
    officer: User, reviewer: User, key: Path, settings: Settings, tmp_path: Path
) -> None:
    (second,) = rotation.add_key()  # from here on each row says under which key it is
    first = next(each.id for each in rotation.states() if each.use == "wraps")
    owner = keep(give(officer))
    backup, rows = key.read_bytes(), list(Subject.objects.values_list("pk", "wrapped_key"))
    rotation.use_key(second)
    rotation.rewrap()
    rotation.remove_key(first)
    for pk, wrapped in rows:  # the database goes back
        Subject.objects.filter(pk=pk).update(wrapped_key=bytes(wrapped))

    assert f"the master key {first} (1)" in (queries.key_complaint() or "")
    assert "amulet vault add --from FILE" in (queries.key_complaint() or "")
    with pytest.raises(NotAvailable, match="not on this machine"):
        seen(reviewer, owner)
    kept = tmp_path / "from the backup"
    kept.write_bytes(backup)
    assert rotation.add_key(source=kept) == (first,)
    assert queries.key_complaint() is None
    assert seen(reviewer, owner) == b"pixels"
    rotate()
    rotation.remove_key(first)
    assert seen(reviewer, owner) == b"pixels"


def test_a_backup_from_before_the_first_rotation_says_so(officer: User, key: Path, tmp_path: Path) -> None:
    raw = key.read_bytes()
    give(officer)
    row = bytes(Subject.objects.get().wrapped_key)
    (first,) = people()
    (second,) = rotation.add_key()
    rotation.use_key(second)
    rotation.rewrap()
    rotation.remove_key(first)
    Subject.objects.update(wrapped_key=row)
    assert "the one from before the first rotation (1)" in (queries.key_complaint() or "")
    kept = tmp_path / "kept"
    kept.write_bytes(raw)
    assert rotation.add_key(source=kept) == (first,)
    assert queries.key_complaint() is None


def test_what_changed_the_file_by_other_means_is_in_the_log_once(key: Path, db: None) -> None:
    rotation.note_keys()
    assert told() == []  # nothing was ever rotated
    (second,) = key_file.add(key)
    rotate()
    rotate()
    assert [type_ for type_, _said in told()] == ["vault.key_added"]
    first = queries.keys().ids[0]
    key_file.use(key, wanted=second)
    key_file.remove(key, wanted=first)
    rotate()
    assert [type_ for type_, _said in told()] == ["vault.key_added", "vault.key_used", "vault.key_removed"]
    assert Entry.objects.filter(type__startswith="vault.key_", actor="system").count() == 3


def test_what_is_asked_of_the_file_and_cannot_be_is_one_sentence(key: Path, tmp_path: Path, db: None) -> None:
    (first,) = queries.keys().ids
    content = key.read_bytes()
    with pytest.raises(KeyRefused, match=f"holds no key 'abcdef'; it holds {first}"):
        rotation.use_key("abcdef")
    with pytest.raises(KeyRefused, match="wraps: let another one"):
        rotation.remove_key(first)
    with pytest.raises(KeyRefused, match="wraps already"):
        rotation.use_key(first)
    another = tmp_path / "another.key"
    another.write_bytes(os.urandom(32))
    with pytest.raises(KeyRefused, match="is of another vault"):
        rotation.add_key(source=another)
    with pytest.raises(KeyRefused, match="holds every key"):
        rotation.add_key(source=key)
    assert key.read_bytes() == content
    assert told() == []


def test_a_disk_that_is_full_leaves_the_key_file_as_it_was(
    key: Path, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = key.read_bytes()
    key.parent.chmod(0o500)
    try:
        if os.geteuid() == 0:
            monkeypatch.setattr(key_file.os, "fsync", _full)
        with pytest.raises(OSError, match=str(key)):
            key_file.add(key)
    finally:
        key.parent.chmod(0o700)
    assert key.read_bytes() == content
    assert [path.name for path in key.parent.iterdir()] == [key.name]


def _full(_handle: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-10],
        lambda text: text.replace("wrap", "open"),
        lambda text: text + text.splitlines()[1] + "\n",
        lambda text: text + text.splitlines()[2].replace("wrap", "open") + "\n",
        lambda text: text + f"open {'00' * 32}\n",
        lambda text: text.replace("keys 1", "keys 2"),
        lambda text: text + "\n",
        lambda text: text.upper(),
        lambda text: text.splitlines()[0],
    ],
)
def test_a_spoilt_file_of_keys_is_refused_and_says_nothing_of_them(key: Path, spoil: object) -> None:
    key_file.add(key)
    text = key.read_text()
    key.write_text(spoil(text))  # type: ignore[operator]
    with pytest.raises(KeyUnreadable, match="must hold") as refused:
        load_master_keys(key)
    assert not any(line.split()[-1][:12] in str(refused.value) for line in text.splitlines()[1:])


def test_a_process_that_runs_takes_a_new_file_and_no_spoilt_or_foreign_one(key: Path, tmp_path: Path) -> None:
    mine = KeyFile()
    first = mine.keys(key)
    (second,) = key_file.add(key)
    assert mine.keys(key).ids == (*first.ids, second)
    content = key.read_bytes()
    key.write_bytes(content[:100])
    assert mine.keys(key).ids == (*first.ids, second)
    key.write_bytes(os.urandom(32))
    assert mine.keys(key).ids == (*first.ids, second)
    key.unlink()
    assert mine.keys(key).ids == (*first.ids, second)
    key.write_bytes(as_file(first))
    assert mine.keys(key).ids == first.ids


def test_an_erasure_between_the_reading_of_a_key_and_its_wrapping_is_not_undone(
    officer: User, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent = give(officer)
    (second,) = rotation.add_key()
    rotation.use_key(second)
    wrap = rotation.wrap

    def meanwhile(keys: MasterKeys, subject_id: UUID, subject_key: bytes) -> bytes:
        services.shut(subject_id=subject_id)
        services.destroy_key(subject_id=subject_id)
        return wrap(keys, subject_id, subject_key)

    monkeypatch.setattr(rotation, "wrap", meanwhile)
    assert rotation.rewrap() == 0
    assert bytes(Subject.objects.get(pk=consent.subject_id).wrapped_key) == b""
