"""Does the graph that will be served answer as what was trained?

Each output against an independent computation on the same photographs: the probabilities
against torch, Grad-CAM against captum's backward pass and Grad-CAM++, which captum lacks, against
one of our own, the distances and the nearest neighbour
against numpy in float64, the forest against scikit-learn. A version that fails is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray

from protos.verdict import DecisionLimits
from training.calibration.temperature import probabilities_of
from training.errors import ParityBroken
from training.export import fused_graph
from training.fitting.version import Fitted
from training.models.heads import Network
from training.ood import combination, isolation_forest, mahalanobis, nearest_neighbour

PHOTOS: Final = 50
PROBABILITY_MAX: Final = 1e-4  # absolute
SCORE_MAX: Final = 1e-4  # relative; of cosines absolute; of distances see `Parity`
COMBINATION_MAX: Final = 1e-3  # absolute, in standard deviations of known photographs
CORRELATION_MIN: Final = 0.999
HEAT_MAX: Final = 1e-4
_BATCH: Final = 4  # a backward pass keeps every map of every image: larger ones are no faster, and take gigabytes
_FLAT: Final = 1e-9  # a map whose largest cell is below has no shape to compare


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest differences found, over all photographs."""

    photos: int
    probabilities_abs_max: float
    heat_map_correlation_min: float
    heat_map_plus_plus_rel_max: float  # of the largest cell
    # Of the score, or of the way from a typical photograph to the border where that is longer: next to the mean of its
    # class a distance is what is left of large numbers, and far from every border (decision 0171).
    mahalanobis_rel_max: float
    nearest_neighbour_abs_max: float  # a photograph that is its own reference is at distance 0
    isolation_forest_rel_max: float
    combination_abs_max: float  # around zero there is no relative difference
    nearest_cosine_abs_max: float

    @property
    def holds(self) -> bool:
        return (
            self.probabilities_abs_max <= PROBABILITY_MAX
            and self.heat_map_correlation_min >= CORRELATION_MIN
            and self.heat_map_plus_plus_rel_max <= HEAT_MAX
            and self.nearest_cosine_abs_max <= SCORE_MAX
            and self.mahalanobis_rel_max <= SCORE_MAX
            and self.nearest_neighbour_abs_max <= SCORE_MAX
            and self.isolation_forest_rel_max <= SCORE_MAX
            and self.combination_abs_max <= COMBINATION_MAX
        )


def check(
    network: Network, fitted: Fitted, limits: DecisionLimits, graph: bytes, images: Sequence[NDArray[np.uint8]]
) -> Parity:
    """Compare on images of the model's size. Raises ParityBroken with the figures.

    limits: the borders that the scores are held against.  Every other image is explained for a class in turn, the
    others for their best class.
    """
    parity = measure(network, fitted, limits, graph, images)
    if not parity.holds:
        raise ParityBroken(
            f"the graph does not answer as the trained model on {parity.photos} photographs: probabilities differ by "
            f"{parity.probabilities_abs_max:.1e} (at most {PROBABILITY_MAX:.0e}), heat maps correlate by "
            f"{parity.heat_map_correlation_min:.5f} (at least {CORRELATION_MIN}), those of Grad-CAM++ differ by "
            f"{parity.heat_map_plus_plus_rel_max:.1e} (at most {HEAT_MAX:.0e}), the cosines of the nearest references "
            f"by {parity.nearest_cosine_abs_max:.1e}, Mahalanobis differs by "
            f"{parity.mahalanobis_rel_max:.1e}, the nearest neighbour by "
            f"{parity.nearest_neighbour_abs_max:.1e} and IsolationForest by {parity.isolation_forest_rel_max:.1e} "
            f"(at most {SCORE_MAX:.0e}), the combination by {parity.combination_abs_max:.1e} (at most "
            f"{COMBINATION_MAX:.0e}); report this as a defect of the export"
        )
    return parity


def measure(
    network: Network, fitted: Fitted, limits: DecisionLimits, graph: bytes, images: Sequence[NDArray[np.uint8]]
) -> Parity:
    """The differences, whatever they are."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    classes = len(fused_graph.linear(fitted.head).bias)
    way = next(each.out_at - each.typical for each in limits.detectors if each.name == mahalanobis.NAME)
    worst: list[tuple[float, ...]] = []
    for start in range(0, len(images), _BATCH):
        batch = np.stack(images[start : start + _BATCH])
        wanted = np.array([-1 if index % 2 else index // 2 % classes for index in range(start, start + len(batch))])
        found = dict(zip(names, session.run(names, {"image": batch, "target": wanted.astype(np.int64)}), strict=True))
        pixels = network.backbone.normalised(torch.from_numpy(batch))
        answered = _answered(network, pixels)
        logits = answered.logits.detach().numpy()
        target = np.where(wanted < 0, logits.argmax(axis=1), wanted)
        cam = LayerGradCam(network, network.gradcam_layer).attribute(
            pixels.clone().requires_grad_(True), target=torch.from_numpy(target), relu_attributions=True
        )
        embedding = found["embedding"]
        distance, forest = fitted.mahalanobis.score(embedding), isolation_forest.score(fitted.forest, embedding)
        worst.append(
            (
                float(np.abs(found["probabilities"] - probabilities_of(logits, fitted.temperature)).max()),
                -_correlation_min(found["heatmap"], cam.detach().numpy()[:, 0]),
                _heat_rel_max(found["heatmap_plus_plus"], _grad_cam_plus_plus(answered, target)),
                _relative_max(found[f"score_{mahalanobis.NAME}"], distance, least=way),
                _relative_max(found[f"score_{isolation_forest.NAME}"], forest),
                _absolute_max(found[f"score_{nearest_neighbour.NAME}"], fitted.nearest.score(embedding)),
                _absolute_max(found[f"score_{combination.NAME}"], fitted.combination.score(embedding)),
                _nearest_abs_max(found, fitted.nearest.cosines(embedding)),
            )
        )
    probabilities, anticorrelation, plus_plus, distances, forests, nearest, both, cosines = (
        np.array(worst).max(axis=0).tolist()
    )
    return Parity(
        photos=len(images),
        probabilities_abs_max=probabilities,
        heat_map_correlation_min=-anticorrelation,
        heat_map_plus_plus_rel_max=plus_plus,
        mahalanobis_rel_max=distances,
        nearest_neighbour_abs_max=nearest,
        isolation_forest_rel_max=forests,
        combination_abs_max=both,
        nearest_cosine_abs_max=cosines,
    )


@dataclass(frozen=True, slots=True)
class _Answered:
    """One forward pass in torch."""

    logits: torch.Tensor  # [n, classes]
    maps: torch.Tensor  # [n, channels, rows, columns] of the last convolution; the logits' gradients end here


def _answered(network: Network, pixels: torch.Tensor) -> _Answered:
    kept: list[torch.Tensor] = []

    def begin_here(_layer: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_(True))
        return kept[0]

    hook = network.gradcam_layer.register_forward_hook(begin_here)
    try:
        logits = network(pixels)
    finally:
        hook.remove()
    return _Answered(logits, kept[0])


def _grad_cam_plus_plus(answered: _Answered, target: NDArray[np.integer]) -> NDArray[np.floating]:
    """As the paper computes it, cell by cell from a backward pass: [n, rows, columns]."""
    score = answered.logits[torch.arange(len(target)), torch.from_numpy(target)].sum()
    (slope,) = torch.autograd.grad(score, answered.maps)
    # In float32 the square of a weight that is next to nothing is nothing.
    slope, maps = slope.double(), answered.maps.detach().double()
    order = (2.0 * slope**2 + slope**3 * maps.sum(dim=(2, 3), keepdim=True)).where(
        slope != 0.0, torch.tensor(1.0, dtype=torch.float64)
    )
    weights = (slope**2 / order * slope.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(dim=1).relu().numpy()


def _heat_rel_max(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """Of maps that mean something up to their scale."""
    pairs = zip(ours.astype(np.float64), theirs.astype(np.float64), strict=True)
    return max(
        float(np.abs(mine / mine.max() - other / other.max()).max()) if min(mine.max(), other.max()) > _FLAT else 0.0
        for mine, other in pairs
    )


def _nearest_abs_max(found: Mapping[str, NDArray[Any]], cosines: NDArray[np.float64]) -> float:
    """Against the references' own order, and of the ones that the graph names: two that tie may change places."""
    index, named = found["nearest_index"], found["nearest_cosine"]
    best = -np.sort(-cosines, axis=1)[:, : index.shape[1]]
    own = np.take_along_axis(cosines, index, axis=1)
    return float(max(np.abs(named - best).max(), np.abs(named - own).max()))


def _correlation_min(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    least = 1.0
    for mine, other in zip(ours.astype(np.float64), theirs.astype(np.float64), strict=True):
        if max(mine.max(), other.max()) < _FLAT:
            continue  # both say: nothing speaks for this class
        if mine.std() == 0.0 or other.std() == 0.0:
            return 0.0
        least = min(least, float(np.corrcoef(mine.ravel(), other.ravel())[0, 1]))
    return least


def _absolute_max(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    return float(np.abs(ours - theirs).max())


def _relative_max(ours: NDArray[np.floating], theirs: NDArray[np.floating], *, least: float = 0.0) -> float:
    """least: what a difference is at least measured by, however small the value itself."""
    return float((np.abs(ours - theirs) / np.maximum(np.abs(theirs), least)).max())
