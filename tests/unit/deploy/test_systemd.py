"""The unit of one machine's stack: systemd knows each line of it, and waits for as long as a stop takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from cli import supervision
from cli.layout import Layout
from cli.stack import StackMisset
from tests.pages import ROOT

UNIT = ROOT / "deploy/systemd/amulet.service"


def service() -> dict[str, str]:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # a unit's names have capitals
    unit.read(UNIT)
    return dict(unit["Service"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_knows_each_line(tmp_path: Path) -> None:
    here = UNIT.read_text().replace("/srv/amulet/.venv/bin/amulet", sys.executable).replace("User=amulet", "User=root")
    (tmp_path / UNIT.name).write_text(here)

    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT.name)], capture_output=True, text=True, check=False
    )

    assert "amulet.service" not in done.stderr, done.stderr
    assert done.returncode == 0


def test_it_stops_the_stack_in_its_order_and_waits_for_the_longest_end() -> None:
    ends = {program.name: program.stop_s_max for program in supervision.programs(Layout.of(ROOT / "no stack"))}
    gateway = ends.pop("gateway")

    assert service()["KillMode"] == "mixed"
    assert int(service()["TimeoutStopSec"]) >= gateway + max(ends.values()) + 15  # as `amulet down` has it


def test_a_setting_that_no_process_takes_is_not_tried_again_and_again() -> None:
    assert int(service()["RestartPreventExitStatus"]) == StackMisset.exit_code
    assert service()["Restart"] == "on-failure"


def test_the_page_prints_where_it_lies_and_each_path_that_is_to_be_changed() -> None:
    page = (ROOT / "docs/operators/running.md").read_text()

    assert "deploy/systemd/amulet.service" in page
    assert set(re.findall(r"/etc/[\w/.]*", UNIT.read_text())) <= set(re.findall(r"/etc/[\w/.]*\w", page))
