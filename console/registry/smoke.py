"""The smoke test: golden photographs, asked of the real worker, compared with the card.

What a card says of a golden photograph was computed from the graph on the machine that
trained it. Other processors round differently, so a small distance is allowed; another graph,
another temperature or another colour order is far outside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Protocol

from console.torchserve.errors import BackendAway
from console.torchserve.management import Backend, BackendVersion
from protos.amulet.graph.v1 import graph_pb2

if TYPE_CHECKING:
    from model_store.card import Card, GoldenCard

PROBABILITY_DISTANCE_MAX: Final = 1e-3
SCORE_DISTANCE_RATIO_MAX: Final = 1e-3
# Integer kernels differ between processors by more than rounding.
INT8_FACTOR: Final = 20.0
READY_S_MAX: Final = 120.0  # a second try, where the first worker did not come up
POLL_S: Final = 0.1
SETTLED_S: Final = 0.3
TOGETHER_MAX: Final = 8  # what a handler takes
TOGETHER_BYTES_MAX: Final = 8 * 2**20  # half of what TorchServe takes
_NEGATIVE: Final = bytes(reversed(range(256)))
AWAY_S_MAX: Final = 10.0


class Worker(Protocol):
    def predict(self, name: str, version: str, pixels: Sequence[bytes]) -> graph_pb2.GraphAnswer: ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """One golden photograph: how far the worker's answer is from the card's."""

    photo: str
    probability_distance: float  # largest absolute difference
    score_distance_ratio: float  # largest difference relative to the card's score
    problem: str  # "" when the answer is right


@dataclass(frozen=True, slots=True)
class SmokeReport:
    comparisons: tuple[Comparison, ...]
    ready_s: float  # from registration to a worker that is ready
    graph_ms: float  # of the slowest run
    problem: str  # "" when it passed

    @property
    def passed(self) -> bool:
        return not self.problem

    def as_document(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "passed": self.passed,
            "problem": self.problem,
            "ready_s": round(self.ready_s, 3),
            "graph_ms": round(self.graph_ms, 3),
            "photos": [
                {
                    "photo": item.photo,
                    "probability_distance": _plain(item.probability_distance),
                    "score_distance_ratio": _plain(item.score_distance_ratio),
                    "problem": item.problem,
                }
                for item in self.comparisons
            ],
        }


def smoke_test(
    card: Card,
    key: BackendVersion,
    golden: Mapping[str, bytes],
    *,
    backend: Backend,
    worker: Worker,
    wait: Callable[[float], object] = time.sleep,
) -> SmokeReport:
    """Load the version unless it is loaded, ask every golden photograph, compare.

    golden: name -> PNG at the model's size.  Raises BackendAway when TorchServe does not answer
    (the test is not done then), BackendRefused when it will not load the version.
    """
    started = time.monotonic()
    if not ensure_ready(backend, key, seconds=READY_S_MAX, wait=wait):
        return SmokeReport((), time.monotonic() - started, 0.0, _not_ready(backend, key))
    ready_s = time.monotonic() - started
    pixels = {name: pixels_of(png, card) for name, png in golden.items()}
    # All at once, so that they meet in batches as callers' photographs do.
    with ThreadPoolExecutor(max_workers=len(card.golden)) as pool:
        answers = list(pool.map(lambda item: worker.predict(key.name, key.version, [pixels[item.file]]), card.golden))
    comparisons = tuple(compare(item, answer, card, key) for item, answer in zip(card.golden, answers, strict=True))
    problem = next((f"{item.photo}: {item.problem}" for item in comparisons if item.problem), "")
    problem = problem or _problem_together(card, key, pixels, worker)
    return SmokeReport(comparisons, ready_s, max(answer.graph_ms for answer in answers), problem)


def _problem_together(card: Card, key: BackendVersion, pixels: Mapping[str, bytes], worker: Worker) -> str:
    """What is wrong where photographs share a request, as callers' do: each is to have its own answer all the same."""
    first = pixels[card.golden[0].file]
    asked = min(TOGETHER_MAX, TOGETHER_BYTES_MAX // len(first))
    if asked < 2:
        return ""
    goldens = card.golden[: asked - 1]
    stranger = first.translate(_NEGATIVE)
    answer = worker.predict(key.name, key.version, [*(pixels[item.file] for item in goldens), stranger])
    if not answer.HasField("fault") and len(answer.outputs) != len(goldens) + 1:
        return f"in one request with others: {len(answer.outputs)} answers for {len(goldens) + 1} photographs"
    for index, item in enumerate(goldens):
        own = graph_pb2.GraphAnswer()
        own.CopyFrom(answer)
        del own.outputs[:]
        own.outputs.extend(answer.outputs[index : index + 1])
        if problem := compare(item, own, card, key).problem:
            return f"{item.file}, in one request with others: {problem}"
    return ""


def ensure_ready(
    backend: Backend, key: BackendVersion, *, seconds: float, wait: Callable[[float], object] = time.sleep
) -> bool:
    """Have TorchServe hold this version with a worker that is ready; False when none was in time.

    Whoever calls this holds the version first, else the reconciler drops it again. Ready means
    ready twice, SETTLED_S apart: a reconciler that looked before the hold has dropped it by then.
    Raises BackendAway when TorchServe stays away for AWAY_S_MAX, BackendRefused.
    """
    until = time.monotonic() + seconds
    away_until = time.monotonic() + min(AWAY_S_MAX, seconds)
    seen = False
    while True:
        try:
            ready = _is_ready(backend, key)
        except BackendAway:
            # Also what TorchServe answers while the same version is just being dropped.
            if time.monotonic() >= away_until:
                raise
            ready = False
        if ready and seen:
            return True
        if time.monotonic() >= until:
            return False
        seen = ready
        wait(SETTLED_S if ready else POLL_S)


def _not_ready(backend: Backend, key: BackendVersion) -> str:
    problem = f"no worker was ready within {READY_S_MAX:g} s"
    try:
        loaded = backend.describe(key.name, key.version)
    except BackendAway:
        return f"{problem}, and TorchServe does not answer"
    if loaded is None:
        return f"{problem}, and TorchServe holds the version no more"
    return f"{problem}; TorchServe holds the version with {loaded.workers} workers that are not: its log says why"


def _is_ready(backend: Backend, key: BackendVersion) -> bool:
    loaded = backend.describe(key.name, key.version)
    if loaded is not None and loaded.key.file_name != key.file_name:
        backend.unregister(loaded.key)
        loaded = None
    if loaded is None:
        backend.register(key)
        return False  # the next look tells
    return loaded.workers_ready > 0


def compare(golden: GoldenCard, answer: graph_pb2.GraphAnswer, card: Card, key: BackendVersion) -> Comparison:
    """The worker's answer beside the card's, for one photograph."""
    if answer.HasField("fault"):
        return Comparison(golden.file, 0.0, 0.0, f"the handler refused it: {answer.fault.message}")
    if (answer.model, answer.version) != (key.name, key.version):
        said = f"{answer.model} {answer.version}"
        return Comparison(golden.file, 0.0, 0.0, f"{said} answered, {key.name} {key.version} was signed")
    if len(answer.outputs) != 1 or len(answer.outputs[0].probabilities) != len(golden.probabilities):
        return Comparison(golden.file, 0.0, 0.0, "the answer does not have the card's classes")
    output = answer.outputs[0]
    if missing := sorted(set(golden.scores) - set(output.scores)):
        return Comparison(golden.file, 0.0, 0.0, f"no score from {', '.join(missing)}")
    probability = _largest(
        abs(found - said) for found, said in zip(output.probabilities, golden.probabilities, strict=True)
    )
    score = _largest(abs(output.scores[name] - said) / max(abs(said), 1e-6) for name, said in golden.scores.items())
    factor = INT8_FACTOR if card.graph.form == "int8" else 1.0
    problem = ""
    if not probability <= PROBABILITY_DISTANCE_MAX * factor:  # also true of NaN
        problem = f"its probabilities are {probability:.2g} from the card's"
    elif not score <= SCORE_DISTANCE_RATIO_MAX * factor:
        problem = f"its scores are {score:.2g} of their size from the card's"
    elif (output.heat_map_rows, output.heat_map_columns) != tuple(card.graph.heat_map):
        problem = "its heat map does not have the card's rows and columns"
    return Comparison(golden.file, probability, score, problem)


def _largest(distances: Iterable[float]) -> float:
    """NaN where one is, which `max` sees in the first place alone."""
    known = list(distances)
    return math.nan if any(map(math.isnan, known)) else max(known, default=0.0)


def pixels_of(png: bytes, card: Card) -> bytes:
    """uint8 [height, width, 3] of a golden photograph, row by row. Raises ValueError for another size."""
    from PIL import Image  # only when a version is tried

    with Image.open(BytesIO(png), formats=["PNG"]) as picture:
        if picture.size != (card.input.width_px, card.input.height_px):
            raise ValueError(f"a golden photograph of {picture.size} for a model of {card.input}")
        return picture.convert("RGB").tobytes()


def _plain(number: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return number if math.isfinite(number) else None
