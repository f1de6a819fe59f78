"""`amulet data`: make a demonstration set."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from training.data.errors import DataWrong
from training.demo.photographs import PER_CLASS_DEFAULT, PER_CLASS_MAX, PER_CLASS_MIN, write_demo

SEED_MAX = 2**32 - 1


@click.group()
def data() -> None:
    """Check a folder of photographs, or make a demonstration one."""


@data.command(epilog="Example: amulet data demo --out photographs --seed 7 --per-class 40")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new or empty folder to write to.")
@click.option(
    "--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True, help="Another seed, other photographs."
)
@click.option(
    "--per-class",
    type=click.IntRange(PER_CLASS_MIN, PER_CLASS_MAX),
    default=PER_CLASS_DEFAULT,
    show_default=True,
    help="Photographs of each class, fronts and backs, and of each set of other things.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def demo(out: Path, seed: int, per_class: int, as_json: bool) -> None:
    """Draw a demonstration set: tablets in eight classes, and coins and objects that are none of them.

    Writes CLASS/front_NNN.jpg and CLASS/back_NNN.jpg, ood/coins/, ood/objects/, and the
    classes' Thai and English names in classes.yaml. The same seed draws the same photographs.
    """
    with worded(), progress_bar("Drawing photographs") as progress:
        written = write_demo(out, seed=seed, per_class=per_class, progress=progress)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "path": str(written.path),
                    "seed": written.seed,
                    "photos": written.photos,
                    "classes": dict(written.per_class),
                    "ood": dict(written.outside),
                }
            )
        )
        return
    click.echo(
        f"{written.photos} photographs in {out}: {len(written.per_class)} classes of {per_class}, "
        f"and {per_class} each of {' and '.join(written.outside)} under {out / 'ood'}"
    )


@contextmanager
def worded() -> Iterator[None]:
    """What is wrong with the data or the disk, as the one sentence that the command line prints."""
    try:
        yield
    except DataWrong as wrong:
        raise click.ClickException(str(wrong)) from wrong
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise click.ClickException(f"the disk refused{where}: {error.strerror or error}") from error


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, to be called with (done, total); None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show
