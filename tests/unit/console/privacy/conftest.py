"""What every test of privacy begins with: nobody erased before it, and somebody whose work this is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings

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
def officer() -> User:
    return member(Role.PRIVACY_OFFICER)
