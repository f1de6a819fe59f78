"""A set of other things: every photograph accounted for, no labelled one among them, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from tests.unit.training.data.cast import picture, write_folder
from training.commands.data import data
from training.data.errors import DataWrong
from training.data.folder import load_outside
from training.demo.photographs import OutNotEmpty
from training.negatives import MANIFEST, Source, write_negatives

RED = (200, 20, 30)
GREEN = (20, 160, 60)


def labelled(root: Path, count: int = 4) -> Path:
    """Two classes of green tablets on a red table, each with spots of its own."""
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (240, 320), RED)
            draw = ImageDraw.Draw(image)
            draw.rectangle((60, 60, 180, 260), fill=GREEN)
            rng = np.random.default_rng([number, ord(label)])
            for x, y in rng.integers((65, 65), (170, 250), (25, 2)).tolist():
                draw.ellipse((x, y, x + 9, y + 9), fill=(20, 120, 90))
            image.save(root / label / f"front_{number}.png")
    return root


def brought(root: Path, count: int = 5) -> Source:
    root.mkdir(parents=True)
    (root / "deep").mkdir()
    for number in range(count):
        picture(500 + number).save(root / ("deep" if number % 2 else ".") / f"{number}.jpg", quality=90)
    return Source("buttons", root)


def test_every_photograph_is_in_the_manifest_with_where_it_is_from(tmp_path: Path) -> None:
    source, classes = brought(tmp_path / "buttons"), labelled(tmp_path / "classes")
    found = write_negatives(tmp_path / "out", photos=25, seed=1, brought=[source], classes=classes)

    assert found.per_set == {"buttons": 5, "drawn_coins": 5, "drawn_objects": 5, "fragment": 5, "table": 5}
    sets = load_outside(tmp_path / "out")
    assert {name: len(photos) for name, photos in sets.items()} == found.per_set
    document = json.loads((tmp_path / "out" / MANIFEST).read_text("utf-8"))
    assert document == found.document()
    assert {each["file"] for each in document["files"]} == {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("*/*")
    }
    for entry in found.entries:
        root = {"brought": source.path, "cut": classes}.get(entry.kind)
        if root is not None:
            assert hashlib.sha256((root / entry.origin).read_bytes()).hexdigest() == entry.origin_sha256
        if entry.kind == "brought":
            assert (tmp_path / "out" / entry.file).read_bytes() == (source.path / entry.origin).read_bytes()


def test_cuttings_show_the_table_alone_or_the_object_alone(tmp_path: Path) -> None:
    classes = labelled(tmp_path / "classes")
    found = write_negatives(tmp_path / "out", photos=12, seed=1, classes=classes, drawn=False)
    assert found.per_set == {"fragment": 6, "table": 6}
    for entry in found.entries:
        pixels = np.asarray(Image.open(tmp_path / "out" / entry.file).convert("RGB"), np.float64)
        assert pixels.shape == (224, 224, 3)
        red, green = pixels[..., 0].mean(), pixels[..., 1].mean()
        assert (red > green) == (entry.set == "table")


def test_copies_of_labelled_and_of_brought_photographs_are_left_out_and_named(tmp_path: Path) -> None:
    classes = write_folder(tmp_path / "classes", {"a": 3, "b": 3})
    source = brought(tmp_path / "buttons", 3)
    stray = Image.open(classes / "a/front_000.jpg")
    stray.resize((70, 93)).save(source.path / "stray.jpg")
    picture(500).resize((70, 93)).save(source.path / "deep/again.jpg")
    (source.path / "broken.jpg").write_bytes(b"no photograph")

    found = write_negatives(tmp_path / "out", photos=10, seed=1, brought=[source], classes=classes, drawn=False)

    told = {each.file: each.why for each in found.left_out}
    assert told["stray.jpg"] == "a copy of the labelled a/front_000.jpg"
    assert told["deep/again.jpg"] == "a copy of 0.jpg"
    assert told["broken.jpg"] == "is not a JPEG, PNG or WebP photograph"
    assert len(told) == 3
    assert found.per_set["buttons"] == 3


def test_a_copy_that_another_source_brings_is_left_out(tmp_path: Path) -> None:
    first, second = brought(tmp_path / "buttons", 3), tmp_path / "found"
    second.mkdir()
    picture(501).resize((70, 93)).save(second / "again.jpg")
    picture(700).save(second / "new.jpg")
    found = write_negatives(tmp_path / "out", photos=10, seed=1, brought=[first, Source("found", second)], drawn=False)
    assert [(each.source, each.file, each.why) for each in found.left_out] == [
        ("found", "again.jpg", "a copy of buttons/deep/1.jpg")
    ]
    assert found.per_set == {"buttons": 3, "found": 1}


def test_the_same_seed_writes_the_same_set_and_another_another(tmp_path: Path) -> None:
    classes = labelled(tmp_path / "classes")
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_negatives(tmp_path / name, photos=8, seed=seed, classes=classes)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.jpg"))
    assert len(files) == 8

    def content(name: str) -> list[bytes]:
        return [(tmp_path / name / file).read_bytes() for file in files]

    assert content("one") == content("again")
    assert all(mine != theirs for mine, theirs in zip(content("one"), content("other"), strict=True))


def test_what_one_source_cannot_give_the_others_do(tmp_path: Path) -> None:
    found = write_negatives(tmp_path / "out", photos=11, seed=1, brought=[brought(tmp_path / "buttons", 1)])
    assert found.per_set == {"buttons": 1, "drawn_coins": 5, "drawn_objects": 5}


def test_a_folder_in_use_and_nothing_to_take_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(OutNotEmpty, match="not an empty folder"):
        write_negatives(tmp_path, photos=5, seed=0)
    with pytest.raises(DataWrong, match="there is nothing to take"):
        write_negatives(tmp_path / "out", photos=5, seed=0, drawn=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    for source, said in (
        (Source("x", empty), "no photograph that could be used"),
        (Source("x", tmp_path / "y"), "no f"),
    ):
        with pytest.raises(DataWrong, match=said):
            write_negatives(tmp_path / "out", photos=5, seed=0, brought=[source])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "mine"]


def test_the_command_says_what_it_gathered_and_that_it_is_too_little(tmp_path: Path) -> None:
    source = brought(tmp_path / "buttons", 3)
    arguments = ["outside", "--out", str(tmp_path / "out"), "--from", f"buttons={source.path}", "--no-drawn"]
    result = CliRunner().invoke(data, [*arguments, "--photos", "9"])
    assert result.exit_code == 0, result.output
    assert "3 photographs in" in result.stdout
    assert "9 were asked for" in result.stderr
    again = CliRunner().invoke(data, arguments)
    assert again.exit_code == 1
    assert again.stderr.count("\n") == 1
    wrong = CliRunner().invoke(data, ["outside", "--out", str(tmp_path / "new"), "--from", "=x"])
    assert wrong.exit_code == 2
