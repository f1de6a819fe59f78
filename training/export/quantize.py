"""A run's graph with its backbone in 8 bits: smaller, faster, and held to the same decisions.

Static quantisation (QDQ) with real photographs: weights per channel in 7 of 8 bits, because
processors without VNNI saturate sums of 8-bit products and would then answer otherwise than
the machine that measured; activations in 8. Head, detectors and heat map stay in fp32: they
are a hundredth of the work, and where the decisions are made.

Rounding moves the embedding, and so the detectors' scores: outwards, by a tenth. The limits
and the distributions of the card move along the line that fits best between the two graphs'
scores. Then both graphs decide about photographs that nothing was calibrated on; where too
many decisions differ, there is no quantised run.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from PIL import Image
from scipy import stats

from model_store import examples, leftovers, placed, reference
from model_store.card import Card
from model_store.projection import projected
from protos.verdict import DetectorLimits
from training.data.duplicates import group_numbers, grouped, groups, near_duplicates
from training.data.folder import SUFFIXES, Folder, Photo, load_folder, read_photo
from training.errors import DataTooSmall, LabelsUnknown, ModelUnreadable, ParityBroken
from training.export import bias_correction, latency, run_folder
from training.export.compact import compact
from training.fitting import saved
from training.listing import counted
from training.served import learnt
from training.served.answers import CARD, GRAPH, Answers, GraphModel
from training.statistics.intervals import effective

SUFFIX: Final = "int8"
FIGURES: Final = "quantized.json"
OPERATORS: Final = ("Conv", "Add", "Clip")
CALIBRATION_MAX: Final = 96  # photographs; more move the ranges no further and cost half a second each
MEASURED_MIN: Final = 10
# What callers would notice: another best class, or another verdict, on photographs apart.
SAME_BEST_MIN: Final = 0.95
SAME_VERDICT_MIN: Final = 0.90
_FOLLOWS_MIN: Final = 0.9  # correlation from which a line through the scores means something
_TIMED: Final = 8  # photographs
_CORRECTED_WITH: Final = 16  # photographs
_TIMED_ROUNDS: Final = 3
_BACKBONE: Final = "backbone/"
_SCRATCH: Final = "amulet-quantize-"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Line:
    """A detector's score, or a projection, in the quantised graph, given the one in the graph before."""

    slope: float
    offset: float

    def __call__(self, score: float) -> float:
        return self.slope * score + self.offset


@dataclass(frozen=True, slots=True)
class Figures:
    """Both graphs on photographs that nothing was calibrated on. `_before`: fp32."""

    photos: int  # of the known classes
    outside: int  # of other things
    same_best: float  # share of `photos` with the same best class
    same_verdict: float  # share of all with the same verdict
    accuracy_before: float
    accuracy_after: float
    probability_shift_mean: float  # of the best class, absolute
    graph_bytes_before: int
    graph_bytes_after: int
    one_photo_ms_before: float  # median CPU time, one thread
    one_photo_ms_after: float
    accuracy_lost_at_most: float = 1.0  # upper end of its 95 % interval, whatever is gained elsewhere


@dataclass(frozen=True, slots=True)
class Division:
    """Labelled photographs, halved for one model as `halves` does: whoever compares forms of it divides them once."""

    fingerprint: str  # of their folder
    calibrating: tuple[Photo, ...]
    measuring: tuple[Photo, ...]
    groups: NDArray[np.intp]  # of those that measure, [n]: copies and views of one object share a number

    @classmethod
    def of(cls, model: GraphModel, data: Path) -> Division:
        """Raises what `load_folder` and `halves` raise."""
        folder = load_folder(data)
        together = groups(folder.photos, near_duplicates(folder.photos))
        calibrating, measuring = halves(folder, model, together)
        return cls(folder.fingerprint, tuple(calibrating), tuple(measuring), group_numbers(measuring, together))


def quantize(
    run: Path,
    data: Path,
    out: Path,
    *,
    outside: Sequence[Path] = (),
    progress: Progress = lambda *_: None,
    division: Division | None = None,
) -> tuple[Card, Figures]:
    """Write the quantised run to `out`, whole or not at all.

    data: labelled photographs, best the ones that `run` was trained on; half calibrates and half measures, as
    `halves` divides them; division: theirs, where it is known already.
    outside: folders of other things, of which every other one measures, copies together.
    Raises ModelUnreadable, LabelsUnknown, DataTooSmall, what `load_folder` raises, and
    ParityBroken with the figures.
    """
    before = opened(run)
    run_folder.check_free(out)
    division = division or Division.of(before, data)
    calibrating, measuring = division.calibrating, division.measuring
    if len(measuring) < MEASURED_MIN:
        raise DataTooSmall(
            f"{data} leaves {counted(len(measuring), 'photograph')} to measure on: at least {2 * MEASURED_MIN} are "
            "needed in all"
        )
    others = sorted(path for place in outside for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
    pixels = _pixels(before, calibrating[:CALIBRATION_MAX], "Reading", progress)
    progress("Quantising", 0, 1)
    graph = quantised(before_graph := (run / GRAPH).read_bytes(), pixels, progress=progress)
    card = replace(
        before.card,
        version=_version_of(before.card.version),
        graph=replace(before.card.graph, form="int8", sha256=hashlib.sha256(graph).hexdigest()),
    )
    after = GraphModel(card, graph, threads=1)
    moving, apart = _every_other(others)
    fitting = [*pixels, *_pixels(before, moving[:CALIBRATION_MAX], "Reading", progress)]
    lines = _lines(before.answer(fitting), after.answer(fitting))
    card = _moved(card, lines)
    own = _pixels(before, measuring, "Measuring", progress)
    foreign = _pixels(before, apart, "Measuring", progress)
    figures = _compare(before, GraphModel(card, graph, threads=1), division, own, foreign)
    ms_before, ms_after = _one_photo_ms((before_graph, graph), own[:_TIMED])
    figures = replace(
        figures,
        graph_bytes_before=len(before_graph),
        graph_bytes_after=len(graph),
        one_photo_ms_before=ms_before,
        one_photo_ms_after=ms_after,
    )
    check(figures, card)
    with placed.folder(out, replace=True) as place:
        _write(place, run, card, graph, lines, figures)
        card = Card.parse((place / CARD).read_bytes())
    return card, figures


def opened(run: Path) -> GraphModel:
    """A run to quantise. Raises ModelUnreadable where it is none, or is in 8 bits already."""
    if not (run / CARD).is_file():
        raise ModelUnreadable(f"{run} is no RUN folder: it has no {CARD}; make one with `amulet train`")
    model = GraphModel.open(run, threads=1)
    if model.card.graph.form != "fp32":
        raise ModelUnreadable(f"{model.card.version} is {model.card.graph.form} already: name the run that it is from")
    return model


def check(figures: Figures, card: Card) -> None:
    """Raises ParityBroken where callers would notice the difference."""
    if figures.same_best >= SAME_BEST_MIN and figures.same_verdict >= SAME_VERDICT_MIN:
        return
    raise ParityBroken(
        f"{card.version} decides otherwise than the run that it is from: the same best class for "
        f"{figures.same_best:.1%} of {figures.photos} photographs (at least {SAME_BEST_MIN:.0%}), the same verdict for "
        f"{figures.same_verdict:.1%} of {figures.photos + figures.outside} (at least {SAME_VERDICT_MIN:.0%}); serve "
        "the fp32 run, or calibrate with more photographs"
    )


def quantised(graph: bytes, photographs: Sequence[NDArray[np.uint8]], *, progress: Progress = lambda *_: None) -> bytes:
    """The graph with its backbone in 8 bits. photographs: uint8 [H, W, 3] at the model's size, to calibrate with."""
    nodes = [
        node.name
        for node in onnx.load_from_string(graph).graph.node
        if node.name.startswith(_BACKBONE) and node.op_type in OPERATORS
    ]
    if not nodes:
        raise ModelUnreadable("the graph has no backbone to quantise: it was not made by `amulet train`")
    with workplace() as work:
        whole, small = work / "whole.onnx", work / "small.onnx"
        whole.write_bytes(graph)
        with _whole_files(work.parent):
            quantize_static(
                str(whole),
                str(small),
                _Calibration(photographs),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                op_types_to_quantize=list(OPERATORS),
                nodes_to_quantize=nodes,
                calibrate_method=CalibrationMethod.MinMax,
            )
            model = onnx.load(str(small))
            bias_correction.correct(
                model,
                onnx.load_from_string(graph),
                photographs[:_CORRECTED_WITH],
                progress=partial(progress, "Correcting biases"),
            )
    compact(model)
    model.producer_name, model.producer_version = "amulet", ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    used = {node.domain for node in model.graph.node} | {""}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _whole_files(work: Path) -> Iterator[None]:
    """onnx writes what it works on to a disk, and does not say that it was full; what it then reads is half a graph."""
    try:
        yield
    except DecodeError:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work)) from None


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder to have onnxruntime quantise a graph in: all that it writes for itself goes with the folder.

    It writes beside the graph that it is given, and into folders of its own under TMPDIR: both would stay for ever
    where it is killed.
    """
    with leftovers.held_folder(_SCRATCH) as work, _quiet():
        before, tempfile.tempdir = tempfile.tempdir, str(work)
        try:
            yield work
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime asks for a preparation that has nothing to do here: the exporter folded what could be."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _version_of(version: str) -> str:
    """A version name has one suffix at most."""
    return f"{version}{SUFFIX}" if "-" in version else f"{version}-{SUFFIX}"


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships without types
    def __init__(self, photographs: Sequence[NDArray[np.uint8]]) -> None:
        self._left: Iterator[NDArray[np.uint8]] = iter(photographs)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image[np.newaxis], "target": np.array([-1], np.int64)}


def halves(folder: Folder, model: GraphModel, together: Sequence[Sequence[Photo]]) -> tuple[list[Photo], list[Photo]]:
    """Those to calibrate with and those to measure on: of each class half and half, the classes mixed so that a cut
    leaves some of each.  together: the folder's groups, as `duplicates.groups` gives them.  Raises LabelsUnknown.

    Photographs that no head was fitted on measure, where they are no more than half of their class: what is lost on
    the others may be too little. Beyond those, every other one does. Copies of a photograph and views of one object
    stay together: to measure on a copy of what calibrated is to measure on that.
    """
    unknown = sorted(set(folder.classes) - {known.id for known in model.card.classes})
    if unknown:
        raise LabelsUnknown(f"{folder.path} has photographs of {unknown[0]}, which {model.card.version} does not know")
    by_class: dict[str, list[Sequence[Photo]]] = {}
    for members in together:
        by_class.setdefault(members[0].label, []).append(members)
    measures: set[str] = set()
    for own in by_class.values():
        measures |= {photo.relative for members in _measuring(own, model) for photo in members}
    calibrating, measuring = [], []
    for label in by_class:
        photos = sorted((photo for photo in folder.photos if photo.label == label), key=lambda photo: photo.relative)
        measuring.append([photo for photo in photos if photo.relative in measures])
        calibrating.append([photo for photo in photos if photo.relative not in measures])
    return _mixed(calibrating), _mixed(measuring)


def _measuring(own: Sequence[Sequence[Photo]], model: GraphModel) -> list[Sequence[Photo]]:
    """Those groups of a class that measure: no more photographs than half of all."""
    half = sum(map(len, own)) // 2
    new: list[Sequence[Photo]] = []
    known: list[Sequence[Photo]] = []
    for members in own:
        (known if any(model.learnt.fitted_on(photo) for photo in members) else new).append(members)
    chosen, rest = (new, known) if sum(map(len, new)) <= half else ([], list(own))
    count = sum(map(len, chosen))
    for members in (*rest[1::2], *rest[::2]):
        if count + len(members) <= half:
            chosen.append(members)
            count += len(members)
    return chosen


def _every_other(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Every other photograph, in the order given; copies of one and views of one object follow the first of them."""
    photos = [read_photo(file, relative=file.as_posix(), label="") for file in files]
    turns: dict[int, int] = {}
    halves: tuple[list[Path], list[Path]] = [], []
    for photo, number in zip(photos, grouped(photos).tolist(), strict=True):
        halves[turns.setdefault(number, len(turns)) % 2].append(photo.path)
    return halves


def _mixed(by_class: Sequence[Sequence[Photo]]) -> list[Photo]:
    """One of each class in turn."""
    longest = max(map(len, by_class), default=0)
    return [own[turn] for turn in range(longest) for own in by_class if turn < len(own)]


def lost_at_most(
    right_before: NDArray[np.bool_], right_after: NDArray[np.bool_], groups: NDArray[np.integer] | None = None
) -> float:
    """Upper end of a 95 % interval of the share [n] that was right before and is not after (Clopper and Pearson 1934).

    No more accuracy than that is lost, whatever is gained elsewhere; a bootstrap of so few photographs without a new
    mistake says 0.  groups: of each photograph; then it is the share of as many as are independent, a part of one
    rounded against the graph.
    """
    photos = len(right_before)
    count = photos if groups is None else int(effective(groups))
    worse = math.ceil(int(np.count_nonzero(right_before & ~right_after)) * count / photos)
    return float(stats.binomtest(worse, count).proportion_ci(0.95, method="exact").high)


def _pixels(
    model: GraphModel, sources: Sequence[Path | Photo], stage: str, progress: Progress
) -> list[NDArray[np.uint8]]:
    found = []
    for number, source in enumerate(sources):
        progress(stage, number, len(sources))
        found.append(model.seen(source) if isinstance(source, Photo) else model.pixels(source))
    return found


def _lines(before: Answers, after: Answers) -> dict[str, Line]:
    """Detector by detector, and for each projection of the embedding: least squares, or where the values lie too close
    together for that, their medians.
    """
    drawn = (projected(answers.embedding).T for answers in (before, after))
    pairs = {
        **{name: (scores, after.scores[name]) for name, scores in before.scores.items()},
        **dict(zip(reference.EMBEDDING, zip(*drawn, strict=True), strict=True)),
    }
    return {name: _line(first.astype(np.float64), second.astype(np.float64)) for name, (first, second) in pairs.items()}


def _line(before: NDArray[np.float64], after: NDArray[np.float64]) -> Line:
    if np.ptp(before) > 0 and np.ptp(after) > 0 and np.corrcoef(before, after)[0, 1] >= _FOLLOWS_MIN:
        slope, offset = np.polyfit(before, after, 1)
        return Line(float(slope), float(offset))
    return Line(1.0, float(np.median(after) - np.median(before)))


def _moved(card: Card, lines: Mapping[str, Line]) -> Card:
    limits = card.decision.limits
    detectors = tuple(
        DetectorLimits(
            one.name, lines[one.name](one.typical), lines[one.name](one.unsure_at), lines[one.name](one.out_at)
        )
        for one in limits.detectors
    )
    said = f"{card.decision.chosen_on}; moved with the scores of the quantised graph"
    return replace(card, decision=replace(card.decision, limits=replace(limits, detectors=detectors), chosen_on=said))


def _compare(
    before: GraphModel,
    after: GraphModel,
    division: Division,
    own: Sequence[NDArray[np.uint8]],
    foreign: Sequence[NDArray[np.uint8]],
) -> Figures:
    ours, theirs = before.answer([*own, *foreign]), after.answer([*own, *foreign])
    verdicts = [
        [decision.verdict for decision in one.decisions(model.card)] for one, model in ((ours, before), (theirs, after))
    ]
    order = [known.id for known in before.card.classes]
    labels = np.array([order.index(photo.label) for photo in division.measuring])
    best = [one.probabilities[: len(own)].argmax(axis=1) for one in (ours, theirs)]
    rows = np.arange(len(own))
    shift = np.abs(ours.probabilities[rows, best[0]] - theirs.probabilities[rows, best[0]])
    return Figures(
        photos=len(own),
        outside=len(foreign),
        same_best=float((best[0] == best[1]).mean()),
        same_verdict=float(np.mean([one == other for one, other in zip(*verdicts, strict=True)])),
        accuracy_before=float((best[0] == labels).mean()),
        accuracy_after=float((best[1] == labels).mean()),
        probability_shift_mean=float(shift.mean()),
        graph_bytes_before=0,
        graph_bytes_after=0,
        one_photo_ms_before=0.0,
        one_photo_ms_after=0.0,
        accuracy_lost_at_most=lost_at_most(best[0] == labels, best[1] == labels, division.groups),
    )


def _one_photo_ms(graphs: Sequence[bytes], photographs: Sequence[NDArray[np.uint8]]) -> list[float]:
    """CPU time of each graph, measured in turn: a processor that changes its pace meets all of them alike."""
    with leftovers.held_folder(_SCRATCH) as work:
        files = [work / f"{number}.onnx" for number in range(len(graphs))]
        for file, graph in zip(files, graphs, strict=True):
            file.write_bytes(graph)
        costs = latency.measure_in_turn([(file, np.stack(photographs)) for file in files], rounds=_TIMED_ROUNDS)
    return [cost.cpu_ms for cost in costs]


def _write(place: Path, run: Path, card: Card, graph: bytes, lines: Mapping[str, Line], figures: Figures) -> None:
    model = GraphModel(card, graph, threads=1)
    goldens = []
    for golden in card.golden:
        with Image.open(run / golden.file) as image:
            goldens.append(np.asarray(image.convert("RGB"), dtype=np.uint8))
    card = replace(card, golden=run_folder.write_golden(place, goldens, model))
    run_folder.write_model(place, card, graph)
    (place / run_folder.REFERENCE).write_text(
        _reference_moved((run / run_folder.REFERENCE).read_text(), lines), "utf-8"
    )
    run_folder.write_json(place, FIGURES, asdict(figures))
    for name in (run_folder.METRICS, saved.CHECKPOINT, examples.FILE, learnt.FILE):
        if (run / name).is_file():
            shutil.copy(run / name, place / name)


def _reference_moved(text: str, lines: Mapping[str, Line]) -> str:
    """The distributions of the scores and of the projections moved as these are; all others stay."""
    known = reference.parse(text)
    samples = {}
    for name, sketch in known.samples.items():
        values = sketch.quantiles([(turn + 0.5) / sketch.count for turn in range(sketch.count)])
        moved = name.startswith("score_") or name in reference.EMBEDDING
        line = lines.get(name.removeprefix("score_")) if moved else None
        samples[name] = [line(value) for value in values] if line is not None else values
    return reference.build(samples, known.counts)


def shown(figures: Figures) -> str:
    """As a person reads it."""
    return "\n".join(f"  {name:<26}{value:>12.6g}" for name, value in asdict(figures).items())
