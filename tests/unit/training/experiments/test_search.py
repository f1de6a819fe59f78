"""A search: the same trials whenever it is killed, a figure that choosing did not flatter, a recipe to train with."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from tests.disks import files_of_at_most
from tests.pages import ROOT, blocks
from tests.unit.training.data.cast import write_folder
from tests.unit.training.fitting.cast import SIDE_PX, colour_graph
from tests.unit.training.pages.reading import rows_of
from training import locks
from training.data.duplicates import groups, near_duplicates
from training.data.folder import Folder, load_folder
from training.errors import SettingWrong, WeightsMissing
from training.evaluation import crossvalidation
from training.experiments.search import RECIPE, REPORT, REQUEST, RESULT, Request, Search, Trial, search
from training.experiments.search_command import search as command
from training.experiments.search_page import search_page, search_sentences
from training.experiments.search_space import SEARCHED, space_of, standard_space
from training.experiments.sights import Sights, narrowed
from training.experiments.tracking import read_runs
from training.fitting.features import Eye, Features
from training.fitting.lenses import lens_of, starting_backbone
from training.fitting.recipe import Recipe, recipe_of, with_settings
from training.fitting.sight import Outside, Sight, still
from training.statistics import metrics

BASE = with_settings(recipe_of("standard"), {"levels": ["head"], "input_px": SIDE_PX, "views": 1})
SPACE = {
    "views": [0, 1],
    "head": ["lda", "logistic", "centroid"],
    "head_shrinkage": {"low": 0.05, "high": 0.9, "log": True},
    "head_inverse_penalty": {"low": 1.0, "high": 100.0, "log": True},
}


class Killed(Exception):
    """What a kill does to a search, as far as files can tell."""


def silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""


def colour_eye(recipe: Recipe) -> Eye:
    return Eye(colour_graph(), recipe, threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that can be told, all but a few photographs."""
    rng = np.random.default_rng(5)
    root = tmp_path_factory.mktemp("search") / "data"
    for number, label in enumerate(("red", "green", "blue")):
        (root / label).mkdir(parents=True)
        for index in range(9):
            pixels = rng.integers(60, 140, (4, 4, 3))
            pixels[..., (number + (index == 0)) % 3] += 50
            image = Image.fromarray(pixels.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
            image.save(root / label / f"{index:03}.png")
    return root


def request(data: Path, out: Path, **changes: Any) -> Request:
    return replace(Request(data, out, space_of(SPACE, BASE), trials=6, seed=3, folds=3), **changes)


@pytest.fixture(scope="module")
def found(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, Path]:
    out = tmp_path_factory.mktemp("found") / "search"
    return search(request(data, out), colour_eye, say=silent), out


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "trials": [{**trial, "seconds": 0} for trial in document["trials"]]}


@pytest.mark.parametrize("killed_after", [1, 5])
def test_a_search_that_was_killed_ends_with_the_same_numbers(
    killed_after: int, data: Path, found: tuple[Search, Path], tmp_path: Path
) -> None:
    out = tmp_path / "search"
    told: list[int] = []

    def kill(_folder: Folder, trial: Trial) -> None:
        told.append(trial.number)
        if trial.number == killed_after:
            raise Killed

    with pytest.raises(Killed):
        search(request(data, out), colour_eye, say=silent, tried=kill)
    _begin_a_trial_and_die(out)
    again = search(
        request(data, out, resume=True), colour_eye, say=silent, tried=lambda _folder, trial: told.append(trial.number)
    )

    assert told == [1, 2, 3, 4, 5, 6]
    assert without_times(again.document()) == without_times(found[0].document())


def test_the_same_command_goes_on_with_a_search_that_did_not_end(
    data: Path, found: tuple[Search, Path], tmp_path: Path
) -> None:
    """Killed in its last step it has a recipe, and neither page nor result."""
    out = tmp_path / "search"
    shutil.copytree(found[1], out)
    (out / RESULT).unlink()
    with pytest.raises(SettingWrong, match="was begun with other seed: go on with the same"):
        search(request(data, out, seed=4), colour_eye, say=silent)

    def full(_found: Search) -> str:
        raise OSError(errno.ENOSPC, "no space left on device")

    with pytest.raises(OSError, match="No space"):
        search(request(data, out), colour_eye, say=silent, page=full)
    again = search(request(data, out), colour_eye, say=silent, page=lambda _: "page")

    assert (out / REPORT).read_text("utf-8") == "page"
    assert without_times(again.document()) == without_times(found[0].document())
    with pytest.raises(SettingWrong, match="holds a search already"):
        search(request(data, out), colour_eye, say=silent)


def _begin_a_trial_and_die(out: Path) -> None:
    import optuna

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(out / "trials.journal")))
    optuna.load_study(study_name="all photographs", storage=storage).ask()
    with (out / "trials.journal").open("a") as file:
        file.write('{"op_code":6,"worker_id":"a line that the disk had no room for')


def test_photographs_are_answered_by_what_was_chosen_without_them(data: Path, tmp_path: Path) -> None:
    """Labels by lot: whatever a search finds there is luck, and the figure to expect says so."""
    rng = np.random.default_rng(0)
    root = tmp_path / "lots"
    for label in ("heads", "tails"):
        (root / label).mkdir(parents=True)
        for index in range(30):
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(root / label / f"{index:03}.png")
    lots = search(request(root, tmp_path / "search", trials=12), colour_eye, say=silent)

    assert lots.best is not None
    assert lots.best.balanced_accuracy == max(trial.balanced_accuracy for trial in lots.trials)
    assert lots.naive.value == pytest.approx(lots.best.balanced_accuracy)
    assert lots.optimism.value == pytest.approx(lots.naive.value - lots.nested.value)
    assert lots.optimism.value > 0.0
    assert lots.gain.value == pytest.approx(lots.nested.value - lots.base.value)
    assert not lots.gain.low > 0.0
    assert next(search_sentences(lots)).startswith("Keep the recipe as it is")


def test_the_recipe_as_it_is_has_the_figure_of_any_cross_validation_although_the_space_excludes_it(
    data: Path, tmp_path: Path
) -> None:
    space = space_of({"views": [0], "head": ["centroid"]}, BASE)
    found = search(request(data, tmp_path / "search", space=space, trials=1), colour_eye, say=silent)

    folder = load_folder(data)
    together = groups(folder.photos, near_duplicates(folder.photos))
    seen = colour_eye(BASE).features(folder.photos, seed=3, views=BASE.views)
    eyes = still(Sight(seen, Outside(np.zeros((0, seen.plain.shape[1]), np.float32))))
    apart = crossvalidation.out_of_fold(folder, eyes, together, folds=3, recipe=BASE, seed=3)
    assert found.base.value == pytest.approx(metrics.balanced_accuracy(apart.labels, apart.head_predicted))
    (trial,) = found.trials
    assert (trial.recipe.views, trial.recipe.head) == (0, "centroid")


def test_the_recipe_that_is_found_is_one_that_train_takes(found: tuple[Search, Path]) -> None:
    result, out = found
    settings = yaml.safe_load((out / RECIPE).read_text("utf-8"))
    assert with_settings(recipe_of("baseline"), settings) == result.recipe
    assert json.loads((out / RESULT).read_text("utf-8")) == result.document()
    if result.best:
        assert result.recipe == replace(result.best.recipe, name="searched")


def test_the_command_leaves_a_page_a_recipe_and_a_run_for_each_trial(tmp_path: Path) -> None:
    """The whole path, with the real network at its smallest."""
    photographs = write_folder(tmp_path / "data", {"apple": 6, "berry": 6})
    (tmp_path / "config.yaml").write_text("{input_px: 32, views: 0, levels: [head]}")
    (tmp_path / "space.yaml").write_text("head: [lda, logistic, centroid]")
    out, noted = tmp_path / "search", tmp_path / "runs"
    arguments = [str(photographs), "--out", str(out), "--trials", "2", "--folds", "3", "--runs", str(noted)]
    given = ["--config", str(tmp_path / "config.yaml"), "--space", str(tmp_path / "space.yaml")]
    done = CliRunner().invoke(command, [*arguments, *given, "--json"])

    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    runs, _ = read_runs(noted)
    assert [run.name for run in runs] == ["trial 1", "trial 2", "what is to be expected"]
    assert [run.figures["balanced_accuracy"] for run in runs] == [
        *(trial["balanced_accuracy"] for trial in document["trials"]),
        document["balanced_accuracy"]["nested"],
    ]
    assert [run.parameters["head"] for run in runs[:2]] == [trial["settings"]["head"] for trial in document["trials"]]
    assert len({run.group for run in runs}) == 1
    assert set(runs[-1].artefacts) == {"search.json", "recipe.yaml", "report.html"}
    assert "<!doctype html>" in (out / "report.html").read_text("utf-8")

    (tmp_path / "space.yaml").write_text("head: lda")
    wrong = CliRunner().invoke(command, [*arguments, *given])
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("Error: head must be a list of values, or a range")


def test_a_setting_of_one_head_is_drawn_for_it_alone(found: tuple[Search, Path]) -> None:
    for trial in found[0].trials:
        assert ("head_shrinkage" in trial.settings) == (trial.recipe.head == "lda")
        assert ("head_inverse_penalty" in trial.settings) == (trial.recipe.head == "logistic")


def test_the_page_says_what_the_document_says_and_needs_nothing_else(found: tuple[Search, Path]) -> None:
    result, _ = found
    page = search_page(result)
    for figure in (result.nested, result.naive, result.base):
        assert f"{figure.value:.3f}" in page
    for sentence in search_sentences(result):
        assert sentence in page
    assert page.count("<circle") >= len(result.trials) * 2
    rows, document = rows_of(page), result.document()
    for trial in document["trials"]:
        assert [str(trial["number"]), f"{trial['balanced_accuracy']:.3f}"] in [row[:2] for row in rows]
    assert ["strength.turn_deg", str(result.recipe.document()["strength"]["turn_deg"])] in rows  # and no Python
    assert not re.search(r"None|&#39;|\{", re.sub(r"(?s)<style>.*?</style>", "", page))
    assert not re.search(r"<script|https?://|src=", page)


def test_a_folder_is_gone_on_with_only_when_asked_and_only_as_it_was_begun(
    data: Path, found: tuple[Search, Path], tmp_path: Path
) -> None:
    _, out = found
    with pytest.raises(SettingWrong, match="holds a search already: go on with it by --resume"):
        search(request(data, out), colour_eye, say=silent)
    with pytest.raises(SettingWrong, match="was begun with other seed: go on with the same"):
        search(request(data, out, resume=True, seed=4), colour_eye, say=silent)
    narrower = space_of({"head": ["lda", "centroid"]}, BASE)
    with pytest.raises(SettingWrong, match="was begun with other space"):
        search(request(data, out, resume=True, space=narrower), colour_eye, say=silent)
    with pytest.raises(SettingWrong, match="holds no search to go on with: leave --resume out"):
        search(request(data, tmp_path / "none", resume=True), colour_eye, say=silent)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/note").write_text("mine")
    with pytest.raises(SettingWrong, match="exists and is no search"):
        search(request(data, tmp_path / "taken"), colour_eye, say=silent)


def test_a_folder_that_takes_no_search_is_refused_before_photographs_are_read(
    found: tuple[Search, Path], tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/note").write_text("mine")

    for out, resume, said in (
        (found[1], False, "holds a search already"),
        (tmp_path / "none", True, "holds no search to go on with"),
        (tmp_path / "taken", False, "exists and is no search"),
    ):
        with pytest.raises(SettingWrong, match=said):
            search(request(tmp_path / "no-data", out, resume=resume), colour_eye, say=silent)


def test_a_disk_that_is_full_at_the_start_leaves_a_folder_to_start_in_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with files_of_at_most(200), pytest.raises(OSError, match="too large") as refused:
        search(request(data, out), colour_eye, say=silent)
    assert refused.value.filename == str(out / REQUEST)
    left = [file.name for file in out.iterdir()]

    with pytest.raises(SettingWrong, match="no search to go on with"):  # and not that the folder holds something else
        search(request(data, out, resume=True), colour_eye, say=silent)
    assert left == []


def test_a_disk_that_fills_up_later_is_named_by_the_folder_and_the_search_goes_on(
    data: Path, found: tuple[Search, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with files_of_at_most(2000), pytest.raises(OSError, match="too large") as refused:
        search(request(data, out), colour_eye, say=silent)

    assert refused.value.filename == str(out)
    assert not list(out.rglob(".new-*"))
    again = search(request(data, out, resume=True), colour_eye, say=silent)
    assert without_times(again.document()) == without_times(found[0].document())


def test_a_search_that_was_killed_before_it_had_begun_begins_in_its_folder(
    data: Path, found: tuple[Search, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / ".request.json-abcdefgh").mkdir(parents=True)  # as the death of who wrote it leaves it
    (out / ".request.json-abcdefgh/new").write_text("{")

    again = search(request(data, out), colour_eye, say=silent)

    assert without_times(again.document()) == without_times(found[0].document())
    assert not list(out.glob(".*"))


def test_a_search_that_was_killed_as_it_noted_a_trial_goes_on(
    data: Path, found: tuple[Search, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna's own lock, a link by the path that was given, outlives whoever held it."""
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    shutil.copytree(found[1], out)
    (out / "trials.journal.lock").symlink_to("out/trials.journal")

    again = search(request(data, out, resume=True, trials=7), colour_eye, say=silent)

    assert len(again.trials) == 7


def test_two_searches_do_not_share_a_folder(data: Path, found: tuple[Search, Path]) -> None:
    """The second would call the trial of the first one that a kill interrupted."""
    result, out = found
    with locks.held(out / ".lock", out), pytest.raises(SettingWrong, match="another command writes to"):
        search(request(data, out, resume=True), colour_eye, say=silent)

    again = search(request(data, out, resume=True), colour_eye, say=silent)

    assert without_times(again.document()) == without_times(result.document())
    assert not (out / ".lock").exists()


@pytest.mark.parametrize("size_bytes", [0, 100, 3000])
def test_what_was_seen_and_is_not_whole_is_looked_at_once_more(data: Path, tmp_path: Path, size_bytes: int) -> None:
    folder, space = load_folder(data), space_of(SPACE, BASE)

    def sights() -> Sights:
        return Sights(folder, space, tmp_path / "seen", colour_eye, seed=0, progress=lambda *_: None)

    first = sights().of(BASE)
    (file,) = (tmp_path / "seen").iterdir()
    os.truncate(file, size_bytes)

    np.testing.assert_array_equal(sights().of(BASE).plain, first.plain)
    assert list((tmp_path / "seen").iterdir()) == [file]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "a space without a field leaves nothing to search"),
        ({"heads": ["lda"]}, "heads cannot be searched: what the search measures depends on backbone"),
        ({"confidence_min": [0.5, 0.7]}, "confidence_min cannot be searched"),
        ({"head": "lda"}, "head must be a list of values, or a range such as {low: 0.1"),
        ({"head": []}, "head must be a list of values"),
        ({"head": ["lda", "neighbours"]}, "the head neighbours is no part of a graph"),
        ({"head": ["lda", "lda"]}, "head names a value twice"),
        ({"head": ["svm"]}, "the setting head must be lda or"),
        ({"head_shrinkage": {"low": 0.1}}, "low and high are needed"),
        ({"head_shrinkage": {"low": 0.5, "high": 0.1}}, "low of head_shrinkage must be below high"),
        ({"head_shrinkage": {"low": 0.1, "high": 1.5}}, "head_shrinkage must lie between 0 and 1, not 1.5"),
        ({"head_shrinkage": {"low": 0.1, "high": 0.9, "logs": True}}, "logs is none of them"),
        ({"head_shrinkage": {"low": "0.1", "high": 0.9}}, "low and high of head_shrinkage must be numbers"),
        ({"views": {"low": 1.5, "high": 4}}, "low and high of views must be whole numbers"),
        ({"views": {"low": 0, "high": 4, "log": True}}, "true only where low is above 0"),
        ({"views": {"low": 1, "high": 4, "log": True, "step": 2}}, "cannot have both log and a step"),
        ({"head_shrinkage": {"low": 0.1, "high": 0.9, "step": 1}}, "step of head_shrinkage must be a whole number"),
        ({"input_px": [224, 230]}, "input_px must be a multiple of 32"),
        ({"levels": ["head"]}, "levels must be a list of names"),
        ({"levels": [["head"], ["block9", "head"]]}, "not block9 + head: tf_efficientnet_lite0 has no others"),
        ({"strength.turn": [1.0]}, "cannot be searched"),
        ({"strength.turn_deg": ["much"]}, "strength.turn_deg must be a number between 0 and 180, not 'much'"),
    ],
)
def test_a_space_that_is_wrong_is_one_sentence(space: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingWrong, match=re.escape(said)):
        space_of(space, BASE)


def test_the_space_on_the_engineers_page_is_one() -> None:
    (printed,) = (
        block.text for block in blocks(ROOT / "docs/engineers/README.md", "yaml") if "head_shrinkage" in block.text
    )
    space = space_of(yaml.safe_load(printed), recipe_of("standard"))
    assert space.views_max == 16
    assert set(space.fields) < set(SEARCHED)


def test_what_is_not_installed_or_learns_is_not_searched() -> None:
    with pytest.raises(WeightsMissing, match="no package brings pretrained weights of resnet50"):
        space_of({"backbone": ["tf_efficientnet_lite0", "resnet50"]}, recipe_of("standard"))
    with pytest.raises(SettingWrong, match="take a recipe without tuning"):
        space_of(SPACE, recipe_of("finetuned"))


def test_the_standard_space_is_its_own_document() -> None:
    space = standard_space(recipe_of("standard"))
    assert space_of(space.document(), recipe_of("standard")) == space
    assert space.views_max == 12
    assert space.levels["tf_efficientnet_lite0"] == ("block4", "block5", "head")


def test_what_one_look_holds_is_what_each_recipe_would_have_seen(tmp_path: Path) -> None:
    folder = load_folder(write_folder(tmp_path / "data", {"apple": 2, "berry": 2}))
    base = with_settings(recipe_of("standard"), {"input_px": 64, "views": 1})
    space = space_of({"levels": [["head"], ["block4", "block5", "head"]], "views": [1, 2]}, base)

    def eye_of(recipe: Recipe) -> Eye:
        return lens_of(starting_backbone(recipe, seed=0), recipe, threads=1).eye

    def sights() -> Sights:
        return Sights(folder, space, tmp_path / "seen", eye_of, seed=0, progress=lambda *_: None)

    small = with_settings(base, {"levels": ["head"], "views": 1})
    apart = eye_of(small).features(folder.photos, seed=0, views=1)
    for seen in (sights().of(small), sights().of(small)):  # looked at, and read back
        np.testing.assert_allclose(seen.plain, apart.plain, atol=1e-6)
        np.testing.assert_allclose(seen.views, apart.views, atol=1e-6)
    assert len(list((tmp_path / "seen").iterdir())) == 1
    whole: Features = sights().of(with_settings(base, {"views": 2}))
    assert whole.views.shape[1] == 2
    back = narrowed(whole.plain, base.backbone, base.levels, base.levels)
    np.testing.assert_allclose(back, whole.plain)
