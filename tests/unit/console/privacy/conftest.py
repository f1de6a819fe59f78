"""What every test of privacy begins with: nobody erased before it, and the people whose work this is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from console.audit.signer import Signer
from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import member


@pytest.fixture(autouse=True)
def _nobody_erased() -> Iterator[None]:
    """No ledger, nor files beside it: whom a test before this one erased would be erased here, too, by a replay."""

    def clear() -> None:
        for path in settings.AMULET.erasure_ledger.parent.glob("erasures.*"):
            path.unlink()

    clear()
    yield
    clear()


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Signer(tmp_path / "key", tmp_path / "checkpoints")
