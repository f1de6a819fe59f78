"""`amulet train`: a folder of photographs becomes a run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from training import results
from training.experiments.runs import NOWHERE, state_folder, tracked
from training.experiments.tracking import Outcome, Photographs, Tracker
from training.terminal import SEED_MAX, json_option, settings_of, stage_lines, stages, worded

if TYPE_CHECKING:
    from model_store.card import Card


@click.command(epilog="Example: amulet train photographs --ood photographs/ood --out run --seed 7")
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="The folder of the run.")
@click.option(
    "--ood",
    "outside",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Photographs of other things: a set, or a folder of sets. A part of each helps to place the borders, the "
    "others are reported on. May be repeated.",
)
@click.option("--backbone", metavar="NAME", help="The pretrained network; by default the recipe's.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The backbone's pretrained weights, as timm names them; by default those of the installed package.",
)
@click.option(
    "--recipe",
    default="standard",
    show_default=True,
    metavar="NAME",
    help="standard, baseline, logistic, centroid or finetuned; neighbours makes no version, and is there for "
    "`amulet ablate`.",
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="YAML or JSON: fields of the recipe.")
@click.option("--name", default="", metavar="MODEL", help="The model's name; by default that of the DATA folder.")
@click.option(
    "--from-card",
    "card_path",
    type=click.Path(path_type=Path),
    metavar="CARD",
    help="Train the version of this card once more: a model.json, a RUN folder or an archive. It decides everything "
    "but DATA, --ood and --weights, which are compared with it.",
)
@click.option(
    "--suffix",
    default="",
    metavar="TEXT",
    help="Ends the version's name, so that two runs of one day with the same F1 have two names.",
)
@click.option("--folds", type=click.IntRange(2, 20), default=5, show_default=True, help="Of the cross-validation.")
@click.option(
    "--thumbnails",
    is_flag=True,
    help="Let answers show small pictures of these photographs as similar examples. Only with the leave of whose "
    "they are: an archive cannot forget one. Refused for an export of the console.",
)
@click.option(
    "--exports",
    envvar="AMULET_EXPORTS",
    metavar="DIR",
    help="Where exported backbones are kept for the next training; none: nowhere.  [default: .amulet/exports]",
)
@click.option(
    "--features",
    envvar="AMULET_FEATURES",
    metavar="DIR",
    help="Where what a frozen network sees of each photograph is kept for the next training on DATA, until DATA no "
    "longer holds the photograph; none: nowhere.  [default: .amulet/features]",
)
@tracked
@click.option(
    "--stages", "as_lines", is_flag=True, help="Say on stderr what is being done: STAGE, DONE, TOTAL by tabs."
)
@json_option
@click.pass_context
def train(
    context: click.Context,
    data: Path,
    out: Path,
    outside: tuple[Path, ...],
    backbone: str | None,
    weights: Path | None,
    recipe: str,
    seed: int,
    config: Path | None,
    name: str,
    card_path: Path | None,
    suffix: str,
    folds: int,
    thumbnails: bool,
    exports: str | None,
    features: str | None,
    tracker: Tracker,
    as_lines: bool,
    as_json: bool,
) -> None:
    """Turn a folder of labelled photographs into a model version.

    DATA holds one folder for each class. RUN will hold the graph to serve (model.onnx), its card
    (model.json), golden photographs, figures and report.html.
    """
    if card_path is not None:
        _refuse_what_the_card_decides(context)
    results.check_apart(out, data)
    kept, seen = _place(exports, "exports"), _place(features, "features")
    with worded(), stage_lines() if as_lines else stages() as say:
        from training import pipeline, reproduction
        from training.errors import SettingWrong
        from training.export import run_folder
        from training.fitting.ranges import NEIGHBOURS
        from training.fitting.recipe import NO_GRAPH, recipe_of, with_settings

        run_folder.check_free(out)

        wanted = reproduction.card_at(card_path) if card_path is not None else None
        if wanted is not None:
            request = reproduction.request_of(wanted, data, out, outside=outside, weights=weights, exports=kept)
        else:
            settings = {**settings_of(config), **({"backbone": backbone} if backbone else {})}
            chosen = with_settings(recipe_of(recipe), settings)
            if chosen.head == NEIGHBOURS:  # fitting it takes minutes
                raise SettingWrong(NO_GRAPH)
            request = pipeline.Request(
                data=data,
                out=out,
                recipe=chosen,
                outside=outside,
                seed=seed,
                name=name,
                suffix=suffix,
                folds=folds,
                weights=weights,
                thumbnails=thumbnails,
                exports=kept,
                features=seen,
            )
        started = time.monotonic()
        with run_folder.reserved(out):
            run = pipeline.train(request, say=say)
        seconds = time.monotonic() - started
        tracker.note(
            Outcome(
                Photographs(run.card.data.name, run.card.data.fingerprint, run.card.data.photos),
                figures={item.name: item.value for item in run.card.metrics},
                parameters=run.card.training.config,
                name=run.card.version,
                seed=request.seed,
                artefacts=[
                    out / file for file in ("model.json", "model.onnx", "metrics.json", "report.html", "card.html")
                ],
            )
        )
    for sentence in run.left_out:
        click.echo(f"Left out: {sentence}", err=True)
    if as_json:
        figures = {item.name: {"value": item.value, "low": item.low, "high": item.high} for item in run.card.metrics}
        document = {
            "run": str(run.path),
            "model": run.card.name,
            "version": run.card.version,
            "seconds": round(seconds, 1),
            "metrics": figures,
            "left_out": list(run.left_out),
            **({"differs_from_card": reproduction.differences(wanted, run.card)} if wanted is not None else {}),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        click.echo(f"{run.card.name} {run.card.version} in {out}, after {seconds:.0f} s")
        for item in run.card.metrics:
            click.echo(f"  {item.name:<30} {item.value:6.3f}   [{item.low:.3f}, {item.high:.3f}]")
        click.echo(f"Report: {out / 'report.html'}")
        click.echo(f"Next: amulet package {out} --out {run.card.name}.mar --sign KEY")
    if wanted is not None:
        _say_whether_it_is_the_same(wanted, run.card)


def _place(named: str | None, folder: str) -> Path | None:
    """Where to keep what the next training would make again; None: nowhere."""
    return None if named == NOWHERE else Path(named) if named else state_folder(folder)


def _refuse_what_the_card_decides(context: click.Context) -> None:
    for name in ("backbone", "recipe", "seed", "config", "name", "suffix", "folds", "thumbnails"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is decided by the card: leave it out, or leave out --from-card")


def _say_whether_it_is_the_same(wanted: Card, made: Card) -> None:
    """On stderr; a run that is not what the card says is a failure, though it is kept."""
    from training import reproduction

    why = ", ".join(reproduction.reasons(wanted, made))
    differs = reproduction.differences(wanted, made)
    if differs:
        because = f"made by {why}" if why else "by the same code and packages: another processor adds in another order"
        raise click.ClickException(f"this run is not that of the card: {', '.join(differs)} differ, {because}")
    click.echo(f"The same version as the card's, bit for bit{f', though made by {why}' if why else ''}.", err=True)
