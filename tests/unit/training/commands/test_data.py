"""`amulet data`: results, JSON, one-sentence errors and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from training.commands.data import data


def test_demo_writes_a_set_and_says_what_is_in_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(data, ["demo", "--out", str(tmp_path / "d"), "--per-class", "2", "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["photos"] == 20
    assert summary["ood"] == {"coins": 2, "objects": 2}
    assert len(summary["classes"]) == 8
    assert len(list((tmp_path / "d").rglob("*.jpg"))) == 20


def test_demo_refuses_a_folder_that_is_in_use_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    result = CliRunner().invoke(data, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "is not an empty folder" in result.stderr


def test_wrong_use_exits_with_two(tmp_path: Path) -> None:
    for arguments in (["demo"], ["demo", "--out", str(tmp_path / "d"), "--per-class", "1"], ["nonsense"]):
        assert CliRunner().invoke(data, arguments).exit_code == 2


def test_every_command_has_an_example() -> None:
    for name in data.commands:
        help_text = CliRunner().invoke(data, [name, "--help"]).output
        assert f"Example: amulet data {name}" in " ".join(help_text.split())
