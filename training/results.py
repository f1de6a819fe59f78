"""Files that a command is asked for: looked at before hours of work, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import click

from model_store import placed
from training.data.errors import printable
from training.data.layout import HIDDEN, OUTSIDE_FOLDER

_NAMED: Final = "training.results.named"


class ResultFile(click.Path):
    """Where a result goes: an option of this type is refused, before any work, where no file can be written there.

    stdout: `-` is the standard output.
    """

    def __init__(self, *, stdout: bool = False) -> None:
        super().__init__(dir_okay=False, readable=False, writable=True, allow_dash=stdout, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        assert isinstance(path, Path)  # as path_type says
        if self.allow_dash and str(path) == "-":
            return path
        why = unwritable(path)
        if why:
            self.fail(why, param, ctx)
        if ctx is not None and param is not None and not _is_stream(path):
            first = ctx.meta.setdefault(_NAMED, {}).setdefault(os.path.realpath(path), param)
            if first is not param:
                self.fail(f"{first.opts[-1]} names that file, too: give each its own", param, ctx)
        return path


class ResultFolder(click.Path):
    """As `ResultFile`, of a folder that takes its place in one step when it is whole.

    kept: of one that is gone on with instead, where it is there.
    """

    def __init__(self, *, kept: bool = False) -> None:
        super().__init__(file_okay=False, path_type=Path)
        self._kept = kept

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        assert isinstance(path, Path)  # as path_type says
        why = unkeeping(path) if self._kept else unmakeable(path)
        if why:
            self.fail(why, param, ctx)
        return path


def unwritable(file: Path) -> str:
    """Why no file can be written there; empty where one can. A folder that is not there is not made."""
    if not _is_text(file):
        return f"{printable(str(file))} is no UTF-8: choose another name"
    try:
        if file.is_dir():
            return f"{file} is a folder: name a file in it"
        target = Path(os.path.realpath(file))
        target.exists()  # refuses a name that is too long
        if not target.parent.is_dir():
            return f"there is no folder {target.parent}: make it first, or name a file in another"
    except OSError as error:
        return f"{file} cannot be a file: {error.strerror}"
    return "" if _is_stream(target) else _takes_none(target.parent)


def unmakeable(path: Path) -> str:
    """Why nothing can be made there, parents and all, in place of what may be there; empty where something can."""
    if not _is_text(path):  # reports and cards hold names as text
        return f"{printable(str(path))} is no UTF-8: choose another name"
    if path.name in ("", ".."):
        return f"{path} says where, and not what: give the folder its name, as in ../run"
    place = Path(os.path.realpath(path))
    try:
        if os.path.ismount(place):
            return f"{place} is where a disk is mounted: name a folder inside it"
        place.exists()  # refuses a name that is too long
        above = next(each for each in place.parents if os.path.lexists(each))
    except OSError as error:
        return f"{path} cannot be made: {error.strerror}"
    if not above.is_dir():
        return f"{path} cannot be made: {above} is no folder"
    return _takes_none(above)


def check_apart(out: Path, data: Path, *, outside: bool = False) -> None:
    """Raises UsageError where results in `out` would be a class of the photographs in `data` the next time.

    outside: the results are photographs of other things, which may lie under `ood`.
    """
    place, photographs = (Path(os.path.realpath(path)) for path in (out, data))
    if photographs not in place.parents:
        return
    first = place.relative_to(photographs).parts[0]
    if first.startswith(HIDDEN) or (outside and first == OUTSIDE_FOLDER):
        return
    raise click.UsageError(f"--out {out} lies inside {data}, where each folder is a class: name a folder beside it")


def unkeeping(folder: Path) -> str:
    """Why nothing can be kept in a folder, there already or made when it is needed; empty where something can."""
    if folder.is_dir() and _is_text(folder):
        return _takes_none(folder)
    return unmakeable(folder) or (f"{folder} is no folder: name another" if folder.exists() else "")


def _is_text(path: Path) -> bool:
    return printable(str(path)) == str(path)


def _takes_none(folder: Path) -> str:
    """Why a folder takes no files; empty where it does. Tried, as rights say little of root and of other disks."""
    try:
        tempfile.TemporaryFile(dir=folder).close()  # it has no name: a kill leaves nothing
    except OSError as error:
        return f"the folder {folder} takes no files ({error.strerror}): name another"
    return ""


def write(file: Path, text: str) -> None:
    """The whole text in place of what was there, or what was there. A name that is no UTF-8 is spelt out.

    Raises OSError that names the file.
    """
    content = printable(text).encode()
    try:
        target = Path(os.path.realpath(file))
        if _is_stream(target):
            target.write_bytes(content)
        else:
            _replace(target, content)
    except OSError as error:
        number = error.errno or errno.EIO
        raise OSError(number, os.strerror(number), str(file)) from error


def _replace(target: Path, content: bytes) -> None:
    with placed.file(target) as new:
        new.write_bytes(content)
        if target.exists():
            new.chmod(target.stat().st_mode & 0o777)


def _is_stream(path: Path) -> bool:
    """A pipe, a terminal or /dev/null: it is written to, never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()
