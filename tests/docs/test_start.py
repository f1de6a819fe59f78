"""docs/start.md, typed line by line as it is printed, in an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.layout import Ports
from tests.pages import ROOT, blocks
from tests.stack import free_offset

# The page's own order: the environment, then eight numbered steps.
SCRIPT = "\n".join(block.text for block in blocks(ROOT / "docs/start.md", "sh"))
STEP_S_MAX = 900


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "หน้าแรก start"  # a stranger's folder may have a space and Thai letters in its name
    place.mkdir()
    (place / ".venv").symlink_to(ROOT / ".venv")
    yield place
    subprocess.run([ROOT / ".venv/bin/amulet", "down", "--state", place / ".amulet"], check=True, timeout=120)
    shutil.rmtree(place / ".amulet", ignore_errors=True)


@pytest.mark.stack
@pytest.mark.timeout(STEP_S_MAX)
def test_every_line_works_as_printed(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    # What a test cannot take as it is: the usual ports may be somebody's.
    script, offset = SCRIPT, free_offset()
    for line in ("amulet doctor\n", "amulet up --detach\n"):
        assert line in SCRIPT
        script = script.replace(line, f"{line[:-1]} --port-offset {offset}\n")

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=STEP_S_MAX, check=False,
    )  # fmt: skip

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert (folder / "looks" / "index.html").is_file()
    assert len(list((folder / "maps").glob("*.png"))) == 8
    assert "ผลประเมินเป็นเบื้องต้น" in done.stdout
    entries = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    assert len(entries) > 10
    assert Ports(0).gateway == 7443  # as callers.md prints it
