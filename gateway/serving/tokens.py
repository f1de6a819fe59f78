"""The token that TorchServe's inference port asks for: read from its key file, renewed before it expires.

TorchServe writes `key_file.json` into its working directory: one token for management, one
for inference, each with the instant of its end, and a key for the token API that has none.
`GET {management}/token?type=inference` with that key makes a new inference token, writes it
into the file and ends the old one at once. A restart makes all three anew.

Who else holds the file (a second gateway) may renew at any time, so a token that was right
when a call began can be refused when it arrives: `replace` takes the newer one from the file
before it asks for one. No token is ever part of a message, an exception or a log line.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import structlog

from gateway.errors import BackendUnavailable

# A token is renewed when this share of its life is left, but never later than RENEW_S_MIN
# before its end nor earlier than RENEW_S_MAX.
RENEW_LIFE_RATIO: Final = 0.25
RENEW_S_MIN: Final = 1.0
RENEW_S_MAX: Final = 300.0
LOOK_EVERY_S: Final = 1.0  # at the file, for a restart or another gateway's renewal
ASK_S_MAX: Final = 5.0
_KEY_FILE_BYTES_MAX: Final = 64 * 1024

_log = structlog.get_logger(__name__)


class KeyFileUnreadable(Exception):
    """TorchServe's key file is missing, or not yet whole."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a key file holds for the gateway. Its `repr` shows no secret."""

    inference: str = field(repr=False)
    inference_ends_at: datetime  # aware
    token_api: str = field(repr=False)
    seen_at: datetime  # when these were first read
    seen_s: float  # the same, on the monotonic clock

    def renew_s(self) -> float:
        """How long before its end the inference token is to be renewed."""
        life_s = (self.inference_ends_at - self.seen_at).total_seconds()
        return min(RENEW_S_MAX, max(RENEW_S_MIN, life_s * RENEW_LIFE_RATIO))

    def left_s(self, now: datetime, now_s: float) -> float:
        """Until its end by the wall clock, as TorchServe counts, or by how long it has been known, if that is less.

        A wall clock that is set back makes no token live longer.
        """
        by_age_s = (self.inference_ends_at - self.seen_at).total_seconds() - (now_s - self.seen_s)
        return min((self.inference_ends_at - now).total_seconds(), by_age_s)


class Tokens:
    """The inference token, kept fresh. `run` belongs into the gateway's task group; one instance per loop."""

    def __init__(
        self,
        key_file: Path,
        management_url: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key_file = key_file
        self._url = f"{management_url.rstrip('/')}/token"
        self._now = now
        self._clock = clock
        self._keys: Keys | None = None
        self._changing = asyncio.Lock()
        self._client = httpx.AsyncClient(timeout=ASK_S_MAX, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def inference(self) -> str:
        """The current inference token. Raises BackendUnavailable while TorchServe has no key file."""
        keys = self._keys
        if keys is None:
            async with self._changing:
                keys = self._keys or await self._read()
        return keys.inference

    async def replace(self, refused: str) -> None:
        """TorchServe refused this token: take the file's where that is another one, else renew.

        Callers that were refused together share one renewal. Raises BackendUnavailable when
        no new token can be had.
        """
        async with self._changing:
            if self._keys is not None and self._keys.inference != refused:
                return  # someone before us in this lock's queue has done it
            keys = await self._read()
            if keys.inference == refused:
                await self._renew(keys)

    async def run(self) -> None:
        """Renew the token before it expires and notice a new key file, until cancelled."""
        complained = False
        while True:
            try:
                async with self._changing:
                    keys = await self._read()
                    if keys.left_s(self._now(), self._clock()) <= keys.renew_s():
                        await self._renew(keys)
                complained = False
            except BackendUnavailable as error:
                if not complained:  # once per outage, not once a second
                    _log.warning("torchserve_token_not_renewed", why=str(error))
                complained = True
            await asyncio.sleep(LOOK_EVERY_S)

    async def _read(self) -> Keys:
        try:
            found = await asyncio.to_thread(_keys_in, self._key_file, self._now(), self._clock())
        except KeyFileUnreadable as error:
            raise BackendUnavailable(f"the model server is not up: {error}") from None
        if self._keys is None or self._keys.inference != found.inference or self._keys.token_api != found.token_api:
            self._keys = found
        return self._keys

    async def _renew(self, keys: Keys) -> None:
        try:
            response = await self._client.get(
                self._url, params={"type": "inference"}, headers={"Authorization": f"Bearer {keys.token_api}"}
            )
        except httpx.HTTPError as error:
            raise BackendUnavailable(
                f"the model server's token API cannot be reached: {type(error).__name__}"
            ) from None
        if response.status_code != httpx.codes.OK:
            raise BackendUnavailable(f"the model server's token API answered {response.status_code}")
        renewed = await self._read()
        if renewed.inference == keys.inference:
            raise BackendUnavailable("the model server renewed its token, but its key file still holds the old one")
        _log.info("torchserve_token_renewed", ends_at=renewed.inference_ends_at.isoformat())


def _keys_in(path: Path, now: datetime, now_s: float) -> Keys:
    try:
        with path.open("rb") as file:
            text = file.read(_KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise KeyFileUnreadable(f"its key file cannot be read: {error.strerror}") from None
    try:
        document = json.loads(text)
        return Keys(
            inference=_token(document["inference"]["key"]),
            inference_ends_at=datetime.fromisoformat(document["inference"]["expiration time"]).astimezone(UTC),
            token_api=_token(document["API"]["key"]),
            seen_at=now,
            seen_s=now_s,
        )
    except (ValueError, KeyError, TypeError):
        # No detail: it would quote the file. TorchServe writes it in place, so it can be seen half written.
        raise KeyFileUnreadable("its key file is not whole") from None


def _token(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value
