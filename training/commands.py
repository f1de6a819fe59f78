"""`amulet train`, `amulet evaluate` and `amulet package`."""

from __future__ import annotations

import json
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from training import results
from training.experiments.runs import NOWHERE, state_folder, tracked
from training.experiments.tracking import Outcome, Photographs, Tracker
from training.results import ResultFile
from training.terminal import SEED_MAX, named, settings_of, stage_lines, stages, worded, written_files

if TYPE_CHECKING:
    from model_store.card import Card
    from training.served.learnt import TrainedOn

# The modules that do the work import torch, which takes seconds: `--help` must not.


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
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
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


@click.command(epilog="Example: amulet evaluate run photographs --ood coins=photographs/ood/coins --html report.html")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA")
@click.option(
    "--ood", "outside", multiple=True, metavar="NAME=DIR", help="Photographs of other things. May be repeated."
)
@click.option("--json", "json_file", type=ResultFile(stdout=True), metavar="FILE", help="- is stdout.")
@click.option("--html", type=ResultFile(), metavar="FILE", help="A report with plots.")
@tracked
def evaluate(
    model: Path, data: Path, outside: tuple[str, ...], json_file: Path | None, html: Path | None, tracker: Tracker
) -> None:
    """Measure a model on photographs, through the graph that is served.

    MODEL is a RUN folder, an archive (.mar) or a model.onnx with its model.json beside it. DATA
    holds one folder for each class.
    """
    sets = [named(item) for item in outside]
    if len({name for name, _ in sets}) < len(sets):
        raise click.UsageError("two --ood sets have one name: give each its own, as in --ood coins=DIR")
    with worded(), stages() as say:
        from training.evaluation.evaluate import OutsideSet
        from training.evaluation.evaluate import evaluate as measure
        from training.fitting.features import network_cores
        from training.served.answers import GraphModel

        opened = GraphModel.open(model, threads=network_cores())
        found = measure(
            opened,
            data,
            [OutsideSet(name, path) for name, path in sets],
            progress=lambda done, total: say("Measuring", done, total),
        )
        document = found.document()
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        if json_file is not None and str(json_file) != "-":
            results.write(json_file, text)
        if html is not None:
            from training.evaluation import report, subjects

            results.write(html, report.page(subjects.of_evaluation(opened, found)))
        tracker.note(
            Outcome(
                Photographs(data.resolve().name, found.fingerprint, len(found.known.photos)),
                figures={name: value for name, value in document.items() if name != "data"},
                parameters={"model": opened.card.version, "model_name": opened.card.name},
                name=opened.card.version,
                artefacts=written_files(json_file, html),
                remark=found.trained_on.remark,
            )
        )
    if json_file is not None and str(json_file) == "-":
        click.echo(text, nl=False)
        return
    click.echo("\n".join(_shown(document, found.trained_on)))


@click.command(epilog="Example: amulet package run --out amulets.mar --sign signing.key")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The archive (.mar).")
@click.option(
    "--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="A key of `amulet signing-key create`."
)
@click.option(
    "--fastest-on",
    "data",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Labelled photographs: also make the 8-bit form, and pack the one that is faster here.",
)
@click.option(
    "--ood",
    "outside",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="With --fastest-on: photographs of other things. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def package(
    run: Path, out: Path, key: Path | None, data: Path | None, outside: tuple[Path, ...], as_json: bool
) -> None:
    """Pack a run into one archive that TorchServe takes, signed where a key is given.

    With --fastest-on both forms of the graph are measured on this processor, and 8 bits are
    packed where they are faster and decide alike; the card says what was measured.
    """
    if outside and data is None:
        raise click.UsageError("--ood belongs to --fastest-on DATA: without it no form is measured on photographs")
    cannot = _no_archive_there(out, run.name)
    if cannot:
        raise click.UsageError(f"--out {cannot}")
    why = chosen_on = ""
    with worded(), stages() as say, tempfile.TemporaryDirectory() as work:
        from training.export.package import package as pack

        if data is not None:
            from training.export.forms import fastest

            form = Path(work, "run")
            choice = fastest(run, data, form, outside=outside, progress=say).graph.choice
            assert choice is not None
            run, why, chosen_on = form, choice.why, choice.processor
        summary = pack(run, out, sign_key=key)
    if as_json:
        document = {
            "archive": str(summary.path),
            "sha256": summary.sha256,
            "bytes": summary.size_bytes,
            "model": summary.name,
            "version": summary.version,
            "members": dict(summary.members),
            "signed_by": summary.signed_by,
            **({"form": why, "processor": chosen_on} if why else {}),
        }
        click.echo(json.dumps(document, indent=2))
        return
    signed = (
        f"signed by {summary.signed_by}" if summary.signed_by else "not signed: no server will take it (--sign KEY)"
    )
    click.echo(f"{summary.path}: {summary.name} {summary.version}, {summary.size_bytes / 2**20:.1f} MiB, {signed}")
    if why:
        click.echo(f"Form {why}; on {chosen_on}")


COMMANDS: Final[Mapping[str, click.Command]] = MappingProxyType(
    {"train": train, "evaluate": evaluate, "package": package}
)


def _no_archive_there(out: Path, run_name: str) -> str:
    """Why no archive can take its place there, once it is whole; empty where one can."""
    cannot = results.unmakeable(out)
    if not cannot and out.is_dir():
        return f"{out} is a folder: name the archive itself, as in {out / f'{run_name}.mar'}"
    if not cannot and out.exists() and not out.is_file():
        return f"{out} is no file that could be replaced: name the archive itself, as in {run_name}.mar"
    if not cannot and out.is_file() and out.suffix != ".mar" and not zipfile.is_zipfile(out):
        return f"{out} exists and is no archive: name a new file, as in {run_name}.mar"
    return cannot


def _shown(document: Mapping[str, Any], trained_on: TrainedOn) -> Iterator[str]:
    yield f"{document['model']} on {document['data']['photos']} photographs of {document['data']['path']}"
    intervals = document["intervals"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece", "brier", "nll"):
        low, high = intervals[name]
        yield f"  {name:<20} {document[name]:6.3f}   [{low:.3f}, {high:.3f}]"
    for side, row in document["by_side"].items():
        yield f"  {side:<20} {row['accuracy']:6.3f}   accuracy of {row['photos']} photographs"
    for label, value in document["per_class_f1"].items():
        yield f"  F1 {label:<32} {value:6.3f}"
    for name, value in document["coverage"].items():
        yield f"  {name:<24} " + ("-" if value is None else f"{value:6.3f}")
    for name, row in document["ood"].items():
        yield (
            f"  {name}: AUROC {row['auroc']:.3f}, {row['rejected']:.0%} of {row['photos']} rejected, "
            f"{row['fpr_at_95_tpr']:.0%} accepted where 95% of the known are"
        )
    if trained_on.said:
        yield f"  {trained_on.said}: every figure above is too good."
    for name, count in document["data"]["placed_borders"].items():
        if count:
            yield (
                f"  {count} of {document['ood'][name]['photos']} photographs of {name} placed the model's borders: "
                f"what it rejects is too good"
            )
    for item in document["unreadable"]:
        yield f"  left out: {item['file']} {item['why']}"
