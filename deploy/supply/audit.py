"""Ask an advisory service about every pin of every lock, by `pip-audit --strict`.

    .venv/bin/python deploy/supply/audit.py
    .venv/bin/python deploy/supply/audit.py --service osv --url https://osv.example/v1/query

Ends with 0 when each pin was asked about and nothing is known of any; with 1 when something is known; with 2 when not
all could be asked about, which is no success: the sentence says why. pip-audit itself passes over a line whose marker
does not hold here, and an advisory service that lost its data answers that nothing is known of anything. So a pin of
which something has been known for years is asked about first, and at last it is counted which pins were asked about.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PIP_AUDIT: Final = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
LOCKS: Final = ("requirements.lock", "deploy/*/requirements.lock", "tests/*/requirements.lock", "benchmarks/*/*.lock")
# PYSEC-2021-66 (CVE-2020-28493), of 2021: no service that is worth asking has forgotten it.
KNOWN_BAD: Final = "jinja2==2.11.2 --hash=sha256:f0a4641d3cf955324a89c04f3d94663aa4d638abe8f733ecd3582848e1c37035\n"
# --disable-pip: the locks are whole, nothing is resolved and nothing of them is installed.
OPTIONS: Final = ("--strict", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
SERVICES: Final = ("pypi", "osv")
NOTHING_KNOWN, KNOWN, NOT_ASKED = 0, 1, 2


class Unasked(Exception):
    """Not every pin was asked about."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="audit.py", description="Ask what is known of the packages of the locks.")
    parser.add_argument("locks", nargs="*", type=Path, help="without any, every lock of the repository")
    parser.add_argument("--service", choices=SERVICES, default=SERVICES[0])
    parser.add_argument("--url", help="of another service that answers as OSV does")
    given = parser.parse_args(arguments)
    if given.url and given.service != "osv":
        parser.error("--url belongs to --service osv")
    service = ["--vulnerability-service", given.service, *(["--osv-url", given.url] if given.url else [])]
    locks = given.locks or sorted(lock for pattern in LOCKS for lock in ROOT.glob(pattern))
    known = 0
    try:
        _prove_that_it_knows(service)
        for lock in locks:
            found = advisories(lock, service)
            known += len(found)
            print(f"{lock}: {_counted(len(pins(lock)), 'package')}, {_counted(len(found), 'advisory', 'advisories')}")
            print("".join(f"  {line}\n" for line in found), end="")
    except Unasked as why:
        print(f"{why}\nThis is no clean bill: not every package was asked about.", file=sys.stderr)
        return NOT_ASKED
    return KNOWN if known else NOTHING_KNOWN


def pins(lock: Path) -> list[str]:
    """Each line of a lock that names something to install."""
    return [line for line in lock.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]


def advisories(lock: Path, service: Sequence[str]) -> list[str]:
    """One line each, of all that is known of a lock's pins. Raises Unasked."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [str(PIP_AUDIT), *OPTIONS, *service, "--requirement", str(lock), "--output", str(report)]
        try:
            asked = subprocess.run(command, check=False, capture_output=True, text=True)
        except FileNotFoundError:
            raise Unasked(f"{PIP_AUDIT} is missing: `make audit` installs it.") from None
        if not report.is_file():
            *_, said = asked.stderr.strip().splitlines() or ["it said nothing"]
            raise Unasked(f"The advisory service could not be asked about {lock.name}. pip-audit: {said}")
        packages: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))["dependencies"]
    asked_about = {(_normal(each["name"]), each["version"]) for each in packages if "version" in each}
    if passed_over := sorted({_pin(line) for line in pins(lock)} - asked_about):
        raise Unasked(f"pip-audit passed over {', '.join(' '.join(pin) for pin in passed_over)} of {lock}.")
    found = [
        f"{each['name']} {each['version']}: {one['id']}, mended in {' or '.join(one['fix_versions']) or 'no version'}"
        for each in packages
        for one in each["vulns"]
    ]
    if bool(asked.returncode) is not bool(found):
        raise Unasked(f"pip-audit ended with {asked.returncode} and names {len(found)} advisories.")
    return found


def _prove_that_it_knows(service: Sequence[str]) -> None:
    with TemporaryDirectory() as folder:
        lock = Path(folder, KNOWN_BAD.split()[0])
        lock.write_text(KNOWN_BAD)
        if not advisories(lock, service):
            raise Unasked(f"The advisory service knows nothing of {lock.name}, which it should: it has no data.")


def _pin(line: str) -> tuple[str, str]:
    name, _, number = line.split()[0].partition("==")
    return _normal(name.partition("[")[0]), number


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _counted(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


if __name__ == "__main__":
    sys.exit(main())
