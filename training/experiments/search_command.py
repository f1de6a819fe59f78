"""`amulet search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from training import results
from training.experiments.runs import tracked
from training.experiments.tracking import Outcome, Photographs, Tracker
from training.results import ResultFolder
from training.terminal import SEED_MAX, json_option, mapping_of, settings_of, stages, worded

if TYPE_CHECKING:
    from training.data.folder import Folder
    from training.experiments.search import Trial

CHOSEN_ON: Final = "on the folds that choose: too good"


@click.command(
    epilog="Example: amulet search photographs --out search --trials 40 && amulet train photographs "
    "--config search/recipe.yaml --out run"
)
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA")
@click.option("--out", required=True, type=ResultFolder(kept=True), metavar="DIR", help="The folder of the search.")
@click.option("--trials", type=click.IntRange(1, 10_000), default=30, show_default=True, help="Recipes to try.")
@click.option(
    "--space",
    "space_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML or JSON: fields of the recipe, each with a list of values or a range {low, high, log, step}; by default "
    "network, resolution, levels, views, backdrops and head.",
)
@click.option("--recipe", default="standard", show_default=True, metavar="NAME", help="What stays as it is.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="YAML or JSON: fields of the recipe.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True)
@click.option("--folds", type=click.IntRange(3, 20), default=5, show_default=True)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a search in DIR that has ended, for more trials than it had; one that was killed needs no word.",
)
@tracked
@json_option
def search(
    data: Path,
    out: Path,
    trials: int,
    space_file: Path | None,
    recipe: str,
    config: Path | None,
    seed: int,
    folds: int,
    resume: bool,
    tracker: Tracker,
    as_json: bool,
) -> None:
    """Search for a better recipe, and say what it is really worth.

    DATA holds one folder for each class. Every recipe is cross-validated; then the search is done once more without
    each fold, whose photographs say what to expect: TRIALS times FOLDS + 1 recipes in all. DIR will hold recipe.yaml
    for `amulet train --config`, report.html and search.json.
    """
    results.check_apart(out, data)
    with worded(), stages() as say:
        from training.experiments import search as experiment
        from training.experiments.search_page import search_page, search_sentences
        from training.experiments.search_space import space_of, standard_space
        from training.fitting.features import network_cores
        from training.fitting.lenses import lens_of, starting_backbone
        from training.fitting.recipe import recipe_of, with_settings

        base = with_settings(recipe_of(recipe), settings_of(config))
        given = mapping_of(space_file, option="--space", example="head: [lda, logistic]")
        space = standard_space(base) if space_file is None else space_of(given, base)
        threads = network_cores()

        def tried(folder: Folder, trial: Trial) -> None:
            tracker.note(
                Outcome(
                    Photographs(data.resolve().name, folder.fingerprint, len(folder.photos)),
                    figures={"balanced_accuracy": trial.balanced_accuracy},
                    parameters={**trial.recipe.document(), "folds": folds},
                    name=f"trial {trial.number}",
                    seed=seed,
                    remark=CHOSEN_ON,
                ),
                seconds=trial.seconds,
            )

        found = experiment.search(
            experiment.Request(data, out, space, trials, seed, folds, resume),
            lambda own: lens_of(starting_backbone(own, seed=seed), own, threads=threads).eye,
            say=say,
            tried=tried,
            page=search_page,
        )
        document = found.document()
        tracker.note(
            Outcome(
                Photographs(found.data, found.fingerprint, found.photos),
                figures={
                    "balanced_accuracy": found.nested.value,
                    "balanced_accuracy_naive": found.naive.value,
                    "balanced_accuracy_base": found.base.value,
                    "optimism": found.optimism.value,
                    "gain": found.gain.value,
                },
                parameters={**found.recipe.document(), "folds": folds, "trials": len(found.trials)},
                name="what is to be expected",
                seed=seed,
                artefacts=[out / file for file in (experiment.RESULT, experiment.RECIPE, experiment.REPORT)],
            )
        )
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    for sentence in search_sentences(found):
        click.echo(sentence)
    click.echo(f"Report: {out / experiment.REPORT}")
    click.echo(f"Next: amulet train {data} --config {out / experiment.RECIPE} --seed {seed} --out RUN")
