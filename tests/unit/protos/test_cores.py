"""Cores and memory are those of the control group, not those of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from protos.cores import cores, memory_bytes_max, memory_free_bytes
from tests.pages import ROOT

MACHINE = len(os.sched_getaffinity(0))
ASKS = "from protos.cores import *; print(cores(), memory_free_bytes(), memory_bytes_max())"


def tree(folder: Path, files: dict[str, str], membership: str) -> dict[str, Path]:
    for name, text in files.items():
        (folder / "mounted" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mounted" / name).write_text(f"{text}\n")
    (folder / "membership").write_text(membership)
    return {"membership": folder / "membership", "mounted": folder / "mounted"}


@pytest.mark.parametrize(
    ("files", "membership", "allowed"),
    [
        ({"cpu.max": "100000 100000"}, "0::/\n", 1),
        ({"cpu.max": "50000 100000"}, "0::/\n", 1),
        ({"cpu.max": "max 100000"}, "0::/\n", MACHINE),
        ({"cpu.max": "6400000 100000"}, "0::/\n", MACHINE),
        ({"a.slice/cpu.max": "1000 100000", "a.slice/b/cpu.max": "max 100000"}, "0::/a.slice/b\n", 1),  # of one above
        ({"cpu.max": "50000 100000"}, "0::/of/the/machine\n", 1),  # a path that is not seen from inside
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu:/\n0::/\n", 1),
        ({"cpu,cpuacct/d/cpu.cfs_quota_us": "100000", "cpu,cpuacct/d/cpu.cfs_period_us": "100000"},
         "3:cpu,cpuacct:/d\n", 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu:/\n", MACHINE),
        ({"cpu.max": "what is this"}, "0::/\n", MACHINE),
        ({}, "0::/\n", MACHINE),
    ],
)  # fmt: skip
def test_cores_are_those_that_a_quota_leaves(
    tmp_path: Path, files: dict[str, str], membership: str, allowed: int
) -> None:
    assert cores(**tree(tmp_path, files, membership)) == allowed


def test_memory_is_what_the_narrowest_group_leaves_and_what_was_only_read_is_free(tmp_path: Path) -> None:
    files = {
        "memory.max": "4000", "memory.current": "3000", "memory.stat": "anon 1\ninactive_file 500",
        "a/memory.max": "max", "a/memory.current": "10", "a/memory.stat": "anon 10",
    }  # fmt: skip
    group = tree(tmp_path, files, "0::/a\n")
    assert (memory_free_bytes(**group), memory_bytes_max(**group)) == (1500, 4000)


def test_without_a_limit_or_without_groups_there_is_none(tmp_path: Path) -> None:
    unlimited = tree(tmp_path, {"memory.max": "max"}, "0::/\n")
    assert memory_free_bytes(**unlimited) is memory_bytes_max(**unlimited) is None
    assert memory_free_bytes(membership=tmp_path / "none", mounted=tmp_path) is None
    assert cores(membership=tmp_path / "none", mounted=tmp_path) == MACHINE


@pytest.fixture
def group() -> Iterator[tuple[Path, ...]]:
    """A group of this machine's kernel with half a core and 512 MiB."""
    version_1 = [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/memory")]
    roots = version_1 if all(root.is_dir() for root in version_1) else [Path("/sys/fs/cgroup")]
    made = []
    try:
        for root in roots:
            folder = root / f"amulet-test-{uuid4().hex}"
            folder.mkdir()
            made.append(folder)
        if roots is version_1:
            (made[0] / "cpu.cfs_period_us").write_text("100000")
            (made[0] / "cpu.cfs_quota_us").write_text("50000")
            (made[1] / "memory.limit_in_bytes").write_text(str(512 * 2**20))
        else:
            (made[0] / "cpu.max").write_text("50000 100000")
            (made[0] / "memory.max").write_text(str(512 * 2**20))
    except OSError as error:
        for folder in made:
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield tuple(made)
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def test_a_process_in_a_real_group_knows_what_it_may_use(group: tuple[Path, ...]) -> None:
    enter = "; ".join(f"open({str(folder / 'cgroup.procs')!r}, 'w').write('0')" for folder in group)
    done = subprocess.run(
        [sys.executable, "-c", f"{enter}; {ASKS}"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    number, free, most = done.stdout.split()
    assert number == "1"
    assert 0 < int(free) <= int(most) == 512 * 2**20
