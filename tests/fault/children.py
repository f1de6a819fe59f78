"""Work in forked children of a driver: one that is killed, or one whose connections to the database stay its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connections


def copied(source: Path, target: Path) -> None:
    """A folder in place of another one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def was_killed(work: Callable[[], object]) -> bool:
    """Do something in a child. True when it was killed. Raises when it failed otherwise."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a child failed")
    return os.WIFSIGNALED(status)


def in_child(work: Callable[[], Any]) -> Any:
    """What a piece of work answers, as JSON has it, without its connections in this process."""
    reader, writer = os.pipe()

    def tell() -> None:
        answer = json.dumps(work()).encode()
        connections.close_all()
        os.write(writer, answer)

    was_killed(tell)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        return json.loads(answer.read())


def point_of_death(die_at: int) -> Callable[[], None]:
    """To be called at each point of some work: the process dies by SIGKILL at this one, counted from 1; 0: at none."""
    passed = 0

    def point() -> None:
        nonlocal passed
        passed += 1
        if passed == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return point
