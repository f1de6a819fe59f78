"""What a training costs, and how that grows with the photographs: `amulet bench training`.

From a folder of demonstration photographs to a signed archive, each size in processes of their own: seconds of the
clock and of the processor, the largest memory of any of them, and the seconds that each stage of the training takes. Of
two sizes, the seconds of the processor for each photograph that the larger has more: what grows linearly costs the
same for each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import busy_ratio, cpu_ticks, machine

CLASSES: Final = 8  # of the demonstration set
PER_CLASS: Final = (25, 50, 100)
LINEAR_MAX: Final = 1.3  # times as much for a photograph more as between the sizes before: still called linear
BEFORE: Final = "Starting"  # the stage before the first that a training tells of
_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one size."""

    photos: int
    wall_s: float
    cpu_s: float
    peak_mib: float
    archive_mib: float
    stages_s: Mapping[str, float] = field(default_factory=dict)  # of the training, by the clock


class TrainingFailed(RuntimeError):
    """A command of the measurement ended with an error."""


def measure(
    per_class: Sequence[int], *, config: Path | None = None, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """What is known after each size: a large one takes hours, and who stops it keeps the smaller ones.

    per_class: photographs of each of CLASSES classes, size by size, rising.  config: of the recipe.

    Raises TrainingFailed.
    """
    described, ticks = machine(), cpu_ticks()
    costs: list[Cost] = []
    for count in per_class:
        tell(f"{count * CLASSES} photographs")
        costs.append(_cost(count, config))
        yield {
            "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
            "settings": {
                "seed": _SEED,
                "per_class": list(per_class[: len(costs)]),
                "recipe": "standard",
                "config": "" if config is None else config.read_text("utf-8").strip(),
            },
            "sizes": [asdict(cost) for cost in costs],
            **growth(costs),
        }


def growth(costs: Sequence[Cost]) -> dict[str, Any]:
    """CPU seconds for a photograph more, between neighbouring sizes, and whether they stay the same."""
    more = [(later.cpu_s - cost.cpu_s) / (later.photos - cost.photos) for cost, later in pairwise(costs)]
    return {
        "cpu_s_a_photo_more": more,
        "linear": all(later <= LINEAR_MAX * earlier for earlier, later in pairwise(more)) if len(more) > 1 else None,
    }


def stages_of(lines: Iterable[str], clock: Callable[[], float]) -> tuple[dict[str, float], str]:
    """Seconds by stage, from what `amulet train --stages` says while it says it, and whatever else it said.

    clock: seconds; asked when a line comes, and at the end.
    """
    took: dict[str, float] = {}
    stage, began_s, rest = BEFORE, clock(), ""
    for line in lines:
        named, mark, _ = line.partition("\t")
        if not mark:
            rest += line
        elif named != stage:
            now_s = clock()
            took[stage] = took.get(stage, 0.0) + now_s - began_s
            stage, began_s = named, now_s
    took[stage] = took.get(stage, 0.0) + clock() - began_s
    return took, rest


def table(found: Mapping[str, Any]) -> str:
    """As a person reads it."""
    lines = [f"{'photographs':>12} {'clock s':>9} {'CPU s':>9} {'peak MiB':>9} {'archive MiB':>12}"]
    lines += [
        f"{row['photos']:>12} {row['wall_s']:>9.1f} {row['cpu_s']:>9.1f} {row['peak_mib']:>9.0f} "
        f"{row['archive_mib']:>12.1f}"
        for row in found["sizes"]
    ]
    stages = dict.fromkeys(stage for row in found["sizes"] for stage in row["stages_s"])
    for stage in stages:
        told = " ".join(f"{row['stages_s'].get(stage, 0.0):>9.1f}" for row in found["sizes"])
        lines.append(f"  {stage:<32} {told}")
    if found["cpu_s_a_photo_more"]:
        more = ", ".join(f"{value * 1000:.0f}" for value in found["cpu_s_a_photo_more"])
        verdict = {True: ": linear", False: ": more than linear", None: ""}[found["linear"]]
        lines.append(f"CPU milliseconds for a photograph more, size by size: {more}{verdict}")
    return "\n".join(lines) + "\n"


def _cost(per_class: int, config: Path | None) -> Cost:
    with tempfile.TemporaryDirectory(prefix="bench-training-") as work:
        data, run, key, archive = (Path(work, name) for name in ("photographs", "run", "signing.key", "model.mar"))
        _run("data", "demo", "--out", str(data), "--seed", str(_SEED), "--per-class", str(per_class))
        _run("signing-key", "create", "--out", str(key))
        # A folder of its own: each size exports its backbone, as somebody's first training does.
        more = ("--exports", str(Path(work, "exports")), *(() if config is None else ("--config", str(config))))
        began = time.monotonic()
        training = _run(
            "train", str(data), "--ood", str(data / "ood"), "--out", str(run), "--name", "bench", "--stages", *more
        )
        packing = _run("package", str(run), "--out", str(archive), "--sign", str(key))
        return Cost(
            photos=per_class * CLASSES,
            wall_s=time.monotonic() - began,
            cpu_s=training.cpu_s + packing.cpu_s,
            peak_mib=max(training.peak_mib, packing.peak_mib),
            archive_mib=archive.stat().st_size / 2**20,
            stages_s=training.stages_s,
        )


@dataclass(frozen=True, slots=True)
class _Used:
    """What the kernel says that one command of ours used."""

    cpu_s: float
    peak_mib: float
    stages_s: Mapping[str, float]


def _run(*arguments: str) -> _Used:
    command = [sys.executable, "-m", "cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        stages_s, rest = stages_of(child.stderr, time.monotonic)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise TrainingFailed(f"`amulet {' '.join(arguments)}` failed: {rest.strip()[-500:]}")
    return _Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024.0, stages_s)
