"""A person at the console's login page, as a browser sends it."""

from __future__ import annotations

import re
from base64 import b32decode

import httpx
from django_otp.oath import TOTP


def sign_in(browser: httpx.Client, name: str, password: str, seed: str) -> httpx.Response:
    """Fill in the form and send it: 302 lets in, 200 shows the form again. seed: of the second factor, in base32."""
    page = browser.get("/admin/login/").text
    form = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert form is not None, page[:500]
    code = f"{TOTP(b32decode(seed)).token():06d}"
    given = {"csrfmiddlewaretoken": form[1], "username": name, "password": password, "code": code}
    return browser.post("/admin/login/", data=given, headers={"Referer": str(browser.base_url)})
