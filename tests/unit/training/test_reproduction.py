"""A run again from its card: the same bytes, or a sentence that names what is not as the card says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model_store.card import Card
from tests.unit.training.conftest import SmallRun
from tests.unit.training.data.cast import picture
from training import reproduction
from training.commands.train import train
from training.errors import SettingWrong


def again(
    run: SmallRun,
    tmp_path: Path,
    *more: str,
    data: Path | None = None,
    card: Path | None = None,
    exports: Path | None = None,
) -> Result:
    """exports: a folder in which the backbone is kept already; without one it is exported anew."""
    arguments = [str(data or run.data), "--out", str(tmp_path / "again"), "--from-card", str(card or run.run)]
    arguments += ["--runs", "none", "--exports", str(exports or tmp_path / "exports")]
    return CliRunner().invoke(train, [*arguments, *more], catch_exceptions=False)


def altered(run: SmallRun, path: Path, **changes: object) -> Path:
    """The run's card with other values under `training.config`."""
    document = json.loads((run.run / "model.json").read_text("utf-8"))
    document["training"]["config"].update(changes)
    path.write_text(json.dumps(document), "utf-8")
    return path


def test_the_card_makes_the_same_run_byte_for_byte(small_run: SmallRun, tmp_path: Path) -> None:
    result = again(small_run, tmp_path, "--ood", str(small_run.outside))
    assert result.exit_code == 0, result.output
    assert "The same version as the card's, bit for bit." in result.stderr
    names = sorted(path.name for path in small_run.run.iterdir())
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    differing = [
        name for name in names if (small_run.run / name).read_bytes() != (tmp_path / "again" / name).read_bytes()
    ]
    assert differing == []


def test_another_run_than_the_cards_is_a_failure_that_names_what_differs(small_run: SmallRun, tmp_path: Path) -> None:
    card = altered(small_run, tmp_path / "model.json", head_shrinkage=0.5)
    result = again(small_run, tmp_path, "--ood", str(small_run.outside), card=card, exports=small_run.exports)
    assert result.exit_code == 1
    assert "this run is not that of the card: graph, figures" in result.stderr
    assert (tmp_path / "again/model.json").exists()  # it is kept: whoever asks why can look


def test_other_photographs_are_refused_before_anything_is_trained(small_run: SmallRun, tmp_path: Path) -> None:
    data = Path(shutil.copytree(small_run.data, tmp_path / "data"))
    picture(77).save(data / "apple/front_000.jpg", quality=90)
    result = again(small_run, tmp_path, "--ood", str(small_run.outside), data=data)
    assert result.exit_code == 1
    assert "holds other photographs than v20261125_tf_efficientnet_lite0" in result.stderr
    assert not (tmp_path / "again").exists()


def test_the_folders_name_is_on_the_card_and_must_be_the_same(small_run: SmallRun, tmp_path: Path) -> None:
    data = Path(shutil.copytree(small_run.data, tmp_path / "fruit"))
    result = again(small_run, tmp_path, "--ood", str(small_run.outside), data=data)
    assert "the folder fruit was called data when" in result.stderr


def test_other_sets_of_other_things_are_refused(small_run: SmallRun, tmp_path: Path) -> None:
    missing = again(small_run, tmp_path)
    assert "was trained beside the set other of other things, and given is no set" in missing.stderr
    other = Path(shutil.copytree(small_run.outside, tmp_path / "other"))
    picture(78).save(other / "0.jpg")
    changed = again(small_run, tmp_path, "--ood", str(other))
    assert "the set other holds other photographs than" in changed.stderr
    assert (missing.exit_code, changed.exit_code) == (1, 1)


def test_what_the_card_decides_cannot_be_asked_for_beside_it(small_run: SmallRun, tmp_path: Path) -> None:
    result = again(small_run, tmp_path, "--seed", "7")
    assert result.exit_code == 2
    assert "--seed is decided by the card" in result.stderr


def test_the_card_of_an_8_bit_form_trains_nothing(small_run: SmallRun, tmp_path: Path) -> None:
    card = reproduction.card_at(small_run.run)
    small = replace(card, graph=replace(card.graph, form="int8"))
    with pytest.raises(SettingWrong, match="int8 form, which no training makes"):
        reproduction.request_of(small, small_run.data, tmp_path / "again", outside=(small_run.outside,))


def test_other_code_and_packages_are_named_as_reasons(small_run: SmallRun) -> None:
    card = reproduction.card_at(small_run.run)
    older = replace(card.training, code_version="0.0.9", environment={**card.training.environment, "torch": "2.0.0"})
    wanted: Card = replace(card, training=older)
    torch = card.training.environment["torch"]
    said = reproduction.reasons(wanted, card)
    assert said == (f"code {card.training.code_version} and not 0.0.9", f"torch {torch} and not 2.0.0")
    assert reproduction.differences(wanted, card) == ()
