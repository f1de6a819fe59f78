"""A data set of procedural photographs, in the layout that `training.data.folder` reads.

    OUT/CLASS/front_001.jpg ...   OUT/ood/coins/001.jpg ...   OUT/classes.yaml
    OUT/CLASS/back_001.jpg ...    OUT/ood/objects/KIND_001.jpg ...   OUT/demo.json

Every photograph shows a piece of its own. What it shows follows from the seed and its own
name alone: asking for more photographs leaves those that were there as they were.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import yaml
from PIL import Image, ImageFilter

from model_store import placed
from protos.cores import cores
from training.data.errors import DataWrong
from training.data.layout import OUTSIDE_FOLDER
from training.data.names import NAMES_FILE
from training.demo.moulds import DESIGNS, GROUPS, hand_cut, tablet
from training.demo.others import OBJECTS, coin, thing
from training.demo.renderer import COIN_SCENE, OBJECT_SCENE, Scene, photograph
from training.side_by_side import begin, begin_tracker, starting

PER_CLASS_MIN: Final = 2
PER_CLASS_MAX: Final = 5000
PER_CLASS_DEFAULT: Final = 36
FRONTS_RATIO: Final = 0.6
HAND_CUT_RATIO: Final = 0.4
ABOUT_FILE: Final = "demo.json"
_POOL_FROM: Final = 40  # photographs; below, starting processes costs more than it saves
# What the first call to a running stack should show: hardly worn, in the middle, sharp.
_SHOWCASE_SCENE: Final = Scene(scale=(0.85, 0.95), turn_deg=5.0, wear=(0.05, 0.2), blur_px=(0.0, 0.0))

Progress = Callable[[int, int], None]  # photographs written so far, photographs in all


class OutNotEmpty(DataWrong):
    """The folder to write to holds something already."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a demonstration set holds."""

    path: Path
    seed: int
    per_class: Mapping[str, int]
    outside: Mapping[str, int]  # photographs of other things, by set

    @property
    def photos(self) -> int:
        return sum(self.per_class.values()) + sum(self.outside.values())


def write_demo(
    out: Path,
    *,
    seed: int,
    per_class: int = PER_CLASS_DEFAULT,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write a demonstration set to `out`, a folder that is new or empty; all of it or nothing.

    per_class: photographs a class, PER_CLASS_MIN to PER_CLASS_MAX; each set of other things
    has as many.  processes: how many draw at once (None: one a core; a script that asks for
    more than one needs the usual `__main__` guard).  Raises OutNotEmpty, or OSError where the
    disk says no.
    """
    if not PER_CLASS_MIN <= per_class <= PER_CLASS_MAX:
        raise ValueError(f"per_class is {PER_CLASS_MIN} to {PER_CLASS_MAX}, not {per_class}")
    placed.clear(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutNotEmpty(f"{out} is not an empty folder: name a new one, or remove it first")
    names = [name for label in DESIGNS for name in _class_names(label, per_class)]
    names += [name for number in range(1, per_class + 1) for name in _outside_names(number)]
    with placed.folder(out) as place:
        for folder in sorted({Path(name).parent for name in names}):
            (place / folder).mkdir(parents=True, exist_ok=True)
        for done, _ in enumerate(_written(place, names, seed, processes or cores()), start=1):
            if progress is not None:
                progress(done, len(names))
        (place / NAMES_FILE).write_text(_class_names_text(), "utf-8")
        about = {"seed": seed, "per_class": per_class, "photographs": len(names)}
        (place / ABOUT_FILE).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    return Written(
        path=out,
        seed=seed,
        per_class=dict.fromkeys(DESIGNS, per_class),
        outside={"coins": per_class, "objects": per_class},
    )


def showcase(out_dir: Path, seed: int) -> Mapping[str, Path]:
    """Three photographs for a first look at a running stack, of pieces that are in no data set.

    "amulet": a well-preserved tablet; "coin": something a coin's shape and shine;
    "blurred": the tablet again, out of focus. Files of these names in `out_dir` are replaced.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    label = list(DESIGNS)[seed % len(DESIGNS)]
    clear = photograph(tablet(label, "front"), _generator(seed, "showcase/amulet"), _SHOWCASE_SCENE)
    rng = _generator(seed, "showcase/coin")
    pictures = {
        "amulet": clear,
        "coin": photograph(coin(rng), rng, COIN_SCENE),
        "blurred": clear.filter(ImageFilter.GaussianBlur(14)),
    }
    paths = {name: out_dir / f"{name}.jpg" for name in pictures}
    for name, picture in pictures.items():
        picture.save(paths[name], quality=90)
    return paths


def draw(name: str, seed: int) -> Image.Image:
    """The photograph that a set made from `seed` has under a relative path such as `CLASS/front_001.jpg`.

    Raises KeyError for a path that no set has.
    """
    rng = _generator(seed, name)
    folder, file = Path(name).parent.as_posix(), Path(name).stem
    if folder == f"{OUTSIDE_FOLDER}/coins":
        return photograph(coin(rng), rng, COIN_SCENE)
    if folder == f"{OUTSIDE_FOLDER}/objects":
        return photograph(thing(file.partition("_")[0], rng), rng, OBJECT_SCENE)
    mould = tablet(folder, file.partition("_")[0])
    return photograph(hand_cut(mould, rng) if rng.random() < HAND_CUT_RATIO else mould, rng)


def _written(root: Path, names: Sequence[str], seed: int, processes: int) -> Iterator[str]:
    """Each name as soon as its photograph is on the disk."""
    write = partial(_write, root, seed)
    if processes == 1 or len(names) < _POOL_FROM:
        yield from map(write, names)
        return
    begin_tracker()
    # Started afresh rather than forked: the caller may have threads.
    with ProcessPoolExecutor(processes, get_context("forkserver"), initializer=begin) as pool:
        with starting():
            drawn = pool.map(write, names, chunksize=8)
        yield from drawn


def _write(root: Path, seed: int, name: str) -> str:
    quality = int(_generator(seed, f"{name} quality").integers(72, 93))
    draw(name, seed).save(root / name, quality=quality)
    return name


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _class_names(label: str, count: int) -> list[str]:
    fronts = min(count - 1, max(1, round(count * FRONTS_RATIO)))
    sides = ["front"] * fronts + ["back"] * (count - fronts)
    return [f"{label}/{side}_{number:03}.jpg" for number, side in enumerate(sides, start=1)]


def _outside_names(number: int) -> tuple[str, str]:
    kind = list(OBJECTS)[(number - 1) % len(OBJECTS)]
    return f"{OUTSIDE_FOLDER}/coins/{number:03}.jpg", f"{OUTSIDE_FOLDER}/objects/{kind}_{number:03}.jpg"


def _class_names_text() -> str:
    document = {
        "levels": {"family": {"en": "Family", "th": "ตระกูล"}},
        "classes": {label: {**design.names, "parent": design.group} for label, design in DESIGNS.items()},
        "groups": {name: dict(names) for name, names in GROUPS.items()},
    }
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
