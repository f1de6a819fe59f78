"""What a check of a folder finds, and how it is shown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter, ImageOps

from tests.unit.training.data.cast import picture, write_class, write_folder
from training.commands.data import data
from training.data.check import Check, check_folder
from training.data.errors import FolderMissing
from training.data.folder import Photo
from training.data.report import page, summary


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Two classes with a broken file, a copy, a copy in the wrong class, a blurred and a dark one."""
    root = write_folder(tmp_path / "messy", {"a": 6, "b": 4})
    original = picture(1000, width=300, height=400)
    original.save(root / "a/front_000.jpg", quality=92)
    original.resize((150, 200)).save(root / "a/copy.jpg")
    picture(1001, width=300, height=400).save(root / "a/back_001.jpg", quality=92)
    ImageOps.mirror(picture(1001, width=300, height=400)).save(root / "b/mirrored.png")
    original.filter(ImageFilter.GaussianBlur(12)).save(root / "b/blurred.jpg")
    picture(77, width=300, height=300).point(lambda level: level // 30).save(root / "b/dark.png")
    (root / "b/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not really")
    return root


@pytest.fixture
def found(messy: Path, tmp_path: Path) -> Check:
    other = tmp_path / "other/one"
    write_class(other.parent, "one", 2, first_seed=500)
    picture(1003).rotate(3).save(other / "turned.png")
    picture(1003).save(messy / "a/back_003.jpg", quality=95)
    return check_folder(messy, against=other.parent)


def test_everything_planted_is_found(found: Check) -> None:
    document = found.document()
    assert document["photos"] == 14
    assert document["classes"]["a"] == {"photos": 7, "sides": {"back": 3, "front": 3, "unknown": 1}}
    assert [each["file"] for each in document["broken"]] == ["b/broken.jpg"]
    copies = {tuple(each["files"]): each["labels_differ"] for each in document["near_duplicates"]}
    assert copies[("a/back_001.jpg", "b/mirrored.png")] is True
    assert any({"a/copy.jpg", "a/front_000.jpg"} <= set(files) for files in copies)
    assert "b/blurred.jpg" in [each["file"] for each in document["blurred"]]
    assert "b/dark.png" in [each["file"] for each in document["too_dark"]]
    assert [(each["file"], each["other"]) for each in document["against"]["shared"]] == [
        ("a/back_003.jpg", "one/turned.png")
    ]
    assert document["usable"] is False
    assert document["fingerprint"] is None
    assert json.loads(json.dumps(document)) == document


def test_the_gravest_advice_comes_first(found: Check) -> None:
    assert found.advice[0] == "1 file cannot be used."
    assert "with copies in several classes" in found.advice[1]
    assert all(sentence.endswith(".") for sentence in found.advice)


def test_the_page_needs_nothing_else_and_escapes_names(found: Check) -> None:
    html = page(found, title="<script>alert(1)</script>")
    assert "<script>alert(1)" not in html
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", html)
    assert not re.search(r"url\((?!data:)", html)
    assert html.count("data:image/jpeg;base64,") >= 6
    assert "b/broken.jpg" in html


def test_names_are_whole_on_the_page_and_sides_are_no_matter_of_colour(tmp_path: Path) -> None:
    label = "somdej_pratanporn_buddhagavak"
    root = write_folder(tmp_path / "set", {label: 2, "b": 1})
    for file, side in zip(sorted((root / label).iterdir()), ("back", "front"), strict=True):
        file.rename(file.with_name(f"{side}_1.jpg"))

    html = page(check_folder(root))

    assert "<small>1 back, 1 front</small>" in html
    assert "text-overflow" not in html
    assert '<b>2</b><span class="quiet">classes</span>' in html
    assert '<b>0</b><span class="quiet">copies</span>' in html


def test_a_terminal_gets_counts_and_advice(found: Check) -> None:
    text = summary(found)
    assert "14 photographs in 2 classes" in text
    assert "b/broken.jpg: is " in text
    assert "1 file cannot be used." in text


def test_a_good_folder_says_that_nothing_stands_out(tmp_path: Path) -> None:
    for number, label in enumerate(("a", "b")):
        (tmp_path / label).mkdir()
        for index in range(15):
            sharp = Image.effect_noise((240, 240), 60 + number * 20).convert("RGB")
            Image.blend(sharp, picture(100 * number + index, width=240, height=240), 0.6).save(
                tmp_path / label / f"front_{index}.png"
            )

    def told(photos: Sequence[Photo]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {each.relative: 9.0 * np.eye(2)["ab".index(each.label)] + rng.normal(size=2) for each in photos}

    found = check_folder(tmp_path, embed=told)
    assert found.unusable is None
    assert found.flawed == ()
    assert found.copies == ()
    assert found.imbalance_ratio == 1.0
    assert found.suspects == ()
    assert "Nothing stands out." in summary(found)
    assert "Nothing stands out." in page(found)


def test_an_empty_class_is_reported_and_not_a_crash(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "c").mkdir()
    found = check_folder(tmp_path)
    assert found.unusable == "1 class without photographs: c"
    assert found.document()["imbalance_ratio"] is None
    assert "c" in page(found)
    assert not any("inf" in sentence for sentence in found.advice)


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing):
        check_folder(tmp_path / "nowhere")
    result = CliRunner().invoke(data, ["check", str(tmp_path / "nowhere"), "--quick"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "there is no folder" in result.stderr


def test_the_command_writes_the_page_and_prints_json(messy: Path, tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    result = CliRunner().invoke(data, ["check", str(messy), "--quick", "--html", str(html), "--json"])
    assert result.exit_code == 1  # a broken file keeps training from starting
    assert json.loads(result.stdout)["html"] == str(html)
    assert html.read_text("utf-8").startswith("<!doctype html>")
    (messy / "b/broken.jpg").unlink()
    assert CliRunner().invoke(data, ["check", str(messy), "--quick", "--html", str(html)]).exit_code == 0
    assert CliRunner().invoke(data, ["check", str(messy), "--quick", "--html", str(html), "--strict"]).exit_code == 1


def test_the_command_lists_a_name_that_is_not_utf_8_among_the_broken_ones(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"a": 3, "b": 3})
    (root / "a/front_000.jpg").rename(root / "a" / os.fsdecode("พระ.jpg".encode("cp874")))
    html = tmp_path / "report.html"
    result = CliRunner().invoke(data, ["check", str(root), "--quick", "--html", str(html), "--json"])
    assert result.exit_code == 1, result.output
    broken = [{"file": r"a/\udcbe\udcc3\udcd0.jpg", "why": "has a name that is not UTF-8"}]
    assert json.loads(result.stdout)["broken"] == broken
    assert r"\udcbe\udcc3\udcd0.jpg" in html.read_text("utf-8")
    shown = CliRunner().invoke(data, ["check", str(root), "--quick", "--html", str(html)])
    assert r"\udcbe\udcc3\udcd0.jpg: has a name that is not UTF-8" in shown.output


def test_labels_are_judged_by_the_backbone_unless_asked_to_be_quick(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"a": 3, "b": 3})
    html = tmp_path / "report.html"
    result = CliRunner().invoke(data, ["check", str(root), "--html", str(html), "--json"])
    assert result.exit_code == 0, result.output
    # Of six photographs the features may not be shown to tell anything: then that is what it says of them.
    assert json.loads(result.stdout)["labels_judged_with"].startswith("features of a frozen tf_efficientnet_lite0")


def test_of_300_small_classes_the_advice_names_the_first(tmp_path: Path) -> None:
    write_class(tmp_path, "mould_000", 1, first_seed=0)
    for number in range(1, 300):
        (tmp_path / f"mould_{number:03}").mkdir()
    sentences = check_folder(tmp_path).advice
    assert sentences[0].startswith("299 classes without photographs: mould_001, mould_002, ")
    assert sentences[0].endswith(" and 289 more.")
    assert any(each.startswith("Fewer than 15 photographs of mould_000, ") for each in sentences)
    assert max(map(len, sentences)) < 250


def test_where_features_tell_nothing_the_check_says_so_and_lists_no_photograph(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 8, "b": 8})

    def noise(photos: Sequence[Photo]) -> dict[str, np.ndarray]:
        return {each.relative: np.random.default_rng(number).normal(size=4) for number, each in enumerate(photos)}

    found = check_folder(tmp_path, embed=noise, embedded_by="noise")
    assert found.suspects is None
    (said,) = [each for each in found.advice if each.startswith("No label can be judged: noise do not tell")]
    assert "chance alone 50%" in said
    assert said not in found.findings
    assert [*found.findings, said] == sorted(found.advice, key=lambda each: each == said)
    assert said in summary(found)
    assert "Not judged: noise do not tell these classes apart" in page(found)
    assert found.document()["suspected_labels"] is None


def test_a_class_of_one_photograph_keeps_labels_from_being_judged_and_the_check_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"a": 6, "b": 6, "lone": 1})

    found = check_folder(tmp_path / "photos")

    said = "No label can be judged: lone has fewer than two independent photographs."
    assert said in found.advice
    assert said not in found.findings


@pytest.mark.parametrize(("per_class", "exit_code"), [(16, 0), (8, 1)])
def test_what_the_check_cannot_see_fails_no_strict_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_class: int, exit_code: int
) -> None:
    # Blotches and no objects: edges say nothing of the classes, and with 16 a class nothing else stands out.
    write_folder(tmp_path / "data", {"a": per_class, "b": per_class})
    monkeypatch.setattr("training.data.check.flaws", lambda *_args, **_more: ())
    command = ["check", str(tmp_path / "data"), "--quick", "--html", str(tmp_path / "page.html"), "--strict"]

    checked = CliRunner().invoke(data, command)

    assert "No label can be judged" in checked.stdout
    assert checked.exit_code == exit_code


def test_classes_that_features_do_not_tell_apart_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 8, "b": 8, "c": 8})

    def shapes(photos: Sequence[Photo]) -> dict[str, np.ndarray]:
        return {
            each.relative: np.eye(2)[int(each.label == "c")] * 5 + np.random.default_rng(number).normal(size=2)
            for number, each in enumerate(photos)
        }

    found = check_folder(tmp_path, embed=shapes)
    assert found.document()["labels_not_told_apart"] == [["a", "b"]]
    assert found.suspects == ()
    assert "These features do not tell apart a and b: no label is doubted between two of them." in found.advice
