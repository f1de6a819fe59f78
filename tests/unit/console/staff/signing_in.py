"""How the tests of access sign in and change a password: with what a person types, and what the authenticator shows."""

from __future__ import annotations

import base64
import time
from typing import Final

from django.test import Client as Browser
from django_otp.oath import TOTP

from console.staff.services import NewStaff

LOGIN: Final = "/admin/login/"
NEW_PASSWORD: Final = "Xk29-aaaa-bbbb-cc"


def code_of(staff: NewStaff, *, at: float | None = None) -> str:
    """What the authenticator of this person shows now, or at a moment in seconds since the epoch."""
    factor = TOTP(base64.b32decode(staff.totp_seed))
    factor.time = time.time() if at is None else at
    return f"{factor.token():06d}"


def log_in(browser: Browser, staff: NewStaff, **wrong: str) -> int:
    given = {"username": staff.user.username, "password": staff.password, "code": code_of(staff), **wrong}
    return browser.post(LOGIN, given).status_code


def change_password(browser: Browser, old: str) -> int:
    given = {"old_password": old, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    return browser.post("/admin/password_change/", given).status_code
