"""Reports of training, at 1280 pixels, on paper and on a telephone: nothing is cut off or too small to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser

from model_store.card import ClassCard
from tests import tiny_archive
from tests.unit.training.evaluation.cast import write_colours
from tests.unit.training.experiments.test_compare import write_run
from training.data import report as data_report
from training.data.check import check_folder
from training.evaluation import report, robustness, robustness_page, subjects
from training.evaluation.evaluate import OutsideSet, evaluate
from training.experiments.ablate import Ablation, Row, Variant
from training.experiments.compare import compare_runs
from training.experiments.page import ablation_page, comparison_page
from training.fitting.recipe import recipe_of
from training.served.answers import GraphModel
from training.statistics.intervals import Interval
from training.synthetic import ab_test
from training.synthetic import page as synthetic_page
from training.synthetic.decision import ALL, Fidelity, Judgement, Limits, decide
from training.synthetic.review_sheet import Accepted, Reviewed

WIDTH_PX: Final = 1280
PAPER_PX: Final = 718  # A4 less 10 mm on each side
LONG: Final = ("somdej_pratanporn_buddhagavak", "prok_bodhi_9_leaves", "portrait_back")
FRAME_PX_MIN: Final = 110
# What is wider than its frame, or higher: there is no bar to scroll with on paper.
CUT_OFF: Final = """() => [
    ...[...document.querySelectorAll(".card, figure, th, td")].filter(
        each => each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1),
    ...(document.documentElement.scrollWidth > innerWidth ? [document.body] : []),
].map(each => `${each.tagName} ${each.textContent.trim().slice(0, 40)}: ${each.scrollWidth} of ${each.clientWidth}`)"""
INTERVAL: Final = Interval(-0.123, -0.234, 0.123)


def evaluation(folder: Path) -> str:
    """Of a model whose classes have long ids, with mistakes."""
    colours = write_colours(folder)
    names = tuple(ClassCard(label, {"en": label, "th": label}) for label in LONG)
    tiny_archive.write_run(colours.run, classes=names)
    for label, colour in zip(LONG, tiny_archive.CLASSES, strict=True):
        (colours.data / colour).rename(colours.data / label)
    model = GraphModel.open(colours.run, threads=1)
    found = evaluate(model, colours.data, [OutsideSet("grey", colours.grey)])
    return report.page(subjects.of_evaluation(model, found))


def comparison(folder: Path) -> str:
    labels = [label for label in (*LONG, "waek_man", "wat_nong_e_duk", "phra_sivali") for _ in range(4)]
    runs = [write_run(folder / name, labels, labels=labels) for name in ("standard", "baseline")]
    found = compare_runs(runs, threads=1)
    version = "v20261127_tf_efficientnet_lite0_0.909-int8"
    return comparison_page(
        replace(found, candidates=tuple(replace(each, version=version) for each in found.candidates))
    )


def ablation(_folder: Path) -> str:
    figures = (
        *("balanced_accuracy", "balanced_accuracy_version", "balanced_accuracy_other_table"),
        *("macro_f1", "minority_f1", "ece"),
    )
    classes = (*LONG, "waek_man", "wat_nong_e_duk", "phra_sivali")
    rows = tuple(
        Row(
            Variant(name, recipe_of("standard")),
            dict.fromkeys(figures, Interval(0.889, 0.8, 0.9)),
            dict.fromkeys(classes, Interval(0.889, 0.8, 0.9)),
            dict.fromkeys(("coins", "objects"), Interval(1.0, 1.0, 1.0)),
            dict.fromkeys(figures, INTERVAL),
            dict.fromkeys(classes, INTERVAL),
        )
        for name in ("as it is", "and tf_efficientnet_lite0 at 288 px, features", "views on their own table")
    )
    return ablation_page(Ablation("photographs", "f" * 64, 131, 131, LONG[:2], (0, 1, 2), 5, rows))


def degraded(folder: Path) -> str:
    colours = write_colours(folder, per_class=2)
    return robustness_page.page(robustness.of_model(GraphModel.open(colours.run, threads=1), colours.data))


def judged(_folder: Path) -> str:
    """Of photographs that experts were asked about, too."""
    said = Accepted(120, Interval(0.62, 0.5, 0.7), {"shape": 31, "surface": 12, "background": 4})
    near = Fidelity(131, 262, 94.1, 143.2, 121.7, 0.1234, 0.0123, 0.91, 0.84, 0.13)
    figures = dict.fromkeys(ab_test.FIGURES, INTERVAL)
    classes = dict.fromkeys(LONG, INTERVAL)
    return synthetic_page.page(
        Judgement(
            data="photographs",
            fingerprint="f" * 64,
            photos=131,
            features="tf_efficientnet_lite0",
            origins_known=False,
            seeds=(0, 1, 2),
            folds=5,
            limits=Limits(),
            fidelity=dict.fromkeys((ALL, *LONG), near),
            test=ab_test.Comparison(figures, figures, classes, classes, 209.6),
            verdicts={label: decide(near, INTERVAL, Limits(), accepted=said) for label in LONG},
            experts=Reviewed(3, said, said, dict.fromkeys(LONG, said), Interval(0.61, 0.4, 0.8)),
        )
    )


def checked(folder: Path) -> str:
    colours = write_colours(folder)
    return data_report.page(check_folder(colours.data))


PAGES: Final = {
    "evaluation": evaluation,
    "comparison": comparison,
    "ablation": ablation,
    "robustness": degraded,
    "judgement": judged,
    "check": checked,
}
PHONE_PX: Final = 390
LETTERS_PX_MIN: Final = 10  # of a chart, as drawn
LETTERS: Final = """letters => [...document.querySelectorAll("svg:not(.cell)")].map(
    each => 11 * each.getBoundingClientRect().width / each.viewBox.baseVal.width).filter(each => each < letters)"""
NAME_PX_MIN: Final = 120
BAR_PX_MIN: Final = 60
# Where a telephone leaves too little: letters of charts, names that rows begin with, bars; and what is wider than it.
TOO_SMALL: Final = """([letters, name, bar]) => [
    ...[...document.querySelectorAll("svg:not(.cell)")].filter(
        each => 11 * each.getBoundingClientRect().width / each.viewBox.baseVal.width < letters),
    ...[...document.querySelectorAll(".card > table:not(.facts):not(.confusion) td:first-child:not(.n)")].filter(
        each => each.clientWidth < name),
    ...[...document.querySelectorAll(".row > .bar")].filter(each => each.clientWidth < bar),
    ...(document.documentElement.scrollWidth > innerWidth ? [document.body] : []),
].map(each => `${each.tagName} ${each.textContent.trim().slice(0, 40)}: ${each.getBoundingClientRect().width}`)"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, made in PAGES.items():
        (folder / f"{name}.html").write_text(made(tmp_path_factory.mktemp(name)), "utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.mark.parametrize(("media", "width_px"), [("screen", WIDTH_PX), ("print", PAPER_PX)])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off(browser: Browser, pages: Mapping[str, Path], name: str, media: str, width_px: int) -> None:
    window = browser.new_page(viewport={"width": width_px, "height": 900})
    try:
        window.emulate_media(media=media)  # type: ignore[arg-type]  # one of its two words
        window.goto(pages[name].as_uri())
        assert window.evaluate(CUT_OFF) == []
        assert media == "print" or window.evaluate(LETTERS, LETTERS_PX_MIN) == []
        frames = window.eval_on_selector_all(".frames img", "all => all.map(each => each.clientWidth)")
        assert all(width >= FRAME_PX_MIN for width in frames)
        assert bool(frames) == (name == "evaluation")
    finally:
        window.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_telephone_shows_charts_and_names_that_can_be_read(
    browser: Browser, pages: Mapping[str, Path], name: str
) -> None:
    window = browser.new_page(viewport={"width": PHONE_PX, "height": 844})
    try:
        window.goto(pages[name].as_uri())
        assert window.evaluate(TOO_SMALL, [LETTERS_PX_MIN, NAME_PX_MIN, BAR_PX_MIN]) == []
    finally:
        window.close()


def test_a_telephone_shows_a_degradation_at_every_strength(browser: Browser, pages: Mapping[str, Path]) -> None:
    """What hurts most stands at the right end of its row and of its curve."""
    window = browser.new_page(viewport={"width": PHONE_PX, "height": 844})
    try:
        window.goto(pages["robustness"].as_uri())
        assert window.locator(".strengths tr").count() == 1 + len(robustness.DEGRADATIONS)
        assert window.evaluate(CUT_OFF) == []
    finally:
        window.close()
