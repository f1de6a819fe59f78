"""The page of an evaluation: complete in itself, escaped, and saying what the figures say."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model_store.card import CalibrationCard, MetricCard
from tests.tiny_archive import photo_of
from tests.unit.training.evaluation.cast import Colours, write_colours
from training.commands.evaluate import evaluate as command
from training.evaluation import judgement, report, subjects, unseen
from training.evaluation.assessment import GroupRow
from training.evaluation.course import CURVES
from training.evaluation.evaluate import Evaluation, OutsideSet, evaluate
from training.evaluation.judgement import OutsideSeen
from training.evaluation.report import Subject
from training.export import card_page
from training.pages import charts
from training.served.answers import GraphModel
from training.statistics.intervals import Interval, share_of
from training.statistics.metrics import CalibrationLuck, ReliabilityBin


class Reader(HTMLParser):
    """Text of a page, and everything that it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Colours:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def model(colours: Colours) -> GraphModel:
    return GraphModel.open(colours.run, threads=1)


@pytest.fixture(scope="module")
def found(model: GraphModel, colours: Colours) -> Evaluation:
    return evaluate(model, colours.data, [OutsideSet("grey", colours.grey)])


@pytest.fixture(scope="module")
def subject(model: GraphModel, found: Evaluation) -> Subject:
    return subjects.of_evaluation(model, found)


def test_the_page_needs_no_network_no_script_and_no_other_file(subject: Subject) -> None:
    reader = read(report.page(subject))
    assert not {"script", "link", "iframe"} & set(reader.tags)
    assert all(source.startswith(("data:", "#")) for source in reader.fetched)
    assert not re.search(r"url\((?!data:)|@import", report.page(subject))


def test_the_page_shows_the_figures_of_the_document(subject: Subject, found: Evaluation) -> None:
    text = " ".join(" ".join(read(report.page(subject)).text).split())
    document = found.document()
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece", "brier", "nll"):
        assert f"{document[name]:.3f}" in text
    for value in document["calibration_errors"].values():
        assert f"{value:.3f}" in text
    for label, row in document["per_class"].items():
        assert label in text
        assert f"{row['recall']:.2f}" in text
    assert "น้ำเงิน" in text  # the class's Thai name
    assert document["data"]["fingerprint"] in text
    for side in ("front", "back", "sharpest third"):
        assert side in text


def test_the_one_mistake_is_shown_with_what_speaks_for_answer_and_truth(subject: Subject) -> None:
    (mistake,) = subject.mistakes
    assert (mistake.file, mistake.label, mistake.predicted) == ("blue/back_999.png", "blue", "green")
    assert mistake.photograph != mistake.for_answer
    page = report.page(subject)
    assert "blue → green" in page
    assert mistake.for_answer in page
    assert mistake.for_truth in page


def test_whose_answers_figures_are_of_is_said_where_confidence_is_of_others(subject: Subject) -> None:
    """Of a training, accuracy is of heads, and "right if only the surest are answered" of versions: one is not the
    other's last point, and the page said so under the mistakes alone.
    """
    answered = subject.answered
    heads = replace(answered, predicted=answered.labels)

    said = " ".join(" ".join(read(report.page(replace(subject, answered=heads))).text).split())

    assert f"their balanced accuracy is {(1 + 1 + 6 / 7) / 3:.3f}" in said
    assert "their balanced accuracy is" not in report.page(subject)


def test_of_what_was_never_called_so_the_table_says_nothing(subject: Subject, found: Evaluation) -> None:
    """Of 300 classes these are 89,000 cells, and the page was 9 MB."""
    counts = found.assessment.counts
    assert np.count_nonzero(counts) < counts.size
    table = report.page(subject).partition('<table class="confusion"')[2].partition("</table>")[0]
    assert table.count("<td") == counts.size
    assert table.count("<td></td>") == counts.size - np.count_nonzero(counts)


def test_the_page_says_in_two_languages_that_an_expert_decides(subject: Subject) -> None:
    page = report.page(subject)
    assert "ผลประเมินเป็นเบื้องต้น ควรให้ผู้เชี่ยวชาญยืนยัน" in page
    assert "A preliminary assessment: have an expert confirm it." in page


def test_mistakes_are_counted_alike_unless_others_answer(subject: Subject, found: Evaluation) -> None:
    assert '"What is called what" counts' not in report.page(subject)
    counts = found.assessment.counts.copy()
    counts[0, 1] += 1
    page = report.page(replace(subject, assessment=replace(found.assessment, counts=counts)))
    assert '"What is called what" counts 2 mistakes, and here is 1: there heads answer' in page


def test_what_comes_from_file_names_is_text(subject: Subject) -> None:
    evil = replace(subject.mistakes[0], file="<img src=x onerror=alert(1)>")
    page = report.page(replace(subject, mistakes=(evil,), facts=(("data", "</main><script>1</script>"),)))
    assert "<script" not in page
    assert "onerror=alert(1)>" not in page.replace("&gt;", "")


def test_photographs_that_were_trained_on_are_warned_about_first(subject: Subject) -> None:
    page = report.page(replace(subject, trained_on="2 of 19 photographs were trained on"))
    assert "2 of 19 photographs were trained on: every figure here is too good" in page
    assert "every figure here is too good" not in report.page(subject)


def test_a_network_that_learnt_shows_both_curves_and_the_gap_of_the_epoch_that_was_kept(subject: Subject) -> None:
    epochs = [
        {"number": 0, "fit_nll": 1.0, "watch_nll": 1.1, "fit_accuracy": 0.5, "watch_accuracy": 0.4, "gap": 0.1},
        {"number": 1, "fit_nll": 0.4, "watch_nll": 0.7, "fit_accuracy": 0.9, "watch_accuracy": 0.8, "gap": 0.3},
        {"number": 2, "fit_nll": 0.1, "watch_nll": 0.9, "fit_accuracy": 1.0, "watch_accuracy": 0.7, "gap": 0.8},
    ]
    page = report.page(replace(subject, course={"best": 1, "epochs": epochs}))
    text = " ".join(" ".join(read(page).text).split())
    assert "Of 2 epochs the network after epoch 1 was kept" in text
    assert "by 0.700 nats, and those that it learns from by 0.400, a gap of +0.300" in text
    assert "after the last epoch it is +0.800" in text
    for name, values in zip(CURVES, (("0.100", "1.000"), ("0.900", "0.700")), strict=True):
        for value in values:
            assert f"<title>{name}: {value}</title>" in page
    assert "How its network learnt" not in report.page(subject)


def test_a_verdict_is_good_only_where_every_bar_is_passed(found: Evaluation) -> None:
    right = np.diag([6, 6, 7])
    clean = replace(
        found.assessment,
        figures={
            **found.assessment.figures,
            "balanced_accuracy": Interval(1.0, 1.0, 1.0),
            "ece": Interval(0.01, 0.0, 0.02),
        },
        per_class=tuple(
            replace(row, figures={**row.figures, "f1": Interval(1.0, 1.0, 1.0)}) for row in found.assessment.per_class
        ),
        counts=right,
        by_side=(),
        set_coverage=0.95,
    )
    seen = {"grey": OutsideSeen(60, Interval(1.0, 1.0, 1.0), 0.9)}
    assert judgement.judge(clean, seen, {"red": 0.95}).passed
    side = GroupRow("front", 12, share_of(11, 12), 0.9, 0.9, 1.0)
    few = (side, replace(side, name="back", accuracy=share_of(9, 12)))
    assert judgement.judge(replace(clean, by_side=few), seen, {"red": 0.95}).passed  # 0.17 of 12 may be luck
    many = (replace(side, accuracy=share_of(110, 120)), replace(side, name="back", accuracy=share_of(90, 120)))
    (sentence,) = judgement.judge(replace(clean, by_side=many), seen, {"red": 0.95}).bad
    assert "one side says less than the other" in sentence
    for worse in (
        judgement.judge(clean, {"grey": OutsideSeen(60, Interval(0.9, 0.8, 1.0), 0.9)}, {}),
        judgement.judge(clean, seen, {"red": 0.5}),
        judgement.judge(clean, seen, {}, trained_on="1 of 19 photographs were trained on"),
        judgement.judge(replace(clean, set_coverage=0.5), seen, {}),
        judgement.judge(
            replace(clean, figures={**clean.figures, "balanced_accuracy": Interval(0.85, 0.8, 0.9)}), seen, {}
        ),
    ):
        assert not worse.passed
        assert worse.bad
    lucky, unlucky = CalibrationLuck(0.07, 0.04, 0.1, 0.6), CalibrationLuck(0.02, 0.01, 0.03, 0.001)
    beyond = replace(clean, figures={**clean.figures, "ece": Interval(0.06, 0.05, 0.1)})
    for luck, is_excused in ((lucky, True), (unlucky, False)):
        said = judgement.judge(replace(beyond, calibration_luck=luck), seen, {})
        assert not said.passed  # told, and still beyond the limit
        assert any("would show 0.070 (0.040 to 0.100)" in sentence for sentence in said.bad) is is_excused


def test_what_no_photograph_shows_is_said_to_be_unknown(model: GraphModel, colours: Colours, tmp_path: Path) -> None:
    """Without a word of blue, every class had a good F1; and of red no back was ever seen."""
    data = write_colours(tmp_path).data
    shutil.rmtree(data / "blue")
    for file in (data / "red").glob("back_*"):
        file.unlink()
    (data / "green/detail_001.png").write_bytes(photo_of("green", seed=301))  # of one class alone: none lacks it

    found = evaluate(model, data)
    told = judgement.judge(found.assessment, {}, {})

    assert told.advice[:2] == (
        "There is no photograph of blue: how well it names them is not known, and averages over classes leave it out.",
        "No photograph shows the back of red: what it says of one is not known.",
    )
    assert any(said.startswith("Every class that there are photographs of has an F1") for said in told.good)
    shown = CliRunner().invoke(command, [str(colours.run), str(data)], catch_exceptions=False)
    assert shown.output.splitlines()[-2:] == [f"  {said}" for said in told.advice[:2]]


def test_views_of_one_object_are_one_piece_for_a_promise_and_for_advice(found: Evaluation) -> None:
    # Of twelve pieces with ten photographs each, three whole ones are missed by the sets; nine in ten were promised.
    each = replace(found.assessment, photos=120, independent=120.0, set_promised=0.9, set_coverage=9 / 12)
    pieces = replace(
        each,
        independent=12.0,
        per_class=tuple(replace(row, photos=40, independent=4.0) for row in each.per_class),
    )
    sentence = "The prediction set holds the truth for 75%"
    assert any(said.startswith(sentence) for said in judgement.judge(each, {}, {}).bad)
    told = judgement.judge(pieces, {}, {})
    (kept,) = (said for said in told.good if said.startswith(sentence))
    assert "promised were 90%, which on so few photographs may be luck." in kept
    held = judgement.judge(replace(each, set_coverage=0.95), {}, {})
    assert not any("may be luck" in said for said in held.good)
    assert any("until each class has 30: " in said and "(4, on 40 photographs)" in said for said in told.advice)


def test_of_few_photographs_the_page_and_the_command_say_that_figures_say_little(
    found: Evaluation, subject: Subject, colours: Colours
) -> None:
    low, high = found.assessment.figures["accuracy"].pair()
    sentence = (
        f"On 19 photographs alone figures say little: the same version may be right about anything from {low:.0%} to "
        f"{high:.0%} of others."
    )

    assert sentence in judgement.judge(found.assessment, {}, {}).headline
    assert sentence in " ".join(" ".join(read(report.page(subject)).text).split())
    shown = CliRunner().invoke(command, [str(colours.run), str(colours.data)], catch_exceptions=False)
    assert sentence in shown.output
    assert not list(judgement.few(replace(found.assessment, photos=60, independent=30.0)))
    (views,) = judgement.few(replace(found.assessment, photos=60, independent=6.0))
    assert views.startswith("On 60 photographs of some 6 pieces alone figures say little")


def test_a_version_that_claims_little_is_said_to_and_why_and_what_helps(found: Evaluation) -> None:
    """Two classes that cannot be told apart: unsure is what it should say, and people have to read why."""
    silent = replace(
        found.assessment,
        photos=16,
        accepted=0.0,
        accepted_accuracy=None,
        reasons={"LOW_CONFIDENCE": 13, "TOO_CLOSE_TO_CALL": 11, "NOT_OUR_KIND": 1},
        reliability=(ReliabilityBin(0.5, 0.6, 16, 0.55, 0.625),),
    )

    told = judgement.judge(silent, {}, {})
    assert (
        "It calls none of 16 photographs in domain, and mostly says that it does not know: of 13 no class is likely "
        "enough; of 11 two classes are too close; of 1 it is taken for something else."
    ) in told.bad
    assert any(
        "right about 62% of the photographs, and its confidence is 55% on average" in each for each in told.advice
    )
    unfamiliar = judgement.judge(replace(silent, reasons={"UNFAMILIAR": 16}), {}, {})
    assert any(
        "look unfamiliar to it: the borders stand on a part of the photographs" in each for each in unfamiliar.advice
    )
    assert not any("does not know" in each for each in judgement.judge(replace(silent, accepted=0.5), {}, {}).bad)


@pytest.mark.parametrize(
    ("value", "does"),
    [(1.7, "more alike, and the answer less sure"), (0.4, "makes the answer surer"), (1.0, "leaves the probabilities")],
)
def test_what_the_temperature_does_stands_where_it_is_told(subject: Subject, value: float, does: str) -> None:
    refused = CalibrationCard((0.3, 0.4), (0.1, 0.2), "the fitted temperature 0.4 is refused: it does harm")
    card = replace(subject.card, temperature=value, calibration=refused)

    for page in (report.page(replace(subject, card=card)), card_page.page(card)):
        assert "alone place borders only roughly" not in page
        text = " ".join(" ".join(read(page).text).split())
        assert f"Scores are divided by the temperature {value:.3f} before they become probabilities, which" in text
        assert does in text
        assert "The fitted temperature 0.4 is refused: it does harm." in text


def test_what_a_colour_says_is_said_in_words_too(subject: Subject) -> None:
    text = " ".join(" ".join(read(report.page(subject)).text).split())
    error = subject.assessment.figures["ece"].value
    assert "balanced accuracy 0.760 to 1.000 ✓ wanted 0.90 or more" in text
    assert f"{'✓' if error <= judgement.ECE_MAX else '✗'} wanted 0.05 or less" in text


def test_a_figure_that_is_no_share_is_drawn_on_a_line_of_its_own(subject: Subject) -> None:
    """The size of a set, 1.4 of 3 classes, stood at the end of a line from 0 to 1."""
    size = MetricCard("set_size", 1.4, 1.1, 1.6, "by hand")
    assert charts.whisker(1.4, 1.1, 1.6, ends=(0.0, 3.0), width=90) in card_page.page(
        replace(subject.card, metrics=(size,))
    )


def test_borders_on_few_photographs_are_said_to_be_rough(subject: Subject) -> None:
    data = subject.card.data
    few = replace(subject.card, data=replace(data, split=replace(data.split, counts={"train": 12, "thresholds": 2})))
    for page in (report.page(replace(subject, card=few)), card_page.page(few)):
        assert "2 photographs alone place borders only roughly" in page


def test_how_many_photographs_settle_a_calibration_error_follows_from_luck(found: Evaluation) -> None:
    def advice(luck: CalibrationLuck) -> str:
        return " ".join(judgement.judge(replace(found.assessment, photos=131, calibration_luck=luck), {}, {}).advice)

    # Luck falls with the root of their number: 131 times 2 and 3 squared, to the next 50.
    assert "luck alone shows up to 0.100 on them: some 550 held-out ones would" in advice(
        CalibrationLuck(0.07, 0.04, 0.1, 0.6)
    )
    assert "some 1200 held-out ones would" in advice(CalibrationLuck(0.1, 0.04, 0.15, 0.6))
    assert "cannot settle" not in advice(CalibrationLuck(0.03, 0.01, 0.05, 0.6))


def test_frequent_confusions_are_named_and_rare_ones_are_not(found: Evaluation) -> None:
    counts = np.array([[20, 4, 0], [2, 18, 0], [0, 0, 40]])
    pairs = judgement.confusions(replace(found.assessment, counts=counts))
    assert pairs == [("red", "green", 4, 24)]
    advice = judgement.judge(replace(found.assessment, counts=counts), {}, {}).advice
    assert any("4 of 24 photographs of red are called green" in sentence for sentence in advice)


def test_the_command_writes_the_page(colours: Colours, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(command, [str(colours.run), str(colours.data), "--html", str(out)])
    assert result.exit_code == 0, result.output
    assert "No photographs of other things were given" in out.read_text("utf-8")


def test_of_many_classes_left_out_the_hardest_are_shown_and_how_many_each_version_missed(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = {f"mould_{number:03}": 0.5 + number / 1000.0 for number in range(300)}
    monkeypatch.setattr(unseen, "VERSIONS_MAX", 2)
    page = report.page(replace(subject, unseen=areas))
    table = page.partition("A class that it never saw</h3>")[2].partition("</div>")[0]
    assert [f"mould_{number:03}" in table for number in (0, 29, 30, 299)] == [True, True, False, False]
    assert "and 270 more, which are told better" in table
    assert "For so many classes each of 2 versions was made without 1 or 2 of 3 classes." in table
    monkeypatch.undo()
    few = report.page(replace(subject, unseen=dict(list(areas.items())[:30])))
    assert "which are told better" not in few
    assert "For so many classes" not in few
