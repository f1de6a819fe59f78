"""What one photograph at a time costs a form of a model: time, memory, and where the time goes.

Each form is measured in a process of its own (`python -m training.export.latency FILE IMAGES.npy PROVIDER
[profiled]`) that imports nothing but its runtime: its peak memory is then that of the form. It ends when its standard
input does, which is with the process that waits for it, however that ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store import leftovers
from training.errors import NotMeasured

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TORCHSCRIPT_SUFFIX: Final = ".pt"
CALLS: Final = 100
_WARM_CALLS: Final = 5
_PROFILED: Final = "profiled"
_SCRATCH: Final = "amulet-latency-"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one thread, one photograph a call."""

    best: tuple[int, ...]  # the best class of each image
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float  # median; a busy machine stretches it less than the clock
    peak_mib: float  # of the whole process
    spent_us: Mapping[str, float]  # node of the graph -> time in it, of one call; empty for TorchScript


def measure(file: Path, images: NDArray[np.uint8], *, provider: str = CPU, profiled: bool = True) -> Cost:
    """images: uint8 [n, H, W, 3] at the model's size.  profiled: whether to look where the time goes (`spent_us`).

    Raises NotMeasured with what the runtime said, or that the process was killed.
    """
    with leftovers.held_folder(_SCRATCH) as work:
        saved = work / "images.npy"
        np.save(saved, images)
        command = [
            sys.executable,
            "-m",
            __name__,
            str(file.resolve()),
            str(saved),
            provider,
            *([_PROFILED] if profiled else []),
        ]
        done = _run(command)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["the process was killed, perhaps for want of memory"])[-1]
        raise NotMeasured(f"{file.name} did not run to its end where it is timed: {said}")
    document = json.loads(done.stdout)
    return Cost(**{**document, "best": tuple(document["best"])})


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Once this process is killed nobody holds the other end of what its child reads: the child then ends, too."""
    read_end, held = os.pipe()
    try:
        return subprocess.run(
            command, stdin=read_end, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
        )
    finally:
        os.close(read_end)
        os.close(held)


def measure_in_turn(asked: Sequence[tuple[Path, NDArray[np.uint8]]], *, rounds: int) -> list[Cost]:
    """Each file with its own images, as for `measure`: one after the other in each round, every other round backwards.

    Figures are medians over the rounds; `spent_us` is empty. Raises NotMeasured.
    """
    taken: list[list[Cost]] = [[] for _ in asked]
    order = list(range(len(asked)))
    for turn in range(rounds):
        for number in order if turn % 2 == 0 else reversed(order):
            taken[number].append(measure(*asked[number], profiled=False))
    return [_median(own) for own in taken]


def _median(rounds: Sequence[Cost]) -> Cost:
    def of(figure: Callable[[Cost], float]) -> float:
        return float(np.median([figure(each) for each in rounds]))

    return Cost(
        best=rounds[0].best,
        p50_ms=of(lambda each: each.p50_ms),
        p95_ms=of(lambda each: each.p95_ms),
        p99_ms=of(lambda each: each.p99_ms),
        cpu_ms=of(lambda each: each.cpu_ms),
        peak_mib=of(lambda each: each.peak_mib),
        spent_us={},
    )


def _measured(file: Path, images: NDArray[np.uint8], provider: str, *, profiled: bool) -> dict[str, Any]:
    answer, spent = _torchscript(file) if file.suffix == TORCHSCRIPT_SUFFIX else _onnx(file, provider)
    best = [int(answer(image[np.newaxis]).argmax()) for image in images]
    for image in images[:_WARM_CALLS]:
        answer(image[np.newaxis])
    took_ms, cpu_ms = [], []
    for call in range(CALLS):
        image = images[call % len(images)][np.newaxis]
        began, began_cpu = time.perf_counter(), time.process_time()
        answer(image)
        cpu_ms.append((time.process_time() - began_cpu) * 1e3)
        took_ms.append((time.perf_counter() - began) * 1e3)
    p50, p95, p99 = (float(value) for value in np.quantile(took_ms, (0.5, 0.95, 0.99)))
    return {
        "best": best,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "cpu_ms": float(np.median(cpu_ms)),
        "peak_mib": _peak_mib(),
        "spent_us": spent(images) if profiled else {},
    }


def _peak_mib() -> float:
    """Of this program. What getrusage says also holds what the process was before: a copy of who started it."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024.0


_Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images -> probabilities [n, classes]
_Spent = Callable[[NDArray[np.uint8]], dict[str, float]]


def _onnx(file: Path, provider: str) -> tuple[_Answer, _Spent]:
    import onnxruntime

    def session(*, profiled_below: str = "") -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        if profiled_below:
            options.enable_profiling, options.profile_file_prefix = True, profiled_below
        return onnxruntime.InferenceSession(str(file), options, providers=[provider])

    def run(opened: onnxruntime.InferenceSession, images: NDArray[np.uint8], outputs: list[str] | None) -> Any:
        return opened.run(outputs, {"image": images, "target": np.full(len(images), -1, np.int64)})

    plain = session()

    def spent(images: NDArray[np.uint8]) -> dict[str, float]:
        with leftovers.held_folder(_SCRATCH) as work:
            profiled = session(profiled_below=f"{work}/profile")
            for call in range(CALLS):
                run(profiled, images[call % len(images)][np.newaxis], None)
            events = json.loads(Path(profiled.end_profiling()).read_text("utf-8"))
        by_node: dict[str, list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                by_node.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"])
        # A node that another runs may appear several times a call: sums of calls, without the first ones.
        return {name: float(np.median(taken)) * len(taken) / CALLS for name, taken in by_node.items()}

    # All outputs, as in service.
    names = [output.name for output in plain.get_outputs()]
    place = names.index("probabilities")
    return lambda images: np.asarray(run(plain, images, names)[place]), spent


def _torchscript(file: Path) -> tuple[_Answer, _Spent]:
    import torch

    torch.set_num_threads(1)
    module = torch.jit.load(str(file)).eval()  # type: ignore[no-untyped-call]

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(images.copy()))[0])

    return answer, lambda _images: {}


def _end_with_who_asked() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written there
    os._exit(1)  # a clean end would wait for the call that is being timed


if __name__ == "__main__":
    Thread(target=_end_with_who_asked, name="who asked", daemon=True).start()
    print(
        json.dumps(_measured(Path(sys.argv[1]), np.load(sys.argv[2]), sys.argv[3], profiled=_PROFILED in sys.argv[4:]))
    )
