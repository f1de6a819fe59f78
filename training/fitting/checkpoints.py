"""What a fine-tuning keeps on disk: a file that holds the last whole epoch, whenever the process is killed.

Tensors and plain values only: `torch.load(..., weights_only=True)` reads it.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from model_store import leftovers
from protos.durable import sync_folder
from training.errors import ModelUnreadable


def content_of(state: dict[str, Any]) -> bytes:
    """The file's bytes, made in memory: on a full disk torch itself ends in a RuntimeError that names no file."""
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def of_content(content: bytes) -> dict[str, Any]:
    """The state whose content this is."""
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def write(path: Path, state: dict[str, Any]) -> None:
    """The whole state in place of the older one, on disk when this returns; or the older one is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.new")
    with leftovers.named(path.parent):
        try:
            with scratch.open("wb") as file:
                file.write(content_of(state))
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)  # on a full disk half of it would keep the disk full
        sync_folder(path.parent)


def read(path: Path) -> dict[str, Any] | None:
    """None where there is none. Raises ModelUnreadable where it is not whole, OSError where the disk refuses."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return of_content(content)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, OSError, zipfile.BadZipFile):
        raise ModelUnreadable(f"{path} is damaged: train the run again") from None
