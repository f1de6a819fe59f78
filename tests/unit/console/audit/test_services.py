from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import DatabaseError, connection, transaction
from django.utils.timezone import now

from console.audit import queries, services
from console.audit.export import export
from console.audit.models import Checkpoint, Entry, Head, Payload
from console.audit.notes import load_public_key, public_pem
from console.audit.services import NewEntry, append, record
from console.audit.signer import HistoryChanged, Signer
from console.audit.verifier import Report, verify

pytestmark = pytest.mark.django_db

ACTOR = SimpleNamespace(pseudonym=UUID("3b9d0000-0000-4000-8000-000000000001"))


def write(count: int = 1, *, subject: str = "p1") -> int:
    with transaction.atomic():
        return append([NewEntry("prediction.made", "prediction", subject) for _ in range(count)], actor="gateway:1")


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    key_file = tmp_path / "key"
    key_file.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Signer(key_file, tmp_path / "checkpoints")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def verified(folder: Path) -> Report:
    key = load_public_key(folder / "audit_public.pem")
    return verify(b"".join(export(key)).splitlines(), key)


def test_entries_are_numbered_and_linked_without_gaps(signer: Signer, folder: Path) -> None:
    with transaction.atomic():
        first = record(actor=ACTOR, action="review.decided", subject_type="review", subject_id="7", details={"á": 1.5})
    second = write(3)
    signer.sign(now())
    assert (first, second) == (1, 2)
    entry = Entry.objects.get(sequence=1)
    assert (entry.actor, entry.type) == (str(ACTOR.pseudonym), "review.decided")
    assert entry.payload.text == '{"about":["review","7"],"á":1.5}'
    report = verified(folder)
    assert report.whole
    assert (report.entries, report.signed_through) == (4, 4)


def test_an_act_that_fails_takes_its_entry_and_its_number_back() -> None:
    write()
    with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012 - the block is the transaction
        append([NewEntry("x.y", "x", "1")], actor="system")
        raise RuntimeError
    assert write() == 2


@pytest.mark.parametrize("action", ["", "Upper", "two words", "line\nbreak", "x" * 65])
def test_a_name_of_an_act_that_is_none_is_refused(action: str) -> None:
    with pytest.raises(ValueError, match="not the name of an act"), transaction.atomic():
        record(actor=None, action=action, subject_type="x", subject_id="1", details={})
    assert not Entry.objects.exists()


def test_details_must_be_plain_json() -> None:
    with pytest.raises(ValueError), transaction.atomic():
        record(actor=None, action="x.y", subject_type="x", subject_id="1", details={"p": float("nan")})


def test_details_cannot_say_that_the_entry_is_about_another_thing() -> None:
    with pytest.raises(ValueError, match="another word"), transaction.atomic():
        record(actor=None, action="x.y", subject_type="x", subject_id="1", details={"about": ["y", "2"]})


def test_erased_payloads_leave_the_chain_whole_and_nothing_to_recompute(signer: Signer, folder: Path) -> None:
    write(subject="keep")
    write(5, subject="forget")
    signer.sign(now())
    assert services.erase_payloads(subject_type="prediction", subject_ids=["forget"]) == 5
    report = verified(folder)
    assert report.whole
    assert report.erased == 5
    assert not Payload.objects.filter(subject_id="forget").exists()


def test_of_many_that_are_forgotten_none_is_left_and_nothing_else_by_the_same_name_goes() -> None:
    forgotten = [f"p{number}" for number in range(1100)]
    with transaction.atomic():
        append([NewEntry("prediction.made", "prediction", name) for name in forgotten], actor="gateway:1")
        append([NewEntry("review.decided", "review", name) for name in forgotten[:3]], actor="system")
    assert services.erase_payloads(subject_type="prediction", subject_ids=forgotten) == 1100
    assert set(Payload.objects.values_list("subject_type", flat=True)) == {"review"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET type = 'x.y' WHERE sequence = 1",
        "DELETE FROM audit_entry WHERE sequence = 1",
        "UPDATE audit_payload SET text = '{}' WHERE entry_id = 1",
        "UPDATE audit_checkpoint SET note = '' WHERE size = 1",
        "DELETE FROM audit_checkpoint",
        "DELETE FROM audit_head",
        "DELETE FROM audit_entry",
    ],
)
def test_the_database_refuses_to_rewrite(statement: str, signer: Signer) -> None:
    write()
    signer.sign(now())
    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("table", ["audit_entry", "audit_payload", "audit_head", "audit_checkpoint"])
def test_postgresql_refuses_to_empty_a_table(table: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {table} CASCADE")


def test_a_lost_head_is_made_again_from_the_last_entry() -> None:
    write(2)
    from console.audit import guards

    guards.remove(connection)
    Head.objects.all().delete()
    guards.install(connection)
    assert write() == 3
    third = Entry.objects.get(sequence=3)
    assert bytes(third.previous_hash) == bytes(Entry.objects.get(sequence=2).entry_hash)


def test_a_checkpoint_is_signed_only_when_the_log_has_grown(signer: Signer, folder: Path) -> None:
    assert signer.sign(now()) is None
    write(3)
    moment = now()
    checkpoint = signer.sign(moment)
    assert checkpoint is not None
    assert checkpoint.size == 3
    assert signer.sign(moment) is None
    assert queries.latest_checkpoint() == checkpoint.note
    write(2)
    signer.sign(moment)
    published = "".join(path.read_text() for path in folder.glob("*.txt"))
    assert published.count("— amulet/audit/") == 2
    assert Checkpoint.objects.count() == 2


def test_a_signer_that_died_before_it_kept_its_state_signs_the_same_again(signer: Signer, folder: Path) -> None:
    write(3)
    signer.sign(now())
    (folder / "signed.json").unlink()
    assert signer.sign(now()) is not None
    assert Checkpoint.objects.count() == 1


def test_a_checkpoint_that_never_reached_the_database_reaches_it_with_the_next_try(
    signer: Signer, folder: Path
) -> None:
    from console.audit import guards

    write(3)
    signer.sign(now())
    write(2)
    signer.sign(now())
    published = [path.read_text() for path in folder.glob("*.txt")]
    guards.remove(connection)
    Checkpoint.objects.filter(size=5).delete()
    guards.install(connection)
    again = signer.sign(now())
    assert again is not None
    assert queries.latest_checkpoint() == again.note
    assert again.size == 5
    assert [path.read_text() for path in folder.glob("*.txt")] == published


def test_the_signer_never_signs_a_second_history(signer: Signer) -> None:
    from console.audit import guards

    write(3)
    signer.sign(now())
    guards.remove(connection)
    Entry.objects.filter(sequence=3).update(entry_hash=bytes(32))
    Head.objects.update(entry_hash=bytes(32))
    guards.install(connection)
    write()
    with pytest.raises(HistoryChanged, match="entry 4 does not continue"):
        signer.sign(now())


def test_the_signer_refuses_a_log_that_became_shorter(signer: Signer) -> None:
    from console.audit import guards

    write(3)
    signer.sign(now())
    guards.remove(connection)
    Entry.objects.filter(sequence=3).delete()
    guards.install(connection)
    with pytest.raises(HistoryChanged, match="ends with entry 2, but 3"):
        signer.sign(now())


def test_another_key_does_not_go_on_with_the_log(signer: Signer, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    with pytest.raises(HistoryChanged, match="a new key starts a new log"):
        Signer(other, folder)


def test_an_export_behind_a_checkpoint_verifies_by_itself(signer: Signer, folder: Path) -> None:
    write(11)
    start = signer.sign(now())
    write(6)
    signer.sign(now())
    key = load_public_key(folder / "audit_public.pem")
    report = verify(b"".join(export(key, after=start)).splitlines(), key)
    assert report.whole
    assert (report.first, report.last, report.signed_through) == (12, 17, 17)


def test_appending_many_costs_as_few_statements_as_appending_one(django_assert_num_queries: object) -> None:
    write()
    with django_assert_num_queries(6):  # type: ignore[operator]  # savepoint, take, two inserts, head, release
        write(500)


def test_public_key_is_published_beside_the_checkpoints(signer: Signer, folder: Path) -> None:
    key = load_public_key(folder / "audit_public.pem")
    assert (folder / "audit_public.pem").read_bytes() == public_pem(key)
