"""Comparison: paired on the same photographs, honest about luck, and a choice that follows from its criteria."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import balanced_accuracy_score, f1_score

from tests import tiny_archive
from tests.unit.training.evaluation.cast import write_colours
from training.errors import ModelUnreadable, SettingWrong
from training.evaluation.evaluate import evaluate
from training.experiments.commands import compare as command
from training.experiments.compare import Candidate, Difference, compare_models, compare_runs, decide
from training.experiments.cost import Cost
from training.experiments.page import comparison_page
from training.experiments.tracking import Outcome, Photographs, Tracker, into_folder, read_runs
from training.export import latency
from training.processor import processor
from training.served.answers import GraphModel
from training.statistics.intervals import Interval, share_of

LABELS = ["red"] * 8 + ["green"] * 8 + ["blue"] * 8
CERTAIN = Interval(0.9, 0.9, 0.9)


def write_run(path: Path, predicted: list[str], *, labels: list[str] = LABELS, first_file: int = 0) -> Path:
    """A run whose cross-validation answered so."""
    tiny_archive.write_run(path)
    rows = [
        {
            "file": f"{label}/{first_file + number:03}.jpg",
            "label": label,
            "head_predicted": answer,
            "predicted": answer,
            "confidence": 0.8,
            "verdict": "IN_DOMAIN" if number % 2 else "UNSURE",
        }
        for number, (label, answer) in enumerate(zip(labels, predicted, strict=True))
    ]
    figures = [{"name": "auroc_coins", "value": 0.75, "low": 0.7, "high": 0.8}, {"name": "nll", "value": 1.0}]
    (path / "metrics.json").write_text(json.dumps({"predictions": rows, "figures": figures}), "utf-8")
    return path


def with_column(run: Path, name: str, values: list[object]) -> Path:
    """The run, with one more thing that its cross-validation says of each photograph."""
    document = json.loads((run / "metrics.json").read_text("utf-8"))
    for row, value in zip(document["predictions"], values, strict=True):
        row[name] = value
    (run / "metrics.json").write_text(json.dumps(document), "utf-8")
    return run


def wrong_at(*rows: int) -> list[str]:
    turned = {"red": "green", "green": "blue", "blue": "red"}
    return [turned[label] if number in rows else label for number, label in enumerate(LABELS)]


def candidate(name: str, f1: float, *, p95_ms: float = 10.0, size_mb: float = 20.0) -> Candidate:
    figures = {"balanced_accuracy": CERTAIN, "macro_f1": Interval(f1, f1 - 0.05, f1 + 0.05), "ece": CERTAIN}
    return Candidate(name, "v", figures, {}, 1.0, 1.0, {}, Cost(size_mb, p95_ms / 2, p95_ms, p95_ms / 2, 200.0))


def behind(name: str, low: float, high: float) -> Difference:
    return Difference(name, {"macro_f1": Interval((low + high) / 2, low, high)})


def test_figures_of_runs_agree_with_scikit_learn_and_the_best_comes_first(tmp_path: Path) -> None:
    poor, good = wrong_at(0, 1, 2, 8, 9, 16, 17, 18), wrong_at(0)
    runs = [write_run(tmp_path / "poor", poor), write_run(tmp_path / "good", good)]
    found = compare_runs(runs, threads=1)
    assert [each.name for each in found.candidates] == ["good", "poor"]
    for each, predicted in zip(found.candidates, (good, poor), strict=True):
        assert each.figures["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(LABELS, predicted))
        assert each.figures["macro_f1"].value == pytest.approx(f1_score(LABELS, predicted, average="macro"))
        right = float(np.mean([one == other for one, other in zip(LABELS, predicted, strict=True)]))
        assert each.figures["ece"].value == pytest.approx(abs(right - 0.8))
        assert each.ood_auroc == {"coins": 0.75}
        assert each.accepted == 0.5
        assert each.cost.size_mb == pytest.approx((tmp_path / each.name / "model.onnx").stat().st_size / 1e6)
        assert 0.0 < each.cost.p50_ms <= each.cost.p95_ms
    (gap,) = found.differences
    assert gap.figures["balanced_accuracy"].value == pytest.approx(
        balanced_accuracy_score(LABELS, poor) - balanced_accuracy_score(LABELS, good)
    )
    assert gap.figures["macro_f1"].sure
    assert found.choice == "good"


def test_what_a_run_took_to_make_and_takes_to_answer_stands_beside_its_figures(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "noted", LABELS), write_run(tmp_path / "older", wrong_at(0))]
    photographs = Photographs("data", "f" * 64, 24)
    tiny_archive.write_run(tmp_path / "older", temperature=2.0)  # another graph
    told = [("train", runs[0], 41.5), ("evaluate", runs[1], 1.0)]  # looking at a graph is no training of it
    for name, run, seconds in told:
        tracker = Tracker(name, [into_folder(tmp_path / "noted-runs")], pytest.fail)
        tracker.note(Outcome(photographs, {}, {}, artefacts=[run / "model.onnx"]), seconds=seconds)
    noted, _ = read_runs(tmp_path / "noted-runs")
    runs[0] = runs[0].rename(tmp_path / "moved")
    found = compare_runs(runs, threads=1, noted=noted)
    trained, older = (found.document()["models"][name] for name in ("moved", "older"))
    assert trained["training_s"] == 41.5
    assert trained["training_peak_mib"] > 20.0
    assert (older["training_s"], older["training_peak_mib"]) == (None, None)
    assert 20.0 < older["peak_mib"] < 1000.0
    text = comparison_page(found)
    for shown in (f"{older['peak_mib']:.0f} MiB", "42 s", f"{trained['training_peak_mib']:.0f} MiB"):
        assert shown in text
    assert compare_runs(runs, threads=1).document()["models"]["moved"]["training_s"] is None


def test_what_is_hard_for_both_cancels(tmp_path: Path) -> None:
    same = wrong_at(0, 9, 18, 3)
    runs = [write_run(tmp_path / name, same) for name in ("one", "two")]
    (gap,) = compare_runs(runs, threads=1).differences
    assert all(interval.value == 0.0 for interval in gap.figures.values())
    # What 24 photographs leave room for (Bonett and Price 2012), and not what is hard for both.
    room = 1.959963984540054 * 2.0**0.5 / 26
    for name in ("balanced_accuracy", "macro_f1"):
        assert gap.figures[name].pair() == pytest.approx([-room, room])


def test_that_few_photographs_are_answered_alike_does_not_show_that_a_faster_model_is_as_good(tmp_path: Path) -> None:
    """Of 24 photographs a model that loses 0.02 answers all as the best one does in six of ten cases."""
    runs = [write_run(tmp_path / name, LABELS) for name in ("one", "two")]
    (gap,) = compare_runs(runs, threads=1).differences
    assert gap.figures["macro_f1"].low < -0.02
    best, quick = candidate("best", 0.93, p95_ms=90), candidate("quick", 0.92)
    choice, _ = decide((best, quick), (Difference("quick", gap.figures),))
    assert choice == "best"


def test_of_models_that_answer_as_well_the_clearly_faster_one_is_taken() -> None:
    slow, quick = candidate("slow", 0.93, p95_ms=90), candidate("quick", 0.93)
    choice, why = decide((slow, quick), (behind("quick", -0.1, 0.1),))
    assert choice == "quick"
    assert "the highest macro F1" in why
    choice, _ = decide((slow, candidate("no faster", 0.93, p95_ms=89)), (behind("no faster", -0.1, 0.1),))
    assert choice == "slow"


def test_four_views_of_an_object_are_one_observation_where_the_runs_say_so(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "one", LABELS), write_run(tmp_path / "two", wrong_at(0, 1, 2, 3, 8, 9, 10, 11))]
    alone = compare_runs(runs, threads=1)
    views = [number // 4 for number in range(len(LABELS))]
    found = compare_runs([with_column(run, "group", views) for run in runs], threads=1)
    (gap,), (narrow,) = found.differences, alone.differences
    assert gap.figures["macro_f1"].value == narrow.figures["macro_f1"].value
    assert gap.figures["macro_f1"].low < narrow.figures["macro_f1"].low
    assert "each counts alone" in alone.measured
    assert "each counts alone" not in found.measured


def as_tuned(run: Path) -> Path:
    card = json.loads((run / "model.json").read_text("utf-8"))
    card["training"]["config"]["tuning"] = {"epochs": 8}
    (run / "model.json").write_text(json.dumps(card), "utf-8")
    return run


def test_beside_a_network_that_learnt_whole_versions_are_compared_and_heads_otherwise(tmp_path: Path) -> None:
    whole = wrong_at(0, 9)
    frozen = with_column(write_run(tmp_path / "frozen", LABELS), "predicted", whole)
    tuned, other = as_tuned(write_run(tmp_path / "tuned", whole)), write_run(tmp_path / "other", LABELS)
    found = compare_runs([frozen, tuned], threads=1)
    assert all(interval.value == 0.0 for interval in found.differences[0].figures.values())
    assert found.candidates[0].figures["balanced_accuracy"].value == pytest.approx(
        balanced_accuracy_score(LABELS, whole)
    )
    for said in (found.measured, comparison_page(found)):
        assert "by whole versions, as the network of tuned learns" in said
    among_frozen = compare_runs([frozen, other], threads=1)
    assert among_frozen.candidates[0].figures["balanced_accuracy"] == share_of(24, 24)
    assert "by heads fitted on all photographs outside the fold" in among_frozen.measured


def test_one_mistake_more_is_not_called_more_than_luck(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "one", wrong_at(0)), write_run(tmp_path / "two", wrong_at(0, 9))]
    (gap,) = compare_runs(runs, threads=1).differences
    assert gap.figures["macro_f1"].value < 0.0
    assert not gap.figures["macro_f1"].sure


def test_an_answer_that_is_no_photographs_label_counts_as_wrong(tmp_path: Path) -> None:
    violet = ["violet" if number == 0 else label for number, label in enumerate(LABELS)]
    runs = [write_run(tmp_path / "one", violet), write_run(tmp_path / "two", LABELS)]
    found = compare_runs(runs, threads=1)
    assert found.candidates[1].figures["balanced_accuracy"].value == pytest.approx(1.0 - 1 / 24)
    assert found.candidates[1].per_class_f1["red"] == pytest.approx(14 / 15)


def test_runs_of_photographs_that_were_replaced_under_their_names_are_not_compared(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "one", LABELS), write_run(tmp_path / "two", LABELS)]
    card = json.loads((runs[1] / "model.json").read_text("utf-8"))
    card["data"]["fingerprint"] = "0" * 64
    (runs[1] / "model.json").write_text(json.dumps(card), "utf-8")

    with pytest.raises(SettingWrong, match="was measured on other photographs than"):
        compare_runs(runs, threads=1)


def test_runs_of_other_photographs_are_not_compared(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "one", LABELS), write_run(tmp_path / "two", LABELS, first_file=1)]
    with pytest.raises(SettingWrong, match="was measured on other photographs than"):
        compare_runs(runs, threads=1)
    with pytest.raises(SettingWrong, match="named twice"):
        compare_runs([runs[0], runs[0]], threads=1)
    with pytest.raises(SettingWrong, match="at least two"):
        compare_runs(runs[:1], threads=1)
    (runs[1] / "metrics.json").unlink()
    with pytest.raises(ModelUnreadable, match=r"has no metrics\.json.*--data"):
        compare_runs(runs, threads=1)


def test_the_fastest_is_taken_of_those_shown_to_lose_less_than_the_margin() -> None:
    best, quick, poor = candidate("best", 0.93, p95_ms=90), candidate("quick", 0.92), candidate("poor", 0.87, p95_ms=1)
    choice, why = decide((best, quick, poor), (behind("quick", -0.019, 0.01), behind("poor", -0.1, -0.02)))
    assert choice == "quick"
    assert "loses less than 0.02" in why
    choice, why = decide((best, quick, poor), (behind("quick", -0.019, -0.001), behind("poor", -0.1, -0.02)))
    assert choice == "quick"  # surely worse, and surely by less than counts
    choice, why = decide((best, quick, poor), (behind("quick", -0.021, 0.02), behind("poor", -0.1, -0.02)))
    assert choice == "best"  # could be luck, and could be more than counts: nothing was shown
    assert "no clearly faster one is shown" in why


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        (candidate("a", 0.85), "macro F1 is not above 0.85"),
        (candidate("a", 0.95, p95_ms=2000.0), "p95 is not below 2000 ms"),
        (candidate("a", 0.95, size_mb=50.0), "not below 50 MB"),
    ],
)
def test_what_misses_a_criterion_is_not_taken(failing: Candidate, words: str) -> None:
    choice, why = decide((failing,), ())
    assert choice is None
    assert words in why
    other = candidate("b", 0.86)
    assert decide((failing, other), (behind("b", -0.2, -0.1),))[0] == "b"


def test_what_is_said_of_the_choice_is_true_where_the_best_misses_a_criterion() -> None:
    """Which is as fast as the one that is taken, and has a higher macro F1."""
    best, slow = candidate("best", 0.95, size_mb=50.0), candidate("slow", 0.94, p95_ms=90)
    of_those = "the highest macro F1 of those that meet the criteria (of best, the graph is not below 50 MB)"
    choice, why = decide((best, slow), (behind("slow", -0.03, 0.01),))
    assert choice == "slow"
    assert why.startswith(f"slow: {of_those}, and no clearly faster one is shown")
    differences = (behind("slow", -0.03, 0.01), behind("quick", -0.019, -0.001))
    choice, why = decide((best, slow, candidate("quick", 0.935)), differences)
    assert choice == "quick"
    assert why.startswith(f"quick: clearly faster than slow, {of_those}, and surely loses less than 0.02 against best")


def as_int8(run: Path, made: Path) -> Path:
    """As `quantize` leaves it: the figures are a copy of the run's."""
    shutil.copytree(run, made)
    card = (made / "model.json").read_text("utf-8")
    (made / "model.json").write_text(card.replace('"form": "fp32"', '"form": "int8"'), "utf-8")
    return made


def test_figures_that_an_8_bit_run_inherited_are_marked_and_decide_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", wrong_at(0))
    small = as_int8(run, tmp_path / "run-int8")
    page = tmp_path / "page.html"
    result = CliRunner().invoke(command, [str(small), str(run), "--json", "-", "--html", str(page)])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {name: row["figures_inherited"] for name, row in document["models"].items()} == {
        "run": False,
        "run-int8": True,
    }
    assert document["differences_from_best"] == {}
    assert document["choice"] is None
    assert "give photographs that no model was trained on (--data)" in document["why"]
    assert "run-int8 by that of the fp32 run that it was made from" in document["measured"]
    text = page.read_text("utf-8")
    assert text.count("Figures inherited") == 1
    assert "Differences from" not in text
    # Beside another run that run is compared and taken as ever.
    other = write_run(tmp_path / "other", wrong_at(0, 1, 2, 8, 9, 16, 17, 18))
    found = compare_runs([small, other, run], threads=1)
    assert [each.name for each in found.candidates] == ["run", "other", "run-int8"]
    assert [each.name for each in found.differences] == ["other"]
    assert found.choice == "run"
    assert "--data" in found.why


def test_forms_are_compared_on_photographs_kept_aside(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    small = as_int8(colours.run, tmp_path / "small")
    found = compare_models([colours.run, small], colours.data, threads=1)
    assert not any(each.inherited for each in found.candidates)
    assert len(found.differences) == 1
    assert found.choice is not None


def test_models_are_timed_in_turn_and_the_processor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def noted(file: Path, *_: object, **__: object) -> latency.Cost:
        asked.append(file.read_bytes())
        taken = float(len(asked))
        return latency.Cost((0,), taken, 2 * taken, 3 * taken, 4 * taken, 5 * taken, {})

    monkeypatch.setattr(latency, "measure", noted)
    runs = [write_run(tmp_path / "one", LABELS), write_run(tmp_path / "two", wrong_at(0))]
    tiny_archive.write_run(runs[1], temperature=2.0)  # another graph
    found = compare_runs(runs, threads=1)
    first, second = ((run / "model.onnx").read_bytes() for run in runs)
    assert asked == [first, second, second, first, first, second]
    costs = {each.name: each.cost for each in found.candidates}
    # Calls 1, 4 and 5 were the first one's; 2, 3 and 6 the second's: their medians.
    assert (costs["one"].p50_ms, costs["one"].p95_ms, costs["one"].cpu_ms) == (4.0, 8.0, 16.0)
    assert (costs["two"].p50_ms, costs["two"].p95_ms, costs["two"].cpu_ms) == (3.0, 6.0, 12.0)
    assert found.document()["processor"] == processor()
    assert processor() in comparison_page(found)


def test_models_are_compared_on_photographs_kept_aside(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    tiny_archive.write_run(tmp_path / "cooler", temperature=0.5)
    found = compare_models([colours.run, tmp_path / "cooler"], colours.data, threads=1)
    assert [each.figures["balanced_accuracy"].value for each in found.candidates] == pytest.approx([20 / 21] * 2)
    one, other = (each.figures["ece"].value for each in found.candidates)
    assert one != pytest.approx(other)
    expected = evaluate(GraphModel.open(colours.run, threads=1), colours.data).assessment.figures["ece"].value
    assert any(value == pytest.approx(expected, abs=1e-6) for value in (one, other))


def test_photographs_that_a_model_was_trained_on_settle_nothing(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    model = GraphModel.open(colours.run, threads=1)
    fingerprint = evaluate(model, colours.data).fingerprint
    card = (colours.run / "model.json").read_text("utf-8")
    (colours.run / "model.json").write_text(card.replace(model.card.data.fingerprint, fingerprint), "utf-8")
    tiny_archive.write_run(tmp_path / "other")
    with pytest.raises(SettingWrong, match="was trained on the photographs"):
        compare_models([tmp_path / "other", colours.run], colours.data, threads=1)


def test_the_command_prints_json_and_writes_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a<b>", wrong_at(0, 1, 2, 3, 8, 9, 10, 16, 17, 18)),
        write_run(tmp_path / "good", wrong_at(0)),
    ]
    page = tmp_path / "page.html"
    result = CliRunner().invoke(command, [*map(str, runs), "--json", "-", "--html", str(page)])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["choice"] == "good"
    assert document["differences_from_best"]["a<b>"]["macro_f1"]["more_than_luck"] is True
    assert document["corrected"] == "Holm (1979), of 3 differences at 5% together"
    assert document["corrected"] in page.read_text("utf-8")
    text = page.read_text("utf-8")
    assert "a&lt;b&gt;" in text
    assert "a<b>" not in text
    assert "Take good" in text
    assert CliRunner().invoke(command, [str(runs[0]), "--ood", "x=y"]).exit_code == 2


def test_a_run_whose_name_is_no_utf_8_is_spelt_out(tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"run\xff")
    runs = [write_run(strange, wrong_at(0)), write_run(tmp_path / "other", wrong_at(0, 1, 2))]
    page = tmp_path / "page.html"

    result = CliRunner().invoke(command, [*map(str, runs), "--json", "-", "--html", str(page), "--runs", "none"])

    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout_bytes.decode())["models"]) == {r"run\udcff", "other"}
    assert r"run\udcff" in page.read_text("utf-8")
