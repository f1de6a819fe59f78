"""The picture of latency against load: made from the kept figures, the same each time."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.picture import NAMES, draw, main
from tests.pages import ROOT

RESULTS = ROOT / "benchmarks/results/serving.json"


def test_the_picture_that_is_kept_is_drawn_from_the_figures_that_are_kept(tmp_path: Path) -> None:
    assert main([str(RESULTS), str(tmp_path / "serving.svg")]) == 0

    drawn = (tmp_path / "serving.svg").read_bytes()
    assert drawn == RESULTS.with_suffix(".svg").read_bytes(), "python -m benchmarks.picture draws it anew"
    said = " ".join(ElementTree.fromstring(drawn).itertext())
    assert all(NAMES[system] in said for system in json.loads(RESULTS.read_bytes())["systems"])


def test_other_figures_are_another_picture(tmp_path: Path) -> None:
    document = json.loads(RESULTS.read_bytes())
    draw(document, tmp_path / "before.svg")
    for case in ("c8", "open_0.9"):
        document["systems"]["amulet"][case]["p99_ms"] *= 2
        draw(document, tmp_path / f"{case}.svg")

    pictures = {(tmp_path / f"{name}.svg").read_bytes() for name in ("before", "c8", "open_0.9")}
    assert len(pictures) == 3


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_what_is_no_result_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (tmp_path / "x.json").write_text(content)

    assert main([str(tmp_path / "x.json"), str(tmp_path / "x.svg")]) == 1
    assert "x.json" in capsys.readouterr().err
