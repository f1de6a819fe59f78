"""Archives in pieces: resumed, cut off, too long, not the announced ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings as settings_of_the_console
from django.utils.timezone import now
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from console.errors import Conflict, Invalid, NotAllowed, NotAvailable, NotFound, TooLarge
from console.registry import uploads
from console.registry.models import Upload
from console.site.roles import Role
from console.staff.models import User
from tests.disks import files_of_at_most
from tests.unit.console.people import member

CONTENT = bytes(range(256)) * 40


def announce(actor: User, content: bytes = CONTENT, **changes: object) -> Upload:
    told = {"filename": "a.mar", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changes}
    return uploads.start_upload(actor=actor, **told)  # type: ignore[arg-type]  # a table of wrong values


def send(actor: User, upload: Upload, offset: int, *pieces: bytes) -> Upload:
    return uploads.append(actor=actor, upload_id=upload.pk, offset_bytes=offset, pieces=pieces)


@pytest.fixture
def malee(db: None) -> User:
    return member(Role.MODEL_ENGINEER)


class Pieces(TestCase):
    @settings(deadline=None, max_examples=30)
    @given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=6).map(sorted))
    def test_however_it_is_cut_the_bytes_are_the_same(self, cuts: list[int]) -> None:
        malee = member(Role.MODEL_ENGINEER)
        upload = announce(malee)
        for start, end in zip([0, *cuts], [*cuts, len(CONTENT)], strict=True):
            upload = send(malee, upload, start, CONTENT[start:end])
        assert uploads.part_file(upload).read_bytes() == CONTENT
        uploads.check_complete(upload)
        uploads.discard(upload)


def test_announcing_the_same_bytes_again_resumes(malee: User) -> None:
    upload = announce(malee)
    send(malee, upload, 0, CONTENT[:100])
    again = announce(malee)
    assert (again.pk, again.offset_bytes) == (upload.pk, 100)


def test_whoever_resumes_may_note_something_else(malee: User) -> None:
    upload = announce(malee, note="More backs.")
    assert announce(malee).note == "More backs."
    again = announce(malee, note="More backs of wat_nong_e_duk.")
    assert (again.pk, again.note) == (upload.pk, "More backs of wat_nong_e_duk.")


def test_what_arrived_before_the_sender_broke_off_counts(malee: User) -> None:
    upload = announce(malee)

    def broken() -> Iterator[bytes]:
        yield CONTENT[:300]
        raise OSError("the connection is gone")

    with pytest.raises(NotAvailable):
        uploads.append(actor=malee, upload_id=upload.pk, offset_bytes=0, pieces=broken())
    upload.refresh_from_db()
    assert upload.offset_bytes == 300
    send(malee, upload, 300, CONTENT[300:])
    upload.refresh_from_db()
    uploads.check_complete(upload)


def test_bytes_that_were_written_but_never_counted_are_cut_off(malee: User) -> None:
    upload = announce(malee)
    send(malee, upload, 0, CONTENT[:10])
    with uploads.part_file(upload).open("ab") as file:
        file.write(b"left by a process that was killed")
    send(malee, upload, 10, CONTENT[10:])
    assert uploads.part_file(upload).read_bytes() == CONTENT


@pytest.mark.parametrize("offset", [0, 9, 11, 10**9])
def test_a_piece_goes_where_the_last_one_ended_and_nowhere_else(malee: User, offset: int) -> None:
    upload = announce(malee)
    send(malee, upload, 0, CONTENT[:10])
    with pytest.raises(Conflict) as refused:
        send(malee, upload, offset, b"x")
    assert refused.value.reason == "wrong_offset"
    assert "10" in refused.value.message


def test_more_bytes_than_announced_are_refused_and_not_kept(malee: User) -> None:
    upload = announce(malee)
    with pytest.raises(TooLarge):
        send(malee, upload, 0, CONTENT, b"x")
    assert uploads.part_file(upload).stat().st_size == len(CONTENT)


def test_other_bytes_than_announced_start_again(malee: User) -> None:
    upload = announce(malee)
    upload = send(malee, upload, 0, bytes(len(CONTENT)))
    with pytest.raises(Invalid) as refused:
        uploads.check_complete(upload)
    assert refused.value.reason == "wrong_sha256"
    upload.refresh_from_db()
    assert upload.offset_bytes == 0


def test_an_upload_with_missing_bytes_is_not_complete(malee: User) -> None:
    upload = send(malee, announce(malee), 0, CONTENT[:-1])
    with pytest.raises(Conflict) as refused:
        uploads.check_complete(upload)
    assert refused.value.reason == "upload_incomplete"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"filename": "a.zip"}, "filename"),
        ({"filename": "x" * 200 + ".mar"}, "filename"),
        ({"filename": "a\x00.mar"}, "filename"),
        ({"sha256": "ab"}, "sha256"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"size_bytes": 0}, "size"),
    ],
)
def test_a_wrong_announcement_names_its_field(malee: User, wrong: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        announce(malee, **wrong)  # type: ignore[arg-type]  # a table of wrong values
    assert refused.value.field == field


def test_a_path_in_a_name_is_left_out(malee: User) -> None:
    assert announce(malee, filename="../../etc/a.mar").filename == "a.mar"
    assert announce(malee, filename="C:\\models\\b.mar").filename == "b.mar"


def test_an_archive_beyond_the_limit_is_refused_before_a_byte_is_sent(malee: User) -> None:
    with pytest.raises(TooLarge):
        announce(malee, size_bytes=10**12)


def test_uploads_of_others_are_not_there(malee: User) -> None:
    upload = announce(malee)
    with pytest.raises(NotFound):
        send(member(Role.ADMINISTRATOR), upload, 0, CONTENT)
    with pytest.raises(NotAllowed):
        announce(member(Role.VIEWER))


def test_a_person_has_few_unfinished_uploads(malee: User) -> None:
    for number in range(uploads.UNFINISHED_MAX):
        announce(malee, filename=f"{number}.mar")
    with pytest.raises(Conflict) as refused:
        announce(malee, filename="one-more.mar")
    assert refused.value.reason == "too_many_uploads"


def test_abandoned_uploads_and_their_bytes_go_after_a_day(malee: User) -> None:
    old, fresh = announce(malee, filename="old.mar"), announce(malee, filename="fresh.mar")
    send(malee, old, 0, CONTENT)
    Upload.objects.filter(pk=old.pk).update(touched_at=now() - timedelta(hours=25))
    assert uploads.discard_abandoned() == 1
    assert not uploads.part_file(old).exists()
    assert list(Upload.objects.all()) == [fresh]


def test_an_upload_is_not_abandoned_because_the_clock_was_set_a_day_on(
    malee: User, clock_was_set: Callable[[timedelta], None]
) -> None:
    upload = announce(malee)
    send(malee, upload, 0, CONTENT[:300])
    Upload.objects.update(touched_at=now() - timedelta(hours=25))  # an hour ago, and the clock was set
    clock_was_set(timedelta(days=1))
    assert uploads.discard_abandoned() == 0
    uploads.check_complete(send(malee, upload, 300, CONTENT[300:]))
    clock_was_set(timedelta())
    Upload.objects.update(touched_at=now() - timedelta(hours=25))
    assert uploads.discard_abandoned() == 1


@pytest.mark.parametrize("piece_bytes", [10, 1000, len(CONTENT)])
def test_a_full_disk_is_told_and_what_it_took_counts(piece_bytes: int, malee: User) -> None:
    upload = announce(malee)
    pieces = [CONTENT[start : start + piece_bytes] for start in range(0, len(CONTENT), piece_bytes)]
    with files_of_at_most(5005), pytest.raises(NotAvailable) as refused:
        send(malee, upload, 0, *pieces)
    assert refused.value.reason == "upload_interrupted"
    upload.refresh_from_db()
    assert 0 < upload.offset_bytes <= 5005

    send(malee, upload, upload.offset_bytes, CONTENT[upload.offset_bytes :])
    upload.refresh_from_db()
    uploads.check_complete(upload)
    assert uploads.part_file(upload).read_bytes() == CONTENT


def test_an_upload_whose_bytes_were_lost_starts_again(malee: User) -> None:
    upload = send(malee, announce(malee), 0, CONTENT)
    uploads.part_file(upload).unlink()
    with pytest.raises(Conflict) as refused:
        uploads.check_complete(upload)
    assert refused.value.reason == "upload_incomplete"
    assert announce(malee).offset_bytes == 0
    send(malee, upload, 0, CONTENT)
    uploads.check_complete(announce(malee))


def test_a_piece_behind_bytes_that_were_lost_is_refused(malee: User) -> None:
    """Else a file of zeros would be filled to its end, and only then be found to be another."""
    upload = send(malee, announce(malee), 0, CONTENT[:5000])
    uploads.part_file(upload).write_bytes(CONTENT[:100])
    with pytest.raises(Conflict) as refused:
        send(malee, upload, 5000, CONTENT[5000:])
    assert refused.value.reason == "wrong_offset"
    assert announce(malee).offset_bytes == 100
    send(malee, upload, 100, CONTENT[100:])
    uploads.check_complete(announce(malee))


def test_bytes_that_nobody_waits_for_go_too(malee: User) -> None:
    """Of an upload whose process was killed between its row and its file, or behind the verdict."""
    waiting = send(malee, announce(malee), 0, CONTENT[:10])
    gone = settings_of_the_console.AMULET.staging_dir / f"{uuid4()}.part"
    gone.write_bytes(b"nobody's")
    other = settings_of_the_console.AMULET.staging_dir / "sheet.zip"
    other.write_bytes(b"somebody else's")
    uploads.discard_abandoned()
    assert uploads.part_file(waiting).exists()
    assert other.exists()
    assert not gone.exists()
    other.unlink()
