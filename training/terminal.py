"""What the commands of training share: errors as one sentence, stages as bars, and what options are given as."""

from __future__ import annotations

import errno
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from training import documents
from training.data.errors import DataWrong, printable
from training.errors import TrainingRefused

SEED_MAX: Final = 2**32 - 1
# What would help, by what a disk says.
_RIGHT: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.ENOSPC: "; make room there",
        errno.EDQUOT: "; make room there, or ask for a larger quota",
        errno.EFBIG: "; let this user's files be larger (ulimit -f)",
        errno.EACCES: "; give this user the right to it",
        errno.EPERM: "; give this user the right to it",
        errno.EROFS: "; let it be written to",
    }
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def others_option(help: str) -> Callable[[Any], Any]:
    """`--ood DIR`, as often as there are such folders, as `outside`."""
    kind = click.Path(path_type=Path, exists=True, file_okay=False)
    return click.option("--ood", "outside", multiple=True, type=kind, metavar="DIR", help=help)


@contextmanager
def worded() -> Iterator[None]:
    """What is wrong with the data, the request or the disk, as the one sentence that the command line prints."""
    from PIL import Image

    from model_store.errors import ArchiveRefused, KeyUnusable

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is refused, in words of our own
            yield
    except (DataWrong, TrainingRefused, ArchiveRefused, KeyUnusable) as error:
        raise click.ClickException(str(error)) from error
    except BrokenProcessPool:
        raise click.ClickException(
            "a process of this command was ended from outside, most likely because memory ran out: give it more, or "
            "fewer --jobs"
        ) from None
    except MemoryError:
        raise click.ClickException("memory ran out: give this command more, or smaller photographs") from None
    except OSError as error:
        asked = error.filename2 or error.filename  # of a file that is renamed, the name that somebody gave
        where = f" {asked}" if asked else ""
        right = _RIGHT.get(error.errno or 0, "")
        if right and asked == tempfile.gettempdir():
            right = f"{right}, or name another folder by TMPDIR"
        elif right:
            right = f"{right}, or name another place"
        raise click.ClickException(f"the disk refused{where}: {error.strerror or error}{right}") from error


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A line on stderr for each stage, with a bar on a terminal: to be called with (stage, done, total)."""
    terminal = sys.stderr.isatty()
    state: dict[str, Any] = {"stage": None, "bar": None}

    def finish() -> None:
        if state["bar"] is not None:
            state["bar"].__exit__(None, None, None)
            state["bar"] = None

    def say(stage: str, done: int, total: int) -> None:
        if not terminal:
            return
        if stage != state["stage"]:
            finish()
            state["stage"] = stage
            state["bar"] = click.progressbar(length=total, label=f"{stage:<34}", file=sys.stderr)
            state["bar"].__enter__()
        state["bar"].update(done - state["bar"].pos)

    try:
        yield say
    finally:
        finish()


@contextmanager
def stage_lines() -> Iterator[Callable[[str, int, int], None]]:
    """As `stages`, for a program that watches: a line when the stage changes, and about one a second within it."""
    state: dict[str, Any] = {"stage": None, "said_s": 0.0}

    def say(stage: str, done: int, total: int) -> None:
        if stage != state["stage"] or time.monotonic() - state["said_s"] >= 1.0:
            state.update(stage=stage, said_s=time.monotonic())
            click.echo(f"{stage}\t{done}\t{total}", err=True)

    yield say


def settings_of(config: Path | None) -> dict[str, Any]:
    """Fields of a recipe from a YAML or JSON file; none where there is no file."""
    return mapping_of(config, option="--config", example="views: 20")


def mapping_of(file: Path | None, *, option: str, example: str) -> dict[str, Any]:
    """What a YAML or JSON file says of fields of the recipe; nothing where there is no file."""
    if file is None:
        return {}
    try:
        document = documents.of_yaml(file.read_text("utf-8"))
    except FileNotFoundError:
        raise click.ClickException(f"there is no file {file}: {option} names a YAML or JSON file") from None
    except ValueError as error:
        raise click.ClickException(f"{file} is neither YAML nor JSON: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise click.ClickException(f"{file} must map fields of the recipe to values, as in `{example}`")
    return document


def named(item: str) -> tuple[str, Path]:
    """A set of other things as NAME=DIR, or as DIR with the folder's own name."""
    name, mark, path = item.partition("=")
    if printable(name) != name:  # results hold it as text
        raise click.UsageError(f"--ood {printable(item)} has a name that is no UTF-8: choose another name")
    if not mark:
        return Path(item).name, Path(item)
    if not name or not path:
        raise click.UsageError(f"--ood {item} is not of the form NAME=DIR, as in --ood coins=photographs/ood/coins")
    return name, Path(path)


def written_files(*files: Path | None) -> list[Path]:
    """Those of the files that a command was asked for and wrote; "-" is the standard output."""
    return [file for file in files if file is not None and str(file) != "-"]


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
