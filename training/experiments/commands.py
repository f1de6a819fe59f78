"""`amulet robustness`, `compare`, `ablate`, `detectors` and `calibrators`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from training import results
from training.experiments.runs import NOWHERE, state_folder, tracked
from training.experiments.tracking import Outcome, Photographs, Tracker, read_runs
from training.listing import counted
from training.results import ResultFile
from training.terminal import named, settings_of, stages, worded, written_files

if TYPE_CHECKING:
    from training.experiments.compare import Candidate, Comparison

# The modules that do the work take seconds to import: `--help` must not.

_Command = TypeVar("_Command", bound=Callable[..., Any])
_RESULTS: Final = (
    click.option("--json", "json_file", type=ResultFile(stdout=True), metavar="FILE", help="- is stdout."),
    click.option("--html", type=ResultFile(), metavar="FILE", help="A report with plots."),
)
_CROSS_VALIDATION: Final = (
    click.argument("data", type=click.Path(path_type=Path), metavar="DATA"),
    click.option("--recipe", default="standard", show_default=True, metavar="NAME"),
    click.option(
        "--config", type=click.Path(path_type=Path), metavar="FILE", help="YAML or JSON: fields of the recipe."
    ),
    click.option("--seeds", type=click.IntRange(1, 20), default=3, show_default=True, help="Repetitions."),
    click.option("--folds", type=click.IntRange(2, 20), default=5, show_default=True),
)
_OUTSIDE: Final = click.option(
    "--ood",
    "outside",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Photographs of other things.",
)


def reported(command: _Command) -> _Command:
    """With --json, --html and --runs."""
    return _with((*_RESULTS, tracked), command)


def cross_validated(command: _Command) -> _Command:
    """With DATA, --recipe, --config, --seeds and --folds."""
    return _with(_CROSS_VALIDATION, command)


def _with(options: tuple[Callable[[_Command], _Command], ...], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog="Example: amulet robustness run photographs-kept-aside --html robustness.html")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA")
@click.option(
    "--only", multiple=True, metavar="NAME", help="One degradation, as jpeg; by default all. May be repeated."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@reported
def robustness(
    model: Path,
    data: Path,
    only: tuple[str, ...],
    seed: int,
    json_file: Path | None,
    html: Path | None,
    tracker: Tracker,
) -> None:
    """Measure what worse photographs cost a model: eleven degradations at five strengths each.

    MODEL is a RUN folder, an archive (.mar) or a model.onnx with its model.json beside it. DATA
    holds one folder for each class.
    """
    with worded(), stages() as say:
        from training.evaluation import robustness as experiment
        from training.evaluation import robustness_page
        from training.fitting.features import network_cores
        from training.served.answers import GraphModel

        opened = GraphModel.open(model, threads=network_cores())
        measured = experiment.of_model(
            opened,
            data,
            degradations=experiment.chosen(only),
            seed=seed,
            progress=lambda done, total: say("Degrading and asking", done, total),
        )
        write_json(measured.document(), json_file)
        if html is not None:
            results.write(html, robustness_page.page(measured))
        tracker.note(
            Outcome(
                Photographs(data.resolve().name, measured.fingerprint, measured.found.photos),
                figures={
                    "balanced_accuracy": measured.found.unchanged.balanced_accuracy.value,
                    "mean_balanced_accuracy": measured.found.mean_balanced_accuracy,
                    **{
                        curve.degradation.name: {
                            f"{level.strength:g}": level.balanced_accuracy.value for level in curve.levels
                        }
                        for curve in measured.found.curves
                    },
                },
                parameters={"model": measured.card.version, "only": only},
                name=measured.card.version,
                seed=seed,
                artefacts=written_files(json_file, html),
                remark=measured.trained_on.remark,
            )
        )
    if to_stdout(json_file):
        return
    click.echo(f"{measured.card.version} on {counted(measured.found.photos, 'photograph')} of {data}")
    if measured.trained_on:
        click.echo(f"  {measured.trained_on.said}: read how far figures fall, not where they start.")
    for curve in measured.found.curves:
        values = "  ".join(f"{level.balanced_accuracy.value:.2f}" for level in curve.levels)
        accepted = "  ".join(f"{level.verdicts['IN_DOMAIN']:.2f}" for level in curve.levels)
        click.echo(f"  {curve.degradation.said:<24} balanced accuracy {values}   in domain {accepted}")
    for sentence in robustness_page.sentences(measured.found):
        click.echo(f"  {sentence}")


@click.command(epilog="Example: amulet compare runs/baseline runs/standard --html comparison.html")
@click.argument("models", type=click.Path(path_type=Path), metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Photographs that no model was trained on; without them, runs are compared by their cross-validation.",
)
@click.option("--ood", "outside", multiple=True, metavar="NAME=DIR", help="Photographs of other things, with --data.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the intervals.")
@reported
def compare(
    models: tuple[Path, ...],
    data: Path | None,
    outside: tuple[str, ...],
    seed: int,
    json_file: Path | None,
    html: Path | None,
    tracker: Tracker,
) -> None:
    """Put models side by side on the same photographs, and say which one to take.

    Without --data each RUN is a folder of `amulet train`, all of one data set; with it, a RUN
    folder, an archive (.mar) or a model.onnx.
    """
    if outside and data is None:
        raise click.UsageError("--ood goes with --data: a run's own figures already hold its sets of other things")
    sets = [named(item) for item in outside]
    with worded(), stages() as say:
        from training.evaluation.evaluate import OutsideSet
        from training.experiments import compare as experiment
        from training.experiments.page import comparison_page
        from training.fitting.features import network_cores

        noted = read_runs(tracker.folder)[0] if tracker.folder is not None else ()
        found = (
            experiment.compare_runs(models, threads=network_cores(), noted=noted, seed=seed, say=say)
            if data is None
            else experiment.compare_models(
                models,
                data,
                [OutsideSet(*item) for item in sets],
                threads=network_cores(),
                noted=noted,
                seed=seed,
                say=say,
            )
        )
        write_json(found.document(), json_file)
        if html is not None:
            results.write(html, comparison_page(found))
        for each in found.candidates:
            tracker.note(
                Outcome(
                    Photographs(found.data, found.fingerprint, found.photos),
                    figures=_noted(each),
                    parameters={
                        "model": each.version,
                        "cross_validated": data is None,
                        "figures_inherited": each.inherited,
                    },
                    name=each.name,
                    seed=seed,
                    artefacts=written_files(json_file, html),
                )
            )
    if not to_stdout(json_file):
        click.echo("\n".join(_side_by_side(found)))


def _noted(candidate: Candidate) -> dict[str, Any]:
    """What the notes of a comparison keep of a model."""
    return {
        **{name: interval.value for name, interval in candidate.figures.items()},
        "per_class_f1": candidate.per_class_f1,
        "ood_auroc": candidate.ood_auroc,
        "p95_ms": candidate.cost.p95_ms,
        "cpu_ms": candidate.cost.cpu_ms,
        "peak_mib": candidate.cost.peak_mib,
        "size_mb": candidate.cost.size_mb,
    }


def _side_by_side(found: Comparison) -> Iterator[str]:
    """A comparison as a person reads it at a terminal, the choice last."""
    from training.evaluation import several

    yield found.measured
    for each in found.candidates:
        figures = "   ".join(f"{name} {interval.value:.3f}" for name, interval in each.figures.items())
        yield (
            f"  {each.name:<28} {figures}   p95 {each.cost.p95_ms:.0f} ms   {each.cost.size_mb:.1f} MB"
            f"{'   figures inherited from fp32' if each.inherited else ''}"
        )
    yield f"Times are of one thread of {found.processor}, the models in turn."
    p_values = found.p_values
    for gap in found.differences:
        interval = gap.figures["macro_f1"]
        luck = "more than luck" if p_values[gap.name, "macro_f1"] < several.ALPHA else "could be luck"
        yield (
            f"  {gap.name} against {found.candidates[0].name}: macro F1 {interval.value:+.3f} "
            f"[{interval.low:+.3f}, {interval.high:+.3f}], {luck}"
        )
    if found.differences:
        yield f"What is luck is corrected for how many differences there are: {several.words(len(p_values))}."
    yield f"Take {found.why}" if found.choice else found.why


@click.command(epilog="Example: amulet ablate photographs --vary head_shrinkage=0.1,0.4 --html ablation.html")
@cross_validated
@click.option(
    "--over",
    type=click.Choice(["augmentations", "models", "companions", "preprocessing", "tunings", "mixes", "minorities"]),
    default="augmentations",
    show_default=True,
    help="What is tried: what the recipe's views are made of; its head and its network; a second network "
    "beside it; what is done to photographs before; how its network learns, what from, or what helps classes of few "
    "photographs.",
)
@click.option(
    "--vary",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE,...",
    help="Instead of --over, a setting of the recipe and values to try. May be repeated.",
)
@_OUTSIDE
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that share the variants and seeds; each takes some 1.5 GB, with a network that learns.",
)
@click.option(
    "--trials",
    metavar="DIR",
    help="Where finished trials are kept: an ablation that was killed goes on there; none: nowhere.  "
    "[default: .amulet/trials]",
)
@reported
def ablate(
    data: Path,
    recipe: str,
    config: Path | None,
    seeds: int,
    folds: int,
    over: str,
    changes: tuple[str, ...],
    outside: tuple[Path, ...],
    jobs: int,
    trials: str | None,
    json_file: Path | None,
    html: Path | None,
    tracker: Tracker,
) -> None:
    """Measure what each part of a recipe is worth, by cross-validation with paired differences.

    DATA holds one folder for each class.
    """
    if trials and trials != NOWHERE and (why := results.unkeeping(Path(trials))):
        raise click.UsageError(f"--trials {why}")
    with worded(), stages() as say:
        from training.experiments import ablate as experiment
        from training.experiments.page import ablation_page, ablation_sentences
        from training.experiments.trials import check_networks, pretrained_eyes
        from training.fitting.features import network_cores
        from training.fitting.recipe import recipe_of, with_settings

        base = with_settings(recipe_of(recipe), settings_of(config))
        variants = experiment.of_settings(base, changes) if changes else experiment.SETS[over](base)
        check_networks(each.recipe for each in variants)
        request = experiment.Request(data, variants, outside, tuple(range(seeds)), folds)
        eyes = partial(pretrained_eyes, threads=max(1, network_cores() // jobs))
        warn = partial(click.echo, err=True)
        keep = None if trials == NOWHERE else Path(trials) if trials else state_folder("trials")
        found = experiment.ablate(request, eyes, say=say, jobs=jobs, keep=keep, warn=warn)
        write_json(found.document(), json_file)
        if html is not None:
            results.write(html, ablation_page(found))
        for row in found.rows:
            tracker.note(
                Outcome(
                    Photographs(found.data, found.fingerprint, found.photos),
                    figures={
                        **{name: interval.value for name, interval in row.figures.items()},
                        "per_class_f1": {name: interval.value for name, interval in row.per_class_f1.items()},
                        "ood_auroc": {name: interval.value for name, interval in row.auroc.items()},
                    },
                    parameters={**row.variant.recipe.document(), "seeds": found.seeds, "folds": found.folds},
                    name=row.variant.name,
                    artefacts=written_files(json_file, html),
                )
            )
    if to_stdout(json_file):
        return
    for row in found.rows:
        figures = "   ".join(f"{name} {interval.value:.3f}" for name, interval in row.figures.items())
        click.echo(f"  {row.variant.name:<36} {figures}")
    for sentence in ablation_sentences(found):
        click.echo(f"  {sentence}")


@click.command(epilog="Example: amulet detectors photographs --ood photographs/ood --html detectors.html")
@cross_validated
@_OUTSIDE
@reported
def detectors(
    data: Path,
    recipe: str,
    config: Path | None,
    seeds: int,
    folds: int,
    outside: tuple[Path, ...],
    json_file: Path | None,
    html: Path | None,
    tracker: Tracker,
) -> None:
    """Compare eleven scores of what is out of distribution, with each class left out in turn.

    DATA holds one folder for each class, three at least.
    """
    with worded(), stages() as say:
        from training.experiments import detectors as experiment
        from training.experiments.page import detectors_page
        from training.experiments.trials import pretrained_eyes
        from training.fitting.features import network_cores
        from training.fitting.recipe import recipe_of, with_settings

        base = with_settings(recipe_of(recipe), settings_of(config))
        request = experiment.Request(data, base, outside, tuple(range(seeds)), folds)
        found = experiment.detectors(request, pretrained_eyes(threads=network_cores()), say=say)
        write_json(found.document(), json_file)
        if html is not None:
            results.write(html, detectors_page(found))
        for row in found.rows:
            tracker.note(
                Outcome(
                    Photographs(found.data, found.fingerprint, found.photos),
                    figures={"auroc": {name: interval.value for name, interval in row.auroc.items()}},
                    parameters={**base.document(), "seeds": found.seeds, "folds": folds},
                    name=row.name,
                    artefacts=written_files(json_file, html),
                )
            )
    if to_stdout(json_file):
        return
    for row in found.rows:
        click.echo(
            f"  {row.name:<22} " + "   ".join(f"{thing} {interval.value:.3f}" for thing, interval in row.auroc.items())
        )


@click.command(epilog="Example: amulet calibrators photographs --html calibrators.html")
@cross_validated
@reported
def calibrators(
    data: Path,
    recipe: str,
    config: Path | None,
    seeds: int,
    folds: int,
    json_file: Path | None,
    html: Path | None,
    tracker: Tracker,
) -> None:
    """Compare temperature, vector scaling and isotonic regression on photographs that none was fitted on.

    DATA holds one folder for each class.
    """
    with worded(), stages() as say:
        from training.experiments import calibrators as experiment
        from training.experiments.page import calibrators_page
        from training.experiments.trials import pretrained_eyes
        from training.fitting.features import network_cores
        from training.fitting.recipe import recipe_of, with_settings

        base = with_settings(recipe_of(recipe), settings_of(config))
        request = experiment.Request(data, base, tuple(range(seeds)), folds)
        found = experiment.calibrators(request, pretrained_eyes(threads=network_cores()), say=say)
        write_json(found.document(), json_file)
        if html is not None:
            results.write(html, calibrators_page(found))
        for row in found.rows:
            tracker.note(
                Outcome(
                    Photographs(found.data, found.fingerprint, found.photos),
                    figures={name: interval.value for name, interval in row.figures.items()},
                    parameters={**base.document(), "seeds": found.seeds, "folds": found.folds},
                    name=row.name,
                    artefacts=written_files(json_file, html),
                )
            )
    if to_stdout(json_file):
        return
    for row in found.rows:
        click.echo(
            f"  {row.name:<40} " + "   ".join(f"{name} {interval.value:.3f}" for name, interval in row.figures.items())
        )


def write_json(document: Mapping[str, Any], json_file: Path | None) -> None:
    """To the file; to the standard output for `-`."""
    if json_file is None:
        return
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    if to_stdout(json_file):
        click.echo(text, nl=False)
    else:
        results.write(json_file, text)


def to_stdout(json_file: Path | None) -> bool:
    """Whether the document is all that the command prints."""
    return json_file is not None and str(json_file) == "-"
