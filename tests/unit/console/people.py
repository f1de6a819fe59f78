"""The staff of the console's tests: the same names everywhere."""

from __future__ import annotations

from django.test import Client, override_settings
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.test import APIClient

from console.site.roles import Role
from console.staff.models import User
from console.staff.services import NewStaff, create_user

NAMES = {
    Role.VIEWER: "anong",
    Role.REVIEWER: "prasert",
    Role.MODEL_ENGINEER: "malee",
    Role.APPROVER: "somchai",
    Role.PRIVACY_OFFICER: "wipa",
    Role.AUDITOR: "kamol",
    Role.ADMINISTRATOR: "suda",
}


def caller(role: Role) -> APIClient:
    """A script that shows the token of such a member of staff."""
    made = _made(f"{NAMES[role]}-script", role)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {made.token}")
    return client


def browser(user: User) -> Client:
    """A browser in which this person has logged in with the second factor."""
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = TOTPDevice.objects.get(user=user).persistent_id
    session.save()
    return client


def member(role: Role, name: str = "") -> User:
    """A member of staff with this role."""
    return _made(name or NAMES[role], role).user


def _made(name: str, role: Role) -> NewStaff:
    # Nobody logs in with these passwords: a real hash would be most of such a test's time.
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        return create_user(name=name, role=role.value)
