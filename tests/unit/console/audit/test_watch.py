"""A signer beside other work: what stops it is told, and it goes on when that is gone."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from console.audit.models import Checkpoint
from console.audit.services import NewEntry, append
from console.audit.watch import watch_whatever_happens

pytestmark = pytest.mark.django_db


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
