"""The deployable forms of one run side by side: size, accuracy, time, memory, and where the time goes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from model_store import placed
from model_store.card import Card
from training.data.folder import Photo
from training.errors import DataTooSmall, ModelUnreadable, NotMeasured, ParityBroken, SettingWrong
from training.export import latency, quantize, run_folder, safeguards, torchscript
from training.export.latency import Cost
from training.listing import counted
from training.processor import processor
from training.served.answers import CARD, GRAPH, GraphModel
from training.served.learnt import TrainedOn
from training.statistics.intervals import bootstrap

FP32: Final = "onnx"
FORMS: Final = (FP32, "torchscript", "int8", "dynamic")
RESULT: Final = "forms.json"
PAGE: Final = "forms.html"
PARTS: Final = ("backbone", "head", "out of distribution", "heat map")
_ON_CUDA: Final = "onnx on CUDA"
_MEASURED_MAX: Final = 100
_DECODED: Final = 20


@dataclass(frozen=True, slots=True)
class Form:
    """One form, measured."""

    name: str
    path: str  # below the folder
    file_bytes: int
    times_smaller: float  # than the fp32 graph
    accuracy: float
    accuracy_lost: float  # against fp32, on the same photographs
    accuracy_lost_interval: tuple[float, float]  # its 95 % bootstrap over photographs
    accuracy_lost_at_most: float  # `quantize.lost_at_most`
    same_best: float  # share of photographs with the same best class as fp32
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    peak_mib: float
    shares: Mapping[str, float]  # part of the graph -> share of its time, by a profile; empty for TorchScript
    added_share: float | None = None  # `safeguards.added_share`; None where it is no graph, or not the processor's


@dataclass(frozen=True, slots=True)
class Forms:
    """The result."""

    version: str
    processor: str
    photos: int
    trained_on: TrainedOn
    not_fitted_on: int  # photographs that no head was fitted on, as far as is known
    decode_ms: float  # median, of one photograph to the model's size
    forms: tuple[Form, ...]
    refused: Mapping[str, str]  # form -> why there is none

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {**asdict(self), "seen_in_training": bool(self.trained_on)}


def export(
    run: Path,
    data: Path,
    out: Path,
    *,
    forms: Sequence[str],
    outside: Sequence[Path] = (),
    page: Callable[[Forms], str] | None = None,
    progress: quantize.Progress = lambda *_: None,
) -> Forms:
    """Write the forms of a RUN folder to `out`, each measured against the fp32 graph; whole or not at all.

    page: of the result, for people.
    data: labelled photographs; what quantisation needs of them is not measured on.
    Raises ModelUnreadable, LabelsUnknown, DataTooSmall, what `load_folder` raises, SettingWrong, NotMeasured (of fp32
    alone: another form that does not run is among `refused`).
    """
    run_folder.check_makeable(out)
    if out.exists() and not (out / RESULT).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise SettingWrong(f"{out} exists and holds something else: name a new folder, or an empty one")
    chosen = _chosen(run, data)
    card = Card.parse((run / CARD).read_bytes())
    graph = onnx.load(str(run / GRAPH))
    fp32 = latency.measure(run / GRAPH, chosen.images)
    measured = []
    refused: dict[str, str] = {}
    with placed.folder(out, replace=True) as place:
        for number, name in enumerate(dict.fromkeys((FP32, *forms))):
            progress("Making and measuring", number, len(forms) + 1)
            try:
                path = _made(name, run, card, data, chosen.division, place, outside)
                cost = fp32 if name == FP32 else latency.measure(path, chosen.images)
            except (NotMeasured, ParityBroken) as error:
                refused[name] = str(error)
                continue
            form = _form(name, path, place, cost, fp32, chosen, run / GRAPH, graph)
            measured.append(_with_safeguards(form, path, chosen.images))
        if latency.CUDA in onnxruntime.get_available_providers():
            try:
                cost = latency.measure(run / GRAPH, chosen.images, provider=latency.CUDA)
            except NotMeasured as error:
                refused[_ON_CUDA] = str(error)
            else:
                form = _form(_ON_CUDA, place / GRAPH, place, cost, fp32, chosen, run / GRAPH, graph)
                measured.append(form)
        else:
            refused[_ON_CUDA] = "this onnxruntime has no CUDA, or there is no GPU: measured on the processor alone"
        found = chosen.found(measured, refused)
        (place / RESULT).write_text(json.dumps(found.document(), ensure_ascii=False, indent=2) + "\n", "utf-8")
        if page is not None:
            (place / PAGE).write_text(page(found), "utf-8")
    return found


def quantised(run: Path, made: Path, data: Path, *, division: quantize.Division | None = None) -> Forms:
    """The 8-bit run `made` that `quantize` wrote of `run`, measured against it: the form that is served, and the whole.

    data: as for `export`, whose errors it raises.  division: theirs, where it is known already.
    """
    chosen = _chosen(run, data, division)
    fp32, int8 = (latency.measure(place / GRAPH, chosen.images) for place in (run, made))
    graph = onnx.load(str(run / GRAPH))
    forms = [
        _form(name, place / GRAPH, place, cost, fp32, chosen, run / GRAPH, graph)
        for name, place, cost in ((FP32, run, fp32), ("int8", made, int8))
    ]
    return chosen.found(
        [_with_safeguards(form, place / GRAPH, chosen.images) for form, place in zip(forms, (run, made), strict=True)],
        {},
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What forms are measured on."""

    version: str
    trained_on: TrainedOn
    not_fitted_on: int
    division: quantize.Division
    images: NDArray[np.uint8]  # [n, H, W, 3]
    labels: NDArray[np.intp]  # [n]
    groups: NDArray[np.intp]  # [n]: copies and views of one object share a number
    decode_ms: float

    def found(self, forms: Sequence[Form], refused: Mapping[str, str]) -> Forms:
        return Forms(
            version=self.version,
            processor=processor(),
            photos=len(self.images),
            trained_on=self.trained_on,
            not_fitted_on=self.not_fitted_on,
            decode_ms=self.decode_ms,
            forms=tuple(forms),
            refused=refused,
        )


def _chosen(run: Path, data: Path, division: quantize.Division | None = None) -> _Chosen:
    if not (run / CARD).is_file():
        raise ModelUnreadable(f"{run} is no RUN folder: it has no {CARD}; make one with `amulet train`")
    model = GraphModel.open(run, threads=1)
    division = division or quantize.Division.of(model, data)
    order = [known.id for known in model.card.classes]
    photos = division.measuring[:_MEASURED_MAX]
    if len(photos) < quantize.MEASURED_MIN:
        raise DataTooSmall(
            f"{data} leaves {counted(len(photos), 'photograph')} to measure on, at least {quantize.MEASURED_MIN} "
            "are needed"
        )
    return _Chosen(
        version=model.card.version,
        trained_on=model.learnt.trained_on(photos, folder_fingerprint=division.fingerprint),
        not_fitted_on=sum(not model.learnt.fitted_on(photo) for photo in photos),
        division=division,
        images=np.stack([model.seen(photo) for photo in photos]),
        labels=np.array([order.index(photo.label) for photo in photos], np.intp),
        groups=division.groups[:_MEASURED_MAX],
        decode_ms=_decode_ms(model, photos),
    )


def part_of_node(graph: onnx.GraphProto) -> dict[str, str]:
    """Node -> one of PARTS, by what it is for: a node that several outputs need is of the first of them."""
    made_by = {output: node for node in graph.node for output in node.output}
    found: dict[str, str] = {}
    wanted = [(node_output.name, _part_of_output(node_output.name)) for node_output in graph.output]
    for output, part in sorted(wanted, key=lambda item: PARTS.index(item[1])):
        waiting = [output]
        while waiting:
            node = made_by.get(waiting.pop())
            if node is not None and node.name not in found:
                found[node.name] = PARTS[0] if node.name.startswith("backbone/") else part
                waiting.extend(node.input)
    return found


def _part_of_output(name: str) -> str:
    if name.startswith(("score_", "nearest_")):  # the nearest references are by-products of a detector
        return "out of distribution"
    return "heat map" if name.startswith("heatmap") else "head"


def _made(
    name: str,
    run: Path,
    card: Card,
    data: Path,
    division: quantize.Division,
    place: Path,
    outside: Sequence[Path],
) -> Path:
    """The file of one form, below `place`."""
    if name == FP32:
        shutil.copy(run / CARD, place / CARD)
        return Path(shutil.copy(run / GRAPH, place / GRAPH))
    if name == "torchscript":
        torchscript.write(run, card, path := place / f"model{latency.TORCHSCRIPT_SUFFIX}")
        return path
    if name == "int8":
        quantize.quantize(run, data, place / "int8", outside=outside, division=division)
        return place / "int8" / GRAPH
    path = place / "dynamic.onnx"
    # Scales of activations anew for each photograph: what static ones, from photographs beforehand, are compared with.
    with quantize.workplace() as work:
        graph = shutil.copy(run / GRAPH, work / GRAPH)
        quantize_dynamic(str(graph), str(path), weight_type=QuantType.QInt8)
    return path


def _form(
    name: str,
    path: Path,
    place: Path,
    cost: Cost,
    fp32: Cost,
    chosen: _Chosen,
    fp32_file: Path,
    graph: onnx.ModelProto,
) -> Form:
    labels, groups = chosen.labels, chosen.groups
    own_right, right = (np.array(each.best) == labels for each in (cost, fp32))
    missed = right.astype(np.float64) - own_right
    lost = bootstrap(lambda rows: float(missed[rows].mean()), [labels], seed=0, groups=[groups])
    own = onnx.load(str(path)) if path.suffix == ".onnx" and name != FP32 else graph
    return Form(
        name=name,
        path=str(path.relative_to(place)),
        file_bytes=path.stat().st_size,
        times_smaller=fp32_file.stat().st_size / path.stat().st_size,
        accuracy=float(own_right.mean()),
        accuracy_lost=lost.value,
        accuracy_lost_interval=(lost.low, lost.high),
        accuracy_lost_at_most=quantize.lost_at_most(right, own_right, groups),
        same_best=float((np.array(cost.best) == np.array(fp32.best)).mean()),
        p50_ms=cost.p50_ms,
        p95_ms=cost.p95_ms,
        p99_ms=cost.p99_ms,
        cpu_ms=cost.cpu_ms,
        peak_mib=cost.peak_mib,
        shares=_shares(cost.spent_us, part_of_node(own.graph)),
    )


def _with_safeguards(form: Form, path: Path, images: NDArray[np.uint8]) -> Form:
    if path.suffix != ".onnx":
        return form
    return replace(form, added_share=safeguards.added_share(onnx.load(str(path)), images))


def _shares(spent_us: Mapping[str, float], part_of: Mapping[str, str]) -> dict[str, float]:
    """A node that the runtime put in of itself counts for the backbone, whose layout it is there to change."""
    sums = dict.fromkeys(PARTS, 0.0)
    for node, taken in spent_us.items():
        sums[part_of.get(node, PARTS[0])] += taken
    total = sum(sums.values())
    return {part: taken / total for part, taken in sums.items()} if total else {}


def _decode_ms(model: GraphModel, photos: Sequence[Photo]) -> float:
    took = []
    for photo in photos[:_DECODED]:
        began = time.process_time()
        model.seen(photo)
        took.append((time.process_time() - began) * 1e3)
    return float(np.median(took))
