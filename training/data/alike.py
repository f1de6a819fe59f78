"""A second look for copies that no hash finds: photographs most alike to a network. A list for people, never groups.

Two pieces of one class are often nearer to each other for a network than a photograph is to its own crop (decision
0020), so that no border on the cosine means "copy": the nearest pairs are shown, and a person says what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.folder import Photo
from training.data.labels import Array

_ROWS: Final = 1024  # at once: a block against 20,000 photographs takes 160 MB
_LENGTH_MIN: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Alike:
    """Two photographs that a network takes for much the same."""

    first: Photo
    second: Photo
    cosine: float  # of their features


def most_alike(together: Sequence[Sequence[Photo]], features: Mapping[str, Array], count: int) -> tuple[Alike, ...]:
    """The pairs of highest cosine, best first, of photographs that are no copies of each other; at most `count`.

    together: near-duplicates. Each photograph is compared with its nearest one outside its group; a pair stands once.
    """
    photos = [photo for members in together for photo in members]
    group = np.array([number for number, members in enumerate(together) for _ in members], np.intp)
    rows = _units([features[photo.relative] for photo in photos])
    best: dict[tuple[int, int], float] = {}
    for row, other, cosine in _nearest(rows, rows, group, group):
        best[min(row, other), max(row, other)] = cosine
    return _listed([Alike(photos[one], photos[other], cosine) for (one, other), cosine in best.items()], count)


def most_alike_across(
    here: Sequence[Photo],
    there: Sequence[Photo],
    copies: Sequence[tuple[str, str]],
    features: tuple[Mapping[str, Array], Mapping[str, Array]],
    count: int,
) -> tuple[Alike, ...]:
    """The same between two folders.  copies: relative paths that are known to be one photograph.

    features: of the photographs here, and of those there.
    """
    rows, others = (
        _units([seen[photo.relative] for photo in photos]) for photos, seen in zip((here, there), features, strict=True)
    )
    known = set(copies)
    found = [
        Alike(here[row], there[other], cosine)
        for row, other, cosine in _nearest(rows, others, np.zeros(len(here)), np.ones(len(there)))
        if (here[row].relative, there[other].relative) not in known
    ]
    return _listed(found, count)


def _nearest(
    rows: NDArray[np.float64], others: NDArray[np.float64], own: NDArray[np.number], theirs: NDArray[np.number]
) -> list[tuple[int, int, float]]:
    """For each row its nearest other of another group, and their cosine; none where there is no other group."""
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(rows), _ROWS):
        cosines = rows[start : start + _ROWS] @ others.T
        cosines[own[start : start + _ROWS, None] == theirs[None, :]] = -np.inf
        nearest = cosines.argmax(axis=1)
        best = cosines[np.arange(len(cosines)), nearest]
        found += [
            (start + number, int(other), float(cosine))
            for number, (other, cosine) in enumerate(zip(nearest, best, strict=True))
            if np.isfinite(cosine)
        ]
    return found


def _units(features: Sequence[Array]) -> NDArray[np.float64]:
    rows = np.stack(features).astype(np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LENGTH_MIN))


def _listed(found: Sequence[Alike], count: int) -> tuple[Alike, ...]:
    return tuple(sorted(found, key=lambda each: (-each.cosine, each.first.relative, each.second.relative))[:count])
