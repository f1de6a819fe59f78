"""A served model's answers, from the graph itself: what callers get is what is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from handlers.amulet_handler import PhotoRefused, pixels_of
from model_store.archive import Archive
from model_store.card import Card, CardInvalid
from model_store.errors import ArchiveRefused
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision, decide, prediction_set
from training.data.errors import PhotoBroken
from training.data.folder import Photo
from training.errors import ModelUnreadable
from training.served.above import Above, above
from training.served.learnt import Learnt, learnt_of

GRAPH: Final = "model.onnx"
CARD: Final = "model.json"
HEAT_MAP: Final = "heatmap"
HEAT_MAP_PLUS_PLUS: Final = "heatmap_plus_plus"
_BATCH: Final = 16
_BAD_GRAPH: Final = (
    onnxruntime_errors.Fail,
    onnxruntime_errors.InvalidGraph,
    onnxruntime_errors.InvalidProtobuf,
    onnxruntime_errors.InvalidArgument,
    onnxruntime_errors.NotImplemented,
    onnxruntime_errors.RuntimeException,
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the graph says of n photographs."""

    probabilities: NDArray[np.float32]  # [n, classes], calibrated
    embedding: NDArray[np.float32]  # [n, size]
    scores: dict[str, NDArray[np.float32]]  # detector -> [n]

    def decisions(self, card: Card) -> tuple[Decision, ...]:
        """The verdict on each, by the rule that the gateway uses."""
        return tuple(decide(*self._row(index), card.decision.limits) for index in range(len(self.probabilities)))

    def above(self, card: Card) -> tuple[Above, ...]:
        """What is said of each above the classes, by the rule that the gateway uses."""
        limits, levels = card.decision.limits, card.level_rules
        return tuple(
            above(decision, *self._row(index), limits, levels) for index, decision in enumerate(self.decisions(card))
        )

    def sets(self, card: Card) -> tuple[tuple[int, ...], ...]:
        """The conformal set of each: class indices, best first; empty where the card promises none."""
        return tuple(prediction_set(row.tolist(), card.decision.limits) for row in self.probabilities)

    def _row(self, index: int) -> tuple[list[float], dict[str, float]]:
        """Probabilities and scores of one photograph."""
        return self.probabilities[index].tolist(), {name: float(rows[index]) for name, rows in self.scores.items()}


# images uint8 [H, W, 3] of one batch, and a class or -1 for each one's best -> what the model says of them, and grids
# [n, rows, columns], at least 0.
Explain = Callable[[Sequence[NDArray[np.uint8]], int], tuple[Answers, NDArray[np.floating]]]


class GraphModel:
    """`model.onnx` and its card, opened with onnxruntime. Not for several threads at once."""

    def __init__(self, card: Card, graph: bytes, *, threads: int, path: Path | None = None) -> None:
        """path: what it was opened from.

        Raises ModelUnreadable where the graph does not load or does not answer as its card says.
        """
        try:
            self._session = _session(graph, threads)
        except _BAD_GRAPH as error:
            raise ModelUnreadable(f"{GRAPH} of {card.version} does not load: {_first_line(error)}") from None
        self.card = card
        self._path = path
        self._graph, self._threads = graph, threads
        self._signed: onnxruntime.InferenceSession | None = None
        self.sha256 = hashlib.sha256(graph).hexdigest()
        self._outputs = ["probabilities", "embedding", *(f"score_{name}" for name in card.graph.detectors)]
        missing = sorted(set(self._outputs) - {output.name for output in self._session.get_outputs()})
        if missing:
            raise ModelUnreadable(f"{GRAPH} of {card.version} has no output {missing[0]}, which its card promises")

    @staticmethod
    def open(path: Path, *, threads: int) -> GraphModel:
        """path: a RUN folder, an archive, or a model.onnx with its model.json beside it.

        Raises ModelUnreadable saying what is missing.
        """
        card, graph = read_model(path)
        return GraphModel(card, graph, threads=threads, path=path)

    @cached_property
    def learnt(self) -> Learnt:
        """What it learnt from, as far as its files tell. Raises ModelUnreadable."""
        return learnt_of(self._path, self.card) if self._path is not None else Learnt(self.card.data.fingerprint)

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """A photograph as the graph takes it. Raises PhotoBroken with the reason."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PhotoBroken(path, f"cannot be read ({error.strerror})") from None
        return self.pixels_in(content, path)

    def seen(self, photo: Photo) -> NDArray[np.uint8]:
        """As `pixels`, of a photograph that was read before. Raises DataChanged where it is not the same any more."""
        return self.pixels_in(photo.content(), photo.path)

    def pixels_in(self, content: bytes, path: Path) -> NDArray[np.uint8]:
        """As `pixels`, of a file that holds this content."""
        try:
            return pixels_of(content, self.card.input.height_px, self.card.input.width_px)
        except PhotoRefused as error:
            raise PhotoBroken(path, f"is refused: {error}") from None

    def answer(self, images: Iterable[NDArray[np.uint8]]) -> Answers:
        """images: uint8 [H, W, 3] of the model's size; read one batch at a time."""
        found: list[list[NDArray[np.float32]]] = []
        waiting: Iterator[NDArray[np.uint8]] = iter(images)
        while batch := list(islice(waiting, _BATCH)):
            target = np.full(len(batch), -1, np.int64)
            found.append(self._session.run(self._outputs, {"image": np.stack(batch), "target": target}))
        if not found:
            sizes = (len(self.card.classes), self.card.graph.embedding_size)
            found = [[np.zeros((0, size), np.float32) for size in sizes]]
            found[0] += [np.zeros(0, np.float32) for _ in self.card.graph.detectors]
        probabilities, embedding, *scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Answers(probabilities, embedding, dict(zip(self.card.graph.detectors, scores, strict=True)))

    def explain(
        self, images: Sequence[NDArray[np.uint8]], target: int, *, output: str = HEAT_MAP
    ) -> tuple[Answers, NDArray[np.float32]]:
        """The answers to one batch, and its heat maps [n, rows, columns]; target -1 is each one's best class.

        output: the kind of map. Raises ModelUnreadable where the graph draws none.
        """
        self.check_draws(output)
        targets = np.full(len(images), target, np.int64)
        probabilities, embedding, *rest = self._session.run(
            [*self._outputs, output], {"image": np.stack(images), "target": targets}
        )
        scores = dict(zip(self.card.graph.detectors, rest[:-1], strict=True))
        return Answers(probabilities, embedding, scores), rest[-1]

    def signed_maps(self, images: Sequence[NDArray[np.uint8]], target: int) -> NDArray[np.float64]:
        """The heat maps of one batch before their relu, [n, rows, columns]: below 0 speaks against the class.

        Raises ModelUnreadable where the graph draws none.
        """
        self.check_draws(HEAT_MAP)
        if self._signed is None:
            self._signed = _session(_before_relu(self._graph), self._threads)
        inputs = {"image": np.stack(images), "target": np.full(len(images), target, np.int64)}
        return np.asarray(self._signed.run(None, inputs)[0], np.float64)

    def check_draws(self, heat_map: str) -> None:
        """Raises ModelUnreadable where the graph has no such output."""
        if heat_map not in {output.name for output in self._session.get_outputs()}:
            raise ModelUnreadable(f"{GRAPH} of {self.card.version} has no output {heat_map}: it cannot explain itself")


def _session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _before_relu(graph: bytes) -> bytes:
    """The same graph with one output: what its heat map is before negative cells become 0."""
    model = onnx.load_from_string(graph)
    (relu,) = (node for node in model.graph.node if HEAT_MAP in node.output)
    if relu.op_type != "Relu":
        raise ModelUnreadable(f"the graph's {HEAT_MAP} does not end in a Relu: it shows nothing of what speaks against")
    (shape,) = (output for output in model.graph.output if output.name == HEAT_MAP)
    shape.name = relu.input[0]
    del model.graph.output[:]
    model.graph.output.append(shape)
    return model.SerializeToString()


def read_model(path: Path) -> tuple[Card, bytes]:
    """Card and graph of a RUN folder, an archive, or a model.onnx with its model.json beside it.

    Raises ModelUnreadable saying what is missing.
    """
    if not path.exists():
        raise ModelUnreadable(f"there is no model {path}: name a RUN folder, an archive (.mar) or a {GRAPH}")
    if path.is_dir() or path.suffix == ".onnx":
        graph = path / GRAPH if path.is_dir() else path
        return _card_of(_bytes(graph.with_name(CARD)), path), _bytes(graph)
    try:
        archive = Archive.open(path)
        return archive.card(), archive.read(GRAPH)
    except ArchiveRefused as error:
        raise ModelUnreadable(f"{path} is no RUN folder, no {GRAPH} and no archive that can be read: {error}") from None


def _card_of(text: bytes, path: Path) -> Card:
    try:
        return Card.parse(text)
    except CardInvalid as error:
        raise ModelUnreadable(f"{path}: {error}") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelUnreadable(
            f"{path} cannot be read ({error.strerror}): a model is a {GRAPH} with its {CARD} beside it"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def verdict_name(verdict: words.Verdict.ValueType) -> str:
    """IN_DOMAIN, UNSURE or OUT_OF_DISTRIBUTION."""
    return words.Verdict.Name(verdict).removeprefix("VERDICT_")


def reason_names(reasons: Sequence[words.Reason.ValueType]) -> list[str]:
    return [words.Reason.Name(reason).removeprefix("REASON_") for reason in reasons]
