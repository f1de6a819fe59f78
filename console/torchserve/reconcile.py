"""Keeps TorchServe holding exactly the versions that it should, whatever happens to it.

TorchServe forgets everything when it restarts (snapshots are off: they revive old models).
The reconciler compares what it holds with what it should hold, once a second, and mends the
difference. A version whose worker does not come up is registered anew: TorchServe waits longer
after each try that failed, and after five minutes it tries no more. The reconciler keeps
nothing that it cannot find out again, so it may be killed and started at any moment, and it
depends on neither broker nor worker.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from console.torchserve.errors import BackendError, BackendRefused
from console.torchserve.management import Backend, BackendVersion, Loaded, ServingOptions

_log = logging.getLogger(__name__)
INTERVAL_S: Final = 1.0
# Longer than loading may take: TorchServe itself ends a worker that takes longer.
PATIENCE_S: Final = ServingOptions().startup_timeout_s + 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look changed."""

    registered: tuple[BackendVersion, ...] = ()
    unregistered: tuple[BackendVersion, ...] = ()
    renewed: tuple[BackendVersion, ...] = ()  # taken out and registered again, because no worker of theirs came up
    refused: tuple[tuple[BackendVersion, str], ...] = ()


@dataclass(slots=True)
class Patience:
    """For how long each version has been without a worker that is ready."""

    limit_s: float = PATIENCE_S
    now: Callable[[], float] = time.monotonic
    _without_since_s: dict[BackendVersion, float] = field(default_factory=dict)

    def over(self, held: Collection[Loaded]) -> set[BackendVersion]:
        """Those that have been without one for too long. Theirs starts anew, as if they had just come."""
        now_s = self.now()
        without = {loaded.key for loaded in held if not loaded.workers_ready}
        self._without_since_s = {key: self._without_since_s.get(key, now_s) for key in without}
        over = {key for key, since_s in self._without_since_s.items() if now_s - since_s > self.limit_s}
        for key in over:
            del self._without_since_s[key]
        return over


def reconcile(
    backend: Backend, wanted: Callable[[], Collection[BackendVersion]], patience: Patience | None = None
) -> Outcome:
    """Look once, mend what differs. Raises BackendError when TorchServe does not answer.

    Extra versions go only after missing ones have come, so that memory is the price of a
    switch and never an answer. A version that TorchServe refuses does not stop the others.
    Without `patience` a version that is held is taken to be well.
    """
    loaded = backend.loaded()
    held = {each.key for each in loaded}
    # Asked after TorchServe: what became wanted meanwhile is not taken away again.
    desired = set(wanted())
    registered: list[BackendVersion] = []
    unregistered: list[BackendVersion] = []
    renewed: list[BackendVersion] = []
    refused: list[tuple[BackendVersion, str]] = []
    over = set() if patience is None else patience.over(loaded)
    for key in sorted(over & desired):
        try:
            backend.unregister(key)
            backend.register(key)  # unpacks the archive again, too
            renewed.append(key)
        except BackendRefused as error:
            refused.append((key, str(error)))
    taken = {(key.name, key.version): key for key in held}
    for key in sorted(desired - held):
        try:
            other = taken.get((key.name, key.version))
            if other is not None:  # the same name from another file: an archive that failed and was made anew
                backend.unregister(other)
                unregistered.append(other)
            backend.register(key)
            registered.append(key)
        except BackendRefused as error:
            refused.append((key, str(error)))
    for key in sorted(held - desired - set(unregistered)):
        if key in wanted():  # asked again: registering took its time, and a hold may have come
            continue
        try:
            backend.unregister(key)
            unregistered.append(key)
        except BackendRefused as error:
            refused.append((key, str(error)))
    return Outcome(tuple(registered), tuple(unregistered), tuple(renewed), tuple(refused))


def run(
    backend: Backend,
    wanted: Callable[[], Collection[BackendVersion]],
    *,
    wait: Callable[[float], bool],
    interval_s: float = INTERVAL_S,
    patience: Patience | None = None,
    looked: Callable[[str], None] = lambda _problem: None,
) -> None:
    """Look every `interval_s` until `wait(seconds)` answers True, which means stop.

    What is refused is said once, and again when it changes. `looked` hears of every look, with
    what is wrong with TorchServe, or "".
    """
    away = False
    patience = patience or Patience()
    said: set[tuple[BackendVersion, str]] = set()
    while True:
        try:
            outcome = reconcile(backend, wanted, patience)
        except BackendError as error:
            if not away:
                _log.warning("torchserve is away", extra={"error": str(error)})
            away = True
            looked(str(error))
        else:
            if away:
                _log.info("torchserve is back")
            away = False
            _report(outcome, said)
            looked("; ".join(f"{key.name} {key.version}: {why}" for key, why in outcome.refused))
        if wait(interval_s):
            return


def _report(outcome: Outcome, said: set[tuple[BackendVersion, str]]) -> None:
    for key in outcome.registered:
        _log.info("registered", extra={"model": key.name, "version": key.version, "file": key.file_name})
    for key in outcome.unregistered:
        _log.info("unregistered", extra={"model": key.name, "version": key.version, "file": key.file_name})
    for key in outcome.renewed:
        _log.warning("no worker came up, registered anew", extra={"model": key.name, "version": key.version})
    for key, reason in set(outcome.refused) - said:
        _log.error("torchserve refused", extra={"model": key.name, "version": key.version, "reason": reason})
    said.clear()
    said.update(outcome.refused)


@contextmanager
def only_one(lock_file: Path) -> Iterator[bool]:
    """Whether this is the only reconciler of its TorchServe, which is one machine's.

    The lock is the kernel's: it ends with its process, however that ends.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
