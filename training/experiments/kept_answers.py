"""What a run or a measurement answered to each photograph, as its metrics keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import documents
from training.errors import ModelUnreadable
from training.export.run_folder import METRICS


@dataclass(frozen=True, slots=True)
class Answers:
    """One model's answers to the photographs; n of each column, in the order of the files."""

    files: tuple[str, ...]
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    confident: tuple[str, ...]  # what confidence is of; a run's heads may answer otherwise than its versions
    confidence: NDArray[np.float64]
    accepted: NDArray[np.bool_]  # called in domain
    groups: NDArray[np.intp] | None  # copies and views of one object share a number; None: the run does not say


def records_of(run: Path) -> Mapping[str, Any]:
    """The metrics of a run. Raises ModelUnreadable where it has none."""
    try:
        document: Mapping[str, Any] = documents.of_json((run / METRICS).read_text("utf-8"))
    except OSError:
        raise ModelUnreadable(
            f"{run} has no {METRICS}: name RUN folders of `amulet train`, or give --data to compare on"
        ) from None
    except ValueError:
        raise ModelUnreadable(f"{run / METRICS} is not JSON: train the run again") from None
    return document


def answers_of(document: Mapping[str, Any], run: Path, key: str) -> Answers:
    """key: whose answers of the two that a run keeps. Raises ModelUnreadable for metrics of another version."""
    try:
        return answers_in(document["predictions"], key)
    except (KeyError, TypeError):
        raise ModelUnreadable(f"{run / METRICS} is of another version of this program: train the run again") from None


def answers_in(rows: Sequence[Mapping[str, Any]], key: str) -> Answers:
    """Of rows as metrics hold them.  key: of the label that was answered."""
    ordered = sorted(rows, key=lambda row: str(row["file"]))
    groups = [row.get("group") for row in ordered]
    return Answers(
        files=tuple(row["file"] for row in ordered),
        labels=tuple(row["label"] for row in ordered),
        predicted=tuple(row[key] for row in ordered),
        confident=tuple(row["predicted"] for row in ordered),
        confidence=np.array([row["confidence"] for row in ordered], np.float64),
        accepted=np.array([row["verdict"] == "IN_DOMAIN" for row in ordered]),
        groups=None if None in groups else np.array(groups, np.intp),
    )


def auroc_in(document: Mapping[str, Any]) -> dict[str, float]:
    """Set of other things -> how well they are told apart."""
    prefix = "auroc_"
    return {
        item["name"].removeprefix(prefix): item["value"]
        for item in document.get("figures", ())
        if item["name"].startswith(prefix)
    }
