"""The policy snapshot: pulled from the console, kept on disk, handed out.

Pulled about every two seconds with its ETag, so that a revoked key is dead within five.
While the console is away, or sends something that cannot be followed, the last good one
stays in force; a start without a console begins with the one on disk. The cache is
written whole and renamed, so that a crash leaves the old one or the new one.

All of a snapshot is in force at once, but for routes that cannot be followed yet: the old ones
answer a little longer (`routing.handover`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import structlog

from gateway import errors
from gateway.routing.handover import Handovers
from gateway.routing.router import WhyNotReady
from gateway.snapshot import PolicyInvalid, Snapshot

_log = structlog.get_logger(__name__)
POLICY_PATH: Final = "/internal/policy"
_CONTENT_TYPE: Final = "application/x-protobuf"
_LOOK_EVERY_S: Final = 0.1  # while routes are handed over
_POLICY_BYTES_MAX: Final = 256 * 2**20  # golden photographs of every served version included


@dataclass(frozen=True, slots=True)
class PolicySettings:
    console_url: str
    control_token: str = field(repr=False)
    cache_file: Path
    gateway_id: str = ""  # by which the console's home tells it from others
    interval_s: float = 2.0
    answer_s_max: float = 2.0  # interval + answer stay below the 5 s in which a revoked key must die


class PolicyKeeper:
    """Holds the snapshot in force. Run it as one task; cancel it to stop."""

    def __init__(
        self,
        settings: PolicySettings,
        on_change: Callable[[Snapshot], None],
        why_not_ready: WhyNotReady,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """on_change: called on the loop with every snapshot that comes into force; must not block."""
        self._settings = settings
        self._on_change = on_change
        self._handovers = Handovers(why_not_ready, clock=clock)
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._wanted: Snapshot | None = None  # another one while routes are handed over
        self._etag: str | None = None
        self._heard_at = clock()  # until the console answers: when this began, or when the cache was written
        self.trouble: str | None = None  # one sentence; None: the console answered last time

    @property
    def current(self) -> Snapshot:
        """The snapshot in force. Raises PolicyMissing when none was ever heard of."""
        if self._snapshot is None:
            raise errors.PolicyMissing("this gateway has never yet heard from its console")
        return self._snapshot

    @property
    def known(self) -> bool:
        return self._snapshot is not None

    @property
    def age_s(self) -> float:
        """Since the console last confirmed the snapshot.

        Where it has not since the start: since the cached one was written, which is when it last changed; without
        one, since the start.
        """
        return self._clock() - self._heard_at

    async def load_cached(self) -> None:
        """Begin with the snapshot that an earlier run kept, if it kept a good one."""
        try:
            content, age_s = await asyncio.to_thread(self._kept)
            self._come_into_force(Snapshot.parse(content))
            self._heard_at = self._clock() - age_s
        except FileNotFoundError:
            return
        except (OSError, PolicyInvalid) as error:
            _log.warning("policy_cache_unusable", why=str(error))

    async def run(self) -> None:
        """Ask until cancelled."""
        async with httpx.AsyncClient(
            base_url=self._settings.console_url,
            headers={"Authorization": f"Bearer {self._settings.control_token}", "Accept": _CONTENT_TYPE},
            timeout=self._settings.answer_s_max,
            trust_env=False,  # a proxy meant for the outside must not see the control token
        ) as client:
            while True:
                await self._ask(client)
                await self._pause()

    async def _pause(self) -> None:
        ends_at_s = time.monotonic() + self._settings.interval_s
        while (left_s := ends_at_s - time.monotonic()) > 0.0:
            if self._snapshot is self._wanted:
                await asyncio.sleep(left_s)
            else:
                await asyncio.sleep(min(left_s, _LOOK_EVERY_S))
                self._hand_over()

    async def _ask(self, client: httpx.AsyncClient) -> None:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        try:
            async with asyncio.timeout(self._settings.answer_s_max):
                response = await client.get(POLICY_PATH, params={"gateway": self._settings.gateway_id}, headers=headers)
            if response.status_code == httpx.codes.NOT_MODIFIED:
                self._heard()
                return
            await self._take(response)
        except (httpx.HTTPError, TimeoutError) as error:
            self._in_trouble(f"the console does not answer ({type(error).__name__})")
        except PolicyInvalid as error:
            self._in_trouble(f"the console's policy cannot be followed: {error}")

    async def _take(self, response: httpx.Response) -> None:
        if response.status_code != httpx.codes.OK:
            raise PolicyInvalid(f"it answered with status {response.status_code}")
        if response.headers.get("content-type", "").partition(";")[0].strip() != _CONTENT_TYPE:
            raise PolicyInvalid("it answered with something else than a protobuf")
        if len(response.content) > _POLICY_BYTES_MAX:
            raise PolicyInvalid(f"it is larger than {_POLICY_BYTES_MAX} bytes")
        snapshot = await asyncio.to_thread(Snapshot.parse, response.content)
        self._etag = response.headers.get("etag")
        self._heard()
        if self._snapshot is not None and snapshot.digest == self._snapshot.digest:
            return
        self._come_into_force(snapshot)
        try:
            await asyncio.to_thread(self._keep, response.content)
        except OSError as error:
            # In force all the same: a full disk must not keep a revoked key alive.
            _log.warning("policy_not_kept", why=str(error))

    def _heard(self) -> None:
        if self.trouble is not None:
            _log.info("policy_heard_again")
        self.trouble, self._heard_at = None, self._clock()

    def _in_trouble(self, sentence: str) -> None:
        if sentence != self.trouble:
            _log.warning("policy_not_heard", why=sentence)
        self.trouble = sentence

    def _come_into_force(self, snapshot: Snapshot) -> None:
        _log.info(
            "policy_in_force", revision=snapshot.revision, keys=len(snapshot.keys), models=sorted(snapshot.models)
        )
        self._wanted = snapshot
        self._snapshot = self._handovers.follow(snapshot, self._snapshot)
        self._on_change(self._snapshot)

    def _hand_over(self) -> None:
        """Follow the wanted routes that can be followed by now, or that were waited for long enough."""
        if self._wanted is None or self._wanted is self._snapshot:
            return
        found = self._handovers.follow(self._wanted, self._snapshot)
        self._snapshot = found
        if found is self._wanted:
            _log.info("routes_handed_over", revision=found.revision)
            self._on_change(found)

    def _kept(self) -> tuple[bytes, float]:
        """What an earlier run kept, and its age in seconds by the wall clock, at least 0."""
        with self._settings.cache_file.open("rb") as file:
            return file.read(), max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)

    def _keep(self, content: bytes) -> None:
        file = self._settings.cache_file
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        with fresh.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
