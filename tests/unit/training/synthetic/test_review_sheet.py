"""The sheet hides what is real, and answers become acceptance and agreement."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from model_store.review_sheet import SHEET, read_sheet
from tests.unit.training.data.cast import write_folder
from training.data.errors import DataWrong
from training.data.folder import scan_folder
from training.synthetic.commands import synth
from training.synthetic.review_sheet import read_answers, reviewed, write_sheet


def row(
    name: str, reviewer: str, verdict: str, *, origin: str = "synthetic", label: str = "apple", **more: Any
) -> dict[str, Any]:
    return {"name": name, "class": label, "origin": origin, "reviewer": reviewer, "verdict": verdict, **more}


def answers(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"kind": "synthetic", "answers": rows}), "utf-8")
    return path


def test_a_sheet_deals_classes_evenly_and_nothing_but_the_origin_tells_real_ones(tmp_path: Path) -> None:
    made = scan_folder(write_folder(tmp_path / "made", {"apple": 12, "berry": 5})).photos
    real = scan_folder(write_folder(tmp_path / "real", {"apple": 4, "berry": 4})).photos
    assert write_sheet(made, real, tmp_path / "sheet.zip", sample=10, seed=1) == 10
    with zipfile.ZipFile(tmp_path / "sheet.zip") as archive:
        sheet = json.loads(archive.read(SHEET))
        pictures = {name: archive.read(name) for name in archive.namelist() if name != SHEET}
    assert sheet["kind"] == "synthetic"
    assert Counter((item["origin"], item["class"]) for item in sheet["items"]) == {
        ("synthetic", "apple"): 4,
        ("synthetic", "berry"): 4,
        ("real", "apple"): 1,
        ("real", "berry"): 1,
    }
    assert [item["photo"] for item in sheet["items"]] == sorted(pictures)
    files = {photo.path.name for photo in (*made, *real)}
    assert all(item["source"] in files and item["name"] not in files for item in sheet["items"])
    shapes = {(image.size, image.format) for image in map(Image.open, map(io.BytesIO, pictures.values()))}
    assert len(shapes) == 1
    assert write_sheet(made[:3], (), tmp_path / "small.zip", sample=100, seed=1) == 3


def test_a_file_of_any_name_makes_a_sheet_that_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "made", {"apple": 2})
    for number, file in enumerate(sorted((folder / "apple").iterdir())):
        file.rename(file.with_name(f"{number}\u200b.jpg"))  # a space that nobody sees, as Thai texts have
    assert write_sheet(scan_folder(folder).photos, (), tmp_path / "sheet.zip", sample=2, seed=1) == 2
    assert {item.source for item in read_sheet(tmp_path / "sheet.zip").items} == {"0\ufffd.jpg", "1\ufffd.jpg"}


def test_acceptance_and_kappa_by_hand(tmp_path: Path) -> None:
    path = answers(
        tmp_path / "answers.json",
        *(row(str(number), "somsri", "plausible") for number in range(4)),
        row("0", "anan", "plausible"),
        row("1", "anan", "plausible"),
        row("2", "anan", "not", problems=["shape", "texture"]),
        row("3", "anan", "not", problems=["shape"]),
        row("9", "anan", "plausible", origin="real"),
        row("9", "somsri", "unsure", origin="real"),
        row("9", "somsri", "not", origin="real"),  # changed her mind
    )
    found = reviewed(read_answers(path))
    assert found.synthetic.answers == 8
    assert found.synthetic.rate.value == 0.75
    assert found.synthetic.rate.low < 0.75 < found.synthetic.rate.high
    assert found.synthetic.problems == {"shape": 2, "texture": 1, "artefacts": 0}
    assert found.real is not None
    assert found.real.rate.value == 0.5
    # Of five, two alike: 0.4. By chance: 4/5 * 3/5 + 1/5 * 2/5 = 0.56.
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx((0.4 - 0.56) / (1 - 0.56))
    assert found.kappa.low < found.kappa.value < found.kappa.high


def verdicts(reviewer: str, said: list[str]) -> list[dict[str, Any]]:
    return [row(str(number), reviewer, verdict) for number, verdict in enumerate(said)]


def test_kappa_agrees_with_scikit_learn_where_reviewers_share_some_photographs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    said = {who: rng.choice(["plausible", "not", "unsure"], 40, p=[0.6, 0.3, 0.1]).tolist() for who in "abc"}
    rows = [each for who, own in said.items() for each in verdicts(who, own if who != "c" else own[:25])]
    found = reviewed(read_answers(answers(tmp_path / "a.json", *rows))).kappa
    pairs = (("a", "b", 40), ("a", "c", 25), ("b", "c", 25))
    expected = np.mean([cohen_kappa_score(said[one][:both], said[other][:both]) for one, other, both in pairs])
    assert found is not None
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


def test_reviewers_who_always_agree_have_a_kappa_with_room_for_luck(tmp_path: Path) -> None:
    said = ["plausible"] * 6 + ["not"] * 4
    found = reviewed(read_answers(answers(tmp_path / "a.json", *verdicts("a", said), *verdicts("b", said)))).kappa
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    # Ten of ten agreements leave room for 0.722 (Wilson), and chance gives 0.52.
    assert found.low == pytest.approx((0.7225 - 0.52) / 0.48, abs=1e-3)
    alike = reviewed(read_answers(answers(tmp_path / "b.json", *verdicts("a", said[:3]), *verdicts("b", said[:3]))))
    assert alike.kappa is None


def test_answers_of_several_reviewers_to_one_photograph_make_no_interval_narrower(tmp_path: Path) -> None:
    said = ["plausible"] * 15 + ["not"] * 5
    one = reviewed(read_answers(answers(tmp_path / "one.json", *verdicts("a", said))))
    four = reviewed(read_answers(answers(tmp_path / "four.json", *(r for who in "abcd" for r in verdicts(who, said)))))
    assert four.synthetic.answers == 80
    assert four.synthetic.rate.pair() == pytest.approx(one.synthetic.rate.pair())


def test_without_a_second_reviewer_there_is_no_kappa(tmp_path: Path) -> None:
    assert reviewed(read_answers(answers(tmp_path / "a.json", row("0", "anan", "plausible")))).kappa is None


def test_answers_to_heat_maps_are_sent_where_they_are_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"kind": "heat_maps", "model": "v1", "answers": []}))
    refused = CliRunner().invoke(synth, ["reviewed", str(path)])
    assert refused.exit_code == 1
    assert "has answers to heat maps: the page of their sheet in the console says what they come to" in refused.output


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row("0", "anan", "nice")], "answer 1 of .* has the verdict 'nice': it is plausible, not, unsure"),
        ([row("0", "anan", "not", problems=["ugly"])], "has problems other than shape, texture, artefacts"),
        ([row("0", "anan", "not", origin="moon")], "has the origin 'moon'"),
        ([{"name": "0"}], "answer 1 of .* has no class"),
        ([3], "answer 1 of .* is no object"),
        ([row("0", "anan", "not", origin="real")], "has no answer about a synthetic photograph"),
    ],
)
def test_wrong_answers_are_named(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    with pytest.raises(DataWrong, match=sentence):
        read_answers(answers(tmp_path / "answers.json", *rows))


def test_the_command_says_how_many_are_in_a_sheet_in_json_too(tmp_path: Path) -> None:
    (tmp_path / "made" / "apple").mkdir(parents=True)
    Image.new("RGB", (64, 64), (200, 40, 40)).save(tmp_path / "made" / "apple" / "a.png")

    done = CliRunner().invoke(synth, ["sheet", str(tmp_path / "made"), "--out", str(tmp_path / "sheet.zip"), "--json"])

    assert json.loads(done.output) == {"path": str(tmp_path / "sheet.zip"), "photos": 1}


def test_the_command_says_what_to_keep(tmp_path: Path) -> None:
    path = answers(tmp_path / "a.json", row("0", "anan", "plausible"), row("1", "anan", "not", label="berry"))
    shown = CliRunner().invoke(synth, ["reviewed", str(path)])
    assert "apple" in shown.output
    assert "keep" in next(line for line in shown.output.splitlines() if "apple" in line)
    assert "discard" in next(line for line in shown.output.splitlines() if "berry" in line)
    document = json.loads(CliRunner().invoke(synth, ["reviewed", str(path), "--json"]).output)
    assert document["classes"]["berry"]["keep"] is False
    missing = CliRunner().invoke(synth, ["reviewed", str(tmp_path / "none.json")])
    assert missing.exit_code == 1
    assert "there is no file" in missing.output
