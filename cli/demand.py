"""A program that runs only while there is something to do: supervisord starts it while a file says so.

A training job comes once in weeks, and a process that waits for it holds a hundred megabytes. Whoever
has work for the program makes the file; the program takes it away as the first thing that it does, and
ends with 0 when nothing is left. supervisord looks every five seconds and holds one process of each
program, so there are never two. One that is killed is started again while the file is there, or once
somebody has made it anew. supervisord loads this through its own door for extensions:

    [rpcinterface:trainer]
    supervisor.rpcinterface_factory = cli.demand:started_when_wanted
    program = trainer
    wanted = /srv/amulet/console/training-wanted
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.states import STOPPED_STATES, SupervisorStates


class Demand:
    """What supervisord keeps of this extension: nothing that could be called from outside."""


def started_when_wanted(supervisord: Any, *, program: str, wanted: str) -> Demand:
    """Called once by supervisord. wanted: the file, as the configuration has it."""
    file = Path(wanted)

    def look(_tick: Any) -> None:
        if supervisord.get_state() != SupervisorStates.RUNNING or not file.exists():
            return
        process = supervisord.process_groups[program].processes[program]
        if process.get_state() in STOPPED_STATES:
            process.spawn()

    events.subscribe(events.Tick5Event, look)
    return Demand()
