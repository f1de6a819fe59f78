"""The rules that need real parsers, run in a process that can do no harm.

    python -m model_store.inspection FOLDER MEMORY_BYTES CPU_S

`inspect` starts it on a folder of unpacked members and reads one JSON line per rule. The
process gets no environment but its search path, may not write files, and has limits on
memory, processor time and open files that it sets before it imports a parser. A rule
without a line is the one that killed it, and has failed.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_store.errors import printable
from protos.amulet.v1 import vocabulary_pb2 as words

GRAPH: Final = "graph"
REFERENCE: Final = "reference"
GOLDEN: Final = "golden"
SCANNER: Final = "scanner"
RULES: Final = (GRAPH, REFERENCE, GOLDEN, SCANNER)
# What it means when the process dies in a rule.
_REASON_OF: Final = {
    GRAPH: words.REASON_ARCHIVE_GRAPH_INVALID,
    REFERENCE: words.REASON_ARCHIVE_CARD_INVALID,
    GOLDEN: words.REASON_ARCHIVE_CARD_INVALID,
    SCANNER: words.REASON_ARCHIVE_SCANNER,
}
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class InspectionLimits:
    """What the process may use. A graph is parsed, checked and copied: a few times its size in memory."""

    memory_bytes_base: int = 2 * _GIB  # address space: libraries reserve far more than they use
    memory_per_graph_byte: int = 8
    cpu_s: int = 60
    wall_s: float = 120.0

    def memory_bytes(self, graph_bytes: int) -> int:
        return self.memory_bytes_base + self.memory_per_graph_byte * graph_bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    reason: words.Reason.ValueType  # REASON_UNSPECIFIED: the rule holds
    message: str


def inspect(folder: Path, limits: InspectionLimits) -> Mapping[str, Outcome]:
    """The outcome per rule, in order, up to the first that fails. Never raises for what is in the folder."""
    memory_bytes = limits.memory_bytes((folder / "model.onnx").stat().st_size)
    environment = {
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "OPENBLAS_NUM_THREADS": "1",  # each thread reserves address space
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-P",
        "-s",
        "-B",
        "-m",
        "model_store.inspection",
        str(folder),
        str(memory_bytes),
        str(limits.cpu_s),
    ]
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.wall_s,
            check=False,
        )
        output, ending = done.stdout, _ending(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as error:
        output, ending = error.stdout or b"", f"took longer than {limits.wall_s:g} s"
    outcomes = _outcomes(output)
    failed = any(outcome.reason for outcome in outcomes.values())
    if not failed and len(outcomes) < len(RULES):
        rule = RULES[len(outcomes)]
        outcomes[rule] = Outcome(_REASON_OF[rule], printable(f"checking it in a limited process {ending}"))
    return outcomes


def _ending(status: int, errors: bytes) -> str:
    if -status in (signal.SIGKILL, signal.SIGXCPU):
        return "was stopped: it needed more time or memory than it may have"
    if status < 0:
        return f"crashed on it ({signal.strsignal(-status)})"
    last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit status {status}"]
    return f"failed: {last[0][:300]}"


def _outcomes(output: bytes) -> dict[str, Outcome]:
    """Whole lines only, in the order of the rules: a process that dies may leave half of one."""
    outcomes: dict[str, Outcome] = {}
    for rule, line in zip(RULES, output.split(b"\n")[:-1], strict=False):
        document = json.loads(line)
        assert document["rule"] == rule
        outcomes[rule] = Outcome(document["reason"], document["message"])
    return outcomes


def main(arguments: list[str]) -> int:
    folder, memory_bytes, cpu_s = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    _limit(memory_bytes, cpu_s)
    report = os.dup(1)
    os.dup2(2, 1)  # what a library prints, in Python or not, is no line of the report
    for rule, check in _checks().items():
        outcome = _outcome(rule, check, folder)
        line = json.dumps({"rule": rule, "reason": outcome.reason, "message": outcome.message[:1000]})
        os.write(report, line.encode() + b"\n")
        if outcome.reason:
            return 1
    return 0


def _limit(memory_bytes: int, cpu_s: int) -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _soft, hard = resource.getrlimit(kind)
        lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (lower, lower))


def _outcome(rule: str, check: Callable[[Path], str], folder: Path) -> Outcome:
    from model_store.errors import ArchiveRefused

    try:
        return Outcome(words.REASON_UNSPECIFIED, check(folder))
    except ArchiveRefused as refusal:
        return Outcome(refusal.reason, str(refusal))
    except MemoryError:
        return Outcome(_REASON_OF[rule], "checking it needed more memory than it may have")


def _checks() -> Mapping[str, Callable[[Path], str]]:
    return {GRAPH: _graph, REFERENCE: _reference, GOLDEN: _golden, SCANNER: _scanner}


# Each imports its parser when it is called, after the limits are set.


def _graph(folder: Path) -> str:
    from model_store.card import Card
    from model_store.graph_rules import check_graph

    return check_graph(folder / "model.onnx", Card.parse((folder / "model.json").read_bytes()))


def _reference(folder: Path) -> str:
    from model_store import reference

    known = reference.parse((folder / "reference.json").read_bytes())
    return f"{len(known.samples)} distributions and {len(known.counts)} tables of counts"


def _golden(folder: Path) -> str:
    from model_store.card import Card
    from model_store.golden import check_photographs

    return check_photographs(folder, Card.parse((folder / "model.json").read_bytes()))


def _scanner(folder: Path) -> str:
    from model_store.scanner import scan

    return scan(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
