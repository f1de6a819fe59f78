"""A master key that is lost is given up: what lies under it goes, the people stay, and the log says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from console.audit.models import Payload
from console.errors import NotFound
from console.staff.models import User
from console.vault import key_file, lost_keys, opening, queries, rotation
from console.vault.key_file import KeyRefused
from console.vault.models import Consent, Kind, StoredObject, Subject
from tests.unit.console.vault.test_rotation import key, seen  # noqa: F401
from tests.unit.console.vault.test_services import give, keep

pytestmark = pytest.mark.django_db


@pytest.fixture
def halves(officer: User, key: Path) -> tuple[str, str, str]:  # noqa: F811
    """Of two people one is under a key that the file lacks by now. Returns its id, and what is kept of the two."""
    (second,) = rotation.add_key()
    first = queries.keys().ids[0]
    lost = keep(give(officer, pseudonym="shop-lost"))
    rotation.use_key(second)
    left = keep(give(officer, pseudonym="shop-left"))
    key_file.remove(key, wanted=first)  # by hand, beside what is still wrapped under it
    return first, lost, left


def told(type_: str) -> list[dict[str, object]]:
    return [json.loads(row.text) for row in Payload.objects.filter(entry__type=type_)]


def test_what_lies_under_it_goes_and_its_people_stay(
    officer: User,
    reviewer: User,
    halves: tuple[str, str, str],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    first, owner, other = halves
    person = queries.subject_of("shop-lost")
    assert person is not None
    assert f"the master key {first} (1)" in (queries.key_complaint() or "")
    gone = list(StoredObject.objects.filter(subject=person).values_list("pk", flat=True))
    assert lost_keys.lost(first) == lost_keys.Lost(first, 1, len(gone))

    with django_capture_on_commit_callbacks(execute=True):
        lost_keys.give_up(first)
    assert queries.key_complaint() is None
    assert [(each.use, each.people) for each in rotation.states()] == [("wraps", 2)]
    assert queries.store().held(gone) == 0
    with pytest.raises(NotFound):
        seen(reviewer, owner)
    assert seen(reviewer, other) == b"pixels"
    assert Consent.objects.filter(subject=person).count() == 1
    assert told("vault.key_given_up") == [{"about": ["vault_key", first], "people": 1, "objects": len(gone)}]
    assert told("vault.objects_lost") == [{"about": ["subject", str(person.pk)], "objects": len(gone)}]
    # What comes is kept again under the person's own consent.
    later = keep(Consent.objects.get(subject=person))
    assert opening.open_kept(actor=reviewer, kind=Kind.PHOTOGRAPH, owner=later, part=0) == b"pixels"
    rotation.note_keys()  # it reads past what was said of the lost key
    with pytest.raises(KeyRefused, match="nobody's key is wrapped under"):
        lost_keys.give_up(first)


def test_a_vault_whose_file_is_lost_can_be_served_again(
    officer: User,
    reviewer: User,
    key: Path,  # noqa: F811
) -> None:
    """As after `amulet provision`: another file, under which nobody is found."""
    owners = [keep(give(officer, pseudonym=f"shop-{number}")) for number in range(3)]
    key.write_bytes(os.urandom(32))
    queries._KEY_FILE._known = None  # another process
    assert queries.key_is_anothers()
    assert lost_keys.give_up("first").people == 3
    assert queries.key_complaint() is None
    assert not StoredObject.objects.exists()
    assert queries.subject_of("shop-1") is None
    again = keep(give(officer, pseudonym="shop-1"))
    assert seen(reviewer, again) == b"pixels"
    assert Subject.objects.count() == 4
    with pytest.raises(NotFound):
        seen(reviewer, owners[1])


def test_what_is_not_lost_is_not_given_up(officer: User, halves: tuple[str, str, str]) -> None:
    second = queries.keys().ids[0]
    for wanted, why in (
        (second, "nothing under it is lost"),
        ("abcdef", "nobody's key is wrapped under 'abcdef'"),
        ("first", "nobody's key is wrapped under 'first'"),
        ("what", "is no id of a key"),
    ):
        with pytest.raises(KeyRefused, match=why):
            lost_keys.give_up(wanted)
    assert StoredObject.objects.filter(kind=Kind.PHOTOGRAPH).count() == 2


def test_killed_at_it_nothing_is_done(halves: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_entries: object, **_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(lost_keys, "append", killed)
    kept = StoredObject.objects.count()
    with pytest.raises(KeyboardInterrupt):
        lost_keys.give_up(halves[0])
    assert StoredObject.objects.count() == kept
    assert queries.store().held(StoredObject.objects.values_list("pk", flat=True)) == kept
    assert [each.use for each in rotation.states()] == ["wraps", "missing"]
