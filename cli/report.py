"""How a stack is: its processes and models, and what is wrong with it."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import httpx
import psutil

from cli import supervision
from cli.layout import HOST, Layout
from cli.leftovers import leftovers

ENDED: Final = "ENDED"  # no word of the supervisor's: it has not noticed yet


@dataclass(frozen=True, slots=True)
class ProcessReport:
    name: str
    pid: int
    state: str
    rss_mib: float
    listens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StackReport:
    """What `amulet status --json` prints; the field names are a contract (contracts.md)."""

    ready: bool
    gateway: str
    tls_ca: str | None
    console: str
    processes: tuple[ProcessReport, ...]
    models: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return asdict(self)


def look(layout: Layout) -> StackReport:
    """Ask the supervisor, the gateway and the console how they are."""
    states = supervision.states(layout)
    problems = [
        f"{state.name} is {state.state}: {state.description}"
        for state in states
        if state.state not in ("RUNNING", supervision.IDLE)
    ]
    processes = [report for state in states for report in reports_of(state)]
    lasting = {program.name for program in supervision.programs(layout) if program.wanted is None}
    problems += [
        f"{process.name} has just ended, and is started again"
        for process in processes
        if process.state == ENDED and process.name in lasting
    ]
    if not states:
        problems.append(not_supervised(layout))
    gateway = _health(f"{layout.gateway_ops_url}/readyz") if states else {}
    console = _health(f"{layout.console_url}/readyz") if states else {}
    if states:
        problems += _problems("gateway", gateway, gateway.get("problems", {}))
        problems += _problems("console", console, {} if console.get("status") == "ready" else console)
        if not _listens(layout.ports.torchserve_grpc_inference):
            problems.append("torchserve does not answer yet")
    return StackReport(
        ready=not problems,
        gateway=layout.gateway_address,
        tls_ca=str(layout.tls_ca) if layout.tls_ca.exists() and not layout.in_plain_text else None,
        console=layout.console_url,
        processes=tuple(processes),
        models=tuple(gateway.get("models", ())),
        problems=tuple(problems),
    )


def not_supervised(layout: Layout) -> str:
    """Why no supervisor answers, and what helps."""
    left = leftovers(layout)
    if left:
        return (
            f"of the stack in {layout.state} {len(left)} programs run without their supervisor, which was killed: "
            "`amulet down` stops them, and `amulet up` starts all anew"
        )
    if is_being_started(layout):
        return f"`amulet up` is starting the stack in {layout.state}"
    return f"no stack runs in {layout.state}: `amulet up` starts it"


def told(report: StackReport, layout: Layout) -> str:
    """As a person reads it."""
    lines = ["Ready." if report.ready else "Not ready: " + "; ".join(report.problems)]
    if not report.processes:
        return lines[0]
    for process in report.processes:
        listens = ", ".join(process.listens) or "-"
        lines.append(
            f"  {process.name:<16}{process.state:<10}pid {process.pid:<8}{process.rss_mib:7.1f} MiB  {listens}"
        )
    for model in report.models:
        mark = "ready" if model["ready"] else "NOT READY"
        alias = f" ({model['alias']})" if model.get("alias") else ""
        lines.append(f"  {model['name']} {model['version']}{alias}: {mark}")
    how = "in plain text" if layout.in_plain_text else f"TLS; authority {report.tls_ca}"
    lines.append(f"  gateway  {report.gateway} (gRPC, {how})")
    lines.append(f"  console  {report.console}/admin/")
    lines.append(f"  logs     {layout.logs}")
    return "\n".join(lines)


def is_being_started(layout: Layout) -> bool:
    """Whether an `amulet up` makes the stack ready at this moment, and its supervisor may not run yet."""
    try:
        lock = os.open(layout.starting, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _health(url: str) -> dict[str, Any]:
    """The JSON of a health page, also when it answers 503; empty when there is no answer."""
    try:
        answer: dict[str, Any] = httpx.get(url, timeout=5.0, trust_env=False).json()  # no proxy is asked about it
    except (httpx.HTTPError, ValueError):
        return {}
    return answer


def _problems(name: str, health: dict[str, Any], told: dict[str, Any]) -> list[str]:
    if not health:
        return [f"{name} does not answer yet"]
    return [f"{name}: {subject}: {sentence}" for subject, sentence in told.items()]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def processes_of(pid: int) -> list[psutil.Process]:
    """The process and all below it; nobody where it has ended."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def reports_of(state: supervision.ProgramState) -> Iterator[ProcessReport]:
    """One report for the program itself and one for each process below it.

    What has ended while the supervisor does not know it yet is ENDED, whatever that says of it.
    """
    if not state.pid:
        yield ProcessReport(name=state.name, pid=0, state=state.state, rss_mib=0.0, listens=())
        return
    family = processes_of(state.pid)
    if not family or _is_over(family[0]):
        yield ProcessReport(name=state.name, pid=0, state=ENDED, rss_mib=0.0, listens=())
    for number, process in enumerate(family):
        try:
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                yield ProcessReport(
                    name=state.name if number == 0 else f"{state.name}/{number}",
                    pid=process.pid,
                    state=state.state if number == 0 else process.status().upper(),
                    rss_mib=round(process.memory_info().rss / 2**20, 1),
                    listens=_listening(process),
                )
        except psutil.Error:  # it ended while we looked
            continue


def _is_over(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _listening(process: psutil.Process) -> tuple[str, ...]:
    connections: Sequence[Any] = process.net_connections(kind="tcp")
    return tuple(
        sorted(
            _address(connection.laddr.ip, connection.laddr.port)
            for connection in connections
            if connection.status == psutil.CONN_LISTEN
        )
    )


def _address(ip: str, port: int) -> str:
    # A dual-stack socket that is bound to an IPv4 address shows it mapped; it is the same listener.
    ip = ip.removeprefix("::ffff:")
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
