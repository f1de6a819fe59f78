"""Processes of a stack whose supervisor is gone without having stopped them, and hold its ports and its journal.

A supervisor that is killed (out of memory, `kill -9`) takes none of its programs along: they go on, nobody starts
again what dies, and the next start finds every port taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import psutil

from cli import supervision
from cli.layout import Layout

KILLED_S_MAX: Final = 10.0


def leftovers(layout: Layout) -> list[psutil.Process]:
    """The programs of this stack that still run; only to be asked while its supervisor does not.

    A program is told by the supervisor that started it, whose address it has in its environment, and TorchServe, which
    drops that, by the configuration in this stack's own folder.
    """
    found = {process.pid: process for process in psutil.process_iter() if _is_of(layout, process)}
    # What a program starts has its environment, and is for the program to end.
    return [process for process in found.values() if _parent(process) not in found]


def end(layout: Layout, programs: Sequence[psutil.Process]) -> None:
    """Stop them in the order of a stop, each with the time that it has then; returns when the last one has ended.

    The gateway first: its calls in flight finish through TorchServe.
    """
    stop_s_max = {program.name: program.stop_s_max for program in supervision.programs(layout)}
    named = [(_name(process), process) for process in programs]
    for group in ([each for each in named if each[0] == "gateway"], [each for each in named if each[0] != "gateway"]):
        families = [member for _, process in group for member in _family(process)]
        for _, process in group:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(families, timeout=max((stop_s_max.get(name, 0) for name, _ in group), default=0))
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=KILLED_S_MAX)


def _is_of(layout: Layout, process: psutil.Process) -> bool:
    try:
        if str(layout.torchserve / "config.properties") in process.cmdline():
            return True
        return bool(process.environ().get("SUPERVISOR_SERVER_URL") == f"unix://{layout.supervisor_socket}")
    except psutil.Error:  # it ended meanwhile, or is another user's
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("SUPERVISOR_PROCESS_NAME", "torchserve"))
    except psutil.Error:
        return ""


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]
