from __future__ import annotations

import pytest
from pytest_django import Settings

from console.site.roles import Role
from console.staff.services import NewStaff, create_user


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    """How slowly a password is hashed is Django's business, and most of such a test's time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def anong() -> NewStaff:
    return create_user(name="anong", role=Role.VIEWER)
