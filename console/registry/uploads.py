"""Archives coming in: in pieces, resumable, never more than was said.

A piece is appended behind the bytes that the database knows of, made durable, and only then
counted. What a crash left behind the counted bytes is cut off by the next piece.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.errors import Conflict, Invalid, NotAvailable, NotFound, TooLarge
from console.registry.models import ModelVersion, State, Upload
from console.registry.queries import uploads_of
from console.staff.models import User
from console.staff.services import require
from console.steady import earliest
from model_store.members import Limits

UNFINISHED_MAX: Final = 5  # for each person
KEPT_UNFINISHED: Final = timedelta(days=1)
_SPARE_BYTES: Final = 64 * 2**20
_PART: Final = ".part"
NO_BYTES: Final = gettext_lazy("An archive has at least one byte: this one is empty.")
NO_SHA256: Final = gettext_lazy("A SHA-256 is 64 hexadecimal digits in lower case.")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@transaction.atomic
def start_upload(*, actor: User, filename: str, size_bytes: int, sha256: str, note: str = "") -> Upload:
    """Announce an archive. The same person announcing the same bytes again resumes the unfinished upload.

    Raises NotAllowed; Invalid; TooLarge; Conflict with too many unfinished; NotAvailable without room.
    """
    require(actor, "registry.upload_modelversion")
    name = Path(filename.replace("\\", "/")).name
    if not name.endswith(".mar") or len(name) > 200 or not name.isprintable():
        raise Invalid(_("An archive's name ends in .mar and has at most 200 characters."), field="filename")
    if not _SHA256.fullmatch(sha256):
        raise Invalid(str(NO_SHA256), field="sha256")
    if size_bytes < 1:
        raise Invalid(str(NO_BYTES), field="size")
    most = Limits().archive_bytes_max
    if size_bytes > most:
        raise TooLarge(
            _("An archive may have at most {most} bytes; this one has {size}.").format(most=most, size=size_bytes),
            field="size",
        )
    unfinished = list(uploads_of(actor.pk))
    for upload in unfinished:
        if (upload.sha256, upload.size_bytes, upload.filename) == (sha256, size_bytes, name):
            if note and note != upload.note:  # whoever resumes may have thought of a better one
                upload.note = note
                upload.save(update_fields=["note"])
            return upload
    if len(unfinished) >= UNFINISHED_MAX:
        raise Conflict(
            _("You have {count} unfinished uploads; finish or delete one.").format(count=len(unfinished)),
            reason="too_many_uploads",
        )
    _check_room(size_bytes)
    return Upload.objects.create(filename=name, size_bytes=size_bytes, sha256=sha256, note=note, created_by=actor)


def append(*, actor: User, upload_id: UUID, offset_bytes: int, pieces: Iterable[bytes]) -> Upload:
    """Take the next bytes. What arrived before the sender broke off is kept and counted.

    Raises NotFound; Conflict when the offset is not the counted one, another piece is being received or the
    upload became a version; TooLarge for bytes beyond the announced size; NotAvailable when the disk is full.
    """
    upload = find_upload(actor=actor, upload_id=upload_id)
    if _became_a_version(upload):
        raise _finished()
    with _locked(upload) as file:
        upload.refresh_from_db()
        _forget_what_was_lost(upload, os.fstat(file.fileno()).st_size)
        if offset_bytes != upload.offset_bytes:
            raise Conflict(
                _("The next byte is number {offset}.").format(offset=upload.offset_bytes),
                reason="wrong_offset",
                field="Upload-Offset",
            )
        file.seek(upload.offset_bytes)
        file.truncate()
        try:
            for piece in pieces:
                if file.tell() + len(piece) > upload.size_bytes:
                    raise TooLarge(
                        _("More bytes than the {size} announced.").format(size=upload.size_bytes), field="Upload-Offset"
                    )
                _write(file, piece)
        except OSError as error:
            raise NotAvailable(
                _("The upload broke off: {error}").format(error=error.strerror or type(error).__name__),
                reason="upload_interrupted",
            ) from None
        finally:
            _count(upload, file)
    return upload


def find_upload(*, actor: User, upload_id: UUID) -> Upload:
    """A person's own upload. Raises NotAllowed, NotFound."""
    require(actor, "registry.upload_modelversion")
    upload = Upload.objects.filter(pk=upload_id, created_by=actor.pk).first()
    if upload is None:
        raise NotFound(_("There is no such upload of yours."), field="id")
    return upload


def check_complete(upload: Upload) -> None:
    """Are all bytes there, and are they the announced ones? Raises Conflict, Invalid.

    An upload whose bytes are others starts again from its first byte.
    """
    try:
        _forget_what_was_lost(upload, part_file(upload).stat().st_size)
    except FileNotFoundError:
        _forget_what_was_lost(upload, 0)
    if upload.offset_bytes != upload.size_bytes:
        raise Conflict(
            _("{offset} of {size} bytes have arrived.").format(offset=upload.offset_bytes, size=upload.size_bytes),
            reason="upload_incomplete",
        )
    with part_file(upload).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != upload.sha256:
        Upload.objects.filter(pk=upload.pk).update(offset_bytes=0)
        raise Invalid(
            _("The bytes that arrived have the SHA-256 {found}; the announced one is {sha256}.").format(
                found=found, sha256=upload.sha256
            ),
            reason="wrong_sha256",
            field="sha256",
        )


def delete_upload(*, actor: User, upload_id: UUID) -> None:
    """Give an unfinished upload up. Raises NotFound; Conflict when it became a version."""
    upload = find_upload(actor=actor, upload_id=upload_id)
    if not discard(upload):
        raise _finished()


@transaction.atomic
def claim(upload: Upload) -> bool:
    """Write the row of an upload, so that of two who end it, in one way or the other, one comes first.

    To be called first in a transaction. False: it is gone.
    """
    return bool(Upload.objects.filter(pk=upload.pk).update(touched_at=now()))


def discard(upload: Upload) -> bool:
    """Forget an unfinished upload and its bytes. False: it became a version meanwhile."""
    with transaction.atomic():
        claim(upload)
        if _became_a_version(upload):
            return False
        Upload.objects.filter(pk=upload.pk).delete()
    part_file(upload).unlink(missing_ok=True)
    return True


def discard_abandoned() -> int:
    """Forget unfinished uploads that nobody touched for a day, however the clock was set meanwhile. Returns how many.

    Bytes that nobody waits for go, too: of an upload whose process was killed before it removed them.
    """
    old = list(Upload.objects.filter(model_version=None, touched_at__lt=earliest(now()) - KEPT_UNFINISHED))
    count = sum(discard(upload) for upload in old)
    # Files first: the row of an upload is there before its file.
    files = {path.stem: path for path in settings.AMULET.staging_dir.glob(f"*{_PART}")}
    waiting = Upload.objects.filter(Q(model_version=None) | Q(model_version__state=State.UPLOADED))
    for name in files.keys() - {str(pk) for pk in waiting.values_list("pk", flat=True)}:
        files[name].unlink(missing_ok=True)
    return count


def part_file(upload: Upload) -> Path:
    """Where the bytes of an upload wait."""
    folder: Path = settings.AMULET.staging_dir
    return folder / f"{upload.pk}{_PART}"


def _became_a_version(upload: Upload) -> bool:
    return ModelVersion.objects.filter(upload=upload).exists()


def _finished() -> Conflict:
    return Conflict(_("This upload became a version."), reason="upload_finished")


def _forget_what_was_lost(upload: Upload, found_bytes: int) -> None:
    """Bytes that were counted and are not there, as after a restore, are to be sent again."""
    if found_bytes < upload.offset_bytes:
        upload.offset_bytes = found_bytes
        Upload.objects.filter(pk=upload.pk).update(offset_bytes=found_bytes)


def _write(file: FileIO, piece: bytes) -> None:
    """All of it. Without a buffer a full disk is met here, and not again when the file is closed."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _count(upload: Upload, file: FileIO) -> None:
    try:
        os.fsync(file.fileno())
    except OSError:
        return  # nothing of this piece counts; the next one starts where it did
    upload.offset_bytes = min(file.tell(), upload.size_bytes)
    Upload.objects.filter(pk=upload.pk).update(offset_bytes=upload.offset_bytes, touched_at=now())


def _check_room(size_bytes: int) -> None:
    folder: Path = settings.AMULET.staging_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 2 * size_bytes + _SPARE_BYTES:  # staged, then copied into the store
        raise NotAvailable(_("The disk has no room for this archive."), reason="staging_full")


@contextmanager
def _locked(upload: Upload) -> Iterator[FileIO]:
    path = part_file(upload)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(_("Another piece of this upload is being received."), reason="upload_busy") from None
        yield file
