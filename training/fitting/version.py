"""Everything that is fitted of one model version, each part of it on photographs of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protos.verdict import DecisionLimits, DetectorLimits
from training.calibration import conformal
from training.calibration.temperature import fit_temperature, probabilities_of
from training.errors import DataTooSmall
from training.export.fused_graph import Fitted
from training.fitting.features import Features
from training.fitting.head_only import fit_head
from training.fitting.recipe import Recipe
from training.models.heads import LinearHead
from training.ood import isolation_forest, mahalanobis, thresholds

PARTS: Final = ("train", "calibration", "thresholds")
DETECTORS: Final = (mahalanobis.NAME, isolation_forest.NAME)
_Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Part:
    """Photographs that serve one purpose, and what they show."""

    features: Features
    labels: NDArray[np.intp]  # [photos]


@dataclass(frozen=True, slots=True)
class Version:
    """A head, its temperature, detectors and the borders of their scores."""

    fitted: Fitted
    limits: DecisionLimits

    def probabilities(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated, [n, classes]."""
        return probabilities_of(self.fitted.head.logits(embedding), self.fitted.temperature)

    def scores(self, embedding: NDArray[np.floating]) -> _Scores:
        """Detector -> [n]."""
        return detector_scores(self.fitted, embedding)


def fit_version(
    train: Part,
    calibration: Part,
    held_out: Part,
    outside: NDArray[np.floating],
    *,
    classes: int,
    recipe: Recipe,
    seed: int,
) -> Version:
    """Fit head and detectors on `train`, the temperature on `calibration`, the borders on `held_out`.

    outside: embeddings [m, size] of photographs of other things, set aside for the borders; may be
    empty. Raises DataTooSmall where the photographs of each class do not differ at all.
    """
    rows, photo_of_row = train.features.flat()
    labels = train.labels[photo_of_row]
    try:
        head = fit_head(rows, labels, classes=classes, recipe=recipe)
        detector = mahalanobis.fit(rows, labels, classes=classes, shrinkage=recipe.mahalanobis_shrinkage)
    except ValueError as error:
        raise DataTooSmall(f"nothing can be learnt from these photographs: {error}") from None
    forest = isolation_forest.fit(rows, trees=recipe.forest_trees, samples=recipe.forest_samples, seed=seed)
    fitted = Fitted(head, _temperature(head, calibration), detector, forest)
    return Version(fitted, _limits(fitted, held_out, outside, recipe))


def detector_scores(fitted: Fitted, embedding: NDArray[np.floating]) -> _Scores:
    """Detector -> [n]; higher is further out."""
    if not len(embedding):
        return {name: np.zeros(0) for name in DETECTORS}
    return {
        mahalanobis.NAME: fitted.mahalanobis.score(embedding),
        isolation_forest.NAME: isolation_forest.score(fitted.forest, embedding),
    }


def _temperature(head: LinearHead, calibration: Part) -> float:
    """Each photograph counts once: half as it is, half as its views."""
    rows, photo_of_row = calibration.features.flat()
    photos, views = calibration.features.views.shape[:2]
    weights = np.ones(photos)
    if views:
        weights = np.concatenate([np.full(photos, 0.5), np.full(photos * views, 0.5 / views)])
    return fit_temperature(head.logits(rows), calibration.labels[photo_of_row], weights=weights)


def _limits(fitted: Fitted, held_out: Part, outside: NDArray[np.floating], recipe: Recipe) -> DecisionLimits:
    """Borders from photographs that nothing was fitted on, and from views of them as other cameras see them."""
    known = detector_scores(fitted, held_out.features.flat()[0])
    away = detector_scores(fitted, outside)
    detectors: list[DetectorLimits] = [
        thresholds.limits_of(
            name,
            known[name],
            away[name],
            independent=len(held_out.labels),
            # Either detector can raise the alarm: each may be wrong half as often.
            unsure_ratio=recipe.unsure_ratio / len(DETECTORS),
            out_ratio=recipe.out_ratio / len(DETECTORS),
        )
        for name in DETECTORS
    ]
    probabilities = probabilities_of(fitted.head.logits(held_out.features.plain), fitted.temperature)
    return DecisionLimits(
        confidence_min=recipe.confidence_min,
        margin_min=recipe.margin_min,
        detectors=tuple(detectors),
        set_coverage=recipe.set_coverage,
        set_probability_min=conformal.set_probability_min(probabilities, held_out.labels, coverage=recipe.set_coverage)
        if recipe.set_coverage > 0.0
        else 1.0,
    )
