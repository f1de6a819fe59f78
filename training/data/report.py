"""A check of photographs as people read it: a page in the browser, a few lines on a terminal."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, Final, TypeVar

from PIL import Image

from training.data.alike import Alike
from training.data.check import Check, Flawed
from training.data.folder import Photo, open_image, upright
from training.data.quality import Flaw
from training.listing import counted
from training.pages import render

THUMBNAIL_PX: Final = 144
SHOWN_MAX: Final = 60  # pictures in one section; the JSON lists all
_FLAW_WORDS: Final = {
    Flaw.BLURRED: "blurred",
    Flaw.TOO_DARK: "too dark",
    Flaw.TOO_BRIGHT: "too bright",
    Flaw.LOW_CONTRAST: "little contrast",
    Flaw.SMALL: "small",
}


Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class Picture:
    """One photograph on the page."""

    source: str  # a data: URL
    name: str
    note: str = ""
    warning: bool = False


def page(check: Check, *, title: str = "") -> str:
    """The whole report as one HTML file that needs nothing else."""
    largest = max((each.photos for each in check.classes), default=1) or 1
    return render(
        "data/report.html.j2",
        title=title or check.path.resolve().name,
        check=check,
        largest=largest,
        sides=sorted({side for each in check.classes for side in each.sides}),
        groups=[
            {"pictures": [_picture(photo, photo.label) for photo in members], "differ": _labels_differ(members)}
            for members in _shown(sorted(check.copies, key=lambda members: not _labels_differ(members)))
        ],
        shared=[
            {"pictures": [_picture(pair.first, "here"), _picture(pair.second, "there")], "differ": False}
            for pair in _shown(check.against.shared if check.against else ())
        ],
        alike=_second_look(check.alike),
        alike_across=_second_look(check.against.alike if check.against else ()),
        suspects=[
            _picture(each.photo, f"{each.photo.label} → {each.suggested}, {each.probability:.0%}", warning=True)
            for each in _shown(check.suspects or ())
        ],
        flawed=[_picture(each.photo, _flaw_note(each)) for each in _shown(check.flawed)],
        shown_max=SHOWN_MAX,
        tiles=_tiles(check),
    )


def summary(check: Check) -> str:
    """A few lines: what there is, class by class, and what to do about it."""
    lines = [
        f"{counted(len(check.photos), 'photograph')} in {counted(len(check.classes), 'class', 'classes')}, {check.path}"
    ]
    widest = max((len(each.label) for each in check.classes), default=0)
    largest = max((each.photos for each in check.classes), default=0) or 1
    for each in check.classes:
        bar = "█" * max(1, round(24 * each.photos / largest)) if each.photos else ""
        sides = ", ".join(f"{count} {side}" for side, count in each.sides.items())
        lines.append(f"  {each.label:<{widest}}  {each.photos:>5}  {bar:<24}  {sides}")
    lines += [f"  ✗ {each.path}: {each.why}" for each in check.broken[:10]]
    if len(check.broken) > 10:
        lines.append(f"  ✗ and {len(check.broken) - 10} more")
    lines += [f"  ! {sentence}" for sentence in check.advice] or ["  Nothing stands out."]
    return "\n".join(lines)


def _tiles(check: Check) -> list[dict[str, Any]]:
    """The figures at the top of the page."""
    copied = sum(len(members) - 1 for members in check.copies)
    suspects = None if check.suspects is None else len(check.suspects)
    found = (
        (len(check.photos), ("photograph", "photographs"), not check.photos),
        (len(check.classes), ("class", "classes"), len(check.classes) < 2),
        (len(check.broken), ("broken file", "broken files"), bool(check.broken)),
        (copied, ("copy", "copies"), bool(check.contradictions)),
        (suspects, ("doubtful label", "doubtful labels"), bool(suspects)),
        (len(check.flawed), ("hard to learn from", "hard to learn from"), bool(check.flawed)),
    )
    tiles: list[dict[str, Any]] = [
        {"value": "–" if number is None else number, "label": one if number == 1 else several, "bad": bad}
        for number, (one, several), bad in found
    ]
    if check.against is not None:
        shared = len({pair.first.relative for pair in check.against.shared})
        tiles.append({"value": shared, "label": f"also in {check.against.path.name}", "bad": bool(shared)})
    return tiles


def _shown(items: Sequence[Each]) -> Sequence[Each]:
    return items[:SHOWN_MAX]


def _second_look(pairs: Sequence[Alike]) -> list[dict[str, Any]]:
    return [
        {
            "pictures": [_picture(photo, f"{photo.label}, {each.cosine:.2f}") for photo in (each.first, each.second)],
            "differ": False,
        }
        for each in _shown(pairs)
    ]


def _labels_differ(members: Sequence[Photo]) -> bool:
    return len({photo.label for photo in members}) > 1


def _flaw_note(flawed: Flawed) -> str:
    return ", ".join(_FLAW_WORDS[flaw] for flaw in flawed.flaws)


def _picture(photo: Photo, note: str, *, warning: bool = False) -> Picture:
    return Picture(source=_thumbnail(photo), name=photo.relative, note=note, warning=warning)


@cache
def _thumbnail(photo: Photo) -> str:
    with open_image(photo.path, photo.content()) as image:
        image.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
        small = upright(image).convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
