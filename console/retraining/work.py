"""A training job from its first photograph to its version: export, train, package, hand in."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils.timezone import now

from console.datasets import queries as datasets
from console.datasets import services as exports
from console.datasets.models import Dataset
from console.errors import NotAvailable, Refusal
from console.registry import services as registry
from console.registry import uploads
from console.registry.models import ModelVersion
from console.registry.queries import has_version_of
from console.retraining import folders, programs, sentences, services
from console.retraining.folders import PHOTOGRAPHS, work_folder
from console.retraining.models import Failure, Stage, TrainingJob
from console.retraining.programs import Leaving, Limits, Progress, Stopped, TooLong
from console.retraining.queries import SILENT_MAX
from model_store.errors import KeyUnusable

_log = logging.getLogger(__name__)
_PIECE_BYTES: Final = 4 * 2**20
_HEARD_EVERY_S: Final = 1.0
_LENT_EVERY_S: Final = 10.0  # a query for some hundred photographs


class _Failed(Exception):
    """The job cannot go on."""

    def __init__(self, failure: Failure, said: str, log: str = "") -> None:
        super().__init__(said)
        self.failure, self.said, self.log = failure, said, log


def carry_out_waiting() -> None:
    """The jobs that wait, one after another, until none does or this process was asked to end.

    Raises what is our own fault, once the job is failed.
    """
    folders.sweep()
    while not programs.leaving.is_set() and (job := services.begin_next()) is not None:
        _log.info("a training job begins", extra={"job": job.pk, "model": job.model, "try": job.tries})
        carry_out(job)


def carry_out(job: TrainingJob) -> None:
    """Take a running job to its end, whatever that is. When this returns, no photograph of it is on the disk.

    Raises what is our own fault, once the job is failed.
    """
    try:
        # Before anything is decrypted: an hour of training that nobody may sign is of no use.
        program, key = _program(), _signing_key()
        with work_folder(job.pk) as folder:
            version, log = _Run(job, folder, program, key).version()
        services.settle(job, version=version, log=log)
    except Stopped:
        _log.info("a training job is no longer this worker's", extra={"job": job.pk})
    except Leaving:
        services.put_back(job)
    except TooLong:
        services.fail(job, failure=Failure.TIME)
    except _Failed as error:
        services.fail(job, failure=error.failure, said=error.said, log=error.log)
    except OSError as error:
        services.fail(job, failure=Failure.DISK, said=error.strerror or type(error).__name__)
    except Exception:
        services.fail(job, failure=Failure.UNEXPECTED)
        raise


class _Run:
    """One try of one job, in its folder."""

    def __init__(self, job: TrainingJob, folder: Path, program: Path, key: Path) -> None:
        self._job, self._folder, self._program, self._key = job, folder, program, key
        self._photographs = folder / PHOTOGRAPHS / f"job{job.pk}"  # as the card will call it
        self._ends_at_s = time.monotonic() + settings.AMULET.training_hours_max * 3600
        self._heard_at_s = time.monotonic()
        self._dataset: Dataset | None = None  # once its photographs are here
        self._lent_at_s = 0.0  # when its people were last found to agree

    def version(self) -> tuple[ModelVersion, str]:
        """The version, and the end of what training said. Raises as `carry_out` handles."""
        self._dataset = dataset = self._export()
        run, archive = self._folder / "run", self._folder / f"{self._job.model}.mar"
        photographs = self._photographs
        outside = ("--ood", str(photographs / "ood")) if dataset.outside else ()
        told = ("--seed", str(self._job.seed), "--recipe", self._job.recipe, "--name", self._job.model, *self._apart())
        trained = self._amulet(
            Stage.TRAIN, Failure.TRAIN, "train", str(photographs), *outside, "--out", str(run), *told, "--stages"
        )
        self._amulet(
            Stage.PACKAGE, Failure.PACKAGE, "package", str(run), "--out", str(archive), "--sign", str(self._key)
        )
        self._check_lent(dataset)
        return self._hand_in(archive), trained

    def _check_lent(self, dataset: Dataset) -> None:
        """That nobody took anything back since it was exported. Raises _Failed, by which what runs is ended and what
        it learnt from is deleted; DatabaseError.
        """
        if datasets.erased_since(dataset):
            raise _Failed(Failure.ERASED, "")
        if not datasets.is_lent(dataset, at=now()):
            raise _Failed(Failure.WITHDRAWN, "")
        self._lent_at_s = time.monotonic()

    def _apart(self) -> tuple[str, ...]:
        """What keeps its name from that of another version of this day: backbone and F1 are often the same again."""
        if not has_version_of(self._job.model, datetime.now(UTC).date()):  # as the name is dated
            return ()
        return ("--suffix", f"job{self._job.pk}")

    def _export(self) -> Dataset:
        place = self._photographs
        place.mkdir(parents=True)
        going_on = True

        def write(name: str, content: bytes) -> None:
            # To the end also when the job was cancelled: what was read must be in the audit trail as read.
            nonlocal going_on
            going_on = going_on and self._hear(Stage.EXPORT)
            if going_on:
                path = place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

        note = f"training job {self._job.pk}"
        try:
            made = exports.export(actor=self._job.asked_by, model=self._job.model, note=note, write=write)
        except Refusal as refusal:
            if refusal.reason == exports.TAKEN_BACK:
                raise _Failed(Failure.WITHDRAWN, "") from refusal
            raise _Failed(Failure.EXPORT, refusal.message) from refusal
        if not going_on or not services.note_dataset(self._job, made):
            raise Stopped
        return made

    def _amulet(self, stage: Stage, failure: Failure, *arguments: str) -> str:
        """Run one command of `amulet`. Returns the end of what it said."""
        status, said = programs.run(
            (str(self._program), *arguments),
            folder=self._folder,
            limits=Limits(self._ends_at_s - time.monotonic(), settings.AMULET.training_mib_max),
            heard=lambda progress: self._hear(stage, progress),
        )
        if status != 0:
            raise _Failed(failure, _sentence(said, status), said)
        return said

    def _hand_in(self, archive: Path) -> ModelVersion:
        """An ordinary upload by whoever asked for the job: verified, tried and approved as any other."""
        if not services.note_progress(self._job, stage=Stage.UPLOAD):
            raise Stopped
        actor = self._job.asked_by
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            upload = uploads.start_upload(
                actor=actor,
                filename=archive.name,
                size_bytes=archive.stat().st_size,
                sha256=digest,
                note=self._job.note or f"training job {self._job.pk}",
            )
            uploads.append(
                actor=actor,
                upload_id=upload.pk,
                offset_bytes=upload.offset_bytes,
                pieces=_pieces(archive, upload.offset_bytes),
            )
            try:
                return registry.finish_upload(actor=actor, upload_id=upload.pk)
            except NotAvailable:  # it is taken in, and the beat verifies it later
                return ModelVersion.objects.get(upload=upload)
        except Refusal as refusal:
            raise _Failed(Failure.UPLOAD, refusal.message) from refusal
        except ModelVersion.DoesNotExist:
            raise _Failed(Failure.UPLOAD, "") from None

    def _hear(self, stage: Stage, progress: Progress | None = None) -> bool:
        """Write down how far it is. False when the job is no longer ours; a database that is away is waited for.

        Raises _Failed when a photograph may not be learnt from any more.
        """
        since_s = time.monotonic() - self._heard_at_s
        if since_s < _HEARD_EVERY_S:
            return True
        at = progress or Progress("", 0, 0)
        try:
            ours = services.note_progress(self._job, stage=stage, step=at.step, done=at.done, total=at.total)
            if self._dataset is not None and time.monotonic() - self._lent_at_s > _LENT_EVERY_S:
                self._check_lent(self._dataset)
        except DatabaseError as error:
            if connection.in_atomic_block:
                raise
            _log.warning("no progress written: %s", type(error).__name__, extra={"job": self._job.pk})
            connection.close()
            return since_s < SILENT_MAX.total_seconds()
        self._heard_at_s = time.monotonic()
        return ours


def _program() -> Path:
    """The `amulet` that trains: the setting's, or the one of this environment. Raises _Failed."""
    path: Path = settings.AMULET.training_command or Path(sys.executable).with_name("amulet")
    if not os.access(path, os.X_OK):
        raise _Failed(
            Failure.NO_PROGRAM,
            sentences.NO_PROGRAM.format(path=path),
        )
    return path.absolute()


def _signing_key() -> Path:
    """The key to sign with: there, usable, and trusted by this console. Raises _Failed."""
    # Signing weighs 50 MB in a process that imports it; only the worker that trains does.
    from model_store import signing

    path: Path = settings.AMULET.training_key_file
    if not path.is_file():
        raise _Failed(
            Failure.NO_KEY,
            sentences.NO_KEY.format(path=path),
        )
    try:
        signing.private_key(path)
        fingerprint = signing.fingerprint_of(signing.public_pem(path))
        trusted = signing.TrustStore.load(settings.AMULET.trusted_keys)
    except KeyUnusable as error:
        raise _Failed(Failure.NO_KEY, str(error)) from error
    if fingerprint not in trusted.keys or fingerprint in trusted.revoked:
        raise _Failed(
            Failure.NO_KEY,
            sentences.NOT_TRUSTED.format(path=path, folder=settings.AMULET.trusted_keys),
        )
    return path.absolute()


def _sentence(said: str, status: int) -> str:
    """What `amulet` said of why it failed: its last line."""
    lines = said.strip().splitlines()
    if status < 0 or not lines:
        return sentences.ENDED.format(number=-status) if status < 0 else ""
    return lines[-1].removeprefix("amulet: ")


def _pieces(archive: Path, offset_bytes: int) -> Iterator[bytes]:
    with archive.open("rb") as file:
        file.seek(offset_bytes)
        read: Callable[[], bytes] = lambda: file.read(_PIECE_BYTES)  # noqa: E731 - typed, for `iter`
        yield from iter(read, b"")
