"""Master keys that people's keys are wrapped under and this running process has not: waited for, then done without.

No process starts without one (`queries.key_complaint`); one that runs meets it where a key file was changed by hand, a
copy of it is behind, or the database was exchanged. Another process may have the key, or somebody is about to put it
back: until then nothing that needs it is lost. But whoever waits holds up everybody, so the wait has an end
(decision 0297).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from threading import Lock
from typing import Final

_log = logging.getLogger(__name__)
WAIT_S: Final = 600.0  # as long as a rollout of a new key file takes, and somebody who reads the log


class KeyAwaited(Exception):
    """What was asked needs a key that may yet come: ask again later. The text is a sentence for an operator."""


class AwaitedKeys:
    """Those that one process met and had not, by id; "" is the one from before a vault's first rotation, which no row
    names. Safe for several threads.

    clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._met_s: dict[str, float] = {}
        self._given_up: set[str] = set()

    def wait_for(self, id_: str, *, file: str) -> None:
        """Note that a key is not there. Raises KeyAwaited until it was missing for WAIT_S.

        The log is told once that it is waited for, and once that it no longer is.
        """
        with self._lock:
            is_new = id_ not in self._met_s
            waited_s = self._clock() - self._met_s.setdefault(id_, self._clock())
            over = waited_s >= WAIT_S
            ends = over and id_ not in self._given_up
            if over:
                self._given_up.add(id_)
        said = _sentence([id_], file=file, waits=not over)
        if is_new or ends:
            _log.error("%s", said)
        if not over:
            raise KeyAwaited(said)

    def came(self, ids: Collection[str]) -> None:
        """These are there."""
        with self._lock:
            for id_ in ids:
                self._met_s.pop(id_, None)
                self._given_up.discard(id_)

    def complaint(self, *, file: str) -> tuple[str, bool]:
        """One sentence about what is missing, "" for nothing; and whether anybody is still held up for it."""
        with self._lock:
            ids = sorted(self._met_s)
            waits = any(id_ not in self._given_up and self._clock() - self._met_s[id_] < WAIT_S for id_ in ids)
        return (_sentence(ids, file=file, waits=waits), waits) if ids else ("", False)


AWAITED: Final = AwaitedKeys()


def _sentence(ids: Collection[str], *, file: str, waits: bool) -> str:
    named = " and ".join(f"the master key {id_}" if id_ else "the one from before the first rotation" for id_ in ids)
    becomes = (
        f"events that bring photographs of those people wait for it, {WAIT_S / 60:.0f} minutes at most, and what was "
        "sent after them waits too"
        if waits
        else "photographs of those people are not kept, and their events are recorded without"
    )
    return (
        f"AMULET_VAULT_KEY_FILE names {file}, which lacks {named}, under which people's keys are wrapped in this "
        f"database: {becomes}. Take it from the vault.key that was kept with this database's backup: "
        "`amulet vault add --from FILE`"
    )
