"""The staff of the console's tests: the same names everywhere."""

from __future__ import annotations

from console.site.roles import Role
from console.staff.models import User
from console.staff.services import create_user

NAMES = {
    Role.VIEWER: "anong",
    Role.REVIEWER: "prasert",
    Role.MODEL_ENGINEER: "malee",
    Role.APPROVER: "somchai",
    Role.PRIVACY_OFFICER: "wipa",
    Role.AUDITOR: "kamol",
    Role.ADMINISTRATOR: "suda",
}


def member(role: Role, name: str = "") -> User:
    """A member of staff with this role."""
    return create_user(name=name or NAMES[role], role=role.value).user
