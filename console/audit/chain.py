"""What one entry of the audit log commits to, byte by byte.

The text of an entry is eight lines, each ended by a newline:

    amulet-audit/1
    7                                       sequence, from 1, without gaps
    2026-11-23T14:04:30.123456Z             time, UTC, microseconds
    prediction.made                         type
    3b9d…-….                                pseudonym of the actor
    9f86d081…                               hash of the entry before; 64 zeros before the first
    60303ae2…                               commitment to the payload

Its hash is the leaf hash of RFC 6962, SHA-256(0x00 ‖ text), so one hash links the chain and
stands in the tree that checkpoints sign. The commitment is SHA-256(salt ‖ payload) with 32
random bytes of salt: without the salt nobody can tell by guessing what an erased payload said.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

FORM: Final = "amulet-audit/1"
GENESIS: Final = "0" * 64  # what the first entry follows
SALT_BYTES: Final = 32
TYPE_FORM: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
ACTOR_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_NEWLINES: Final = 7
_canonical: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def entry_hash(*, sequence: int, time: str, type_: str, actor: str, previous: str, commitment: str) -> bytes:
    """The hash of one entry, 32 bytes. Raises ValueError when a field could pass for two."""
    text = f"{FORM}\n{sequence}\n{time}\n{type_}\n{actor}\n{previous}\n{commitment}\n"
    if text.count("\n") != _NEWLINES:
        raise ValueError("a field holds a line break")
    return hashlib.sha256(b"\0" + text.encode()).digest()


def commitment_of(salt: bytes, payload: str) -> bytes:
    """What an entry says about its payload, 32 bytes."""
    return hashlib.sha256(salt + payload.encode()).digest()


def about_of(payload: str) -> tuple[str, str] | None:
    """What the entry of this payload was written about, type and id; None where the text does not say it."""
    try:
        kind, key = json.loads(payload)["about"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return (kind, key) if isinstance(kind, str) and isinstance(key, str) else None


def new_salts(count: int) -> list[bytes]:
    """Random salts for a batch, in one call to the system."""
    block = secrets.token_bytes(SALT_BYTES * count)
    return [block[start : start + SALT_BYTES] for start in range(0, len(block), SALT_BYTES)]


def canonical(payload: Mapping[str, Any]) -> str:
    """The one text of a payload: JSON, keys sorted, no spaces. Raises ValueError for NaN, TypeError for odd types."""
    return _canonical(payload)


def time_text(moment: datetime) -> str:
    """The one text of a time, in UTC with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
