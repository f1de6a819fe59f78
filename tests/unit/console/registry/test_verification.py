"""From a finished upload to a verdict, with real archives and the real rules."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from django.conf import settings
from django.utils.translation import override

from console.audit.queries import entries_about
from console.errors import Conflict, NotAvailable
from console.registry import services, uploads
from console.registry.models import ModelVersion, State
from console.registry.rule_names import broken_text, found_text
from console.site.roles import Role
from console.staff.models import User
from model_store import signing
from tests import tiny_archive
from tests.unit.console.people import browser, member
from tests.unit.console.registry.test_uploads import announce, send

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that this console trusts."""
    key = tmp_path_factory.mktemp("key") / "release.key"
    signing.generate_key(key)
    settings.AMULET.trusted_keys.mkdir(parents=True, exist_ok=True)
    (settings.AMULET.trusted_keys / "release.pem").write_bytes(signing.public_pem(key))
    return key


@pytest.fixture(scope="module")
def archive(key: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("archive")
    return tiny_archive.write_archive(folder, folder / "tiny.mar", key=key).path.read_bytes()


@pytest.fixture
def malee() -> User:
    return member(Role.MODEL_ENGINEER)


def finished(actor: User, content: bytes, filename: str = "tiny.mar") -> ModelVersion:
    upload = announce(actor, content, filename=filename)
    send(actor, upload, 0, content)
    return services.finish_upload(actor=actor, upload_id=upload.pk)


def test_a_good_archive_is_verified_placed_and_its_upload_gone(malee: User, archive: bytes) -> None:
    version = finished(malee, archive)
    assert version.state == State.VERIFIED, version.rules
    assert (version.model, version.version) == (tiny_archive.NAME, tiny_archive.VERSION)
    assert all(rule["passed"] for rule in version.rules)
    stored: Path = settings.AMULET.model_store / version.file_name
    assert stored.read_bytes() == archive
    assert version.upload is not None
    assert not uploads.part_file(version.upload).exists()
    assert version.card().name == tiny_archive.NAME
    with override("th"):  # what reviewers of handlers noted and the rest of a name stay as they are
        unsaid = [rule["message"] for rule in version.rules if found_text(rule["message"]) == rule["message"]]
    assert unsaid == []


@pytest.mark.parametrize("language", ["en", "th"])
def test_the_numbers_of_a_rule_are_written_like_all_others(language: str) -> None:
    with override(language):
        assert "73,400,320" in found_text("73400320 bytes of at most 536870912")
        assert "536,870,912" in found_text("73400320 bytes of at most 536870912")
        assert "opset 17" in found_text("1204 nodes, opset 17, 3 classes, mahalanobis")
        assert "20261124" in found_text("signed by the trusted key 20261124")
        said = "the archive has 73400320 bytes; at most 1048576 are accepted"
        assert broken_text(said) == "the archive has 73,400,320 bytes; at most 1,048,576 are accepted"
        assert broken_text("v20261124_tiny.mar is longer than the 99 bytes that it declares").startswith("v20261124_")


def test_a_finished_upload_takes_no_more_pieces_and_leaves_no_file(malee: User, archive: bytes) -> None:
    version = finished(malee, archive)
    assert version.upload is not None
    with pytest.raises(Conflict) as refused:
        send(malee, version.upload, len(archive), b"")
    assert refused.value.reason == "upload_finished"
    assert not uploads.part_file(version.upload).exists()


def test_who_gives_an_upload_up_while_it_becomes_a_version_is_too_late(malee: User, archive: bytes) -> None:
    upload = announce(malee, archive)
    send(malee, upload, 0, archive)
    seen_unfinished = uploads.find_upload(actor=malee, upload_id=upload.pk)
    version = ModelVersion.objects.create(
        filename="tiny.mar", size_bytes=len(archive), sha256=upload.sha256, upload=upload, uploaded_by=malee
    )
    assert not uploads.discard(seen_unfinished)
    services.verify_version(version_id=version.pk)
    version.refresh_from_db()
    assert version.state == State.VERIFIED


def test_what_a_killed_process_left_behind_the_verdict_goes_with_the_abandoned(malee: User, archive: bytes) -> None:
    version = finished(malee, archive)
    assert version.upload is not None
    uploads.part_file(version.upload).write_bytes(archive)
    uploads.discard_abandoned()
    assert not uploads.part_file(version.upload).exists()


def test_an_archive_under_a_name_that_is_taken_does_not_stay_in_the_store(
    malee: User, archive: bytes, key: Path, tmp_path: Path
) -> None:
    finished(malee, archive)
    other = tiny_archive.write_archive(tmp_path / "run", tmp_path / "other.mar", key=key, plain=True)
    version = finished(malee, other.path.read_bytes(), filename="other.mar")
    assert version.rules[-1]["reason"] == "REASON_ARCHIVE_DUPLICATE"
    assert not (settings.AMULET.model_store / version.file_name).exists()


def test_finishing_twice_gives_the_same_version(malee: User, archive: bytes) -> None:
    version = finished(malee, archive)
    assert version.upload is not None
    again = services.finish_upload(actor=malee, upload_id=version.upload.pk)
    assert (again.pk, again.state) == (version.pk, State.VERIFIED)


def test_a_changed_byte_is_refused_with_the_rule_that_found_it(malee: User, archive: bytes) -> None:
    changed = bytearray(archive)
    changed[len(changed) // 2] ^= 1
    version = finished(malee, bytes(changed))
    assert version.state == State.REFUSED
    broken = [rule for rule in version.rules if rule["state"] == "failed"]
    assert broken[0]["reason"].startswith("REASON_ARCHIVE_")
    assert not (settings.AMULET.model_store / version.file_name).exists()


def test_what_is_no_archive_at_all_is_refused(malee: User) -> None:
    version = finished(malee, b"not a zip")
    assert (version.state, version.model, version.card_document) == (State.REFUSED, "", None)


@pytest.mark.usefixtures("static_files")
def test_why_a_rule_was_not_looked_at_is_said_in_the_readers_language(malee: User, archive: bytes) -> None:
    changed = bytearray(archive)
    changed[len(changed) // 2] ^= 1
    for content in (b"not a zip", bytes(changed)):
        version = finished(malee, content)
        left_out = [rule["message"] for rule in version.rules if rule["state"] == "not run"]
        assert left_out
        with override("th"):
            assert [message for message in left_out if found_text(message) == message] == []
        page = browser(malee).get(
            f"/admin/registry/modelversion/{version.pk}/change/", headers={"Accept-Language": "th"}
        ).content.decode()  # fmt: skip
        assert [message for message in left_out if message in page] == []
    with override("th"):
        assert "ลายเซ็นที่เชื่อถือได้" in found_text("it needs the rule signature, which failed")


@pytest.mark.usefixtures("static_files", "key")
def test_a_refused_archive_is_not_said_to_have_been_kept(malee: User, tmp_path: Path) -> None:
    """“No longer” sent people to look for who deleted it."""
    version = finished(malee, tiny_archive.write_archive(tmp_path, tmp_path / "unsigned.mar").path.read_bytes())
    assert (version.state, bool(version.card_document)) == (State.REFUSED, True)
    page = browser(malee).get(f"/admin/registry/modelversion/{version.pk}/change/").content.decode()
    assert "The archive was refused and is not kept." in page
    assert "no longer holds" not in page


def verdicts(version: ModelVersion) -> list[tuple[str, str, list[str]]]:
    """What the audit trail has of judging it: type, digest of the archive, rules that it breaks."""
    entries = [each for each in entries_about("model_version", str(version.pk)) if each.type in VERDICTS]
    said = [json.loads(each.payload.text) for each in entries]
    return [(each.type, told["sha256"], told["failed_rules"]) for each, told in zip(entries, said, strict=True)]


VERDICTS = ("registry.version_verified", "registry.version_refused")


def test_a_verdict_is_in_the_audit_trail_once_whatever_it_is(malee: User, archive: bytes) -> None:
    changed = bytearray(archive)
    changed[len(changed) // 2] ^= 1
    for content, verdict in ((archive, VERDICTS[0]), (bytes(changed), VERDICTS[1]), (archive, VERDICTS[1])):
        version = finished(malee, content)
        services.verify_version(version_id=version.pk)  # again, as a task that is handed out twice
        [(found, sha256, failed)] = verdicts(version)
        assert (found, sha256) == (verdict, hashlib.sha256(content).hexdigest())
        assert bool(failed) == (verdict == VERDICTS[1])


def test_a_verdict_without_its_entry_would_be_noticed(
    malee: User, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above."""
    monkeypatch.setattr(services, "_record", lambda *_, **__: None)
    assert verdicts(finished(malee, archive)) == []


def test_a_name_means_one_archive_for_ever(malee: User, archive: bytes) -> None:
    finished(malee, archive)
    version = finished(malee, archive, filename="again.mar")
    assert version.state == State.REFUSED
    assert version.rules[-1]["reason"] == "REASON_ARCHIVE_DUPLICATE"


def test_a_trust_store_that_cannot_be_read_leaves_the_version_waiting(malee: User, archive: bytes) -> None:
    stray = settings.AMULET.trusted_keys / "stray.pem"
    stray.write_text("not a key")
    try:
        with pytest.raises(NotAvailable):
            finished(malee, archive)
    finally:
        stray.unlink()
    version = ModelVersion.objects.get()
    assert version.state == State.UPLOADED
    services.verify_version(version_id=version.pk)
    version.refresh_from_db()
    assert version.state == State.VERIFIED
