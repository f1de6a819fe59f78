"""Keeps TorchServe holding exactly the versions that it should, whatever happens to it.

TorchServe forgets everything when it restarts (snapshots are off: they revive old models).
The reconciler compares what it holds with what it should hold, once a second, and mends the
difference. It keeps no state of its own, so it may be killed and started at any moment, and
it depends on neither broker nor worker.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from console.torchserve.errors import BackendError, BackendRefused
from console.torchserve.management import Backend, BackendVersion

_log = logging.getLogger(__name__)
INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look changed."""

    registered: tuple[BackendVersion, ...] = ()
    unregistered: tuple[BackendVersion, ...] = ()
    refused: tuple[tuple[BackendVersion, str], ...] = ()


def reconcile(backend: Backend, wanted: Callable[[], Collection[BackendVersion]]) -> Outcome:
    """Look once, mend what differs. Raises BackendError when TorchServe does not answer.

    Extra versions go only after missing ones have come, so that memory is the price of a
    switch and never an answer. A version that TorchServe refuses does not stop the others.
    """
    held = {loaded.key for loaded in backend.loaded()}
    # Asked after TorchServe: what became wanted meanwhile is not taken away again.
    desired = set(wanted())
    registered: list[BackendVersion] = []
    unregistered: list[BackendVersion] = []
    refused: list[tuple[BackendVersion, str]] = []
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
    return Outcome(tuple(registered), tuple(unregistered), tuple(refused))


def run(
    backend: Backend,
    wanted: Callable[[], Collection[BackendVersion]],
    *,
    wait: Callable[[float], bool],
    interval_s: float = INTERVAL_S,
) -> None:
    """Look every `interval_s` until `wait(seconds)` answers True, which means stop.

    What is refused is said once, and again when it changes.
    """
    away = False
    said: set[tuple[BackendVersion, str]] = set()
    while True:
        try:
            outcome = reconcile(backend, wanted)
        except BackendError as error:
            if not away:
                _log.warning("torchserve is away", extra={"error": str(error)})
            away = True
        else:
            if away:
                _log.info("torchserve is back")
            away = False
            _report(outcome, said)
        if wait(interval_s):
            return


def _report(outcome: Outcome, said: set[tuple[BackendVersion, str]]) -> None:
    for key in outcome.registered:
        _log.info("registered", extra={"model": key.name, "version": key.version, "file": key.file_name})
    for key in outcome.unregistered:
        _log.info("unregistered", extra={"model": key.name, "version": key.version, "file": key.file_name})
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
