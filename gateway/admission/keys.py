"""API keys: `amk_<key id: 12 hex>_<secret: 43 characters>`.

The policy holds only keyed hashes. The key id finds the entry, the comparison of the
digest takes the same time whatever the secret, and a key that was revoked or has expired
is told so: only its true owner can hear that, because the digest is compared first.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from gateway import errors
from gateway.snapshot import Key

_KEY: Final = re.compile(r"amk_(?P<key_id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NOBODY: Final = bytes(32)  # compared against for ids that nobody has
_HOW: Final = "send the key in the metadata `x-api-key` or `authorization: Bearer`"


def key_in(metadata: Mapping[str, str]) -> str:
    """The key a call carries. Raises KeyMissing."""
    key = metadata.get("x-api-key", "").strip()
    if key:
        return key
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    raise errors.KeyMissing("the call carries no API key", wanted=_HOW)


def owner_of(key: str, *, keys: Mapping[str, Key], secret: bytes) -> Key:
    """The entry of a key. Raises KeyUnknown or KeyRevoked; neither repeats what was sent."""
    form = _KEY.fullmatch(key)
    entry = keys.get(form["key_id"]) if form else None
    digest = hmac.digest(secret, key.encode("utf-8", "surrogateescape"), hashlib.sha256)
    if not hmac.compare_digest(digest, entry.digest if entry else _NOBODY) or entry is None:
        raise errors.KeyUnknown("the API key is not known", wanted="check it, or have a new one made in the console")
    check_valid(entry)
    return entry


def check_valid(entry: Key) -> None:
    """Raises KeyRevoked when the key has ended."""
    if entry.revoked:
        raise errors.KeyRevoked("the API key was revoked", wanted="have a new one made in the console")
    if entry.expires_at is not None and datetime.now(UTC) >= entry.expires_at:
        raise errors.KeyRevoked("the API key has expired", wanted="have a new one made in the console")


def still_valid(entry: Key, keys: Mapping[str, Key]) -> Key:
    """The entry as the policy has it now, for calls that outlive a policy. Raises KeyRevoked."""
    now = keys.get(entry.key_id)
    if now is None or now.digest != entry.digest:
        raise errors.KeyRevoked("the API key was withdrawn", wanted="have a new one made in the console")
    check_valid(now)
    return now
