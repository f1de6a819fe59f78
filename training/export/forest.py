"""An isolation forest as one TreeEnsembleRegressor.

skl2onnx writes a dozen nodes a tree, and converting 200 trees took minutes (decision 0012
has the figures). A forest's score is a function of the mean over trees of a number per leaf,
which is what one ensemble node computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from sklearn.ensemble import IsolationForest

_LEAF: Final = -1  # scikit-learn's mark of a node without children
_EULER_GAMMA: Final = float(np.euler_gamma)


@dataclass(slots=True)
class _Table:
    """The attributes of a TreeEnsembleRegressor, node by node."""

    trees: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    lefts: list[int] = field(default_factory=list)
    rights: list[int] = field(default_factory=list)
    leaf_trees: list[int] = field(default_factory=list)
    leaf_nodes: list[int] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)


def append(
    nodes: list[NodeProto], weights: list[TensorProto], forest: IsolationForest, *, embedding: str, score: str
) -> None:
    """Add nodes that compute `score` [N] from `embedding` [N, size] as `isolation_forest.score` does."""
    table = _Table()
    for number, (tree, columns) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
        _add_tree(table, number, tree.tree_, columns)
    nodes.append(
        helper.make_node(
            "TreeEnsembleRegressor",
            [embedding],
            ["forest_paths"],
            name="tail/forest_paths",
            domain="ai.onnx.ml",
            aggregate_function="SUM",
            n_targets=1,
            nodes_treeids=table.trees,
            nodes_nodeids=table.nodes,
            nodes_featureids=table.features,
            nodes_modes=table.modes,
            nodes_values=table.values,
            nodes_truenodeids=table.lefts,
            nodes_falsenodeids=table.rights,
            target_treeids=table.leaf_trees,
            target_nodeids=table.leaf_nodes,
            target_ids=[0] * len(table.leaf_trees),
            target_weights=table.leaf_values,
        )
    )
    # 2 ** (-sum of paths / (trees * expected path)), equation 2 of Liu et al. 2008.
    expected = float(_expected_path(np.array([forest.max_samples_]))[0])
    per_path = -1.0 / (len(forest.estimators_) * expected) if expected > 0.0 else -1.0
    flat = numpy_helper.from_array(np.array([-1], np.int64), "forest_flat")
    exponent = numpy_helper.from_array(np.array(per_path, np.float32), "forest_per_path")
    two = numpy_helper.from_array(np.array(2.0, np.float32), "forest_two")
    weights.extend((flat, exponent, two))
    nodes.append(helper.make_node("Reshape", ["forest_paths", "forest_flat"], ["forest_sums"], name="tail/forest_sums"))
    nodes.append(helper.make_node("Mul", ["forest_sums", "forest_per_path"], ["forest_exp"], name="tail/forest_exp"))
    nodes.append(helper.make_node("Pow", ["forest_two", "forest_exp"], [score], name=f"tail/{score}"))


def _add_tree(table: _Table, number: int, tree: Any, columns: NDArray[np.intp]) -> None:
    depths = _depths(tree)
    paths = depths + _expected_path(tree.n_node_samples)
    for node in range(tree.node_count):
        leaf = tree.children_left[node] == _LEAF
        table.trees.append(number)
        table.nodes.append(node)
        table.modes.append("LEAF" if leaf else "BRANCH_LEQ")
        table.features.append(0 if leaf else int(columns[tree.feature[node]]))
        table.values.append(0.0 if leaf else _at_most(tree.threshold[node]))
        table.lefts.append(0 if leaf else int(tree.children_left[node]))
        table.rights.append(0 if leaf else int(tree.children_right[node]))
        if leaf:
            table.leaf_trees.append(number)
            table.leaf_nodes.append(node)
            table.leaf_values.append(float(paths[node]))


def _depths(tree: Any) -> NDArray[np.float64]:
    """Edges from the root, per node; parents come before their children."""
    depths = np.zeros(tree.node_count)
    for node in range(tree.node_count):
        for child in (tree.children_left[node], tree.children_right[node]):
            if child != _LEAF:
                depths[child] = depths[node] + 1.0
    return depths


def _at_most(threshold: float) -> float:
    """The largest float32 not above a float64 threshold: `float32 x <= threshold` stays as it was."""
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)


def _expected_path(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Mean depth of an unsuccessful search in a binary tree of so many samples (equation 1)."""
    count = np.asarray(samples, np.float64)
    larger = np.maximum(count, 3.0)
    path = 2.0 * (np.log(larger - 1.0) + _EULER_GAMMA) - 2.0 * (larger - 1.0) / larger
    return np.asarray(np.where(count <= 1.0, 0.0, np.where(count == 2.0, 1.0, path)))
