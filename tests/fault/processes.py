"""The processes and public pages of a running stack, asked often and cheaply."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from cli import supervision
from cli.layout import HOST
from tests.stack import Stack

ANSWER_S_MAX = 20.0  # of a page that is asked once: a gateway that runs may be slow where others compute


def program_pid(stack: Stack, program: str) -> int:
    """Process id of a supervised program; 0 while it does not run."""
    return next(
        (state.pid for state in supervision.states(stack.layout) if state.name == program and state.state == "RUNNING"),
        0,
    )


def data_plane(stack: Stack) -> list[psutil.Process]:
    """The processes that answer: gateway and TorchServe, with what each has started."""
    programs = [psutil.Process(program_pid(stack, name)) for name in ("gateway", "torchserve")]
    return [process for program in programs for process in (program, *program.children(recursive=True))]


def start(stack: Stack, program: str) -> None:
    """Start one program that was stopped, and return when it has run for a second."""
    transport = SupervisorTransport(None, None, f"unix://{stack.layout.supervisor_socket}")
    xmlrpc.client.ServerProxy(f"http://{HOST}", transport=transport).supervisor.startProcess(program)


def answers(url: str) -> bool:
    """Whether this page answers 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def readiness(stack: Stack) -> dict[str, Any]:
    """What the gateway's /readyz says, ready or not; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"{stack.layout.gateway_ops_url}/readyz", timeout=ANSWER_S_MAX) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        content = error.read()
    except OSError:
        return {}
    document: dict[str, Any] = json.loads(content)
    return document


def metric(stack: Stack, name: str) -> float | None:
    """One unlabelled value of the gateway's /metrics; None while it does not say."""
    try:
        with urllib.request.urlopen(f"{stack.layout.gateway_ops_url}/metrics", timeout=ANSWER_S_MAX) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)


def wait_until(condition: Callable[[], bool], *, within_s: float) -> bool:
    """Whether the condition comes true in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True
