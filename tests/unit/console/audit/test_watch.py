"""A signer beside other work: what stops it is told, and it goes on when that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction
from django.utils.timezone import now

from console.audit import guards
from console.audit.models import Checkpoint, Entry
from console.audit.services import NewEntry, append
from console.audit.signer import Signer
from console.audit.watch import watch, watch_whatever_happens

pytestmark = pytest.mark.django_db
EVERY_S = 7.0


class Clock(Event):
    """Nobody waits for it: what happens meanwhile is what `meanwhile` does, and after the last of it a stop."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.waited: list[float | None] = []
        self._meanwhile = list(meanwhile)

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        if self._meanwhile:
            self._meanwhile.pop(0)()
        if not self._meanwhile:
            self.set()
        return self.is_set()


def grow() -> None:
    with transaction.atomic():
        append([NewEntry("prediction.made", "prediction", "p1")], actor="gateway")


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Signer(tmp_path / "key", tmp_path / "checkpoints")


def test_what_was_written_before_the_end_is_signed_at_the_end(signer: Signer) -> None:
    grow()
    stopped, told = Clock(grow, grow), list[str]()
    watch(signer, every_s=EVERY_S, stopped=stopped, looked=told.append)
    assert told == ["", ""]
    assert stopped.waited == [EVERY_S, EVERY_S]
    assert list(Checkpoint.objects.order_by("size").values_list("size", flat=True)) == [1, 2, 3]


def test_a_folder_that_is_away_is_told_and_waited_for(signer: Signer, tmp_path: Path) -> None:
    grow()
    folder, away = tmp_path / "checkpoints", tmp_path / "away"
    folder.rename(away)
    told: list[str] = []
    watch(signer, every_s=EVERY_S, stopped=Clock(lambda: away.rename(folder), list), looked=told.append)
    assert told[0].startswith("no checkpoint was signed: ")
    assert told[1:] == [""]
    assert Checkpoint.objects.get().size == 1


def test_a_log_that_was_rewritten_is_told_at_every_look(signer: Signer) -> None:
    grow()
    signer.sign(now())
    guards.remove(connection)
    Entry.objects.all().delete()
    guards.install(connection)
    told: list[str] = []
    watch(signer, every_s=EVERY_S, stopped=Clock(list, list), looked=told.append)
    assert len(told) == 2
    assert all(each.startswith("the audit log was rewritten: the log ends with entry 0") for each in told)


def test_a_key_that_cannot_be_read_is_looked_for_as_often(tmp_path: Path) -> None:
    stopped, told = Clock(list, list), list[str]()
    watch_whatever_happens(tmp_path / "key", tmp_path, stopped=stopped, looked=told.append, every_s=EVERY_S)
    assert len(told) == 2
    assert stopped.waited == [EVERY_S, EVERY_S]


def test_a_key_that_is_missing_is_told_and_waited_for(tmp_path: Path) -> None:
    key_file, stopped, told = tmp_path / "key", Event(), list[str]()
    with transaction.atomic():
        append([NewEntry("prediction.made", "prediction", "p1")], actor="gateway")

    def looked(problem: str) -> None:
        told.append(problem)
        if not key_file.exists():
            key_file.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
        elif not problem:
            stopped.set()

    watch_whatever_happens(key_file, tmp_path / "checkpoints", stopped=stopped, looked=looked, every_s=0.01)

    assert "key" in told[0]
    assert told[1:] == [""]
    assert Checkpoint.objects.get().size == 1
