"""`amulet train`: what it offers, and what it refuses before it begins."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from training.commands.train import train
from training.fitting.recipe import RECIPES


def test_the_help_names_every_recipe() -> None:
    shown = " ".join(CliRunner().invoke(train, ["--help"]).output.split())

    assert [name for name in RECIPES if name not in shown] == []


def test_a_recipe_that_makes_no_version_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        train, [str(tmp_path / "none"), "--out", str(tmp_path / "run"), "--recipe", "neighbours", "--runs", "none"]
    )

    assert done.exit_code == 1
    assert "it is there to be compared (amulet ablate); train with lda, logistic or centroid" in done.output
    assert not (tmp_path / "run").exists()
