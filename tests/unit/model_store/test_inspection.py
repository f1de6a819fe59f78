"""The process that meets the parsers: it may use little, and what kills it is named."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model_store import inspection, scanner
from model_store.errors import ArchiveRefused
from model_store.inspection import InspectionLimits, inspect
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.model_store.cast import write


@pytest.fixture
def folder(good: dict[str, bytes], tmp_path: Path) -> Path:
    return write(good, tmp_path / "members")


def test_good_members_pass_every_rule(folder: Path) -> None:
    outcomes = inspect(folder, InspectionLimits())
    assert tuple(outcomes) == inspection.RULES
    assert not any(outcome.reason for outcome in outcomes.values()), outcomes


@pytest.mark.parametrize(
    "limits",
    [
        InspectionLimits(memory_bytes_base=60 << 20, memory_per_graph_byte=0),
        InspectionLimits(wall_s=0.05),
        InspectionLimits(cpu_s=0),
    ],
)
def test_a_graph_that_needs_more_than_it_may_have_is_refused(limits: InspectionLimits, folder: Path) -> None:
    outcomes = inspect(folder, limits)
    assert tuple(outcomes) == ("graph",)
    assert outcomes["graph"].reason == words.REASON_ARCHIVE_GRAPH_INVALID
    assert outcomes["graph"].message


def test_the_rule_that_killed_the_process_is_the_one_that_failed(folder: Path) -> None:
    # Found by this very process: the native parser follows a count into memory that is not there.
    crashing = '{"schema": 1, "samples": {"a": "BQEPABAnCAAAAAAAAAEAABAnCAA="}, "counts": {}}'
    (folder / "reference.json").write_text(crashing)
    outcomes = inspect(folder, InspectionLimits())
    assert tuple(outcomes) == ("graph", "reference")
    assert outcomes["graph"].reason == words.REASON_UNSPECIFIED
    assert outcomes["reference"].reason == words.REASON_ARCHIVE_CARD_INVALID
    assert "limited process" in outcomes["reference"].message


def test_the_limits_hold_in_the_process(tmp_path: Path) -> None:
    probe = (
        "import resource, sys; from model_store import inspection; inspection._limit(1 << 31, 7)\n"
        "print(*(resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU,"
        " resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)))\n"
        "try:\n    with open('written', 'w') as file: file.write('x')\nexcept OSError: print('no files')"
    )
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", probe], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == [f"{1 << 31} 7 0 0", "no files"]


def test_the_environment_does_not_reach_the_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    real = subprocess.run

    def watched(*arguments: object, **options: object) -> object:
        seen.update(options["env"])  # type: ignore[call-overload]  # ours, and a table
        return real(*arguments, **options)  # type: ignore[call-overload]  # passed on as they came

    monkeypatch.setenv("AMULET_CANARY", "secret")
    monkeypatch.setattr(subprocess, "run", watched)
    inspect(folder, InspectionLimits())
    assert set(seen) == {"PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}


def test_modules_beside_the_members_are_not_imported(folder: Path) -> None:
    """The folder is the process's working directory: its Python files must not shadow ours."""
    for name in ("onnx.py", "json.py", "sitecustomize.py", "numpy.py"):
        (folder / name).write_text("raise SystemExit(3)\n")
    outcomes = inspect(folder, InspectionLimits())
    assert tuple(outcomes) == inspection.RULES
    assert not any(outcome.reason for outcome in outcomes.values()), outcomes


def test_half_a_line_is_no_verdict() -> None:
    whole = b'{"rule": "graph", "reason": 0, "message": "fine"}\n'
    assert tuple(inspection._outcomes(whole + b'{"rule": "refer')) == ("graph",)


class TestScanner:
    def test_it_reads_every_member(self, folder: Path, good: dict[str, bytes]) -> None:
        assert f"{len(good)} members" in scanner.scan(folder)

    def test_an_import_is_refused(self, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        with pytest.raises(ArchiveRefused, match=r"imports in model\.onnx") as refusal:
            scanner.scan(folder)
        assert refusal.value.reason == words.REASON_ARCHIVE_SCANNER

    @pytest.mark.parametrize("content", [b"PK\x05\x06" + bytes(18), b"7z\xbc\xaf\x27\x1c" + bytes(40)])
    def test_what_it_did_not_scan_is_refused(self, content: bytes, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(content)
        with pytest.raises(ArchiveRefused, match="scan") as refusal:
            scanner.scan(folder)
        assert refusal.value.reason == words.REASON_ARCHIVE_SCANNER


def test_more_memory_is_allowed_for_a_larger_graph() -> None:
    limits = InspectionLimits()
    assert replace(limits, memory_per_graph_byte=0).memory_bytes(1 << 30) < limits.memory_bytes(1 << 30)
