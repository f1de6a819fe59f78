"""`amulet bench`: the benchmarks, each as one command with one JSON file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from protos.addresses import address
from training import results
from training.numbers import FiniteRange
from training.results import ResultFile

_SEED: Final = 7
_PER_CLASS: Final = 24
_TRAINABLE_MIN: Final = 12  # of a class: five folds, and three parts inside each


def _server(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """An address without a database: those that are made there are named by us. The value itself is not said."""
    try:
        url = address(value, ("postgresql",))
        if not url.hostname or url.path.strip("/") or url.query or url.fragment:
            raise ValueError("wanted a server and nothing behind it")
    except ValueError as error:
        raise click.BadParameter(f"{error}, as in postgresql://USER:PASSWORD@HOST:5432") from None
    return value.rstrip("/")


_json_option = click.option("--json", "json_file", type=ResultFile(), help="Also write it there.")


def _options(*, seconds: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """seconds: of one case, unless the command line says otherwise."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True),
            click.option(
                "--seconds", type=FiniteRange(0.2, 600), default=seconds, show_default=True, help="Of one case."
            ),
            _json_option,
        ):
            command = option(command)
        return command

    return add


def _model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--photos",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="A folder of JPEG files.  [default: the demonstration's]",
        ),
        click.option(
            "--model",
            "models",
            multiple=True,
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="A training run.  [default: one is trained on demonstration photographs]",
        ),
    ):
        command = option(command)
    return command


@click.group(epilog="Example: amulet bench journal --json journal.json")
def bench() -> None:
    """Measure speed, memory and cost on this machine; nothing else should run on it."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "benchmarks" / "serving.py").is_file():
        raise click.ClickException("the benchmarks are not installed with Amulet: run this from a checkout")
    sys.path.insert(0, str(root))  # they are no package of ours that others install


@bench.command(epilog="Example: amulet bench serving --model run --json serving.json")
@_model_options
@_options(seconds=2.0)  # five rounds of every system in ten minutes, the training included
@click.option("--profile", is_flag=True, help="Also show where a call's time goes, by process and thread.")
@click.option(
    "--systems",
    help="Some of amulet, litserve, bentoml, torchserve_stock, limit, with commas; amulet_sent is Amulet that sends "
    "pixels to TorchServe, amulet_keyed with an idempotency key for each call, amulet_redis and amulet_redis_keyed "
    "with a Redis beside it.  [default: the first five]",
)
def serving(
    models: tuple[Path, ...],
    photos: Path | None,
    rounds: int,
    seconds: float,
    json_file: Path | None,
    profile: bool,
    systems: str | None,
) -> None:
    """The whole path against bare peers, in interleaved rounds."""
    from benchmarks import serving as benchmark
    from benchmarks.systems import SystemFailed

    names = benchmark.NAMES if systems is None else tuple(systems.split(","))
    known = (*benchmark.NAMES, *benchmark.ON_REQUEST)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"there is no system {unknown[0]!r}: there are {', '.join(known)}")
    if len(models) > 1:
        raise click.UsageError("serving measures one --model at a time")
    with _ready(models, photos) as (runs, folder):
        try:
            found = benchmark.measure(runs[0], folder, names=names, rounds=rounds, seconds=seconds, tell=_tell)
        except SystemFailed as failure:
            raise click.ClickException(str(failure)) from failure
    _show(found, json_file)
    if profile:
        from benchmarks import memory, spending

        click.echo(spending.table(found["profile"]), nl=False)
        click.echo(memory.table(found["memory"]), nl=False)


@bench.command(epilog="Example: amulet bench overload --json overload.json")
@_model_options
@_options(seconds=3.0)
def overload(
    models: tuple[Path, ...], photos: Path | None, rounds: int, seconds: float, json_file: Path | None
) -> None:
    """Calls at 2, 5 and 10 times of what can be answered: what is still answered, and how fast the rest is refused."""
    from benchmarks import overload as benchmark
    from benchmarks.systems import SystemFailed

    if len(models) > 1:
        raise click.UsageError("overload measures one --model at a time")
    with _ready(models, photos) as (runs, folder):
        try:
            found = benchmark.measure(runs[0], folder, rounds=rounds, seconds=seconds, tell=_tell)
        except SystemFailed as failure:
            raise click.ClickException(str(failure)) from failure
    _show(found, json_file)


@bench.command(epilog="Example: amulet bench stack --json stack.json")
@_model_options
@click.option(
    "--calls", type=click.IntRange(100), default=10_000, show_default=True, help="At least, around the switch."
)
@click.option(
    "--seconds",
    type=FiniteRange(60, 3600),
    default=240.0,
    show_default=True,
    help="At 0.7 of capacity; the console is away for a quarter of them.",
)
@_json_option
def stack(models: tuple[Path, ...], photos: Path | None, calls: int, seconds: float, json_file: Path | None) -> None:
    """The whole stack: its start, its memory, a version switched under load, a console that goes away."""
    from benchmarks import whole_stack as benchmark

    if len(models) > 1:
        raise click.UsageError("stack measures one --model at a time")
    with _ready(models, photos) as (runs, folder):
        try:
            found = benchmark.measure(runs[0], folder, calls=calls, seconds=seconds, tell=_tell)
        except AssertionError as failure:  # of a command, or of something that did not come in time
            raise click.ClickException(str(failure)) from failure
    click.echo(benchmark.table(found), nl=False)
    _keep(found, json_file)


@bench.command(epilog="Example: amulet bench soak --minutes 60 --rate 20 --json soak.json")
@_model_options
@click.option("--minutes", type=FiniteRange(1, 10_000), default=60.0, show_default=True)
@click.option("--rate", type=FiniteRange(1, 1000), default=20.0, show_default=True, help="Calls a second.")
@_json_option
def soak(models: tuple[Path, ...], photos: Path | None, minutes: float, rate: float, json_file: Path | None) -> None:
    """Hours of mixed calls on the whole stack: what grows, what stays open, what has no record."""
    from benchmarks import soak as benchmark

    if len(models) > 1:
        raise click.UsageError("soak measures one --model at a time")
    with _ready(models, photos) as (runs, folder):
        try:
            found = benchmark.measure(runs[0], folder, minutes=minutes, rate=rate, tell=_tell)
        except AssertionError as failure:  # as of `stack`
            raise click.ClickException(str(failure)) from failure
    click.echo(benchmark.table(found), nl=False)
    _keep(found, json_file)


@bench.command(epilog="Example: amulet bench journal --json journal.json")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder on the disk to measure.  [default: the temporary one]",
)
@_json_option
def journal(rounds: int, folder: Path | None, json_file: Path | None) -> None:
    """Events that become durable, against what the disk allows at all."""
    from benchmarks import journal as benchmark
    from gateway.journal.errors import JournalError

    try:
        found = benchmark.measure(folder, rounds=rounds)
    except* (OSError, JournalError) as failures:
        place = folder or tempfile.gettempdir()
        raise click.ClickException(f"the journal cannot be written in {place}: {_first(failures)}") from failures
    click.echo(benchmark.table(found), nl=False)
    _keep(found, json_file)


@bench.command(epilog="Example: amulet bench inference --model run --model run-int8 --json inference.json")
@_model_options
@_options(seconds=4.0)
def inference(
    models: tuple[Path, ...], photos: Path | None, rounds: int, seconds: float, json_file: Path | None
) -> None:
    """Decoding and the graph without any server."""
    from benchmarks import inference as benchmark

    with _ready(models, photos) as (runs, folder):
        found = benchmark.measure(runs, folder, rounds=rounds, seconds=seconds)
    _show(found, json_file)


@bench.command(epilog="Example: amulet bench console --rows 1000000 --json console-million.json")
@_options(seconds=4.0)
@click.option(
    "--rows",
    type=click.IntRange(1000),
    help="Every page and job over so many predictions in PostgreSQL, against a tenth of them.",
)
@click.option(
    "--server",
    default="postgresql://postgres@127.0.0.1:5432",
    show_default=True,
    callback=_server,
    help="With --rows: where to make two databases, which are dropped at the end.",
)
def console(rounds: int, seconds: float, json_file: Path | None, rows: int | None, server: str) -> None:
    """Events taken in and pages answered by a console of its own."""
    if rows is not None:
        _console_rows(rows, server, rounds, seconds, json_file)
        return
    from benchmarks import console as benchmark
    from benchmarks.systems import SystemFailed

    try:
        found = benchmark.measure(rounds=rounds, seconds=seconds, tell=_tell)
    except SystemFailed as failure:
        raise click.ClickException(str(failure)) from failure
    _show(found, json_file)


def _console_rows(rows: int, server: str, rounds: int, seconds: float, json_file: Path | None) -> None:
    from benchmarks import console_rows as benchmark

    try:
        found = benchmark.measure(rows, server=server, rounds=rounds, seconds=seconds, tell=_tell)
    except benchmark.ServerRefused as failure:
        raise click.ClickException(f"--server: {failure}") from failure
    click.echo(benchmark.table(found), nl=False)
    _keep(found, json_file)


@bench.command(epilog="Example: amulet bench migrations --rows 1000000 --json migrations.json")
@click.option("--rows", type=click.IntRange(1000), default=100_000, show_default=True, help="Predictions.")
@click.option(
    "--server",
    default="postgresql://postgres@127.0.0.1:5432",
    show_default=True,
    callback=_server,
    help="Where to make a database, which is dropped at the end.",
)
@click.option("--app", "apps", multiple=True, help="Whose migrations, as `review`.  [default: everybody's]")
@_json_option
def migrations(rows: int, server: str, apps: tuple[str, ...], json_file: Path | None) -> int:
    """How long a read and a write wait while each migration changes a filled PostgreSQL; exit 1 beyond a second."""
    from benchmarks import migrations as benchmark
    from benchmarks.console_rows import ServerRefused

    try:
        found = benchmark.measure(rows, server=server, apps=apps, tell=_tell)
    except ServerRefused as failure:
        raise click.ClickException(f"--server: {failure}") from failure
    except ValueError as failure:
        raise click.UsageError(f"--app: {failure}") from failure
    click.echo(benchmark.table(found), nl=False)
    _keep(found, json_file)
    return 1 if found["missed"] else 0


@bench.command(epilog="Example: amulet bench training --per-class 25,250,2500 --json training.json")
@click.option(
    "--per-class",
    default="25,50,100",
    show_default=True,
    metavar="N,N,...",
    help="Photographs of each of eight classes, size by size; 2500 are 20,000 photographs and hours.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="YAML or JSON: fields of the recipe. With fewer views, many photographs take less of their linear part.",
)
@_json_option
def training(per_class: str, config: Path | None, json_file: Path | None) -> None:
    """From a folder of photographs to a signed archive: time and memory, and how they grow."""
    from benchmarks import training as benchmark

    try:
        sizes = sorted({int(size) for size in per_class.split(",")})
    except ValueError:
        raise click.UsageError(f"--per-class {per_class} is no list of numbers, as in 25,50,100") from None
    if sizes[0] < _TRAINABLE_MIN:
        raise click.UsageError(f"--per-class {sizes[0]}: a training needs at least {_TRAINABLE_MIN} of each class")
    try:
        for found in benchmark.measure(sizes, config=config, tell=_tell):
            _keep(found, json_file)
    except benchmark.TrainingFailed as failure:
        raise click.ClickException(str(failure)) from failure
    click.echo(benchmark.table(found), nl=False)


@contextmanager
def _ready(models: tuple[Path, ...], photos: Path | None) -> Iterator[tuple[tuple[Path, ...], Path]]:
    """Runs and photographs: those given, or the demonstration's, made for this measurement."""
    for run in models:
        _check_run(run)
    if photos is not None and not any(photos.glob("*.jpg")):
        raise click.UsageError(f"--photos {photos} holds no file *.jpg")
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        drawn = Path(work, "photographs")
        if not models or photos is None:
            _tell("drawing demonstration photographs")
            _amulet("data", "demo", "--out", str(drawn), "--seed", str(_SEED), "--per-class", str(_PER_CLASS))
        if not models:
            _tell("training a model on them")
            run = Path(work, "run")
            _amulet("train", str(drawn), "--out", str(run), "--seed", str(_SEED), "--name", "bench")
            models = (_served(run, drawn),)
        if photos is None:
            photos = Path(work, "jpeg")
            photos.mkdir()
            for number, path in enumerate(sorted(drawn.glob("*/*.jpg"))):
                path.rename(photos / f"{number:04}.jpg")
        yield models, photos


def _check_run(run: Path) -> None:
    """Raises UsageError unless the folder is what `amulet train` makes. It takes minutes until it is used."""
    import onnxruntime

    from model_store.card import Card, CardInvalid

    made = "a run is the folder that `amulet train --out` makes"
    missing = [name for name in ("model.json", "model.onnx") if not (run / name).is_file()]
    if missing:
        raise click.UsageError(f"--model {run} holds no {missing[0]}: {made}")
    try:
        Card.parse((run / "model.json").read_bytes())
    except (CardInvalid, OSError) as error:
        raise click.UsageError(f"--model {run} is no run: {error}") from error
    try:
        onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no name that can be imported
        why = " ".join(str(error).split())
        raise click.UsageError(f"--model {run} holds a model.onnx that cannot be opened: {why}") from error


def _served(run: Path, drawn: Path) -> Path:
    """What the archive of a run holds: the form of its graph that is fastest here, which the peers serve too."""
    _tell("packing the form that is fastest here")
    archive, served = run.with_suffix(".mar"), run.with_name("served")
    _amulet(
        "package", str(run), "--out", str(archive), "--fastest-on", str(drawn), "--ood", str(drawn / "ood"), "--json"
    )
    with zipfile.ZipFile(archive) as members:
        members.extractall(served)
    return served


def _amulet(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise click.ClickException(f"`amulet {' '.join(arguments)}` failed: {done.stderr.strip()[-500:]}")


def _first(failures: BaseExceptionGroup[Any]) -> str:
    """What the first of callers that failed together says."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return (failure.strerror if isinstance(failure, OSError) else None) or str(failure)


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)


def _show(found: Mapping[str, Any], json_file: Path | None) -> None:
    from benchmarks.figures import table

    about = found["machine"]
    click.echo(
        f"{about['cpu']}, {about['cpus']} cores; load before {about['load_1min_before']:.1f}, "
        f"busy {about['busy_ratio']:.0%} on the whole"
    )
    click.echo(table(found["systems"], found["ratios"]), nl=False)
    _keep(found, json_file)


def _keep(found: Mapping[str, Any], json_file: Path | None) -> None:
    if json_file is not None:
        try:
            results.write(json_file, json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise click.ClickException(f"--json {json_file} cannot be written: {error.strerror}") from error
