"""Detectors and calibrators compared: on the same photographs, with what is served among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.training.data.cast import picture, write_folder
from tests.unit.training.experiments.test_ablate import RECIPE, eyes_of, silent
from tests.unit.training.pages.reading import change, rows_of
from training.errors import DataTooSmall
from training.evaluation.several import ALPHA
from training.experiments import calibrators as calibrating
from training.experiments import detectors as detecting
from training.experiments.page import calibrators_page, detectors_page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared")
    write_folder(root / "data", {"apple": 8, "berry": 8, "cherry": 8})
    (root / "ood/coins").mkdir(parents=True)
    for number in range(4):
        picture(8000 + number).save(root / f"ood/coins/{number}.png")
    return root


def test_every_detector_is_measured_on_what_the_graph_is_measured_on(folder: Path) -> None:
    request = detecting.Request(folder / "data", RECIPE, (folder / "ood",), seeds=(0,), folds=3)
    found = detecting.detectors(request, eyes_of, say=silent)
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert len(document["detectors"]) == 11
    assert document["classes_left_out"] == 3
    for row in document["detectors"].values():
        assert set(row) == {detecting.UNSEEN, detecting.UNSEEN_VIEWS, "coins"}
        assert all(each["interval"][0] <= each["auroc"] <= each["interval"][1] for each in row.values())
    graph = document["detectors"][detecting.GRAPH]
    assert all(each["difference_from_graph"] == 0.0 for each in graph.values())
    assert [row.auroc[detecting.UNSEEN].value for row in found.rows] == sorted(
        (row.auroc[detecting.UNSEEN].value for row in found.rows), reverse=True
    )
    rows = rows_of(detectors_page(found))
    for name, row in document["detectors"].items():
        assert [name, *(f"{each['auroc']:.3f}" for each in row.values())] in rows
        changes = [change(each["difference_from_graph"], each["difference_interval"]) for each in row.values()]
        assert [name, *changes] in rows


def test_a_photograph_that_three_seeds_score_is_one_photograph(folder: Path) -> None:
    def measured(*seeds: int) -> dict[str, dict[str, list[float]]]:
        request = detecting.Request(folder / "data", RECIPE, (folder / "ood",), seeds=seeds, folds=3)
        found = detecting.detectors(request, eyes_of, say=silent)
        return {row.name: {thing: area.pair() for thing, area in row.auroc.items()} for row in found.rows}

    # The same seed three times says nothing that it did not say once: no interval may become narrower.
    once, thrice = measured(0), measured(0, 0, 0)
    assert any(low < high for row in once.values() for low, high in row.values())
    for name, row in once.items():
        for thing, pair in row.items():
            assert thrice[name][thing] == pytest.approx(pair)


def test_two_classes_are_too_few_to_leave_one_out(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"apple": 8, "berry": 8})
    with pytest.raises(DataTooSmall, match="has 2 classes: with one left out at least two must remain"):
        detecting.detectors(detecting.Request(tmp_path / "data", RECIPE), eyes_of, say=silent)


def test_every_calibrator_is_measured_on_what_is_served_is_measured_on(folder: Path) -> None:
    found = calibrating.calibrators(
        calibrating.Request(folder / "data", RECIPE, seeds=(0, 1), folds=3), eyes_of, say=silent
    )
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert len(document["calibrators"]) == 7
    served = document["calibrators"][calibrating.SERVED]
    assert all(each["value"] == 0.0 for each in served["differences_from_served"].values())
    assert all(0.0 <= row["ece"] <= 1.0 and row["nll"] > 0.0 for row in document["calibrators"].values())
    rows = rows_of(calibrators_page(found))
    for name, row in document["calibrators"].items():
        assert [name, *(f"{row[figure]:.3f}" for figure in row["differences_from_served"])] in rows
        changes = [
            change(each["value"], each["interval"])
            # Errors, all of them; a colour alone would not do.
            + (
                ""
                if found.p_values.get((name, figure), 1.0) >= ALPHA
                else ", worse"
                if each["value"] > 0.0
                else ", better"
            )
            for figure, each in row["differences_from_served"].items()
        ]
        assert [name, *changes] in rows
