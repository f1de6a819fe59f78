"""The form that is packed: 8 bits only where they are faster here and lose nothing that counts."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_store.card import Card
from tests.unit.training.export.test_quantize import others, photographs, run_of
from training.commands.package import package
from training.export import card_page, quantize
from training.export.forms import choose, fastest, is_int8
from training.export.quantize import Figures
from training.processor import processor

FIGURES = Figures(
    photos=80,
    outside=20,
    same_best=1.0,
    same_verdict=1.0,
    accuracy_before=0.99,
    accuracy_after=0.985,
    probability_shift_mean=0.01,
    graph_bytes_before=24,
    graph_bytes_after=14,
    one_photo_ms_before=5.0,
    one_photo_ms_after=3.0,
)


@pytest.mark.parametrize(
    ("figures", "eight_bits"),
    [
        (FIGURES, True),
        (replace(FIGURES, one_photo_ms_after=4.8), False),
        (replace(FIGURES, accuracy_after=0.97), False),
        (replace(FIGURES, accuracy_after=1.0), True),
        (replace(FIGURES, accuracy_before=78 / 80, accuracy_after=77 / 80), True),
        (replace(FIGURES, accuracy_before=78 / 80, accuracy_after=76 / 80), False),
        (replace(FIGURES, photos=500, accuracy_before=0.9, accuracy_after=0.89), True),
        (replace(FIGURES, photos=500, accuracy_before=0.9, accuracy_after=0.888), False),
    ],
    ids=[
        "faster and as good",
        "hardly faster",
        "worse",
        "better",
        "one of few",
        "two of few",
        "one in a hundred of many",
        "more of many",
    ],
)
def test_eight_bits_are_taken_where_they_are_faster_and_as_good(figures: Figures, eight_bits: bool) -> None:
    assert is_int8(figures) == eight_bits
    choice = choose(figures)
    assert choice.why.startswith("int8: " if eight_bits else "fp32: ")
    assert choice.processor == processor()


def test_the_card_says_what_was_measured_and_where(tmp_path: Path) -> None:
    run, data, outside = run_of(tmp_path / "run"), photographs(tmp_path / "data"), others(tmp_path / "ood")

    card = fastest(run, data, tmp_path / "form", outside=[outside])

    assert card.graph.choice is not None
    assert card.graph.choice.processor == processor()
    assert card.graph.choice.why.startswith(card.graph.form)
    assert not (tmp_path / "form" / "int8").exists()


def test_a_run_that_cannot_be_measured_stays_as_it_is_and_its_card_says_why(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data", each=2)

    card = fastest(run, data, tmp_path / "form")

    before = Card.parse((run / "model.json").read_bytes())
    choice = card.graph.choice
    assert replace(card, graph=replace(card.graph, choice=None)) == before
    assert choice is not None
    assert choice.why.startswith("fp32: too few photographs to tell whether 8 bits decide alike: 20 ")
    assert str(tmp_path) not in choice.why  # the card travels, and the folder does not
    assert (choice.processor, choice.int8_ms) == (processor(), None)
    page = card_page.page(card)
    assert choice.why in page
    assert processor() in page


def test_a_run_whose_8_bits_decide_otherwise_says_by_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data")
    monkeypatch.setattr(quantize, "SAME_BEST_MIN", 1.01)  # nothing can be as alike as that

    card = fastest(run, data, tmp_path / "form")

    assert card.graph.form == "fp32"
    assert card.graph.choice is not None
    assert "decides otherwise than the run that it is from" in card.graph.choice.why
    assert "too few photographs" not in card.graph.choice.why
    assert card.graph.choice.processor == processor()


def test_the_command_says_that_too_few_photographs_tell(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data", each=2)
    asked = [str(run), "--out", str(tmp_path / "model.mar"), "--fastest-on", str(data)]
    done = CliRunner().invoke(package, asked)
    assert done.exit_code == 0, done.output
    assert "Form fp32: too few photographs to tell" in done.output
    assert f"on {processor()}" in done.output
    assert "decide otherwise" not in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "model.mar", "--ood", "."], "--ood belongs to --fastest-on DATA"),
        (["--out", "folder"], "--out folder is a folder: name the archive itself, as in folder/run.mar"),
        (["--out", "pipe"], "--out pipe is no file that could be replaced"),
    ],
)
def test_what_cannot_be_packed_so_is_one_sentence_and_leaves_nothing(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    run_of(Path("run"))

    done = CliRunner().invoke(package, ["run", *options])

    assert done.exit_code == 2
    assert said in done.output
    assert sorted(each.name for each in tmp_path.rglob("*.mar")) == []
    assert Path("pipe").is_fifo()


def test_a_name_that_is_too_long_is_the_one_that_was_given(tmp_path: Path) -> None:
    name = f"{'a' * 300}.mar"

    done = CliRunner().invoke(package, [str(run_of(tmp_path / "run")), "--out", str(tmp_path / name)])

    assert done.exit_code == 2
    assert f"{name} cannot be made: File name too long" in done.output


def test_an_archive_holds_the_form_that_was_chosen(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data")
    out = tmp_path / "model.mar"

    done = CliRunner().invoke(package, [str(run), "--out", str(out), "--fastest-on", str(data), "--json"])

    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(out) as archive:
        card = Card.parse(archive.read("model.json"))
    assert card.graph.choice is not None
    assert json.loads(done.output)["form"] == card.graph.choice.why
