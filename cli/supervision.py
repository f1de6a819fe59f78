"""Supervisord holds the stack's processes: its configuration, and questions to it.

Supervisor restarts what dies, rotates the logs and outlives the terminal (decision 0004);
what belongs to Amulet is only which programs there are and how each one is started.
"""

from __future__ import annotations

import http.client
import math
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from supervisor.xmlrpc import SupervisorTransport

from cli.layout import HOST, Layout
from cli.provision import write_whole
from protos.environment import PREFIX

LOG_MIB_MAX: Final = 20
LOGS_KEPT: Final = 3  # of each, beside the one that is written
RESTART_WAIT_S_MAX: Final = (
    5  # of a program that fails to start, so that the stack answers 10 s after the cause is gone
)
IDLE: Final = "IDLE"
_LOOK_EVERY_S: Final = 0.1
# A supervisor that does not run, or that ends in the middle of its answer: the next question finds half of that.
_UNASKED: Final = (OSError, xmlrpc.client.Error, http.client.HTTPException)
_JOURNAL_ENDS_S: Final = 15  # for what a gateway still does once its last call has ended
# A tenth of a core's time beside a program that wants all of it, and all that nobody wants (decision 0138).
_YIELDING: Final = ("nice", "-n", "10")
# What a process needs from the caller's environment besides Amulet's own settings. Not PYTHONPATH: they run what is
# installed, whatever the shell of one start was for.
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "LD_LIBRARY_PATH")
# What the clients of a bucket and of PostgreSQL look for by themselves, as they do in the checks before a start.
INHERITED_FAMILIES: Final = ("AWS_", "PG")
# Settings of the processes that name a file or a folder, without the prefix; a test holds them complete.
PATHS: Final = frozenset(
    {
        *("CONTROL_TOKEN_FILE", "KEY_SECRET_FILE", "INPUT_HASH_SECRET_FILE", "SECRET_KEY_FILE", "AUDIT_KEY_FILE"),
        *("VAULT_KEY_FILE", "PHOTO_SEAL_KEY_FILE", "TRAINING_KEY_FILE", "TORCHSERVE_KEY_FILE", "TRY_KEY_FILE"),
        *("TLS_CERT", "TLS_KEY", "TLS_CA", "WEBHOOK_CA", "TRUSTED_KEYS", "ERASURE_LEDGER", "TRAINING_WANTED_FILE"),
        *("STORAGE_KEY_FILE", "STORAGE_CA"),
        *(
            "PIXELS_DIR",
            "JOURNAL_DIR",
            "MODEL_STORE",
            "CHECKPOINT_DIR",
            "TRAINING_DIR",
            "TRAINING_COMMAND",
            "STAGING_DIR",
        ),
    }
)
# Without these a process does something else than with the stack's own: pixels are sent, somebody else trains.
MEANT_EMPTY: Final = frozenset({f"{PREFIX}PIXELS_DIR", f"{PREFIX}TRAINING_WANTED_FILE"})


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    stop_s_max: int = 20
    yields: bool = False  # it stands in no answer's way: where cores are short, those that answer come first
    wanted: Path | None = None  # it runs only while there is something to do, and is started while this file is there


@dataclass(frozen=True, slots=True)
class ProgramState:
    name: str
    state: str  # RUNNING, STARTING, BACKOFF, STOPPED, STOPPING, EXITED, FATAL, IDLE
    pid: int  # 0: not running
    description: str


def programs(layout: Layout) -> tuple[Program, ...]:
    """Everything that a stack on one machine consists of, in the order of its start."""
    launch = Path(__file__).resolve().parents[1] / "deploy" / "torchserve" / "launch.py"
    python = (sys.executable, "-m")
    manage = (*python, "console.manage")
    stack = (
        Program(
            "torchserve",
            (
                sys.executable,
                str(launch),
                "--state",
                str(layout.torchserve),
                "--model-store",
                str(layout.models),
                "--port-offset",
                str(layout.ports.offset),
            ),
            stop_s_max=30,
        ),
        Program("console", (*python, "console.serve"), yields=True),
        Program("keeper", (*manage, "keep"), yields=True),
        Program("worker", (*python, "console.worker", "--schedule", str(layout.console / "beat")), yields=True),
        Program("trainer", (*manage, "train"), yields=True, wanted=layout.training_wanted),
        Program("gateway", (*python, "gateway"), stop_s_max=math.ceil(layout.request_s_max) + _JOURNAL_ENDS_S),
    )
    # Where somebody else trains, nothing would ever start the trainer.
    return tuple(each for each in stack if each.name != "trainer" or each.wanted is not None)


def environment(layout: Layout, outer: Mapping[str, str]) -> dict[str, str]:
    """What the supervised processes see: the layout's settings, then the caller's own `AMULET_` ones.

    What the caller chose in place of the layout's own stands in each setting that follows from it: a
    console on another port is where the gateway asks for its policy. An empty variable is one that is not
    set, as every process reads it. The folder of state is the layout's alone: one that the caller's shell
    still holds from another stack must not mix the two.
    """
    settled = layout.over(outer).environment()
    inherited = {
        name: value for name, value in outer.items() if name in INHERITED or name.startswith(INHERITED_FAMILIES)
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", **settled, **chosen(outer)}


def chosen(outer: Mapping[str, str]) -> dict[str, str]:
    """Of the caller's variables those that stand in place of the layout's own, paths made whole."""
    return {
        name: _absolute(name, value)
        for name, value in outer.items()
        if name.startswith(PREFIX) and name != f"{PREFIX}STATE_DIR" and (value or name in MEANT_EMPTY)
    }


def _absolute(name: str, value: str) -> str:
    """Supervised processes work in another folder than the one in which somebody typed a path."""
    return str(Path(value).absolute()) if value and name.removeprefix(PREFIX) in PATHS else value


def configuration(layout: Layout, stack: Sequence[Program]) -> str:
    """The text of supervisord.conf."""
    sections: list[tuple[str, dict[str, object]]] = [
        ("unix_http_server", {"file": layout.supervisor_socket, "chmod": "0700"}),
        (
            "supervisord",
            {
                "logfile": layout.logs / "supervisord.log",
                "logfile_maxbytes": f"{LOG_MIB_MAX}MB",
                "logfile_backups": LOGS_KEPT,
                "pidfile": layout.state / "supervisord.pid",
                "childlogdir": layout.logs,
                # Python and Celery search the working directory for modules, and the folder of state
                # holds folders named as our packages are.
                "directory": layout.logs,
                "umask": "077",
                "nodaemon": "false",
            },
        ),
        (
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        (
            "rpcinterface:restarts",
            {"supervisor.rpcinterface_factory": "cli.restarts:bounded", "wait_s_max": RESTART_WAIT_S_MAX},
        ),
        ("rpcinterface:rotation", {"supervisor.rpcinterface_factory": "cli.rotation:never_given_up"}),
    ]
    for priority, program in enumerate(stack, start=1):
        always = program.wanted is None
        if program.wanted is not None:
            sections.append(
                (
                    f"rpcinterface:{program.name}",
                    {
                        "supervisor.rpcinterface_factory": "cli.demand:started_when_wanted",
                        "program": program.name,
                        "wanted": program.wanted,
                    },
                )
            )
        options = {
            "command": shlex.join((*(_YIELDING if program.yields else ()), *program.command)),
            "priority": priority,
            "autostart": str(always).lower(),
            "autorestart": str(always).lower(),
            "startsecs": int(always),
            "startretries": 1_000_000,  # keep trying: the wait grows by a second each, up to RESTART_WAIT_S_MAX
            "stopwaitsecs": program.stop_s_max,
            "stopasgroup": "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": layout.logs / f"{program.name}.log",
            "stdout_logfile_maxbytes": f"{LOG_MIB_MAX}MB",
            "stdout_logfile_backups": LOGS_KEPT,
        }
        sections.append((f"program:{program.name}", options))
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {str(value).replace('%', '%%')}\n" for key, value in options.items())
        for name, options in sections
    )


def start(layout: Layout, outer: Mapping[str, str]) -> None:
    """Start supervisord as a daemon with every program. Raises CalledProcessError when it refuses, OSError."""
    if (socket := layout.supervisor_socket) != layout.supervisor_link:
        layout.supervisor_link.unlink(missing_ok=True)
        layout.supervisor_link.symlink_to(socket)
    write_whole(layout.supervisor_config, configuration(layout, programs(layout)).encode(), mode=0o644)
    subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(layout.supervisor_config)],
        env=environment(layout, outer),
        check=True,
        capture_output=True,
        text=True,
    )


def stop(layout: Layout) -> None:
    """Stop the gateway, then every other program at once, then supervisord; returns while that ends.

    Left to itself supervisord stops one program after another. Only the gateway's end needs
    the others: its calls in flight finish through TorchServe.
    """
    supervisor = _ask(layout).supervisor
    for ask in (
        partial(stop_program, layout, "gateway"),
        supervisor.stopAllProcesses,
        supervisor.shutdown,
    ):
        with suppress(*_UNASKED):  # it did not run, or everything is ending already
            ask()


def stop_program(layout: Layout, name: str) -> None:
    """Stop one program; returns when it has ended. Raises xmlrpc.client.Fault when it does not run, OSError.

    supervisord is looked at from here: while it itself waits for one program it takes a whole core
    (its `stopProcess` asks without a pause), and the gateway's last calls need that one (decision 0168).
    """
    _ask(layout).supervisor.stopProcess(name, False)
    while any(state.pid for state in states(layout) if state.name == name):
        time.sleep(_LOOK_EVERY_S)


def pid(layout: Layout) -> int | None:
    """Process id of the supervisor; None when it does not run."""
    try:
        answer: Any = _ask(layout).supervisor.getPID()
        return int(answer)
    except _UNASKED:
        return None


def states(layout: Layout) -> tuple[ProgramState, ...]:
    """What the supervisor knows of each program; empty when it does not run.

    A program that nothing is to be done by is IDLE: that it does not run is right.
    """
    by_demand = {program.name for program in programs(layout) if program.wanted is not None}
    try:
        answers: Any = _ask(layout).supervisor.getAllProcessInfo()
    except _UNASKED:
        return ()
    return tuple(
        ProgramState(
            name=answer["name"],
            state=IDLE if answer["name"] in by_demand and not answer["pid"] else answer["statename"],
            pid=answer["pid"],
            description=answer["description"],
        )
        for answer in answers
    )


def log_tail(layout: Layout, program: str, *, lines: int = 12) -> str:
    """The end of a program's log, for a message about why it did not start."""
    try:
        return "\n".join((layout.logs / f"{program}.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _ask(layout: Layout) -> xmlrpc.client.ServerProxy:
    transport = SupervisorTransport(None, None, f"unix://{layout.supervisor_socket}")
    return xmlrpc.client.ServerProxy(f"http://{HOST}", transport=transport)
