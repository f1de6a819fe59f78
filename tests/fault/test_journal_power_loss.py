"""Power loss: the journal on a disk image that is copied while the writer runs, and opened from the copy.

What the file system still holds in memory is not in the image, as it would not be on a disk
that lost its power. With syncs that do nothing the same check must find records missing.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fault.journal_process import Claims, lines_of, lost, signal_all, start, suspend

pytestmark = pytest.mark.fault

IMAGE_BYTES = 24 * 2**20
ROUNDS = 3


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    # A long commit interval: nothing but the journal's own syncs shall bring it to the disk.
    command = ["mount", "-o", "loop,commit=300", str(image), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a disk image cannot be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    try:
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no ext4 image can be made here: {error}")
    return image


def lost_by_a_power_cut(image: Path, tmp_path: Path, *, after_lines: int, wrapper: Sequence[str] = ()) -> int:
    """Run a writer, copy the image at some moment, and count what is missing in the copy."""
    claims, copy = Claims(), tmp_path / "copy"
    with mounted(image, tmp_path / "disk") as disk:
        process = start(disk / "journal", "--callers", "8", "--segment-bytes", "60000", wrapper=wrapper)
        for count, line in enumerate(lines_of(process)):
            if count < after_lines:
                claims.take(line)  # what a client can hold before the power goes
            elif count == after_lines:
                suspend(process)
                shutil.copyfile(image, copy)
                signal_all(process, signal.SIGKILL)
        process.wait()
    with mounted(copy, tmp_path / "recovered") as disk:
        return len(lost(claims, disk / "journal")) if (disk / "journal").exists() else len(claims.acked)


def test_what_was_acknowledged_survives_the_loss_of_power(image: Path, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for round_ in range(ROUNDS):
        work = tmp_path / f"round-{round_}"
        work.mkdir()
        shutil.copyfile(image, work / "image")
        assert lost_by_a_power_cut(work / "image", work, after_lines=dice.randrange(1, 3000)) == 0, f"round {round_}"


def test_without_syncs_the_check_finds_what_is_missing(image: Path, tmp_path: Path) -> None:
    lying = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]
    lying += ["-e", "inject=fdatasync,fsync:retval=0"]
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    assert lost_by_a_power_cut(image, tmp_path, after_lines=500, wrapper=lying) > 0
