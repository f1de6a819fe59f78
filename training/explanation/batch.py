"""Heat maps of a whole folder: what a model says of each photograph, and where it looks.

    OUT/
      index.html             every photograph with its heat map and its answer
      explanations.json      the same for programs, with the raw grids
      maps/CLASS/x.jpg.png   the heat map over what the model saw, by the photograph's place in the folder
      cache/KEY.json, .png   answers by content; may be deleted at any time

KEY is the SHA-256 over the graph, the photograph's bytes, the method and the class explained: the same
photograph under another name, or in another folder, is answered without running the graph,
and another model never meets an old answer. `explanations.json` is written last: while it
stands, everything that it names is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_store import leftovers, placed
from protos.verdict import decide
from protos.wording import DISCLAIMER
from training.data.errors import FolderMissing, PhotoBroken, printable
from training.data.folder import SUFFIXES
from training.data.names import composed
from training.errors import SettingWrong
from training.explanation.methods import GRAD_CAM, MEANS
from training.explanation.overlay import overlay_png
from training.explanation.page import Shown, page
from training.listing import listed
from training.served.answers import Answers, Explain, GraphModel, Progress, reason_names, verdict_name

INDEX: Final = "index.html"
DOCUMENT: Final = "explanations.json"
MAPS: Final = "maps"
CACHE: Final = "cache"
BEST: Final = -1  # the target that asks for the best class
_FORM: Final = b"amulet explanation 2"  # of what a cache file holds: another form has other keys
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Explained:
    """What was written."""

    path: Path
    photos: int
    from_cache: int
    verdicts: dict[str, int]
    files: tuple[Path, ...]  # that were explained
    left_out: tuple[PhotoBroken, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """One photograph on its way."""

    relative: str  # printable: the name of the map, and what page and JSON call the photograph
    path: Path
    sha256: str  # of its content when its key was made
    key: str


def explain_folder(
    model: GraphModel,
    folder: Path,
    out: Path,
    *,
    sample: int | None = None,
    seed: int = 0,
    target: str | None = None,
    method: str = GRAD_CAM,
    explain: Explain | None = None,
    progress: Progress | None = None,
) -> Explained:
    """Write a heat map for each photograph below `folder`, or for `sample` of them.

    target: the class to explain; by default the best one of each photograph.  method, explain: how the maps are made,
    and by what (`methods.method_of`); by default Grad-CAM, by the graph.
    Files that cannot be read are left out and named. Raises FolderMissing where no photograph
    can be read, SettingWrong for a class the model does not know or a place that is in use.
    """
    classes = [item.id for item in model.card.classes]
    known = [composed(label) for label in classes]  # as it is typed, and as a card that is older spells it
    if target is not None and composed(target) not in known:
        raise SettingWrong(f"{target} is no class of {model.card.version}: it knows {listed(classes)}")
    _check_place(folder, out)
    files = photographs(folder)
    chosen = files if sample is None else sampled(files, folder, sample, seed=seed)
    class_index = BEST if target is None else known.index(composed(target))
    cache = out / CACHE
    cache.mkdir(parents=True, exist_ok=True)
    leftovers.sweep(cache, leftovers.NEW)
    rows: list[dict[str, Any]] = []
    explained: list[Path] = []
    broken: list[PhotoBroken] = []
    cached = 0
    # They take their places in the other order, when all are whole and on the disk.
    with (
        placed.file(out / DOCUMENT) as document,
        placed.file(out / INDEX) as index,
        placed.folder(out / MAPS, replace=True) as maps,
    ):
        with ThreadPoolExecutor(max_workers=4) as pool:
            for first in range(0, len(chosen), _BATCH):
                jobs = _keyed(chosen[first : first + _BATCH], folder, f"{model.sha256} {method} {class_index}", broken)
                missing = [job for job in jobs if not _is_cached(cache, job.key)]
                cached += len(jobs) - len(missing)
                refused = _answer(model, explain or model.explain, missing, class_index, cache, pool, broken)
                for job in jobs:
                    if job.key not in refused:
                        explained.append(job.path)
                        rows.append(_row(job, json.loads((cache / f"{job.key}.json").read_bytes()), model))
                        _place(cache / f"{job.key}.png", maps / rows[-1]["map"].removeprefix(f"{MAPS}/"))
                if progress is not None:
                    progress(min(first + _BATCH, len(chosen)), len(chosen))
        if not rows:
            raise FolderMissing(f"no photograph of {folder} can be read: {broken[0]}")
        told = _document(model, folder, rows, broken, target, method)
        index.write_text(_page(told), "utf-8")
        document.write_text(json.dumps(told, ensure_ascii=False) + "\n", "utf-8")
        (out / DOCUMENT).unlink(missing_ok=True)
    verdicts = Counter(row["verdict"] for row in rows)
    return Explained(out, len(rows), cached, dict(verdicts), tuple(explained), tuple(broken))


def photographs(folder: Path) -> list[Path]:
    """Every file below `folder` that is named like a photograph, hidden ones apart, in a fixed order.

    Raises FolderMissing where there is none.
    """
    if not folder.is_dir():
        raise FolderMissing(
            f"{folder} is a file: name the folder it lies in" if folder.exists() else f"there is no folder {folder}"
        )
    found: list[Path] = []
    for place, inside, names in os.walk(folder, onerror=_refuse):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        found += [
            Path(place, name) for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    if not found:
        raise FolderMissing(f"{folder} holds no photographs: name a folder with JPEG, PNG or WebP files in it")
    return sorted(found)


def sampled(files: Sequence[Path], folder: Path, count: int, *, seed: int) -> list[Path]:
    """`count` of the files, as evenly from each folder as its size allows; in order, the same for the same seed."""
    rng = np.random.default_rng(seed)
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        by_folder.setdefault(file.relative_to(folder).parent, []).append(file)
    shuffled = [[group[index] for index in rng.permutation(len(group))] for group in by_folder.values()]
    turns = max(map(len, shuffled), default=0)
    dealt = [group[turn] for turn in range(turns) for group in shuffled if turn < len(group)]
    return sorted(dealt[:count])


def _refuse(error: OSError) -> None:
    raise error


def _check_place(folder: Path, out: Path) -> None:
    if out.resolve().is_relative_to(folder.resolve()):
        raise SettingWrong(f"{out} lies inside {folder}: the next run would explain its own pictures; name another")
    if out.is_dir() and (not any(out.iterdir()) or (out / CACHE).is_dir()):
        return
    if out.exists():
        raise SettingWrong(f"{out} exists and holds something else: name a new folder, an empty one or an earlier one")


def _keyed(files: Sequence[Path], folder: Path, asked: str, broken: list[PhotoBroken]) -> list[_Job]:
    """asked: what besides the photograph decides its map."""
    jobs = []
    for file in files:
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            broken.append(PhotoBroken(file, f"cannot be read ({error.strerror})"))
            continue
        key = hashlib.sha256(b"%s %s %s" % (_FORM, asked.encode(), digest.encode())).hexdigest()
        jobs.append(_Job(printable(file.relative_to(folder).as_posix()), file, digest, key))
    return jobs


def _is_cached(cache: Path, key: str) -> bool:
    """Whether both files are there and whole: a crash can leave one, a full disk half of one."""
    try:
        json.loads((cache / f"{key}.json").read_bytes())
        return (cache / f"{key}.png").stat().st_size > 0
    except (OSError, ValueError):
        return False


def _answer(
    model: GraphModel,
    explain: Explain,
    jobs: Sequence[_Job],
    target: int,
    cache: Path,
    pool: ThreadPoolExecutor,
    broken: list[PhotoBroken],
) -> set[str]:
    """Put the answers to `jobs` into the cache; the keys of those that are no photographs."""

    def opened(job: _Job) -> Any:
        try:
            content = job.path.read_bytes()
            if hashlib.sha256(content).hexdigest() != job.sha256:  # its map would be kept as that of what it was
                return PhotoBroken(job.path, "changed while it was read", mend="explain the folder once more")
            return model.pixels_in(content, job.path)
        except OSError as error:
            return PhotoBroken(job.path, f"cannot be read ({error.strerror})")
        except PhotoBroken as error:
            return error

    distinct = list({job.key: job for job in jobs}.values())
    seen = list(zip(distinct, pool.map(opened, distinct), strict=True))
    refused = {job.key for job, found in seen if isinstance(found, PhotoBroken)}
    broken += [found for _, found in seen if isinstance(found, PhotoBroken)]
    ready = [(job, found) for job, found in seen if job.key not in refused]
    if not ready:
        return refused
    answers, grids = explain([pixels for _, pixels in ready], target)

    def keep(index: int) -> None:
        job, pixels = ready[index]
        _written(cache / f"{job.key}.png", overlay_png(pixels, grids[index]))
        document = json.dumps(_kept(answers, index, grids[index].tolist()))
        _written(cache / f"{job.key}.json", document.encode())

    for _ in pool.map(keep, range(len(ready))):
        pass
    return refused


def _kept(answers: Answers, index: int, grid: list[list[float]]) -> dict[str, Any]:
    return {
        "probabilities": answers.probabilities[index].tolist(),
        "scores": {name: float(values[index]) for name, values in answers.scores.items()},
        "heat_map": grid,
    }


def _row(job: _Job, kept: dict[str, Any], model: GraphModel) -> dict[str, Any]:
    """One photograph of explanations.json; the verdict by the card's limits as they are now."""
    card = model.card
    decision = decide(kept["probabilities"], kept["scores"], card.decision.limits)
    best = max(range(len(card.classes)), key=kept["probabilities"].__getitem__)
    return {
        "file": job.relative,
        "map": f"{MAPS}/{job.relative}.png",
        "predicted": card.classes[best].id,
        "confidence": kept["probabilities"][best],
        "verdict": verdict_name(decision.verdict),
        "reasons": reason_names(decision.reasons),
        "ood_score": decision.ood_score,
        "heat_map": kept["heat_map"],
    }


def _document(
    model: GraphModel,
    folder: Path,
    rows: list[dict[str, Any]],
    broken: Sequence[PhotoBroken],
    target: str | None,
    method: str,
) -> dict[str, Any]:
    return {
        "model": model.card.version,
        "graph_sha256": model.sha256,
        "data": printable(str(folder)),
        "explains": target or "its best class",
        "method": method,
        "means": MEANS[method].format(what=target or "its best class"),
        "disclaimer": dict(DISCLAIMER),
        "photos": rows,
        "left_out": [{"file": str(error.path), "why": error.why} for error in broken],
    }


def _page(document: dict[str, Any]) -> str:
    shown = [
        Shown(
            row["map"],
            row["file"],
            row["verdict"],
            f"{row['predicted']}, {row['confidence']:.0%}",
            ", ".join(row["reasons"]).replace("_", " ").lower(),
        )
        for row in document["photos"]
    ]
    return page(shown, document)


def _place(source: Path, link: Path) -> None:
    """`link` with the content of `source`, without a second copy where the file system can."""
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, link)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, link)


def _written(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{leftovers.NEW}{os.getpid()}-{path.name}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
