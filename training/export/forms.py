"""Which form of a run is served: fp32, or 8 bits where those are faster here and lose nothing that counts.

What 8 bits save depends on the processor: a sixth of the graph's time without instructions
for them, nearly half with VNNI. So both are measured where the archive is made, and the card
says on which processor, what came out, and why the one was taken.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from model_store import placed
from model_store.card import Card, FormChoice
from training.errors import DataTooSmall, ParityBroken
from training.export.quantize import MEASURED_MIN, Figures, Progress, quantize
from training.processor import processor
from training.served.answers import CARD

LOSS_MAX: Final = 0.01  # of accuracy, on photographs that the quantisation did not see
GAIN_MIN: Final = 1.1  # times as fast: less is not worth a second kind of rounding
_ROUNDING: Final = 1e-9


def fastest(
    run: Path, data: Path, out: Path, *, outside: Sequence[Path] = (), progress: Progress = lambda *_: None
) -> Card:
    """Write to `out` the form of `run` that answers fastest on this machine and loses little, whole or not at all.

    data, outside: as for `quantize`, whose errors it raises, except that 8 bits decide otherwise or that too few
    photographs tell: then `out` holds the run's own form, and its card says which of the two it was.
    """
    with placed.folder(out, replace=True) as place:
        small = place / "int8"
        try:
            _, figures = quantize(run, data, small, outside=outside, progress=progress)
        except (ParityBroken, DataTooSmall) as error:
            _take(run, place, refused(error))
            shutil.rmtree(small, ignore_errors=True)
        else:
            choice = choose(figures)
            _take(small if is_int8(figures) else run, place, choice)
            shutil.rmtree(small)
    return Card.parse((out / CARD).read_bytes())


def loss_allowed(photos: int) -> float:
    """Of accuracy: LOSS_MAX, or one photograph where that is more.

    Of fewer than a hundred photographs the least loss there is lies beyond LOSS_MAX: one photograph at a border would
    decide, by luck. What it may come to at the worst stands beside it in every card.
    """
    return max(LOSS_MAX, 1.0 / photos)


def loses_little(lost: float, photos: int) -> bool:
    """lost: of accuracy, the difference of two shares of `photos`, which is rounded."""
    return lost <= loss_allowed(photos) + _ROUNDING


def is_int8(figures: Figures) -> bool:
    """Whether 8 bits are enough faster and lose little enough."""
    fast = figures.one_photo_ms_before >= GAIN_MIN * figures.one_photo_ms_after
    return fast and loses_little(figures.accuracy_before - figures.accuracy_after, figures.photos)


def choose(figures: Figures) -> FormChoice:
    times = figures.one_photo_ms_before / figures.one_photo_ms_after
    lost = figures.accuracy_before - figures.accuracy_after
    taken = "int8" if is_int8(figures) else "fp32"
    allowed = f"{LOSS_MAX:.0%}" if loss_allowed(figures.photos) == LOSS_MAX else "one photograph"
    return FormChoice(
        processor=processor(),
        fp32_ms=round(figures.one_photo_ms_before, 3),
        int8_ms=round(figures.one_photo_ms_after, 3),
        accuracy_fp32=figures.accuracy_before,
        accuracy_int8=figures.accuracy_after,
        why=(
            f"{taken}: 8 bits are {times:.2f} times as fast (wanted: {GAIN_MIN}) and lose {lost:.1%} of accuracy "
            f"on {figures.photos} photographs (allowed: {allowed}; with 95% confidence at most "
            f"{figures.accuracy_lost_at_most:.1%})"
        ),
    )


def refused(error: ParityBroken | DataTooSmall) -> FormChoice:
    """Why there is no 8-bit form. A card is for others: it does not say where the photographs lie."""
    if isinstance(error, DataTooSmall):
        why = (
            f"too few photographs to tell whether 8 bits decide alike: {2 * MEASURED_MIN} of the known classes are "
            f"needed, half to calibrate with and half to measure on"
        )
    else:
        why = str(error)
    return FormChoice(processor=processor(), why=f"fp32: {why}")


def _take(run: Path, place: Path, choice: FormChoice) -> None:
    for path in run.iterdir():
        if path.is_file():
            shutil.copy(path, place / path.name)
    card = Card.parse((run / CARD).read_bytes())
    (place / CARD).write_text(replace(card, graph=replace(card.graph, choice=choice)).render(), "utf-8")
