"""The folder that is the broker of a stack on one machine: kombu's transport, of whose files none is read half written.

Kombu makes a message's file before it writes what is in it, and a worker that finds it empty ends ("Unrecoverable
error", celery/kombu#1551). Here a message has its name once it is whole. One that cannot be read all the same, which a
power cut leaves, is left out: what must be done stands in the database, and the next beat finds it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from time import time_ns
from typing import Any, Final
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

_log = logging.getLogger(__name__)
_UNFINISHED: Final = ".part"  # no queue's name ends so


class Channel(filesystem.Channel):
    # Kombu's own two classes name the second argument differently.
    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        """Raises ChannelError where the folder takes no file."""
        # Messages are taken in the order of their names; nanoseconds since 1970 go on after a restart of the machine.
        path = Path(self.data_folder_out) / f"{time_ns()}_{uuid4()}.{queue}.msg"
        unfinished = path.with_name(path.name + _UNFINISHED)
        try:
            unfinished.write_text(dumps(payload), "utf-8")  # type: ignore[no-untyped-call]
            unfinished.rename(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise ChannelError(f"the broker's folder takes no message: {error}") from error

    def _get(self, queue: str, timeout: Any = None) -> Any:
        """Raises Empty."""
        while True:
            try:
                return super()._get(queue)  # type: ignore[no-untyped-call]
            except ValueError:  # kombu has taken its file away by now
                _log.warning("a message that cannot be read was left out", extra={"queue": queue})


class Transport(filesystem.Transport):
    Channel = Channel


def register() -> None:
    """Have kombu take this for the addresses of its own."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
