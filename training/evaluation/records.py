"""What a run remembers of its cross-validation: distributions for drift, and every prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store import reference
from model_store.card import Card
from model_store.projection import projected
from training.data.folder import Folder
from training.data.quality import Quality, flaws, qualities
from training.evaluation.assessment import Answered, Assessment
from training.evaluation.crossvalidation import OutOfFold, cuts_of
from training.evaluation.levels import level_name
from training.evaluation.tables import tables
from training.evaluation.unseen import LeftOut
from training.served.answers import reason_names, verdict_name

QUALITIES: Final = ("sharpness_var", "brightness_ratio", "contrast_ratio")


def reference_of(
    folder: Folder, found: OutOfFold, measured: Sequence[Quality], *, unlearnt: NDArray[np.floating]
) -> str:
    """The text of reference.json. measured: of the folder's photographs, in their order.  unlearnt: [n, size], what
    the version's own network sees of photographs that it did not learn from.

    Out-of-fold answers and not those on the training photographs themselves: drift is measured
    against what the model says of photographs that it has not seen.
    """
    ordered = np.sort(found.probabilities, axis=1)
    best = found.probabilities.argmax(axis=1)
    samples = {
        "confidence": ordered[:, -1],
        "margin": ordered[:, -1] - ordered[:, -2],
        "ood_score": found.ratios,
        **{f"score_{name}": values for name, values in found.scores.items()},
        **{reference.confidence_in(folder.classes[row]): ordered[best == row, -1] for row in np.unique(best).tolist()},
        # Under the names and by the measures of what callers send.
        **{name: np.array([getattr(each, name) for each in measured]) for name in QUALITIES},
        **dict(zip(reference.EMBEDDING, projected(unlearnt).T, strict=True)),
        "shorter_side_px": np.array([min(photo.width_px, photo.height_px) for photo in folder.photos], np.float64),
    }
    counts = {
        "predicted_class": Counter(folder.classes[row] for row in best),
        "verdict": Counter(verdict_name(decision.verdict) for decision in found.decisions),
        "side": Counter(photo.side_name for photo in folder.photos),
    }
    return reference.build({name: values.tolist() for name, values in samples.items()}, counts)


def answered_of(folder: Folder, found: OutOfFold, *, set_coverage: float) -> Answered:
    """The out-of-fold answers, ready to be assessed: classes by the heads, all else by whole versions."""
    measures = qualities(folder.photos)
    return Answered(
        classes=folder.classes,
        labels=found.labels,
        groups=found.groups,
        predicted=found.head_predicted,
        probabilities=found.probabilities,
        decisions=found.decisions,
        sets=found.sets,
        set_coverage=set_coverage,
        sides=tuple(photo.side_name for photo in folder.photos),
        qualities=measures,
        flaws=tuple(
            flaws(quality, width_px=photo.width_px, height_px=photo.height_px)
            for photo, quality in zip(folder.photos, measures, strict=True)
        ),
        levels=cuts_of(folder),
        above=found.above,
        objects=tuple(photo.object for photo in folder.photos),
        tables=tables(folder.photos),
    )


def metrics_of(
    card: Card, folder: Folder, found: OutOfFold, assessment: Assessment, left_out: LeftOut, parity: Any
) -> dict[str, Any]:
    """The content of metrics.json."""
    predicted = found.head_predicted
    return {
        "model": card.version,
        "figures": [asdict(metric) for metric in card.metrics],
        **assessment.document(),
        "unseen_class_auroc": {label: each.auroc for label, each in left_out.items()},
        "parity": asdict(parity),
        "predictions": [
            {
                "file": photo.relative,
                "label": photo.label,
                "fold": int(found.fold[row]),
                "group": int(found.groups[row]),
                "head_predicted": folder.classes[predicted[row]],
                "predicted": folder.classes[int(found.probabilities[row].argmax())],
                "confidence": float(found.probabilities[row].max()),
                "verdict": verdict_name(found.decisions[row].verdict),
                "reasons": reason_names(found.decisions[row].reasons),
                "ood_score": found.decisions[row].ood_score,
                "level": level_name(found.above[row], cuts_of(folder)),
            }
            for row, photo in enumerate(folder.photos)
        ],
    }
