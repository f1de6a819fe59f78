"""Who works with a vault."""

from __future__ import annotations

import pytest

from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import member


@pytest.fixture
def reviewer() -> User:
    return member(Role.REVIEWER)
