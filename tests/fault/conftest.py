"""A whole stack with a served model, for tests that then harm it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store import signing
from tests import tiny_archive
from tests.stack import Stack

JOURNAL_DISK_MIB = 24
JOURNAL_FREE_MIB_MIN = 4


@pytest.fixture
def seed() -> int:
    """Of everything random in the test; printed, and taken from FAULT_SEED to replay it."""
    seed = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
    print(f"FAULT_SEED={seed} replays this")
    return seed


@pytest.fixture(scope="session")
def journal_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A small disk for the gateway's journal alone; None where nothing may be mounted."""
    disk = tmp_path_factory.mktemp("journal-disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={JOURNAL_DISK_MIB}m", "amulet-test", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield disk if mounted else None
    if mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, journal_disk: Path | None) -> Iterator[Stack]:
    """Every process real, a tiny model version in production, the journal on a small disk where possible."""
    folder = tmp_path_factory.mktemp("fault")
    variables = {"AMULET_JOURNAL_FREE_MIB_MIN": str(JOURNAL_FREE_MIB_MIN)}
    if journal_disk is not None:
        variables["AMULET_JOURNAL_DIR"] = str(journal_disk / "journal")
    running = Stack.start(folder / "state", variables=variables)
    try:
        signing.generate_key(folder / "release.key")
        (folder / "release.pem").write_bytes(signing.public_pem(folder / "release.key"))
        running.trust(folder / "release.pem")
        (folder / "run").mkdir()
        tiny_archive.write_archive(folder / "run", folder / "tiny.mar", key=folder / "release.key")
        running.serve(folder / "tiny.mar")
        yield running
    finally:
        running.stop()
