"""Heat maps of a folder: right, complete, computed once by content, and clear about what is wrong."""

from __future__ import annotations

import html.parser
import json
import os
import unicodedata
import zipfile
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from protos.wording import DISCLAIMER
from tests.tiny_archive import CLASSES, GRID, SIDE_PX, VERSION, photo_of, write_run
from training.commands.explain import explain
from training.errors import SettingWrong
from training.explanation.batch import explain_folder
from training.explanation.overlay import SIDE_PX as PICTURE_PX
from training.explanation.overlay import overlay_png
from training.served.answers import GraphModel


@pytest.fixture
def model(tmp_path: Path) -> GraphModel:
    write_run(tmp_path / "run")
    return GraphModel.open(tmp_path / "run", threads=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for colour in CLASSES:
        (folder / colour).mkdir(parents=True)
        for number in range(4):
            content = photo_of(colour, seed=1000 * CLASSES.index(colour) + number)
            (folder / colour / f"front_{number}.png").write_bytes(content)
    return folder


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "explanations.json").read_text())["photos"]
    return rows


def test_each_photograph_gets_the_heat_map_and_the_answer_of_the_graph(
    model: GraphModel, photos: Path, tmp_path: Path
) -> None:
    done = explain_folder(model, photos, tmp_path / "out")

    rows = rows_of(tmp_path / "out")
    assert done.photos == len(rows) == 12
    for row in rows:
        pixels = model.pixels(photos / row["file"])
        answers, grids = model.explain([pixels], -1)
        assert row["predicted"] == row["file"].partition("/")[0]
        np.testing.assert_allclose(row["heat_map"], grids[0], rtol=1e-5)
        assert np.shape(row["heat_map"]) == (GRID, GRID)
        assert row["confidence"] == pytest.approx(answers.probabilities.max(), rel=1e-5)
        assert (tmp_path / "out" / row["map"]).read_bytes() == overlay_png(pixels, grids[0])


def test_what_was_answered_before_is_not_computed_again_whatever_its_name(
    model: GraphModel, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    explain_folder(model, photos, out)
    (photos / "red" / "front_0.png").rename(photos / "red" / "another name.png")
    (photos / "green" / "front_0.png").write_bytes(photo_of("green", seed=77))

    again = explain_folder(model, photos, out)

    assert (again.photos, again.from_cache) == (12, 11)
    assert not (out / "maps" / "red" / "front_0.png.png").exists()
    assert (out / "maps" / "red" / "another name.png.png").exists()


def test_another_model_never_meets_an_old_answer(model: GraphModel, photos: Path, tmp_path: Path) -> None:
    explain_folder(model, photos, tmp_path / "out")
    write_run(tmp_path / "hotter", temperature=3.0)
    hotter = GraphModel.open(tmp_path / "hotter", threads=1)
    before = {row["file"]: row["confidence"] for row in rows_of(tmp_path / "out")}

    assert explain_folder(hotter, photos, tmp_path / "out").from_cache == 0
    assert all(row["confidence"] < before[row["file"]] for row in rows_of(tmp_path / "out"))


@pytest.mark.parametrize("damage", [b"", b'{"probabilities": [0.', None])
def test_a_damaged_cache_file_is_written_again(
    model: GraphModel, photos: Path, tmp_path: Path, damage: bytes | None
) -> None:
    out = tmp_path / "out"
    explain_folder(model, photos, out)
    before = rows_of(out)
    file = sorted((out / "cache").glob("*.json"))[0]
    if damage is None:
        file.with_suffix(".png").unlink()
    else:
        file.write_bytes(damage)

    assert explain_folder(model, photos, out).from_cache == 11
    assert rows_of(out) == before


def test_a_sample_is_spread_over_the_folders_and_the_same_for_the_same_seed(
    model: GraphModel, photos: Path, tmp_path: Path
) -> None:
    for name, seed in (("first", 5), ("second", 5), ("other", 6)):
        explain_folder(model, photos, tmp_path / name, sample=6, seed=seed)

    files = {name: [row["file"] for row in rows_of(tmp_path / name)] for name in ("first", "second", "other")}
    assert [sum(file.startswith(colour) for file in files["first"]) for colour in CLASSES] == [2, 2, 2]
    assert files["first"] == files["second"] != files["other"]


def test_a_smaller_sample_leaves_no_picture_of_the_larger_one(model: GraphModel, photos: Path, tmp_path: Path) -> None:
    explain_folder(model, photos, tmp_path / "out")
    done = explain_folder(model, photos, tmp_path / "out", sample=3)

    assert done.from_cache == 3
    pictures = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out" / "maps").rglob("*.png")}
    assert pictures == {row["map"] for row in rows_of(tmp_path / "out")}
    assert not list((tmp_path / "out").glob(".*"))


def test_another_class_is_explained_on_wish(model: GraphModel, photos: Path, tmp_path: Path) -> None:
    explain_folder(model, photos, tmp_path / "best")
    explain_folder(model, photos, tmp_path / "blue", target="blue")

    best, blue = rows_of(tmp_path / "best"), rows_of(tmp_path / "blue")
    assert [row["predicted"] for row in best] == [row["predicted"] for row in blue]
    changed = {row["predicted"] for row, other in zip(best, blue, strict=True) if row["heat_map"] != other["heat_map"]}
    assert changed == {"red", "green"}


@pytest.mark.parametrize(("in_card", "typed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_class_is_found_in_either_spelling(
    model: GraphModel, photos: Path, tmp_path: Path, in_card: Literal["NFC", "NFD"], typed: Literal["NFC", "NFD"]
) -> None:
    red, green, blue = model.card.classes
    named = replace(blue, id=unicodedata.normalize(in_card, "café"))
    model.card = replace(model.card, classes=(red, green, named))
    explain_folder(model, photos, tmp_path / "out", target=unicodedata.normalize(typed, "café"))
    assert len(rows_of(tmp_path / "out")) == 12


def test_a_class_that_the_model_does_not_know_is_refused(model: GraphModel, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingWrong, match=f"yellow is no class of {VERSION}: it knows red, green, blue"):
        explain_folder(model, photos, tmp_path / "out", target="yellow")
    assert not (tmp_path / "out").exists()


class Sources(html.parser.HTMLParser):
    """The pictures that a page shows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "img" and name == "src" and value]


def test_the_page_shows_every_picture_under_any_name_and_carries_the_disclaimer(
    model: GraphModel, photos: Path, tmp_path: Path
) -> None:
    odd = photos / "พระ รอด"
    odd.mkdir()
    (odd / '50% #1 "best"?.png').write_bytes(photo_of("red", seed=9))

    explain_folder(model, photos, tmp_path / "out")

    text = (tmp_path / "out" / "index.html").read_text("utf-8")
    sources = Sources()
    sources.feed(text)
    assert len(sources.found) == 13
    assert all((tmp_path / "out" / unquote(source)).is_file() for source in sources.found)
    assert all(sentence in text for sentence in DISCLAIMER.values())
    verdicts = Counter(row["verdict"] for row in rows_of(tmp_path / "out"))
    assert sum(verdicts.values()) == 13
    for verdict, count in verdicts.items():
        assert f"{count} {verdict.replace('_', ' ').lower()}" in text
        assert text.count(f'<b class="{verdict}">') == count


def test_broken_files_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (photos / "red" / "broken.jpg").write_bytes(b"no photograph")
    (photos / "red" / "notes.txt").write_text("not looked at")

    arguments = [str(tmp_path / "run"), str(photos), "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(explain, arguments)

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["photos"] == 12
    assert [item["file"] for item in document["left_out"]] == [str(photos / "red" / "broken.jpg")]
    assert "not a JPEG, PNG or WebP file" in document["left_out"][0]["why"]
    assert "broken.jpg" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("folder", "out", "sentence"),
    [
        ("nothing", "out", "there is no folder"),
        ("run/model.json", "out", "is a file: name the folder it lies in"),
        ("empty", "out", "holds no photographs"),
        ("broken", "out", "can be read"),
        ("photos", "photos/maps", "lies inside"),
        ("photos", "run", "holds something else"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    photos: Path, tmp_path: Path, folder: str, out: str, sentence: str
) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"\xff\xd8\xff and no more")

    arguments = [str(tmp_path / "run"), str(tmp_path / folder), "--out", str(tmp_path / out)]
    result = CliRunner().invoke(explain, arguments)

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_that_is_a_file_is_refused_by_the_options_name(photos: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run")

    arguments = [str(tmp_path / "run"), str(photos), "--out", str(tmp_path / "run/model.json")]
    result = CliRunner().invoke(explain, arguments)

    assert result.exit_code == 2
    assert "'--out'" in result.stderr
    assert "is a file" in result.stderr


def test_the_picture_is_the_photograph_where_nothing_speaks_for_the_class() -> None:
    pixels = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)

    blank = Image.open(BytesIO(overlay_png(pixels, np.zeros((GRID, GRID)))))
    assert blank.size == (PICTURE_PX, PICTURE_PX)
    assert np.unique(np.asarray(blank)).tolist() == [90]

    corner = np.zeros((GRID, GRID))
    corner[0, 0] = 2.0
    drawn = np.asarray(Image.open(BytesIO(overlay_png(pixels, corner))))
    assert (drawn[-40:, -40:] == 90).all()
    assert drawn[:40, :40, 0].min() > 150


def test_the_command_measures_the_maps_and_writes_a_sheet_for_experts(photos: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    sheet = tmp_path / "sheet.zip"
    arguments = [str(tmp_path / "run"), str(photos), "--out", str(tmp_path / "out"), "--faithfulness", "3"]

    done = CliRunner().invoke(explain, [*arguments, "--review-sheet", str(sheet), "--json"])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["faithfulness"]["photos"] == 3
    assert told["faithfulness"]["flips"]["photos"] == 3
    with zipfile.ZipFile(sheet) as archive:
        document = json.loads(archive.read("sheet.json"))
        assert (document["kind"], document["model"], len(document["items"])) == ("heat_maps", VERSION, 12)
        for item in document["items"]:
            assert item["label"] == item["predicted"] == item["name"].partition("/")[0]
            for name in (item["photo"], item["overlay"]):
                with Image.open(BytesIO(archive.read(name))) as picture:
                    assert (picture.format, picture.size) == ("JPEG", (PICTURE_PX, PICTURE_PX))
    again = CliRunner().invoke(explain, [*arguments, "--review-sheet", str(sheet)])
    assert again.exit_code == 1
    assert "exists: name a new file" in again.output


def test_a_name_that_is_no_utf_8_is_spelt_out_alike_everywhere(photos: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (photos / "red/front_0.png").rename(os.fsdecode(os.fsencode(photos / "red") + b"/front_\xff.png"))
    (photos / "red/front_1.png").write_bytes(b"no photograph")
    (photos / "red/front_1.png").rename(os.fsdecode(os.fsencode(photos / "red") + b"/broken_\xff.png"))
    out, sheet = tmp_path / "out", tmp_path / "sheet.zip"
    arguments = [str(tmp_path / "run"), str(photos), "--out", str(out), "--faithfulness", "0"]

    done = CliRunner().invoke(explain, [*arguments, "--review-sheet", str(sheet), "--json"])

    assert done.exit_code == 0, done.output
    (row,) = (row for row in rows_of(out) if "udcff" in row["file"])
    assert row["file"] == "red/front_\\udcff.png"
    assert (out / row["map"]).is_file()
    sources = Sources()
    sources.feed((out / "index.html").read_text("utf-8"))
    assert len(sources.found) == 11
    assert all((out / unquote(source)).is_file() for source in sources.found)
    assert json.loads(done.stdout)["left_out"][0]["file"].endswith("red/broken_\\udcff.png")
    with zipfile.ZipFile(sheet) as archive:
        assert row["file"] in [item["name"] for item in json.loads(archive.read("sheet.json"))["items"]]


@pytest.mark.parametrize(
    ("option", "place", "said"),
    [
        ("--review-sheet", "nowhere/sheet.zip", "there is no folder"),
        ("--review-sheet", "there.zip", "there.zip exists: name a new file"),
        ("--review-sheet", "photos", "is a directory"),
        ("--out", "there.zip/out", "is no folder"),
        ("--out", os.fsdecode(b"\xff"), "is no UTF-8"),
    ],
)
def test_a_place_that_cannot_be_is_told_before_any_photograph_is_looked_at(
    photos: Path, tmp_path: Path, option: str, place: str, said: str
) -> None:
    (tmp_path / "there.zip").touch()
    given = {"--out": str(tmp_path / "out"), option: str(tmp_path / place)}

    done = CliRunner().invoke(
        explain, [str(tmp_path / "no run"), str(photos), *(word for pair in given.items() for word in pair)]
    )

    assert done.exit_code in (1, 2)
    assert said in done.output
    assert "no run" not in done.output.replace("\n", "")
    assert not (tmp_path / "out").exists()
