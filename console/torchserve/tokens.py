"""TorchServe's tokens: read from its key file, renewed before they expire.

TorchServe writes three keys to `key_file.json` in its working directory: one each for
inference and management, valid for an hour, and one that renews those two. Renewal is a GET
of `/token` on the management address, after which the file holds the new key; the old one
dies at once. The gateway renews the inference token in the same way: whoever finds a token
refused reads the file again first, because the other may have renewed it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from console.torchserve.errors import BackendAway

_log = logging.getLogger(__name__)
RENEW_BEFORE_S: Final = 600.0  # of its 3600; a shorter life is renewed at a sixth of what was left
_RENEWAL_S_MAX: Final = 5.0


class Purpose(StrEnum):
    MANAGEMENT = "management"
    INFERENCE = "inference"


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    expires_at: datetime  # aware

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at:%H:%M:%S})"


class Tokens:
    """The tokens of one TorchServe. Safe for threads; holds nothing that outlives a restart of TorchServe."""

    def __init__(self, *, key_file: Path, management_url: str) -> None:
        self._key_file = key_file
        self._management_url = management_url.rstrip("/")
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._document: dict[str, Any] = {}
        self._renewal_tried_at = float("-inf")  # monotonic

    def current(self, purpose: Purpose) -> Token:
        """The token in force, renewed when its end is near. Raises BackendAway when there is no key file."""
        with self._lock:
            token = self._read(purpose)
            left_s = (token.expires_at - datetime.now(UTC)).total_seconds()
            # Only the management token is ours to renew early; the gateway sees to its own.
            near_s = RENEW_BEFORE_S if purpose is Purpose.MANAGEMENT else 0.0
            if left_s < near_s and time.monotonic() - self._renewal_tried_at > max(1.0, left_s / 6):
                self._renewal_tried_at = time.monotonic()
                self._renew(purpose)
                token = self._read(purpose)
            return token

    def refused(self, purpose: Purpose, token: Token) -> Token:
        """What to show after TorchServe refused `token`: the file's, or a renewed one if that is the same."""
        with self._lock:
            self._seen = None
            found = self._read(purpose)
            if found.text == token.text:
                self._renew(purpose)
                found = self._read(purpose)
            return found

    def _read(self, purpose: Purpose) -> Token:
        try:
            status = self._key_file.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._document = json.loads(self._key_file.read_bytes())
                self._seen = seen
            entry = self._document[purpose]
            return Token(text=entry["key"], expires_at=datetime.fromisoformat(entry["expiration time"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            # TorchServe rewrites the file in place: a half-written one is read again at the next call.
            self._seen = None
            raise BackendAway(f"TorchServe's key file {self._key_file} cannot be read: {error}") from None

    def _renew(self, purpose: Purpose) -> None:
        import httpx  # once an hour, and 7 MB

        try:
            answer = httpx.get(
                f"{self._management_url}/token",
                params={"type": purpose.value},
                headers={"Authorization": f"Bearer {self._document['API']['key']}"},
                timeout=_RENEWAL_S_MAX,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise BackendAway(f"TorchServe's token could not be renewed: {type(error).__name__}") from None
        if answer.status_code != httpx.codes.OK:
            raise BackendAway(f"TorchServe did not renew its {purpose} token: status {answer.status_code}")
        self._seen = None
        _log.info("torchserve token renewed", extra={"purpose": purpose.value})
