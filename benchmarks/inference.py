"""What one photograph costs without any server: `amulet bench inference`.

Decoding as the gateway does it, against a whole decode; the graph in onnxruntime, by batch
and threads; where two forms of a model are given (fp32 and int8), one against the other.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import psutil
from PIL import Image

from benchmarks import figures
from benchmarks.figures import Row
from benchmarks.machine import busy_ratio, cpu_ticks, machine
from gateway.intake.pixels import open_photo
from handlers.amulet_handler import pixels_of

BATCHES: Final = (1, 4, 8)
_WARM_CALLS: Final = 3


def measure(runs: Sequence[Path], photos: Path, *, rounds: int = 5, seconds: float = 1.0) -> dict[str, Any]:
    """runs: training runs, or what `amulet quantize` made of one; each is a system named by its folder."""
    contents = [path.read_bytes() for path in sorted(photos.glob("*.jpg"))]
    described, ticks = machine(), cpu_ticks()
    threads = sorted({1, described["cpus"]})
    systems: dict[str, dict[str, tuple[Callable[[], object], int]]] = {"decode": _decoding(contents)}
    for run in runs:
        systems[run.name] = _running(run, contents, threads)
    kept: dict[str, dict[str, list[Row]]] = {name: {} for name in systems}
    for _ in range(rounds):
        for name, cases in systems.items():
            for case, (work, photographs) in cases.items():
                kept[name].setdefault(case, []).append(_timed(work, seconds, photographs))
    found = figures.medians(kept)
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {
            "rounds": rounds,
            "seconds": seconds,
            "photos": len(contents),
            "onnxruntime": onnxruntime.__version__,
            "models": {run.name: json.loads((run / "model.json").read_text())["version"] for run in runs},
        },
        "systems": found,
        "ratios": _ratios(found, [run.name for run in runs]),
        "rounds": kept,
    }


def _decoding(contents: Sequence[bytes]) -> dict[str, tuple[Callable[[], object], int]]:
    turns = _in_turn(contents)

    def scaled() -> object:
        content = next(turns)
        with Image.open(io.BytesIO(content)) as image:
            size = image.size
        return open_photo(content, format_name="JPEG", claimed_px=size, size_px=(224, 224))

    return {"gateway": (scaled, 1), "whole": (lambda: pixels_of(next(turns), 224, 224), 1)}


def _running(
    run: Path, contents: Sequence[bytes], threads: Sequence[int]
) -> dict[str, tuple[Callable[[], object], int]]:
    cases: dict[str, tuple[Callable[[], object], int]] = {}
    for count in threads:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            (run / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        side_px = session.get_inputs()[0].shape[1]
        names = [output.name for output in session.get_outputs() if output.name != "embedding"]
        images = np.stack([pixels_of(content, side_px, side_px) for content in contents[: max(BATCHES)]])
        for batch in BATCHES:
            feeds = {"image": images[:batch], "target": np.full(batch, -1, dtype=np.int64)}
            cases[f"b{batch}_t{count}"] = (lambda s=session, f=feeds, n=names: s.run(n, f), batch)  # type: ignore[misc]  # the loop's variables, bound
    return cases


def _in_turn(contents: Sequence[bytes]) -> Any:
    while True:
        yield from contents


def _timed(work: Callable[[], object], seconds: float, photographs: int) -> Row:
    for _ in range(_WARM_CALLS):
        work()
    took_ms, cpu_s, began_s = [], time.process_time(), time.perf_counter()
    while (now_s := time.perf_counter()) < began_s + seconds:
        work()
        took_ms.append((time.perf_counter() - now_s) * 1000)
    elapsed_s = time.perf_counter() - began_s
    rss_mib = psutil.Process().memory_info().rss / 2**20
    return figures.row(took_ms, elapsed_s, cpu_s=time.process_time() - cpu_s, rss_mib=rss_mib, per_call=photographs)


def _ratios(found: Mapping[str, Mapping[str, Row]], names: Sequence[str]) -> dict[str, float]:
    ratios = {"decode_gateway_to_whole": found["decode"]["gateway"]["rps"] / found["decode"]["whole"]["rps"]}
    if len(names) > 1:
        first, *others = names
        for other in others:
            for case, one in found[first].items():
                ratios[f"{other}_to_{first}_{case}"] = found[other][case]["rps"] / one["rps"]
    return ratios
