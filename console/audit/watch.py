"""Sign a checkpoint whenever the audit log has grown, for as long as the process lives."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final

from django.db import DatabaseError, close_old_connections, connection
from django.utils.timezone import now

from console.audit.notes import KeyUnreadable
from console.audit.signer import HistoryChanged, Signer

EVERY_S: Final = 5.0

_log = logging.getLogger(__name__)


def watch(
    signer: Signer,
    *,
    every_s: float = EVERY_S,
    stopped: Event,
    looked: Callable[[str], None] = lambda _problem: None,
) -> None:
    """Look every `every_s` until told to stop, and once more then.

    What fails is told and tried again: a database or disk that is away is waited for. `looked` hears of
    every look, with what is wrong, or "".
    """
    while not stopped.is_set():
        looked(_sign(signer))
        stopped.wait(every_s)
    _sign(signer)


def watch_whatever_happens(
    key_file: Path, folder: Path, *, stopped: Event, looked: Callable[[str], None], every_s: float = EVERY_S
) -> None:
    """The same for a process that has more to do: a key that cannot be read is waited for, and told."""
    while not stopped.is_set():
        try:
            signer = Signer(key_file, folder)
        except (HistoryChanged, KeyUnreadable, OSError) as error:
            _log.critical("no checkpoint can be signed: %s", error)
            looked(str(error))
            stopped.wait(every_s)
        else:
            watch(signer, every_s=every_s, stopped=stopped, looked=looked)


def _sign(signer: Signer) -> str:
    """One try. Returns what is wrong, or ""."""
    problem = ""
    try:
        checkpoint = signer.sign(now())
    except HistoryChanged as error:
        problem = f"the audit log was rewritten: {error}"
        _log.critical(problem)
    except (DatabaseError, OSError) as error:
        problem = f"no checkpoint was signed: {error}"
        _log.error(problem)
        if isinstance(error, DatabaseError):
            connection.close()
    else:
        if checkpoint:
            _log.debug("signed", extra={"entries": checkpoint.size})
    close_old_connections()
    return problem
