"""Synthetic photographs of a class from its real ones, and from the procedural renderer where that knows the class.

    OUT/CLASS/front_001-composite-1.jpg    the object of DATA/CLASS/front_001.jpg, on another table
    OUT/CLASS/front_001-relit-1.jpg        the same photograph, lit from elsewhere
    OUT/CLASS/front_001-drawn-1.jpg        a piece that never was
    OUT/origins.json                       which real photograph each one is made from

`origins.json` is what keeps an honest A/B test honest: a synthetic photograph may be learnt from only
where its origin may.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from handlers.amulet_handler import pixels_of
from model_store import placed
from training import documents
from training.augmentation import backdrop, robust
from training.data.errors import DataWrong, FolderMissing
from training.data.folder import Folder, Photo
from training.data.names import composed
from training.demo.moulds import DESIGNS
from training.demo.photographs import OutNotEmpty, draw
from training.errors import SettingWrong

KINDS: Final = ("composite", "relit", "drawn")
ORIGINS: Final = "origins.json"
SIDE_PX_MAX: Final = 512
_JPEG_QUALITY: Final = 90
Pixels = NDArray[np.uint8]  # [H, W, 3]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Made:
    """What was written."""

    path: Path
    per_class: Mapping[str, int]
    no_backdrop: tuple[str, ...]  # real photographs whose object could not be cut out: no composites of them

    @property
    def photos(self) -> int:
        return sum(self.per_class.values())


def make(
    folder: Folder,
    out: Path,
    *,
    kinds: Sequence[str] = ("composite", "relit"),
    per_photo: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Made:
    """Write `per_photo` photographs of each kind for each real one, to a folder that is new or empty; all or nothing.

    The same photograph, kind and seed give the same synthetic one in any data set.
    Raises OutNotEmpty, SettingWrong where the renderer does not know a class, DataChanged, OSError.
    """
    placed.clear(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutNotEmpty(f"{out} is not an empty folder: name a new one, or remove it first")
    unknown = [label for label in folder.classes if label not in DESIGNS]
    if "drawn" in kinds and unknown:
        raise SettingWrong(
            f"the renderer does not know {unknown[0]}: it draws the classes of `amulet data demo` alone; "
            "make composite and relit ones"
        )
    origins: dict[str, str | None] = {}
    no_backdrop = []
    # Two files of one stem, .jpg and .png, keep their suffixes: their synthetic ones would be one file.
    names = Counter((photo.label, name) for photo in folder.photos for name in (photo.path.stem, photo.path.name))
    with placed.folder(out) as place:
        for number, photo in enumerate(folder.photos):
            (place / photo.label).mkdir(exist_ok=True)
            side = min(SIDE_PX_MAX, photo.width_px, photo.height_px)
            pixels = pixels_of(photo.content(), side, side)
            stem = photo.path.stem if names[photo.label, photo.path.stem] == 1 else photo.path.name
            if "composite" in kinds and backdrop.mask(pixels) is None:
                no_backdrop.append(photo.relative)
            for name, origin, picture in _made_from(photo, pixels, kinds, per_photo, seed):
                relative = f"{photo.label}/{stem}-{name}.jpg"
                Image.fromarray(picture).save(place / relative, quality=_JPEG_QUALITY)
                origins[relative] = origin
            if progress is not None:
                progress(number + 1, len(folder.photos))
        document: dict[str, Any] = {
            "made_from": {"fingerprint": folder.fingerprint, "photos": len(folder.photos)},
            "kinds": list(kinds),
            "seed": seed,
            "origins": origins,
        }
        (place / ORIGINS).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")
    counts = Counter(Path(relative).parent.as_posix() for relative in origins)
    return Made(out, {label: counts[label] for label in folder.classes}, tuple(no_backdrop))


def origins_of(path: Path) -> Mapping[str, str | None] | None:
    """Relative path of a synthetic photograph -> that of its real one, None for a drawn one; None where nobody says.

    Raises DataWrong where the file is not what `make` writes.
    """
    try:
        document = documents.of_json((path / ORIGINS).read_text("utf-8"))
        origins = {
            composed(made): None if origin is None else composed(origin)
            for made, origin in dict(document["origins"]).items()
        }
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise DataWrong(
            f'{path / ORIGINS} does not say what photographs are made from: it is {{"origins": {{"CLASS/x.jpg": '
            '"CLASS/real.jpg"}}, or may be missing'
        ) from None
    if not origins:
        raise FolderMissing(f"{path / ORIGINS} names no photograph: make them again, or remove it")
    return origins


def _made_from(
    photo: Photo, pixels: Pixels, kinds: Sequence[str], per_photo: int, seed: int
) -> Iterator[tuple[str, str | None, Pixels]]:
    """(name, origin, picture) of everything that is made for one real photograph."""
    for number in range(1, per_photo + 1):
        rng = np.random.default_rng([seed, number, int(photo.sha256[:16], 16)])
        if "composite" in kinds and (picture := composite(pixels, rng)) is not None:
            yield f"composite-{number}", photo.relative, picture
        if "relit" in kinds:
            yield f"relit-{number}", photo.relative, relit(pixels, rng)
        if "drawn" in kinds:
            side = "back" if photo.side_name == "back" else "front"
            name = f"{photo.label}/{side}_{int(photo.sha256[:12], 16) + number}.jpg"
            yield f"drawn-{number}", None, np.asarray(draw(name, seed))


def composite(pixels: Pixels, rng: np.random.Generator) -> Pixels | None:
    """The object turned, moved and lit anew on another table, with its shadow; None where it cannot be cut out."""
    table = backdrop.mask(pixels)
    if table is None:
        return None
    side = len(pixels)
    cover = ndimage.gaussian_filter(1.0 - table.astype(np.float32), 1.0)
    cut = Image.fromarray(np.dstack([pixels, (cover * 255.0).round().astype(np.uint8)]))
    size = max(1, round(side * float(np.exp(rng.uniform(-0.3, 0.05)))))
    cut = cut.resize((size, size), Image.Resampling.LANCZOS)
    cut = cut.rotate(rng.uniform(-15.0, 15.0), Image.Resampling.BICUBIC)
    sheet = Image.new("RGBA", (side, side))
    free = side - size
    place = tuple(int(rng.integers(min(0, free), max(0, free) + 1)) for _ in range(2))
    sheet.paste(cut, (place[0], place[1]))
    layer = np.asarray(sheet, np.float32)
    alpha = layer[..., 3] / 255.0
    ground = backdrop.drawn(side, side, rng)
    angle, thickness_px = rng.uniform(0.0, 2.0 * np.pi), side * rng.uniform(0.01, 0.03)
    fallen = ndimage.shift(alpha, (thickness_px * np.sin(angle), thickness_px * np.cos(angle)), order=1)
    ground *= 1.0 - rng.uniform(0.3, 0.7) * ndimage.gaussian_filter(fallen, thickness_px)[..., None]
    whole = layer[..., :3] * alpha[..., None] + ground * (1.0 - alpha[..., None])
    return relit(np.asarray(whole.clip(0.0, 255.0), np.uint8), rng)


def relit(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A second light from a random side: slopes towards it brighten, those away from it darken, and it has a colour.

    Slopes are read from brightness itself, so the old shadows stay: a photograph with two lights, not with another one.
    """
    grey = ndimage.gaussian_filter(pixels.mean(axis=2, dtype=np.float32), len(pixels) / 224.0)
    down, right = np.gradient(grey)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    slope = np.sin(angle) * down + np.cos(angle) * right
    slope /= 3.0 * float(slope.std()) + 1e-6
    y, x = np.mgrid[: len(pixels), : pixels.shape[1]].astype(np.float32) / len(pixels) - 0.5
    falloff = np.sin(angle) * y + np.cos(angle) * x
    light = np.exp(rng.uniform(0.1, 0.35) * slope.clip(-1.0, 1.0) + rng.uniform(0.2, 0.8) * falloff)
    lit = (pixels * light[..., None]).clip(0.0, 255.0).astype(np.uint8)
    return robust.colour_cast(lit, rng.uniform(0.0, 0.12), rng.uniform(0.0, 360.0))
