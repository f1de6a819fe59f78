"""`amulet runs`: what was tried, and what came of it; and the option by which a command notes its runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from training.experiments import mlflow_server
from training.experiments.tracking import Place, TrackedRun, Tracker, into_folder, read_runs
from training.listing import counted
from training.terminal import json_option

VARIABLE: Final = "AMULET_RUNS"
NOWHERE: Final = "none"
# The figures of a line, where a run has them; a card's are cross-validated.
_HEADLINE: Final = ("balanced_accuracy", "macro_f1", "ece")
# Better when lower, whatever they are measured on.
_ERRORS: Final = ("ece", "nll", "brier", "fpr_at_95_tpr", "wrongly_rejected", "p50_ms", "p95_ms", "size_mb")
_CROSS_VALIDATED: Final = "_cv"
# The commands that note their runs; a test holds them to those with `tracked`.
NOTED: Final = (
    *("train", "evaluate", "robustness", "compare", "ablate", "search", "detectors", "calibrators"),
    "synth judge",
)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def tracked(command: _Command) -> _Command:
    """With --runs: the command is given a `tracker`, whose clock runs from then on."""
    return click.option(
        "--runs",
        "tracker",
        envvar=VARIABLE,
        metavar="DIR",
        callback=_tracker,
        help=f"Where the run is noted, for `amulet runs`; {NOWHERE}: nowhere.  [default: .amulet/runs]",
    )(command)


def _tracker(context: click.Context, _option: click.Parameter, folder: str | None) -> Tracker:
    kept = None if folder == NOWHERE else Path(folder) if folder else state_folder("runs")
    places: list[Place] = [] if kept is None else [into_folder(kept)]
    uri = os.environ.get(mlflow_server.VARIABLE)
    if uri:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or mlflow_server.EXPERIMENT
        places.append(mlflow_server.into_mlflow(uri, experiment))
    return Tracker(
        context.command_path.removeprefix("amulet "),
        places,
        lambda warning: click.echo(f"amulet: {warning}", err=True),
        folder=kept,
    )


def state_folder(name: str) -> Path:
    """Below the folder in which Amulet writes without being told."""
    return Path(os.environ.get("AMULET_STATE_DIR") or ".amulet", name)


def _folder(_context: click.Context, _option: click.Parameter, folder: Path | None) -> Path:
    return folder or state_folder("runs")


_RUNS: Final = click.option(
    "--runs",
    "folder",
    envvar=VARIABLE,
    type=click.Path(path_type=Path),
    metavar="DIR",
    callback=_folder,
    help="Where runs are noted.  [default: .amulet/runs]",
)


@click.group(epilog="Example: amulet runs best balanced_accuracy")
def runs() -> None:
    """Look through what training, evaluations and experiments noted."""


@runs.command("list", epilog="Example: amulet runs list --command train")
@_RUNS
@click.option("--command", metavar="NAME", help="Only runs of this command, as train or search.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the N newest.")
@json_option
def list_runs(folder: Path, command: str | None, last: int | None, as_json: bool) -> None:
    """List runs, the newest last."""
    every = _read(folder)
    found = [run for run in every if command in (None, run.command)]
    if command is not None and not found:
        _say_why_none(command, {run.command for run in every}, folder)
    found = found[-last:] if last else found
    if as_json:
        click.echo(json.dumps([run.document() for run in found], ensure_ascii=False, indent=2))
        return
    if not found:
        return
    rows = [(run.id, run.name, _data(run), f"{run.seconds:.0f} s", _headline(run), run.remark) for run in found]
    click.echo("\n".join(_columns(rows)))


@runs.command(epilog="Example: amulet runs show 20261126T0915")
@click.argument("run_id", metavar="RUN")
@_RUNS
@json_option
def show(run_id: str, folder: Path, as_json: bool) -> None:
    """Show everything of one run. RUN is its id, or enough of its beginning."""
    found = _read(folder)
    meant = [run for run in found if run.id == run_id] or [run for run in found if run.id.startswith(run_id)]
    if not meant:
        raise click.ClickException(f"no run in {folder} begins with {run_id}: `amulet runs list` names them")
    if len(meant) > 1:
        raise click.ClickException(
            f"{len(meant)} runs begin with {run_id}, as {meant[0].id} and {meant[1].id}: say more"
        )
    (run,) = meant
    if as_json:
        click.echo(json.dumps(run.document(), ensure_ascii=False, indent=2))
        return
    click.echo("\n".join(_told(run)))


@runs.command(epilog="Example: amulet runs best balanced_accuracy")
@click.argument("metric", metavar="METRIC")
@_RUNS
@click.option(
    "--lowest/--highest", default=None, help="What is best.  [default: the lowest of errors and times, else highest]"
)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Of each data set.")
@json_option
def best(metric: str, folder: Path, lowest: bool | None, top: int, as_json: bool) -> None:
    """Rank runs by a figure, each data set by itself: figures of other photographs are not comparable."""
    found = _read(folder)
    with_it = [run for run in found if _figure(run, metric) is not None]
    if not with_it:
        known = sorted({name for run in found for name in run.figures})
        near = get_close_matches(metric, known, n=3)
        raise click.ClickException(
            f"no run in {folder} has the figure {metric}: "
            + (f"did you mean {' or '.join(near)}?" if near else "`amulet runs show RUN` lists a run's")
        )
    down = lowest if lowest is not None else metric.rpartition(".")[2].removesuffix(_CROSS_VALIDATED) in _ERRORS
    ranked = [run for group in _by_data(with_it) for run in _ranked(group, metric, lowest=down)[:top]]
    if as_json:
        rows = [{"value": _figure(run, metric), **run.document()} for run in ranked]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    click.echo("\n".join(_columns([(_data(r), f"{_figure(r, metric):.4f}", r.id, r.name, r.remark) for r in ranked])))


def _read(folder: Path) -> tuple[TrackedRun, ...]:
    """Raises ClickException where there are none."""
    found, others = read_runs(folder)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        click.echo(f"amulet: {others[0]}{more} in the folder of runs is no run, and is left out", err=True)
    if not found:
        raise click.ClickException(f"no run was noted in {folder}: `amulet train` and others do, --runs names another")
    return found


def _say_why_none(command: str, there: Set[str], folder: Path) -> None:
    """Raises UsageError for a command that notes nothing; says on stderr what there is where it might have."""
    if command not in NOTED:
        near = get_close_matches(command, NOTED, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise click.UsageError(f"--command {command} notes no runs: {hint}these do: {', '.join(NOTED)}")
    click.echo(f"No run of {command} in {folder}: there are those of {', '.join(sorted(there))}.", err=True)


def _by_data(found: Sequence[TrackedRun]) -> Iterator[list[TrackedRun]]:
    for fingerprint in dict.fromkeys(run.data.fingerprint for run in found):
        yield [run for run in found if run.data.fingerprint == fingerprint]


def _ranked(found: Sequence[TrackedRun], metric: str, *, lowest: bool) -> list[TrackedRun]:
    return sorted(found, key=lambda run: (_figure(run, metric) or 0.0) * (1 if lowest else -1))


def _figure(run: TrackedRun, metric: str) -> float | None:
    """As it is called, or as a card calls it."""
    return run.figures.get(metric, run.figures.get(f"{metric}{_CROSS_VALIDATED}"))


def _data(run: TrackedRun) -> str:
    return f"{run.data.name} {run.data.fingerprint[:8]}"


def _headline(run: TrackedRun) -> str:
    found = ((name, _figure(run, name)) for name in _HEADLINE)
    return "  ".join(f"{name} {value:.3f}" for name, value in found if value is not None)


def _told(run: TrackedRun) -> Iterator[str]:
    yield f"{run.id}  {run.name}".rstrip()
    yield f"amulet {run.command}, {run.started_at:%Y-%m-%d %H:%M} UTC, {run.seconds:.1f} s, peak {run.peak_mib:.0f} MiB"
    yield f"{counted(run.data.photos, 'photograph')} of {run.data.name} (fingerprint {run.data.fingerprint[:12]})"
    yield f"code {run.code_version}, seed {'-' if run.seed is None else run.seed}"
    if run.remark:
        yield run.remark
    for title, values in (
        ("Figures", {name: f"{value:.4f}" for name, value in run.figures.items()}),
        ("Parameters", run.parameters),
        ("Artefacts, SHA-256", run.artefacts),
        ("Packages", run.packages),
    ):
        yield from _section(title, values)


def _section(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    if not values:
        return
    yield title
    width = max(map(len, values)) + 2
    for name, value in values.items():
        yield f"  {name:<{width}}{'-' if value is None else value}"


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
