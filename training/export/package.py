"""A run as one archive that TorchServe takes: the run's files, the handler and its stub."""

from __future__ import annotations

import inspect
from pathlib import Path

from handlers import amulet_handler
from model_store import archive
from model_store.archive import ArchiveSummary
from protos.amulet.graph.v1 import graph_pb2
from training.errors import ModelUnreadable
from training.served.answers import CARD


def package(run: Path, out: Path, *, sign_key: Path | None) -> ArchiveSummary:
    """Write the archive of a RUN folder to `out`, whole or not at all.

    Raises ModelUnreadable where `run` is none, ArchiveRefused for a rule that the run breaks,
    KeyUnusable for a key that cannot sign.
    """
    if not (run / CARD).is_file():
        raise ModelUnreadable(f"{run} is no RUN folder: it has no {CARD}; make one with `amulet train`")
    return archive.build(run, out, handler=_file_of(amulet_handler), stub=_file_of(graph_pb2), sign_key=sign_key)


def _file_of(module: object) -> Path:
    return Path(inspect.getfile(module))  # type: ignore[arg-type]  # a module is what inspect takes
