"""Synthetic photographs before an expert's eyes: the sheet that the console imports, and what its answers say.

    SHEET.zip      as `model_store.review_sheet` has it
    answers        {"kind": "synthetic", "answers": [{"name", "class", "origin", "reviewer", "verdict", "problems"}]}

Some real photographs among them are the yardstick. All are of one size and compression, so that neither tells them
apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handlers.amulet_handler import pixels_of
from model_store import review_sheet
from model_store.review_sheet import PROBLEMS, VERDICTS, Item, Kind, Origin, jpeg
from training import documents
from training.data.errors import DataWrong
from training.data.folder import Photo
from training.statistics.intervals import Interval, bootstrap, share_of

REAL_SHARE: Final = 0.2
_SIDE_PX: Final = 448


@dataclass(frozen=True, slots=True)
class Answer:
    """What one reviewer says of one photograph."""

    name: str
    label: str
    origin: str
    reviewer: str
    verdict: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """How often photographs were called plausible."""

    answers: int
    rate: Interval  # of the photographs, each by the share of its answers
    problems: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What the answers say altogether."""

    reviewers: int
    synthetic: Accepted
    real: Accepted | None  # None where the sheet had none
    per_class: Mapping[str, Accepted]  # of the synthetic ones
    kappa: Interval | None  # Cohen's, a mean over pairs of reviewers; None where no two judged enough in common

    def document(self, *, accept_min: float) -> dict[str, Any]:
        """As JSON can carry it."""

        def told(each: Accepted) -> dict[str, Any]:
            return {
                "answers": each.answers,
                "acceptance": each.rate.value,
                "interval": each.rate.pair(),
                "problems": dict(each.problems),
            }

        return {
            "reviewers": self.reviewers,
            "synthetic": told(self.synthetic),
            "real": told(self.real) if self.real is not None else None,
            "classes": {
                label: {**told(each), "keep": each.rate.value >= accept_min} for label, each in self.per_class.items()
            },
            "accept_min": accept_min,
            "cohen_kappa": self.kappa.value if self.kappa is not None else None,
            "cohen_kappa_interval": self.kappa.pair() if self.kappa is not None else None,
        }


def write_sheet(synthetic: Sequence[Photo], real: Sequence[Photo], out: Path, *, sample: int, seed: int) -> int:
    """Write a sheet of at most `sample` photographs, a fifth of them real where any are given; how many it has.

    Classes are dealt evenly; the order is drawn. `out` appears whole or not at all.
    """
    rng = np.random.default_rng(seed)
    yardsticks = _dealt(real, min(round(sample * REAL_SHARE), len(real)), rng)
    chosen = _dealt(synthetic, min(sample - len(yardsticks), len(synthetic)), rng)
    items = [*((photo, Origin.SYNTHETIC) for photo in chosen), *((photo, Origin.REAL) for photo in yardsticks)]
    shuffled = (items[place] for place in rng.permutation(len(items)))
    # Named by their number: a file's own name would tell real ones. It is their source, which nobody who judges sees:
    # a synthetic photograph begins with the name of the real one that it is made from.
    return review_sheet.write_sheet(
        out,
        (
            Item("", _picture(photo), photo.label, origin=origin, source=_printable(photo.path.name))
            for photo, origin in shuffled
        ),
        kind=Kind.SYNTHETIC,
    )


def read_answers(path: Path) -> tuple[Answer, ...]:
    """Raises DataWrong that names the first row that is not as it should be."""
    try:
        document = documents.of_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataWrong(f"there is no file {path}: name the answers that the console gave back") from None
    except ValueError:
        raise DataWrong(f"{path} is not JSON: name the answers that the console gave back") from None
    if isinstance(document, dict) and document.get("kind") == Kind.HEAT_MAPS:
        raise DataWrong(
            f"{path} has answers to heat maps: the page of their sheet in the console says what they come to"
        )
    if (
        not isinstance(document, dict)
        or document.get("kind") != Kind.SYNTHETIC
        or not isinstance(document.get("answers"), list)
    ):
        raise DataWrong(
            f'{path} has no answers to a sheet of synthetic photographs: its "kind" must be "{Kind.SYNTHETIC}"'
        )
    answers = tuple(_answer(row, number, path) for number, row in enumerate(document["answers"], start=1))
    if not any(answer.origin == Origin.SYNTHETIC for answer in answers):
        raise DataWrong(f"{path} has no answer about a synthetic photograph yet")
    return answers


def reviewed(answers: Sequence[Answer]) -> Reviewed:
    """The later of two answers of one reviewer to one photograph counts."""
    last = list({(answer.reviewer, answer.name): answer for answer in answers}.values())
    made = [answer for answer in last if answer.origin == Origin.SYNTHETIC]
    real = [answer for answer in last if answer.origin == Origin.REAL]
    labels = sorted({answer.label for answer in made})
    return Reviewed(
        reviewers=len({answer.reviewer for answer in last}),
        synthetic=_accepted(made),
        real=_accepted(real) if real else None,
        per_class={label: _accepted([answer for answer in made if answer.label == label]) for label in labels},
        kappa=_kappa(last),
    )


def _accepted(answers: Sequence[Answer]) -> Accepted:
    plausible = np.array([answer.verdict == "plausible" for answer in answers])
    problems = Counter(problem for answer in answers for problem in answer.problems)
    # Several reviewers' answers to one photograph are no several photographs: each counts once, by its share of them,
    # as on the sheet's page in the console.
    photos = np.unique([answer.name for answer in answers], return_inverse=True)[1]
    shares = np.bincount(photos, weights=plausible) / np.bincount(photos)
    rate = share_of(float(shares.sum()), len(shares))
    return Accepted(len(answers), rate, {name: problems[name] for name in PROBLEMS})


def _kappa(answers: Iterable[Answer]) -> Interval | None:
    """Cohen 1960, equation 1, over the three verdicts, of each two reviewers on what both judged; over photographs."""
    given = {(answer.reviewer, answer.name): VERDICTS.index(answer.verdict) for answer in answers}
    reviewers, names = (sorted({key[part] for key in given}) for part in (0, 1))
    table = np.array([[given.get((who, name), -1) for name in names] for who in reviewers])
    pairs = [
        (one, other)
        for one, other in combinations(table, 2)
        if not np.isnan(_kappa_of(one, other))  # of one verdict alone chance explains all agreement: 0 / 0
    ]
    if not pairs:
        return None

    def mean(photos: NDArray[np.intp]) -> float:
        return float(np.mean([_kappa_of(one[photos], other[photos]) for one, other in pairs]))

    found = bootstrap(mean, [np.zeros(len(names), np.intp)], seed=0)
    if found.value < 1.0 - 1e-9:
        return found
    # Who always agrees does so in every resample: what as many agreements leave room for, at the same chance.
    both = [(one >= 0) & (other >= 0) for one, other in pairs]
    fewest = min(int(judged.sum()) for judged in both)
    chance = np.mean([_chance(_counts(one, other)) for one, other in pairs])
    return Interval(found.value, float((share_of(fewest, fewest).low - chance) / (1.0 - chance)), found.high)


def told(kappa: Interval) -> str:
    return f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"


def _kappa_of(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Verdicts [n] of two reviewers, -1 where there is none; nan where both know one verdict alone, or nothing."""
    counts = _counts(one, other)
    chance = _chance(counts) if counts.sum() else 1.0
    return float((np.trace(counts) / counts.sum() - chance) / (1.0 - chance)) if chance < 1.0 else float("nan")


def _counts(one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.int64]:
    """[first's verdict, second's], of what both judged."""
    both, size = (one >= 0) & (other >= 0), len(VERDICTS)
    return np.bincount(one[both] * size + other[both], minlength=size * size).reshape(size, size)


def _chance(counts: NDArray[np.int64]) -> float:
    """How often two with these habits agree by chance."""
    return float(counts.sum(axis=1) @ counts.sum(axis=0)) / int(counts.sum()) ** 2


def _picture(photo: Photo) -> bytes:
    return jpeg(Image.fromarray(pixels_of(photo.content(), _SIDE_PX, _SIDE_PX)))


def _printable(name: str) -> str:
    """A file may be named by anything; a sheet holds what can be shown."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def _dealt(photos: Sequence[Photo], count: int, rng: np.random.Generator) -> list[Photo]:
    """As evenly from each class as can be."""
    by_class: dict[str, list[Photo]] = defaultdict(list)
    for place in rng.permutation(len(photos)):
        by_class[photos[place].label].append(photos[place])
    longest = max(map(len, by_class.values()), default=0)
    turns = [own[turn] for turn in range(longest) for _, own in sorted(by_class.items()) if turn < len(own)]
    return turns[:count]


def _answer(row: Any, number: int, path: Path) -> Answer:
    def refused(what: str) -> DataWrong:
        return DataWrong(f"answer {number} of {path} {what}")

    if not isinstance(row, dict):
        raise refused("is no object with name, class, origin, reviewer and verdict")
    for key in ("name", "class", "origin", "reviewer", "verdict"):
        if not isinstance(row.get(key), str):
            raise refused(f"has no {key}")
    if row["verdict"] not in VERDICTS:
        raise refused(f"has the verdict {row['verdict']!r}: it is {', '.join(VERDICTS)}")
    if row["origin"] not in list(Origin):
        raise refused(f"has the origin {row['origin']!r}: it is {' or '.join(Origin)}")
    problems = row.get("problems") or []
    if not isinstance(problems, list) or any(problem not in PROBLEMS for problem in problems):
        raise refused(f"has problems other than {', '.join(PROBLEMS)}")
    return Answer(row["name"], row["class"], row["origin"], row["reviewer"], row["verdict"], tuple(problems))
