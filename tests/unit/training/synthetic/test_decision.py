"""Judging: what helps is seen to help, what is a copy is seen to be one, and no original is measured on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.fitting.cast import SIDE_PX, colour_graph
from tests.unit.training.pages.reading import change, rows_of
from training.data.errors import ClassesWrong, DataWrong
from training.data.folder import load_folder
from training.errors import DataTooSmall
from training.fitting.features import Eye, Features
from training.fitting.recipe import recipe_of, with_settings
from training.statistics.intervals import Interval
from training.synthetic import ab_test
from training.synthetic.decision import ALL, Fidelity, Judgement, Limits, Request, _fidelity, decide, judge
from training.synthetic.fidelity import kernel_distance
from training.synthetic.make import ORIGINS
from training.synthetic.page import page, sentences
from training.synthetic.review_sheet import Accepted

RECIPE = with_settings(recipe_of("standard"), {"levels": ["head"], "input_px": SIDE_PX, "views": 0})
NEAR = Fidelity(20, 40, 30.0, 60.0, 50.0, 0.1, 0.0, 0.9, 0.8, 0.04)


def write_colours(root: Path, per_class: int, *, seed: int, spread: float) -> Path:
    """Two classes of mottled colour; a larger spread is a harder class."""
    for number, label in enumerate(("blue", "red")):
        (root / label).mkdir(parents=True)
        for index in range(per_class):
            rng = np.random.default_rng([seed, number, index])
            colour = np.array([(60, 60, 150), (150, 60, 60)][number]) + rng.normal(0.0, spread, 3)
            pixels = (
                colour
                + rng.normal(0.0, 12.0, (SIDE_PX, SIDE_PX, 3))
                + rng.uniform(-25.0, 25.0, (4, 4, 1)).repeat(SIDE_PX // 4, axis=0).repeat(SIDE_PX // 4, axis=1)
            )
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / label / f"{index:03}.png")
    return root


def silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""


def judged(data: Path, synthetic: Path) -> Judgement:
    eye = Eye(colour_graph(), RECIPE, threads=1)
    return judge(Request(data, synthetic, RECIPE, seeds=(0, 1), folds=3), lambda: eye, say=silent)


def test_those_of_the_same_kind_are_near_and_others_are_far(tmp_path: Path) -> None:
    data = write_colours(tmp_path / "data", 12, seed=1, spread=8.0)
    same = judged(data, write_colours(tmp_path / "same", 12, seed=2, spread=8.0))
    far = judged(data, write_colours(tmp_path / "far", 12, seed=3, spread=60.0))
    assert list(same.fidelity) == [ALL, "blue", "red"]
    assert far.fidelity["red"].fid > 3 * same.fidelity["red"].fid
    assert far.fidelity["red"].fid_halves > 2 * far.fidelity["red"].fid_floor
    assert not same.origins_known
    document = json.loads(json.dumps(same.document(), allow_nan=False))
    assert set(document["verdicts"]) == {"blue", "red"}
    shown = page(same)
    assert f"{same.fidelity[ALL].fid:.1f}" in shown
    assert "Nothing says what they were made from" in shown
    assert "<script" not in shown


def test_the_floor_is_that_of_other_objects_and_not_of_other_views_of_the_same() -> None:
    rng = np.random.default_rng(0)

    def photographs(objects: int, views: int) -> np.ndarray:
        own = rng.normal(size=(objects, 16)).repeat(views, axis=0)
        return (own + 0.5 * rng.normal(size=own.shape)).astype(np.float32)

    floors, others = [], []
    for _ in range(20):
        objects = _fidelity(photographs(12, 4), np.arange(12).repeat(4), photographs(6, 4))
        floors.append((objects.fid_floor, objects.kid_floor))
        others.append((objects.fid_halves, kernel_distance(photographs(6, 4), photographs(6, 4))))
    fid, kid = np.mean(floors, axis=0)
    # Photographs that are as real, of objects that are others: nothing else lies at the floor.
    assert fid == pytest.approx(np.mean([halves for halves, _ in others]), rel=0.1)
    assert kid == pytest.approx(np.mean([kernel for _, kernel in others]), rel=0.25)


def test_copies_of_the_real_ones_are_called_so_and_never_learnt_from_beside_their_original(tmp_path: Path) -> None:
    data = write_colours(tmp_path / "data", 9, seed=1, spread=8.0)
    made = tmp_path / "made"
    for label in ("blue", "red"):
        (made / label).mkdir(parents=True)
        for photo in sorted((data / label).iterdir()):
            (made / label / photo.name).write_bytes(photo.read_bytes())
    found = judged(data, made)
    assert found.fidelity["blue"].copies == 1.0
    assert not any(verdict.keep for verdict in found.verdicts.values())
    # A third is measured on, and so a third of the copies is left out although no origins.json names them.
    assert found.test.learnt_from == pytest.approx(12.0)


def test_origins_keep_a_photograph_out_where_its_original_is_measured_on(tmp_path: Path) -> None:
    data = write_colours(tmp_path / "data", 9, seed=1, spread=8.0)
    made = write_colours(tmp_path / "made", 3, seed=5, spread=8.0)
    origin = load_folder(data).photos[0].relative
    names = [photo.relative for photo in load_folder(made).photos]
    (made / ORIGINS).write_text(json.dumps({"origins": dict.fromkeys(names, origin)}))
    found = judged(data, made)
    assert found.origins_known
    assert found.test.learnt_from == pytest.approx(6 * 2 / 3)


def test_an_origin_that_is_not_among_the_real_ones_is_named_and_no_origin_is_none(tmp_path: Path) -> None:
    """A real file that was renamed would be learnt from, in another light, where it is measured on."""
    data = write_colours(tmp_path / "data", 9, seed=1, spread=8.0)
    made = write_colours(tmp_path / "made", 3, seed=5, spread=8.0)
    names = [photo.relative for photo in load_folder(made).photos]
    (made / ORIGINS).write_text(json.dumps({"origins": dict.fromkeys(names)}))
    assert judged(data, made).test.learnt_from == pytest.approx(6.0)

    origins = {**dict.fromkeys(names), "red/001.png": "red/000.png", "red/away.png": "red/no.png"}
    (made / ORIGINS).write_text(json.dumps({"origins": origins}))
    (data / "red/000.png").rename(data / "red/IMG_000.png")
    with pytest.raises(DataWrong, match=r"made/red/001\.png is made from red/000\.png, .*`amulet synth make`"):
        judged(data, made)


def features(rows: Sequence[Sequence[float]]) -> Features:
    plain = np.array(rows, np.float32)
    return Features(plain, np.zeros((len(plain), 0, plain.shape[1]), np.float32))


def test_synthetic_ones_that_fill_a_gap_do_no_harm_and_wrong_ones_do(tmp_path: Path) -> None:
    data = load_folder(write_colours(tmp_path / "data", 12, seed=1, spread=8.0))
    labels = np.array([data.index_of(photo) for photo in data.photos], np.intp)
    rng = np.random.default_rng(0)
    # The real ones differ by little beside what all share; the synthetic ones show in which direction.
    real = features((rng.normal(0, 1, (24, 2)) * (0.1, 3.0) + np.outer(labels, (0.4, 0.0))).tolist())
    own = np.repeat([0, 1], 200)
    made = features((rng.normal(0, 1, (400, 2)) * (0.1, 3.0) + np.outer(own, (0.4, 0.0))).tolist())
    upside_down = Features(-made.plain, made.views)
    known = ab_test.Labelled(
        groups=[(photo,) for photo in data.photos],
        row_of={photo.relative: row for row, photo in enumerate(data.photos)},
        labels=labels,
        classes=data.classes,
        synthetic_labels=own,
        origins=(frozenset(),) * 400,
    )

    def gain(synthetic: Features) -> Interval:
        seen = ab_test.Seen(real, real.plain, synthetic)
        return ab_test.compare(known, lambda _seed: seen, recipe=RECIPE, seeds=(0, 1), folds=3).gain["macro_f1"]

    assert gain(made).value >= 0.0
    assert gain(upside_down).high < -0.1


@pytest.mark.parametrize(
    ("near", "gain", "keep", "why"),
    [
        (NEAR, Interval(0.1, 0.02, 0.2), True, "F1 \\+0.100"),
        (NEAR, Interval(0.1, -0.02, 0.2), False, "could be luck"),
        (NEAR, Interval(-0.1, -0.2, 0.0), False, "no gain"),
        (Fidelity(20, 40, 201.0, 60.0, 50.0, 0.1, 0.0, 0.9, 0.8, 0.04), Interval(0.1, 0.02, 0.2), False, "too far"),
        (
            Fidelity(20, 40, 30.0, 60.0, 50.0, 0.1, 0.0, 0.9, 0.8, 0.9),
            Interval(0.1, 0.02, 0.2),
            False,
            "90% are nearer",
        ),
    ],
    ids=["helps", "may help", "hurts", "far", "copies"],
)
def test_a_class_is_kept_for_a_reason_and_discarded_for_the_first(
    near: Fidelity, gain: Interval, keep: bool, why: str
) -> None:
    verdict = decide(near, gain, Limits())
    assert verdict.keep == keep
    assert re.search(why, verdict.why)


@pytest.mark.parametrize(
    ("plausible", "keep", "why"),
    [(0.9, True, "90% plausible to experts"), (0.5, False, "experts call 50% of 12 plausible; wanted are 80%")],
)
def test_what_experts_do_not_believe_is_discarded_although_it_helps(plausible: float, keep: bool, why: str) -> None:
    accepted = Accepted(12, Interval(plausible, 0.2, 0.95), {"shape": 3})
    verdict = decide(NEAR, Interval(0.1, 0.02, 0.2), Limits(), accepted=accepted)
    assert (verdict.keep, why in verdict.why) == (keep, True)


def test_answers_of_experts_go_into_the_judgement_and_onto_its_page(tmp_path: Path) -> None:
    data = write_colours(tmp_path / "data", 9, seed=1, spread=8.0)
    made = write_colours(tmp_path / "made", 9, seed=2, spread=8.0)
    answers = tmp_path / "answers.json"

    def said(label: str, *verdicts: str) -> list[dict[str, object]]:
        return [
            {
                "name": f"{label}{number}",
                "class": label,
                "origin": "synthetic",
                "reviewer": "anan",
                "verdict": verdict,
                "problems": ["shape"] if verdict == "not" else [],
            }
            for number, verdict in enumerate(verdicts)
        ]

    answers.write_text(json.dumps({"kind": "synthetic", "answers": said("blue", "not", "plausible", "not")}))
    eye = Eye(colour_graph(), RECIPE, threads=1)
    found = judge(Request(data, made, RECIPE, seeds=(0,), folds=3, answers=answers), lambda: eye, say=silent)
    assert found.verdicts["blue"].why.startswith("experts call 33% of 3 plausible")
    assert "experts" not in found.verdicts["red"].why
    assert found.document()["experts"]["classes"]["blue"]["keep"] is False
    shown = page(found)
    assert "33% of 3" in shown
    assert "shape 2" in shown
    assert "Experts call 33% of them plausible" in shown
    assert f"<b>{next(sentences(found))}</b>" in shown
    document, rows = found.document(), rows_of(shown)
    at = rows.index(["Class", "Verdict", "Plausible to experts", "Why"])
    assert rows[at + 1] == ["blue", "discard", "33% of 3shape 2", found.verdicts["blue"].why]
    for label, near in document["fidelity"].items():
        counts = [str(near["real"]), str(near["synthetic"])]
        distances = [f"{near[name]:.1f}" for name in ("fid", "fid_halves", "fid_floor")]
        kernels = [f"{near[name]:.4f}" for name in ("kid", "kid_floor")]
        shares = ["-" if near[name] is None else f"{near[name]:.0%}" for name in ("precision", "recall", "copies")]
        assert [label, *counts, *distances, *kernels, *shares] in rows
    for label, real in document["ab_test"]["per_class_f1"].items():
        gain = document["ab_test"]["per_class_gain"][label]
        low, high = gain["interval"]
        mark = "" if low <= 0.0 <= high else ", better" if gain["value"] > 0.0 else ", worse"
        assert [f"F1 {label}", f"{real['value']:.3f}", change(gain["value"], gain["interval"]) + mark] in rows

    answers.write_text(json.dumps({"kind": "synthetic", "answers": said("green", "not")}))
    with pytest.raises(ClassesWrong, match=r"has answers about green, and .* has no such class"):
        judge(Request(data, made, RECIPE, seeds=(0,), folds=3, answers=answers), lambda: eye, say=silent)


def test_a_class_that_real_ones_have_not_and_one_that_lacks_are_named(tmp_path: Path) -> None:
    data = write_colours(tmp_path / "data", 9, seed=1, spread=8.0)
    made = write_colours(tmp_path / "made", 3, seed=5, spread=8.0)
    (made / "blue").rename(made / "green")
    with pytest.raises(ClassesWrong, match=r"has a class green that .* has not"):
        judged(data, made)
    (made / "green").rename(tmp_path / "away")
    with pytest.raises(DataTooSmall, match=r"has 0 photographs of blue"):
        judged(data, made)
