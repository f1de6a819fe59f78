"""Which classes keep their synthetic photographs: how near they are, whether copies, believed by experts, a help.

Distances between sets fall as sets grow, so beside each stands the same distance at the same size:
half of the real photographs against as many synthetic ones, and against the other half of the real ones. The last is
the floor: nothing that is not real can be expected below it. The halves share no object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.augmentation import backdrop
from training.data.duplicates import groups, near_duplicates, shared_photos
from training.data.errors import ClassesWrong, DataWrong, FolderMissing
from training.data.folder import Folder, Photo, load_folder, scan_folder
from training.errors import DataTooSmall
from training.evaluation import crossvalidation
from training.fitting.features import Eye
from training.fitting.recipe import Recipe
from training.listing import counted
from training.statistics.intervals import Interval
from training.synthetic import ab_test, fidelity
from training.synthetic.make import origins_of
from training.synthetic.review_sheet import Accepted, Reviewed, read_answers, reviewed

ALL: Final = "all classes"
_HALVINGS: Final = 10
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a class's synthetic photographs must meet to be kept."""

    fid_max: float = 200.0
    copies_max: float = 0.5  # share that lies nearer to a real photograph than 95 % of real ones to each other
    accept_min: float = 0.8  # share of experts' answers that call them plausible, where experts were asked
    gain_sure: bool = True  # whether the gain must be more than luck, or only above 0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near one class's synthetic photographs are, or all of them."""

    real: int
    synthetic: int
    fid: float
    fid_halves: float  # half of the real ones against as many synthetic ones
    fid_floor: float  # against the other half of the real ones
    kid: float
    kid_floor: float
    precision: float | None  # None with too few photographs for a neighbourhood
    recall: float | None
    copies: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one class."""

    keep: bool
    why: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result."""

    data: str
    fingerprint: str
    photos: int
    features: str
    origins_known: bool
    seeds: tuple[int, ...]
    folds: int
    limits: Limits
    fidelity: Mapping[str, Fidelity]  # ALL, then by class
    test: ab_test.Comparison
    verdicts: Mapping[str, Verdict]  # by class
    experts: Reviewed | None = None  # None: nobody was asked

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""

        def told(table: Mapping[str, Interval]) -> dict[str, Any]:
            return {name: {"value": each.value, "interval": each.pair()} for name, each in table.items()}

        return {
            "data": {"name": self.data, "fingerprint": self.fingerprint},
            "features": self.features,
            "origins_known": self.origins_known,
            "seeds": list(self.seeds),
            "folds": self.folds,
            "limits": asdict(self.limits),
            "fidelity": {label: asdict(found) for label, found in self.fidelity.items()},
            "ab_test": {
                "synthetic_photos_a_fold": self.test.learnt_from,
                "real": told(self.test.real),
                "gain": told(self.test.gain),
                "per_class_f1": told(self.test.per_class_f1),
                "per_class_gain": told(self.test.per_class_gain),
            },
            "experts": self.experts.document(accept_min=self.limits.accept_min) if self.experts is not None else None,
            "verdicts": {label: asdict(verdict) for label, verdict in self.verdicts.items()},
        }


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides a judgement."""

    data: Path
    synthetic: Path
    recipe: Recipe
    limits: Limits = Limits()
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 5
    answers: Path | None = None  # what experts said of a sheet of these photographs


def judge(request: Request, open_eye: Callable[[], Eye], *, say: Say) -> Judgement:
    """open_eye: that of the recipe's frozen backbone, exported once the photographs are known to be fit.

    Raises DataWrong or TrainingRefused, each one sentence.
    """
    folder = load_folder(request.data)
    made = _synthetic(request.synthetic, folder)
    experts = _experts(request.answers, folder) if request.answers is not None else None
    together = groups(folder.photos, near_duplicates(folder.photos))
    crossvalidation.check_size(together, folder, folds=request.folds, seeds=request.seeds)
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}
    origins = origins_of(request.synthetic)
    known = ab_test.Labelled(
        groups=together,
        row_of=row_of,
        labels=crossvalidation.labels_of(folder),
        classes=folder.classes,
        synthetic_labels=np.array([folder.index_of(photo) for photo in made], np.intp),
        origins=_origins(folder.photos, made, row_of, origins),
    )

    say("Exporting the backbone", 0, 1)
    eye = open_eye()

    def plain(photos: Sequence[Photo]) -> NDArray[np.float32]:
        return eye.pooled(eye.pixels(photo) for photo in photos)[-1]

    say("Looking at photographs", 0, 2)
    real_rows, made_rows = plain(folder.photos), plain(made)
    number_of = {photo.relative: number for number, members in enumerate(together) for photo in members}
    numbers = np.array([number_of[photo.relative] for photo in folder.photos])
    say("Measuring distances", 1, 2)
    near = {ALL: _fidelity(real_rows, numbers, made_rows)}
    for index, label in enumerate(folder.classes):
        own, theirs = known.labels == index, known.synthetic_labels == index
        near[label] = _fidelity(real_rows[own], numbers[own], made_rows[theirs])

    def look(seed: int) -> ab_test.Seen:
        say("Comparing heads", seed - request.seeds[0], len(request.seeds))
        tables = (
            backdrop.replaced(eye.pixels(photo), np.random.default_rng(int(photo.sha256[:16], 16)))
            for photo in folder.photos
        )
        views = request.recipe.views
        return ab_test.Seen(
            eye.features(folder.photos, seed=seed, views=views),
            eye.look(tables),
            eye.features(made, seed=seed, views=views),
        )

    test = ab_test.compare(known, look, recipe=request.recipe, seeds=request.seeds, folds=request.folds)
    return Judgement(
        data=request.data.resolve().name,
        fingerprint=folder.fingerprint,
        photos=len(folder.photos),
        features=f"{request.recipe.backbone}, level {request.recipe.levels[-1]}, averaged over space, "
        f"{request.recipe.input_px} px",
        origins_known=origins is not None,
        seeds=request.seeds,
        folds=request.folds,
        limits=request.limits,
        fidelity=near,
        test=test,
        verdicts={
            label: decide(
                near[label],
                test.per_class_gain[label],
                request.limits,
                accepted=experts.per_class.get(label) if experts is not None else None,
            )
            for label in folder.classes
        },
        experts=experts,
    )


def decide(near: Fidelity, gain: Interval, limits: Limits, *, accepted: Accepted | None = None) -> Verdict:
    """Keep or discard, and why: the first reason against keeping, or the gain.

    accepted: what experts said of this class; None where nobody was asked.
    """
    f1 = f"F1 {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) with them"
    if near.fid > limits.fid_max:
        return Verdict(False, f"too far from real ones: FID {near.fid:.1f}; allowed is {limits.fid_max:g}")
    if near.copies is not None and near.copies > limits.copies_max:
        return Verdict(
            False,
            f"{near.copies:.0%} are nearer to a real photograph than real ones are to each other; allowed are "
            f"{limits.copies_max:.0%}",
        )
    if accepted is not None and accepted.rate.value < limits.accept_min:
        return Verdict(
            False,
            f"experts call {accepted.rate.value:.0%} of {accepted.answers} plausible; wanted are "
            f"{limits.accept_min:.0%}",
        )
    if gain.value <= 0.0:
        return Verdict(False, f"no gain: {f1}")
    if limits.gain_sure and not gain.sure:
        return Verdict(False, f"the gain could be luck: {f1}")
    plausible = f", {accepted.rate.value:.0%} plausible to experts" if accepted is not None else ""
    return Verdict(True, f"{f1}, FID {near.fid:.1f}{plausible}" + ("" if gain.sure else "; it could be luck"))


def _experts(answers: Path, folder: Folder) -> Reviewed:
    found = reviewed(read_answers(answers))
    strange = sorted(set(found.per_class) - set(folder.classes))
    if strange:
        raise ClassesWrong(f"{answers} has answers about {strange[0]}, and {folder.path} has no such class")
    return found


def _synthetic(path: Path, folder: Folder) -> tuple[Photo, ...]:
    scan = scan_folder(path)
    if scan.broken:
        raise scan.broken[0].beside(len(scan.broken) - 1)
    strange = sorted(set(scan.classes) - set(folder.classes))
    if strange:
        raise ClassesWrong(f"{path} has a class {strange[0]} that {folder.path} has not: name its folders alike")
    if not scan.photos:
        raise FolderMissing(f"{path} holds no photographs: make some with `amulet synth make`")
    counts = {label: sum(photo.label == label for photo in scan.photos) for label in folder.classes}
    few = [label for label, count in counts.items() if count < 2]
    if few:
        raise DataTooSmall(
            f"{path} has {counted(counts[few[0]], 'photograph')} of {few[0]}: at least 2 of each class are needed"
        )
    return scan.photos


def _origins(
    real: Sequence[Photo],
    made: Sequence[Photo],
    row_of: Mapping[str, int],
    origins: Mapping[str, str | None] | None,
) -> tuple[frozenset[int], ...]:
    """Rows of the real ones that each synthetic one comes from, where that is said, and that it is a copy of.

    Raises DataWrong where it is said of one that is not there.
    """
    found: dict[str, set[int]] = {photo.relative: set() for photo in made}
    for pair in shared_photos(real, made):
        found[pair.second.relative].add(row_of[pair.first.relative])
    for photo in made:
        origin = (origins or {}).get(photo.relative)
        if origin is None:
            continue
        if origin not in row_of:  # it would be learnt from where its original is measured on
            raise DataWrong(
                f"{photo.path} is made from {origin}, which is not among the real photographs: it was renamed, moved "
                f"or taken away; make them again with `amulet synth make`"
            )
        found[photo.relative].add(row_of[origin])
    return tuple(frozenset(found[photo.relative]) for photo in made)


def _halves(numbers: NDArray[np.intp], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of two halves, as near to one size as whole groups allow.  numbers: the group of each row, of at least two.

    Views of one object in both halves would be nearer to each other than photographs of other objects ever are.
    """
    drawn, place, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    order = rng.permutation(len(drawn))
    ends = np.cumsum(sizes[order])
    cut = 1 + int(np.abs(2 * ends[:-1] - len(numbers)).argmin())
    rank = np.empty(len(drawn), np.intp)
    rank[order] = np.arange(len(drawn))
    of_row = rank[place]
    rows = np.argsort(of_row, kind="stable")
    return rows[of_row[rows] < cut], rows[of_row[rows] >= cut]


def _fidelity(real: NDArray[np.float32], numbers: NDArray[np.intp], made: NDArray[np.float32]) -> Fidelity:
    rng = np.random.default_rng(0)
    distances = []  # [halvings][fid to synthetic, fid to real, kid to real]
    for _ in range(_HALVINGS):
        first, second = _halves(numbers, rng)
        size = min(len(first), len(second), len(made))
        one, other = real[first[:size]], real[second[:size]]
        theirs = made[rng.permutation(len(made))[:size]]
        distances.append(
            (
                fidelity.frechet_distance(one, theirs),
                fidelity.frechet_distance(one, other),
                fidelity.kernel_distance(one, other),
            )
        )
    halves, floor, kid_floor = np.mean(distances, axis=0)
    enough = min(len(real), len(made)) > fidelity.NEIGHBOURS
    precision, recall = fidelity.precision_recall(real, made) if enough else (None, None)
    return Fidelity(
        real=len(real),
        synthetic=len(made),
        fid=fidelity.frechet_distance(real, made),
        fid_halves=float(halves),
        fid_floor=float(floor),
        kid=fidelity.kernel_distance(real, made),
        kid_floor=float(kid_floor),
        precision=precision,
        recall=recall,
        copies=float(fidelity.copies(real, numbers, made).mean()) if enough else None,
    )
