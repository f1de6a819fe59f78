"""What a server refuses for its size is not learnt from, and is said so before any work (decision 0255)."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import amulet
from gateway.errors import Refusal
from gateway.intake.formats import PhotoLimits, read_header
from handlers import amulet_handler
from protos import photo_limits
from tests.unit.training.data.cast import picture, write_folder
from training.data.errors import PhotoBroken
from training.data.folder import read_photo

FITS = photo_limits.PIXELS_MAX // 5000  # by 5,000 pixels


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(32, 32), (32, 31), (31, 32), (1, 1), (31, 400), (400, 31), (400, 32)])
def test_gateway_and_training_take_the_same_small_photographs(tmp_path: Path, form: str, size: tuple[int, int]) -> None:
    _compare(picture(3, width=size[0], height=size[1]), tmp_path / f"a.{form.lower()}", takes=min(size) >= 32)


@pytest.mark.parametrize(("width_px", "takes"), [(FITS, True), (FITS + 1, False), (12_800, False), (30_000, False)])
def test_gateway_and_training_take_the_same_large_photographs(tmp_path: Path, width_px: int, takes: bool) -> None:
    _compare(Image.new("1", (width_px, 5000)), tmp_path / "a.png", takes=takes)


def _compare(image: Image.Image, path: Path, *, takes: bool) -> None:
    image.save(path)
    refusals = []
    try:
        read_header(path.read_bytes(), PhotoLimits())
    except Refusal as refusal:
        refusals.append(str(refusal))
    try:
        read_photo(path, relative=path.name, label="a")
    except PhotoBroken as broken:
        refusals.append(broken.why)
    assert len(refusals) == (0 if takes else 2), refusals


def test_the_handler_behind_the_gateway_refuses_nothing_that_it_takes() -> None:
    assert amulet_handler.ENCODED_BYTES_MAX >= photo_limits.BYTES_MAX
    assert amulet_handler.PIXELS_MAX >= photo_limits.PIXELS_MAX


@pytest.mark.parametrize("other", ["small", "large"])
def test_check_and_train_name_the_photograph_and_what_servers_take(
    tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", {"a": 3, "b": 3})
    if other == "small":
        picture(1, width=20, height=300).save(tmp_path / "data/a/odd.png")
        why = "has 20 x 300 pixels, and servers take no fewer than 32 a side"
        mend = "bring a larger one, or move it out of the folder"
    else:
        Image.new("1", (10_000, 9000)).save(tmp_path / "data/a/odd.png")  # Pillow has a warning of its own for so many
        why = "has 10000 x 9000 pixels, and servers take at most 50,331,648"
        mend = "save it smaller, or move it out of the folder"

    checked = CliRunner().invoke(amulet, ["data", "check", "data", "--quick"])
    trained = CliRunner().invoke(amulet, ["train", "data", "--out", "run"])

    assert (checked.exit_code, trained.exit_code) == (1, 1)
    assert f"✗ data/a/odd.png: {why}" in checked.stdout
    assert "1 file cannot be used" in checked.stdout
    assert trained.stderr == f"Error: data/a/odd.png {why}: {mend}\n"
    assert checked.stderr == ""
    assert not Path("run").exists()
