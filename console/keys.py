"""Keys that machines show: how one is made, taken apart and digested.

A key reads `amk_<key id: 12 hex>_<secret: 43 characters>` (`amt_` for the tokens of staff).
The secret is 32 random bytes in base64url. Only HMAC-SHA256 of the whole key under the
console's key secret is stored, so a stolen database opens no door.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final

from django.conf import settings

API_KEY: Final = "amk"
STAFF_TOKEN: Final = "amt"  # noqa: S105 - a prefix, not a secret
_FORM: Final = re.compile(r"(?P<kind>am[kt])_(?P<key_id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment at which it is known whole."""

    key_id: str
    text: str
    digest: bytes

    def __repr__(self) -> str:
        return f"NewKey(key_id={self.key_id!r})"


def new_key(kind: str) -> NewKey:
    """A fresh key of 256 random bits."""
    key_id = secrets.token_hex(6)
    text = f"{kind}_{key_id}_{secrets.token_urlsafe(32)}"
    return NewKey(key_id=key_id, text=text, digest=digest_of(text))


def key_id_of(text: str, kind: str) -> str | None:
    """The public part of a key of this kind; None when it is not of that form."""
    match = _FORM.fullmatch(text)
    return match["key_id"] if match and match["kind"] == kind else None


def digest_of(text: str) -> bytes:
    """HMAC-SHA256 of the whole key, 32 bytes."""
    # Every byte of the file counts: the gateway digests with the same file.
    return hmac.digest(settings.AMULET.key_secret_file.read_bytes(), text.encode("ascii"), hashlib.sha256)
