"""What a model costs: to answer a photograph here, and to make, as far as that was noted."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from training.evaluation.answers import GRAPH, GraphModel, read_model
from training.experiments.tracking import TrackedRun
from training.export import latency

_LATENCY_RUNS: Final = 40
_WARM_UP_RUNS: Final = 5
_TRAINS: Final = "train"  # the command whose runs tell of a training


@dataclass(frozen=True, slots=True)
class Cost:
    """What it takes to answer one photograph, on the machine that compares."""

    size_mb: float
    p50_ms: float
    p95_ms: float
    peak_mib: float  # of a process that does nothing else, one thread


@dataclass(frozen=True, slots=True)
class Training:
    """What it took to make a run, on the machine that made it, with the packages and for the reports of that day."""

    took_s: float
    peak_mib: float


def cost_of(model: GraphModel, path: Path) -> Cost:
    """Size of the graph, time of one photograph at a time through it, and memory of a process that holds it alone."""
    image = np.full((model.card.input.height_px, model.card.input.width_px, 3), 127, np.uint8)
    taken = []
    for number in range(_WARM_UP_RUNS + _LATENCY_RUNS):
        started = time.perf_counter()
        model.answer([image])
        if number >= _WARM_UP_RUNS:
            taken.append((time.perf_counter() - started) * 1000.0)
    file = path / GRAPH if path.is_dir() else path
    with tempfile.TemporaryDirectory() as work:
        graph = Path(work, GRAPH)  # an archive holds it compressed
        graph.write_bytes(read_model(path)[1])
        peak_mib = latency.measure(graph, image[np.newaxis]).peak_mib
    p50_ms, p95_ms = (float(np.quantile(taken, share)) for share in (0.5, 0.95))
    return Cost(file.stat().st_size / 1e6, p50_ms, p95_ms, peak_mib)


def training_of(path: Path, noted: Sequence[TrackedRun]) -> Training | None:
    """By the graph's digest: a folder may have moved, and what is made again from its card is the same bytes."""
    digest = hashlib.sha256(read_model(path)[1]).hexdigest()
    own = [run for run in noted if run.command == _TRAINS and digest in run.artefacts.values()]
    last = max(own, key=lambda run: run.started_at, default=None)
    return None if last is None else Training(last.seconds, last.peak_mib)
