"""Files that a command writes at its end: whether it may is asked first, since hours may lie between."""

from __future__ import annotations

import os
from pathlib import Path

import click


def check_writable(path: Path, option: str) -> None:
    """Raises UsageError where no file of this name can be written. Makes no file, and no folder."""
    why = _why_not(path)
    if why:
        raise click.UsageError(f"{option} {path} cannot be written: {why}")


def write_text(path: Path, text: str, option: str) -> None:
    """Write a file, and the folders above it. Raises ClickException."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise click.ClickException(f"{option} {path} cannot be written: {error.strerror}") from error


def _why_not(path: Path) -> str:
    try:
        if path.is_dir():
            return "it is a folder: name a file"
        if path.exists():
            return "" if os.access(path, os.W_OK) else "it may not be changed by you"
        above = next(folder for folder in path.absolute().parents if folder.exists())
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        return error.strerror or str(error)
    if not above.is_dir():
        return f"{above} is no folder"
    return "" if os.access(above, os.W_OK | os.X_OK) else f"{above} is not open to you"
