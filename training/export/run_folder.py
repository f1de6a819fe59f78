"""What a run leaves behind: a folder that appears whole or not at all.

model.onnx       the graph            reference.json    distributions that drift is measured against
model.json       its card             checkpoint.pt     the fitted tensors, for other exports
golden_N.png     known answers        metrics.json      every figure and out-of-fold prediction
examples.json    the references that answers name as nearest
learnt.json      digests of the photographs that it learnt from; never in an archive
report.html      for people           tuning.json       how the backbone was fine-tuned, where it was
card.html        its card, for people
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_store import examples, placed
from model_store.card import Card, GoldenCard
from model_store.examples import THUMBNAIL_PX, Example
from training import locks
from training.data.folder import Photo
from training.errors import SettingWrong
from training.results import unmakeable
from training.served.answers import CARD, GRAPH, GraphModel
from training.served.learnt import digest_of

REFERENCE: Final = "reference.json"
METRICS: Final = "metrics.json"
TUNING: Final = "tuning.json"
REPORT: Final = "report.html"
CARD_PAGE: Final = "card.html"
_THUMBNAIL_QUALITY: Final = 80


def check_free(out: Path) -> None:
    """Raises SettingWrong where something else than an earlier run would be overwritten, or no folder can be made."""
    check_makeable(out)
    if out.is_dir() and (not any(out.iterdir()) or (out / CARD).is_file()):
        return
    if out.exists():
        raise SettingWrong(f"{out} exists and is no earlier run: name a new folder, or an empty one")


def check_makeable(out: Path) -> None:
    """Raises SettingWrong where no folder can take the place of `out` when the work is done."""
    why = unmakeable(out)
    if why:
        raise SettingWrong(why)


@contextlib.contextmanager
def reserved(out: Path) -> Iterator[None]:
    """Meanwhile nobody else who asks here writes to `out`, and what a killed process left of a run is mended first.

    Raises SettingWrong where somebody does, or nothing can be made there.
    """
    check_makeable(out)
    place = Path(os.path.realpath(out))
    place.parent.mkdir(parents=True, exist_ok=True)
    with locks.held(place.with_name(f".{place.name}.lock"), out):
        placed.clear(out)
        yield


def write_golden(folder: Path, photos: Sequence[NDArray[np.uint8]], model: GraphModel) -> tuple[GoldenCard, ...]:
    """The photographs at the model's size, each with the graph's answer to it alone."""
    cards = []
    for number, pixels in enumerate(photos):
        name = f"golden_{number}.png"
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG", optimize=True)
        (folder / name).write_bytes(content.getvalue())
        answers = model.answer([pixels])
        cards.append(
            GoldenCard(
                file=name,
                sha256=hashlib.sha256(content.getvalue()).hexdigest(),
                probabilities=tuple(min(1.0, float(value)) for value in answers.probabilities[0]),
                scores={detector: float(values[0]) for detector, values in answers.scores.items()},
            )
        )
    return tuple(cards)


def examples_of(references: Sequence[Photo], *, shown: Mapping[str, NDArray[np.uint8]]) -> str:
    """The text of examples.json.

    references: in the order of the graph's.  shown: by SHA-256 those, at the model's size, whose thumbnail
    everybody may see who may call the model.
    """
    return examples.render(
        [
            Example(
                id=digest_of(photo),
                class_id=photo.label,
                side=photo.side_name if photo.side else "",
                thumbnail_jpeg=_thumbnail(shown[photo.sha256]) if photo.sha256 in shown else b"",
            )
            for photo in references
        ]
    )


def _thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(pixels).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    image.save(out, "JPEG", quality=_THUMBNAIL_QUALITY, optimize=True)
    return out.getvalue()


def write_model(folder: Path, card: Card, graph: bytes) -> None:
    (folder / CARD).write_text(card.render(), "utf-8")
    (folder / GRAPH).write_bytes(graph)


def write_json(folder: Path, name: str, document: Mapping[str, Any]) -> None:
    (folder / name).write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")
