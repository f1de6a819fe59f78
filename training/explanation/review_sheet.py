"""Heat maps for experts to judge: the sheet that the console imports (`model_store.review_sheet` says its form).

An item's label is the photograph's folder where that is a class of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from model_store import review_sheet
from model_store.review_sheet import Item, Kind, jpeg
from training.data.errors import printable
from training.errors import SettingWrong
from training.explanation.overlay import SIDE_PX, overlaid
from training.served.answers import Explain, GraphModel

ITEMS: Final = 50  # what an expert looks through in a quarter of an hour


def write_sheet(
    model: GraphModel, folder: Path, files: Sequence[Path], out: Path, *, explain: Explain | None = None
) -> int:
    """How many photographs are on the sheet. files: below `folder`; they are readable photographs.
    explain: by what maps are made; by default the graph's Grad-CAM.

    Raises SettingWrong where `out` exists, PhotoBroken for a file that is no photograph, OSError where the disk
    refuses; then there is no file.
    """
    check_free(out)
    items = _items(model, folder, files, explain or model.explain)
    return review_sheet.write_sheet(out, items, kind=Kind.HEAT_MAPS, model=model.card.version)


def check_free(out: Path) -> None:
    """Raises SettingWrong where `out` exists: experts may be at work with it."""
    if out.exists():
        raise SettingWrong(f"{out} exists: name a new file for the review sheet")


def _items(model: GraphModel, folder: Path, files: Sequence[Path], explain: Explain) -> Iterator[Item]:
    classes = [item.id for item in model.card.classes]
    for file in files:
        pixels = model.pixels(file)
        answers, maps = explain([pixels], -1)
        plain = Image.fromarray(pixels, "RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        row = answers.probabilities[0]
        yield Item(
            name=printable(file.relative_to(folder).as_posix()),
            photo=jpeg(plain),
            label=file.parent.name if file.parent.name in classes else None,
            overlay=jpeg(overlaid(pixels, maps[0], side_px=SIDE_PX)),
            predicted=classes[int(row.argmax())],
            confidence=float(row.max()),
        )
