"""What a model costs: to answer a photograph here, and to make, as far as that was noted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from model_store import leftovers
from training.experiments.tracking import TrackedRun
from training.export import latency
from training.served.answers import GRAPH, GraphModel, read_model

_ROUNDS: Final = 3
_TRAINS: Final = "train"  # the command whose runs tell of a training


@dataclass(frozen=True, slots=True)
class Cost:
    """What it takes to answer one photograph, on the machine that compares: one thread, medians over rounds."""

    size_mb: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float  # a busy machine stretches it less than the clock
    peak_mib: float  # of a process that does nothing else


@dataclass(frozen=True, slots=True)
class Training:
    """What it took to make a run, on the machine that made it, with the packages and for the reports of that day."""

    took_s: float
    peak_mib: float


def costs_of(models: Sequence[GraphModel], paths: Sequence[Path]) -> list[Cost]:
    """Of each model, measured in turn: whatever else the machine does meanwhile meets all of them alike."""
    with leftovers.held_folder("amulet-compare-") as work:
        asked = []
        for number, (model, path) in enumerate(zip(models, paths, strict=True)):
            graph = work / f"{number}.onnx"  # an archive holds it compressed
            graph.write_bytes(read_model(path)[1])
            asked.append((graph, np.full((1, model.card.input.height_px, model.card.input.width_px, 3), 127, np.uint8)))
        found = latency.measure_in_turn(asked, rounds=_ROUNDS)
    files = [path / GRAPH if path.is_dir() else path for path in paths]
    return [
        Cost(file.stat().st_size / 1e6, each.p50_ms, each.p95_ms, each.cpu_ms, each.peak_mib)
        for file, each in zip(files, found, strict=True)
    ]


def training_of(path: Path, noted: Sequence[TrackedRun]) -> Training | None:
    """By the graph's digest: a folder may have moved, and what is made again from its card is the same bytes."""
    digest = hashlib.sha256(read_model(path)[1]).hexdigest()
    own = [run for run in noted if run.command == _TRAINS and digest in run.artefacts.values()]
    last = max(own, key=lambda run: run.started_at, default=None)
    return None if last is None else Training(last.seconds, last.peak_mib)
