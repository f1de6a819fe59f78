"""One graph, pixels in, everything out: what the server runs and what evaluation measures.

    image uint8 [N,H,W,3] ─ backbone ─┬ last map [N,K,h,w] ───────────────┐
                                      └ pooled levels ─ embedding ─┬ logits ─┬ heatmap ─ target int64 [N]
                                                                   │         └ / T ─ softmax ─ probabilities
                                                                   ├ score_mahalanobis, score_nearest_neighbour,
                                                                   │ nearest_index, nearest_cosine
                                                                   │   └ score_combination
                                                                   └ score_isolation_forest

The backbone's own graph comes from `models.backbone_graph`, once per run; the rest is appended here node by node
from the fitted numbers, so that the part that was measured with is byte for byte the part
that is served. Only operators of ONNX itself and of ai.onnx.ml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from model_store.card import EXPLANATIONS
from model_store.examples import NEAREST_MAX
from training.errors import SettingWrong
from training.explanation.gradcam import ORDER_MIN
from training.export import forest
from training.fitting.recipe import NO_GRAPH
from training.fitting.version import Fitted
from training.models.backbone_graph import LAST_MAP
from training.models.heads import LENGTH_MIN, Head, LinearHead
from training.ood import combination, isolation_forest, mahalanobis, nearest_neighbour
from training.ood.combination import Combination, Scale
from training.ood.spread import Spread

OPSET_ML: Final = 3


def fuse(backbone_graph: ModelProto, fitted: Fitted, *, pooled: Sequence[int]) -> ModelProto:
    """The whole graph.

    backbone_graph: from `export_backbone`.  pooled: channels of each level, in its order.
    """
    model = ModelProto()
    model.CopyFrom(backbone_graph)
    graph = model.graph
    height, width = (graph.output[-1].type.tensor_type.shape.dim[axis].dim_value for axis in (2, 3))
    levels = [output.name for output in graph.output][:-1]
    head = linear(fitted.head)
    tail = _Tail()
    tail.embedding(levels)
    tail.logits(head, fitted.temperature)
    tail.detectors(fitted.combination)
    forest.append(tail.nodes, tail.weights, fitted.forest, embedding="embedding", score=_score(isolation_forest.NAME))
    tail.heatmap(levels[-1], pooled, head, cells=(height, width))
    graph.node.extend(tail.nodes)
    graph.initializer.extend(tail.weights)
    classes, size = head.weight.shape
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    graph.input.append(helper.make_tensor_value_info("target", TensorProto.INT64, [batch]))
    del graph.output[:]
    nearest = min(NEAREST_MAX, len(fitted.nearest.references))
    cells: list[str | int | None] = [batch, height, width]
    outputs: tuple[tuple[str, list[str | int | None]], ...] = (
        ("logits", [batch, classes]),
        ("probabilities", [batch, classes]),
        ("embedding", [batch, size]),
        (_score(combination.NAME), [batch]),
        (_score(mahalanobis.NAME), [batch]),
        (_score(nearest_neighbour.NAME), [batch]),
        (_score(isolation_forest.NAME), [batch]),
        *((name, cells) for name in EXPLANATIONS.values()),
        ("nearest_cosine", [batch, nearest]),
    )
    for name, shape in outputs:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    graph.output.append(helper.make_tensor_value_info("nearest_index", TensorProto.INT64, [batch, nearest]))
    graph.name = "amulet"
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", OPSET_ML))
    onnx.checker.check_model(model, full_check=True)
    return model


def linear(head: Head) -> LinearHead:
    """The head as the graph can hold it. Raises SettingWrong for one that is no linear layer."""
    if isinstance(head, LinearHead):
        return head
    raise SettingWrong(NO_GRAPH)


class _Tail:
    """Nodes and weights that are appended to the backbone."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, name: str, value: NDArray[Any]) -> str:
        """Fitted in float64, served in float32."""
        served = np.asarray(value, np.float32 if value.dtype == np.float64 else value.dtype, order="C")
        self.weights.append(numpy_helper.from_array(served, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"tail/{output}", **attributes))
        return output

    def embedding(self, levels: Sequence[str]) -> None:
        """Each level by its own length, all by the root of their number: `heads.embedding_of`."""
        axis = self.weight("axis_features", np.array([1], np.int64))
        shortest = self.weight("length_min", np.array(LENGTH_MIN, np.float32))
        root = self.weight("levels_root", np.array(np.sqrt(len(levels)), np.float32))
        units = []
        for level in levels:
            length = self.node("ReduceL2", [level, axis], f"{level}_length_raw", keepdims=1)
            length = self.node("Max", [length, shortest], f"{level}_length")
            units.append(self.node("Div", [level, length], f"{level}_unit"))
        joined = self.node("Concat", units, "units", axis=1)
        self.node("Div", [joined, root], "embedding")

    def logits(self, head: LinearHead, temperature: float) -> None:
        weight, bias = self.weight("head_weight", head.weight), self.weight("head_bias", head.bias)
        self.node("Gemm", ["embedding", weight, bias], "logits", transB=1)
        scaled = self.node(
            "Div", ["logits", self.weight("temperature", np.array(temperature, np.float32))], "logits_calibrated"
        )
        self.node("Softmax", [scaled], "probabilities", axis=1)

    def detectors(self, detector: Combination) -> None:
        """Distance, nearest reference and both together, from one product with all that is asked of an embedding.

        Whitened rows are never made. W = (I - N N') / sqrt(rest) is symmetric: a row's whitened product with a centre
        or a reference is its product with theirs, whitened beforehand. The lengths follow from a = N' r, the row along
        the directions that were kept: |W r|^2 = (|r|^2 - a' (2 I - N' N) a) / rest. Half of the numbers are read that
        way, and reading them is what detectors take their time for (decision 0161).
        """
        within, everything = detector.relative.classes, detector.relative.everything
        centres, moved = within.white(within.means), within.origin - everything.origin
        self.weight("two", np.array(2.0))
        rows = self.node("Sub", ["embedding", self.weight("origin", within.origin)], "from_origin")
        asked: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {  # columns, and what is added
            "within": (within.spread.narrowing, np.zeros(within.spread.narrowing.shape[1])),
            "everything": (everything.spread.narrowing, moved @ everything.spread.narrowing),
            "moved": (2.0 * moved[:, None], np.array([moved @ moved])),
            "centres": (-2.0 * within.spread.white(centres).T, (centres**2).sum(axis=1)),
            "references": (
                within.spread.white(detector.nearest.references).T,
                np.zeros(len(detector.nearest.references)),
            ),
        }
        columns = [self.weight(f"{name}_columns", matrix) for name, (matrix, _) in asked.items()]
        together = self.node("Concat", columns, "detector_columns", axis=1)  # of constants: once, at loading
        added = self.weight("detector_offsets", np.concatenate([offset for _, offset in asked.values()]))
        product = self.node("Gemm", [rows, together, added], "detector_products")
        widths = self.weight("detector_widths", np.array([len(offset) for _, offset in asked.values()], np.int64))
        names = [f"{name}_products" for name in asked]
        self.nodes.append(helper.make_node("Split", [product, widths], names, name="tail/detector_parts", axis=1))
        whole = self.node("ReduceSumSquare", [rows, "axis_features"], "from_origin_squared", keepdims=1)
        own = self.squared_length("within", whole, within.spread)
        whole = self.node("Add", [whole, "moved_products"], "from_everything_squared")
        other = self.squared_length("everything", whole, everything.spread)
        self.distance(own)
        self.nearest(own, count=min(NEAREST_MAX, len(detector.nearest.references)))
        self.combination(detector, other)

    def squared_length(self, name: str, whole: str, spread: Spread) -> str:
        """[N, 1] of rows in units of the spread.  whole: their squared length as they are, [N, 1]."""
        along, columns = f"{name}_products", f"{name}_columns"
        inner = self.node("Gemm", [columns, columns], f"{name}_inner", transA=1)  # of constants: once, at loading
        turned = self.node("MatMul", [along, inner], f"{name}_turned")
        turned = self.node("Sub", [self.node("Mul", [along, "two"], f"{name}_twice"), turned], f"{name}_form")
        narrowed = self.node("Mul", [along, turned], f"{name}_narrowed_parts")
        narrowed = self.node("ReduceSum", [narrowed, "axis_features"], f"{name}_narrowed", keepdims=1)
        left = self.node("Sub", [whole, narrowed], f"{name}_left")
        return self.node("Div", [left, self.weight(f"{name}_rest", np.array(spread.rest))], f"{name}_squared")

    def distance(self, squared: str) -> None:
        """`Mahalanobis.score`: |w - c|^2 = |w|^2 - 2 w'c + |c|^2 of whitened rows and centres."""
        away = self.node("Add", [squared, "centres_products"], "centres_squared")
        nearest = self.node("ReduceMin", [away, "axis_features"], "distance_squared_raw", keepdims=0)
        nearest = self.node("Relu", [nearest], "distance_squared")  # rounding may leave a row on its centre below 0
        self.node("Sqrt", [nearest], _score(mahalanobis.NAME))

    def nearest(self, squared: str, *, count: int) -> None:
        shortest = self.weight("white_squared_min", np.array(nearest_neighbour.LENGTH_MIN**2))
        length = self.node("Sqrt", [self.node("Max", [squared, shortest], "white_squared")], "white_length")
        cosines = self.node("Div", ["references_products", length], "reference_cosines")
        best = self.weight("nearest_count", np.array([count], np.int64))
        self.nodes.append(
            helper.make_node(
                "TopK", [cosines, best], ["nearest_cosine", "nearest_index"], name="tail/nearest", axis=1, sorted=1
            )
        )
        nearest = self.node("ReduceMax", [cosines, "axis_features"], "reference_nearest", keepdims=0)
        self.node("Sub", [self.weight("one", np.array(1.0)), nearest], _score(nearest_neighbour.NAME))

    def combination(self, detector: Combination, everything: str) -> None:
        """Of everything there is one mean only, its origin: the squared length is the squared distance."""
        flat = self.node("Squeeze", [everything, "axis_features"], "everything_distance_squared")
        self.node("Sub", ["distance_squared", flat], "relative_distance")
        near = self.scaled(_score(nearest_neighbour.NAME), detector.nearest_scale, "nearest_scaled")
        relative = self.scaled("relative_distance", detector.relative_scale, "relative_scaled")
        self.node("Add", [near, relative], _score(combination.NAME))

    def scaled(self, scores: str, scale: Scale, output: str) -> str:
        away = self.node("Sub", [scores, self.weight(f"{output}_median", np.array(scale.median))], f"{output}_away")
        return self.node("Div", [away, self.weight(f"{output}_deviation", np.array(scale.deviation))], output)

    def heatmap(self, level: str, pooled: Sequence[int], head: LinearHead, *, cells: tuple[int, int]) -> None:
        """Grad-CAM and Grad-CAM++ of the last map in closed form: `explanation.gradcam` derives them."""
        own = pooled[-1]
        share = 1.0 / (np.sqrt(len(pooled)) * cells[0] * cells[1])
        zero = self.weight("zero_index", np.array(0, np.int64))
        best = self.node("ArgMax", ["logits"], "best", axis=1, keepdims=0)
        unset = self.node("Less", ["target", zero], "target_unset")
        target = self.node("Where", [unset, best, "target"], "target_class")
        rows = self.weight("head_weight_last", head.weight[:, -own:] * np.float32(share))
        row = self.node("Gather", [rows, target], "target_row", axis=0)
        unit, length = f"{level}_unit", f"{level}_length"
        along = self.node("Mul", [row, unit], "row_along_parts")
        along = self.node("ReduceSum", [along, "axis_features"], "row_along", keepdims=1)
        along = self.node("Mul", [along, unit], "row_radial")
        across = self.node("Sub", [row, along], "row_tangential")
        weights = self.node("Div", [across, length], "map_weights")
        flat = self.weight("flat_map", np.array([0, own, cells[0] * cells[1]], np.int64))
        self.node("Reshape", [LAST_MAP, flat], "last_map_flat")
        self.weight("heat_shape", np.array([-1, *cells], np.int64))
        total = self.node("Mul", [level, self.weight("cells", np.array(cells[0] * cells[1], np.float32))], "map_sum")
        third = self.node("Mul", [weights, total], "map_third_order")
        order = self.node("Add", [third, "two"], "map_order")
        order = self.node("Max", [order, self.weight("order_min", np.array(ORDER_MIN, np.float32))], "map_order_kept")
        upward = self.node("Div", [self.node("Relu", [weights], "map_weights_up"), order], "map_weights_plus_plus")
        self._weighted({EXPLANATIONS["grad_cam"]: weights, EXPLANATIONS["grad_cam_plus_plus"]: upward})

    def _weighted(self, weights: Mapping[str, str]) -> None:
        """For each name relu of the sum of the last map's channels, each by its weight: the map is read once."""
        rows = [self.node("Unsqueeze", [row, "axis_features"], f"{name}_row") for name, row in weights.items()]
        summed = self.node("MatMul", [self.node("Concat", rows, "heat_rows", axis=1), "last_map_flat"], "heat_sums")
        parts = [f"{name}_flat" for name in weights]
        self.nodes.append(
            helper.make_node("Split", [summed], parts, name="tail/heat_parts", axis=1, num_outputs=len(parts))
        )
        for name in weights:
            self.node("Relu", [self.node("Reshape", [f"{name}_flat", "heat_shape"], f"{name}_cells")], name)


def _score(detector: str) -> str:
    return f"score_{detector}"
