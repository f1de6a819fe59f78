"""Heat maps for experts to judge: one ZIP that the console imports.

    sheet.json     {"kind": "heat_maps", "model": VERSION, "items": [{"name", "photo", "overlay", "label",
                   "predicted", "confidence"}, ...]}
    001.jpg        the photograph as the model saw it
    001_map.jpg    the same with the heat map over it

`label` is the photograph's folder where that is a class of the model, and null elsewhere.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from training.errors import SettingWrong
from training.evaluation.answers import GraphModel
from training.explanation.overlay import SIDE_PX, overlaid

SHEET: Final = "sheet.json"
ITEMS: Final = 50  # what an expert looks through in a quarter of an hour
_JPEG_QUALITY: Final = 88
_AS_OLD_AS_ZIP: Final = (1980, 1, 1, 0, 0, 0)  # the same photographs make the same file


def write_sheet(model: GraphModel, folder: Path, files: Sequence[Path], out: Path) -> int:
    """How many photographs are on the sheet. files: below `folder`; they are readable photographs.

    Raises SettingWrong where `out` exists, PhotoBroken for a file that is no photograph, OSError where the disk
    refuses; then there is no file.
    """
    if out.exists():
        raise SettingWrong(f"{out} exists: name a new file for the review sheet")
    classes = [item.id for item in model.card.classes]
    items = []
    half_done = out.with_name(f".{out.name}.partial")
    try:
        with zipfile.ZipFile(half_done, "w") as archive:
            for number, file in enumerate(files, start=1):
                pixels = model.pixels(file)
                answers, maps = model.explain([pixels], -1)
                photo, overlay = f"{number:03}.jpg", f"{number:03}_map.jpg"
                plain = Image.fromarray(pixels, "RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
                for name, picture in ((photo, plain), (overlay, overlaid(pixels, maps[0], side_px=SIDE_PX))):
                    archive.writestr(zipfile.ZipInfo(name, _AS_OLD_AS_ZIP), _jpeg(picture))
                row = answers.probabilities[0]
                label = file.parent.name if file.parent.name in classes else None
                items.append(
                    {
                        "name": file.relative_to(folder).as_posix(),
                        "photo": photo,
                        "overlay": overlay,
                        "label": label,
                        "predicted": classes[int(row.argmax())],
                        "confidence": float(row.max()),
                    }
                )
            sheet = {"kind": "heat_maps", "model": model.card.version, "items": items}
            text = json.dumps(sheet, ensure_ascii=False, indent=2)
            archive.writestr(zipfile.ZipInfo(SHEET, _AS_OLD_AS_ZIP), text)
        half_done.replace(out)
    finally:
        half_done.unlink(missing_ok=True)
    return len(items)


def _jpeg(picture: Image.Image) -> bytes:
    content = BytesIO()
    picture.save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()
