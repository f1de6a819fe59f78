"""Rotation of logs that no folder, disk or tool of somebody else's can stop.

By itself supervisord gives a program's output up when its log cannot be moved aside: a folder that it may no longer
write to, a disk without room for one more name, a `gateway.log.1` that is no file. It reads no more of the pipe, which
holds 64 KiB, and the program waits in its next line for ever: a gateway then answers nobody, while it is RUNNING.
supervisord loads this through its own door for extensions:

    [rpcinterface:rotation]
    supervisor.rpcinterface_factory = cli.rotation:never_given_up

A log that cannot be moved aside is begun anew in its place, so that it stays bounded, and supervisord's own log says
so. One that cannot even be opened takes nothing until it can. All are written at their end, wherever that is by then:
who copies a log and truncates it (logrotate's `copytruncate`) finds no hole of zeros before what comes next.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from supervisor import loggers


class Rotation:
    """What supervisord keeps of this extension: nothing that could be called from outside."""


def never_given_up(supervisord: Any) -> Rotation:
    """Called once by supervisord, before it starts a program."""
    move_aside = loggers.RotatingFileHandler.doRollover

    def rotate(log: Any) -> None:
        """After each piece that was written, or was not."""
        if log.stream.closed:  # it could not be opened the last time
            with suppress(OSError):
                log.stream = open(log.baseFilename, "ab")  # noqa: PTH123, SIM115 -- as supervisord holds it
            return
        if log.maxBytes <= 0 or log.stream.tell() < log.maxBytes:
            return
        refused = None
        try:
            move_aside(log)
        except OSError as error:
            refused = error
        with suppress(OSError):
            log.stream.close()  # what the disk did not take of it is lost
        with suppress(OSError):
            if refused is not None:
                open(log.baseFilename, "wb").close()  # noqa: PTH123 -- empties it
            log.stream = open(log.baseFilename, "ab")  # noqa: PTH123, SIM115 -- as supervisord holds it
        if refused is not None:
            why = f"{refused.strerror}: {refused.filename}"
            supervisord.options.logger.critical(f"{log.baseFilename} cannot be moved aside ({why}) and is begun anew")

    loggers.RotatingFileHandler.doRollover = rotate
    return Rotation()
