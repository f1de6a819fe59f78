"""Makes one thing again and again, killed at every point at which a process can die; run by `test_making_kill`.

    python -m tests.fault.making_driver FOLDER [CASE=EVERY ...]

A point is one file that is opened to be written, or one name on the disk that is made, changed or taken away. After
each death: what the command makes is as it was before or whole, the same command then ends with what it makes where
nobody kills it, and nothing else is left beside it.

Prints one JSON object, by case. EVERY: kill at each Nth point only; without any, all cases at every point.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from model_store import placed
from tests import tiny_archive
from tests.fault.children import copied, point_of_death, was_killed
from tests.unit.training.data.cast import write_folder
from training import negatives, results
from training.data.folder import load_folder
from training.demo.photographs import OutNotEmpty
from training.explanation.batch import explain_folder
from training.export.package import package
from training.served.answers import GraphModel
from training.synthetic import make

POINTS_MAX: Final = 2000
_CHANGES: Final = frozenset(
    {
        "os.chmod",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.truncate",
        "tempfile.mkdtemp",
        "tempfile.mkstemp",
    }
)
OUT: Final = "out"


def _files(folder: Path) -> dict[str, str]:
    """Every file below, hidden ones among them, with a digest of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _made(folder: Path) -> dict[str, str]:
    """What the command made there."""
    out = folder / OUT
    return {"": hashlib.sha256(out.read_bytes()).hexdigest()} if out.is_file() else _files(out)


@dataclass(frozen=True)
class Case:
    """prepare: what the command needs, and a result of an earlier one where it takes the place of that."""

    prepare: Callable[[Path], object]
    work: Callable[[Path], object]
    made: Callable[[Path], dict[str, str]] = _made
    once: bool = False  # in place of nothing alone: where it is there, the command says so
    ends: bool = False  # it has a last file, without which it is not there


def _write_run(folder: Path) -> None:
    with placed.folder(folder / OUT, replace=True) as place:
        for name in ("model.json", "model.onnx"):
            (place / name).write_text("new")


def _earlier_run(folder: Path) -> None:
    (folder / OUT).mkdir()
    for name in ("model.json", "model.onnx", "report.html"):
        (folder / OUT / name).write_text("earlier")


def _explain(folder: Path, *, photos: str = "photos") -> None:
    model = GraphModel.open(folder / "run", threads=1)
    explain_folder(model, folder / photos, folder / OUT)


def _explained(folder: Path) -> dict[str, str]:
    """None of a folder without its last file, which says of itself what else is there."""
    if not (folder / OUT / "explanations.json").exists():
        return {}
    named = json.loads((folder / OUT / "explanations.json").read_bytes())["photos"]
    assert all((folder / OUT / row["map"]).is_file() for row in named)
    return {name: each for name, each in _files(folder / OUT).items() if not name.startswith((".", "cache/"))}


def _prepare_explain(folder: Path) -> None:
    (folder / "run").mkdir()
    tiny_archive.write_run(folder / "run")
    for number, colour in enumerate(tiny_archive.CLASSES):
        (folder / "photos" / colour).mkdir(parents=True)
        (folder / "photos" / colour / "1.png").write_bytes(tiny_archive.photo_of(colour, seed=number))
    shutil.copytree(folder / "photos", folder / "fewer")
    shutil.rmtree(folder / "fewer" / "red")
    _explain(folder, photos="fewer")


def _prepare_package(folder: Path) -> None:
    (folder / "run").mkdir()
    tiny_archive.write_run(folder / "run")
    (folder / "other").mkdir()
    tiny_archive.write_run(folder / "other", name="other")
    package(folder / "other", folder / OUT, sign_key=None)


CASES: Final = {
    "file": Case(lambda at: (at / OUT).write_text("earlier"), lambda at: results.write(at / OUT, "new")),
    "run": Case(_earlier_run, _write_run),
    "synth": Case(
        lambda at: write_folder(at / "photos", {"a": 2, "b": 2}),
        lambda at: make.make(load_folder(at / "photos"), at / OUT, kinds=("relit",)),
        once=True,
    ),
    "outside": Case(
        lambda at: write_folder(at / "photos", {"a": 2, "b": 2}),
        lambda at: negatives.write_negatives(at / OUT, photos=6, seed=1, classes=at / "photos"),
        once=True,
    ),
    "explain": Case(_prepare_explain, _explain, _explained, ends=True),
    "package": Case(_prepare_package, lambda at: package(at / "run", at / OUT, sign_key=None)),
}


def main(case: Case, place: Path, *, every: int) -> dict[str, Any]:
    start, work, scratch = place / "start", place / "work", place / "scratch"
    for folder in (start, scratch):
        folder.mkdir(parents=True)
    tempfile.tempdir = str(scratch)
    was_killed(partial(case.prepare, start))
    copied(start, work)
    before = case.made(work)
    was_killed(partial(case.work, work))
    whole, names = case.made(work), sorted(_files(work))
    told: dict[str, Any] = {"points": 0, "last": 0, "as_before": 0, "wrong": []}
    for point in range(1, POINTS_MAX, every):
        copied(start, work)
        killed = was_killed(partial(_dying, case, work, point))
        made = case.made(work)
        if made not in (before, whole) and not (case.ends and made == {}):
            told["wrong"].append(f"point {point}: half of it is there: {sorted(made)}")
        told["as_before"] += made != whole
        was_killed(partial(_again, case, work))
        if case.made(work) != whole:
            told["wrong"].append(f"point {point}: made again it is another")
        if sorted(_files(work)) != names or [path for path in work.rglob(".*") if path.name not in names]:
            told["wrong"].append(f"point {point}: left are {sorted(set(_files(work)) ^ set(names))}")
        if not killed:
            break
        told["points"] += 1
        told["last"] = point
    return told


def _again(case: Case, place: Path) -> None:
    there = case.once and bool(case.made(place))
    try:
        case.work(place)
    except OutNotEmpty:
        if not there:
            raise


def _dying(case: Case, place: Path, die_at: int) -> None:
    point = point_of_death(die_at)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _CHANGES or writing:
            point()

    sys.addaudithook(hear)
    case.work(place)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("place", type=Path)
    parser.add_argument("cases", nargs="*", default=[f"{name}=1" for name in CASES])
    asked = parser.parse_args()
    wanted = {name: int(every) for name, _, every in (each.partition("=") for each in asked.cases)}
    print(json.dumps({name: main(CASES[name], asked.place / name, every=every) for name, every in wanted.items()}))
