"""Which photographs are one photograph: the same bytes, or copies made from one another.

A copy is a photograph rescaled, recompressed, brightened, blurred, made grey, mirrored,
turned by quarters or by a few degrees, or cropped by up to a tenth on each side. Pairs
are found by perceptual hash (`prints`), sifted by the coefficients behind the hash, and
confirmed by aligning the two small pictures: two tablets from one mould on one backdrop
are close in the hash, and yet two photographs (decision 0020).

Hashes are looked up band by band, and of the candidates only a photograph's likeliest are
confirmed, so that the work grows with photographs and not with pairs (decision 0167).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.folder import Photo
from training.data.prints import VARIANTS, Prints, agreement, prints_of

# Chosen on 131 real and 288 drawn photographs and 25 kinds of copy of 60 of each (decision 0020).
HASH_DISTANCE_MAX: Final = 12
WAVE_CORRELATION_MIN: Final = 0.88
AGREEMENT_MIN: Final = 0.84
# Others compared in vain with a photograph, or those it is one with, before less likely ones are not (decision 0167).
TRIES_MAX: Final = 4
_CHUNK: Final = 2**16  # candidates
_BANDS: Final = 4
_BAND_BITS: Final = 16
# Hashes within 7 bits differ in at least one of the four bands by one bit at most.
_PROBES: Final = np.array([0] + [1 << bit for bit in range(_BAND_BITS)], dtype=np.uint64)

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photographs that are one."""

    first: Photo
    second: Photo
    same_bytes: bool
    agreement: float  # of the fine structure in the best alignment, AGREEMENT_MIN to 1


def near_duplicates(photos: Sequence[Photo]) -> tuple[Pair, ...]:
    """Pairs that connect all copies of one collection, `first` before `second` by name; sorted.

    Of n copies of one photograph these are n - 1 pairs and not all of them: a burst of a
    thousand frames is no reason to compare half a million pairs.
    """
    ordered = sorted(photos, key=lambda photo: photo.relative)
    prints = prints_of(ordered)
    found = _Found(ordered, ordered)
    found.add_same_bytes()
    alike = _alike(prints, prints)
    for place in np.argsort(-alike.correlations, kind="stable"):
        row, column, variant = alike.at(place)
        if row != column:
            found.judge(min(row, column), max(row, column), prints.looks[row], prints.looks[column], variant)
    return found.sorted_pairs()


def shared_photos(photos: Sequence[Photo], others: Sequence[Photo]) -> tuple[Pair, ...]:
    """Pairs across two collections, `first` from `photos`, `second` from `others`; sorted.

    Whoever has a copy on the other side is in at least one pair.
    """
    prints, other_prints = prints_of(photos), prints_of(others)
    found = _Found(photos, others)
    found.add_same_bytes()
    # A crop is found from the side of the whole photograph, so both directions are looked at.
    there, back = _alike(prints, other_prints), _alike(other_prints, prints)
    for place in np.argsort(-np.concatenate((there.correlations, back.correlations)), kind="stable"):
        if place < len(there.rows):
            row, column, variant = there.at(place)
            found.judge(row, column, prints.looks[row], other_prints.looks[column], variant)
        else:
            column, row, variant = back.at(place - len(there.rows))
            found.judge(row, column, other_prints.looks[column], prints.looks[row], variant)
    return found.sorted_pairs()


def groups(photos: Sequence[Photo], pairs: Iterable[Pair]) -> tuple[tuple[Photo, ...], ...]:
    """The photographs in groups that must stay together: copies, and views of one object where their names say so.

    Most groups have one member. Being together is transitive: a copy of a view of the object belongs to
    the group. Sorted, and sorted within.
    """
    views: dict[str, list[Photo]] = {}
    for photo in photos:
        if photo.object:
            views.setdefault(photo.object, []).append(photo)
    same_object = ((members[0], other) for members in views.values() for other in members[1:])
    return _connected(photos, chain(((pair.first, pair.second) for pair in pairs), same_object))


def group_numbers(photos: Sequence[Photo], together: Iterable[Iterable[Photo]]) -> Indices:
    """For each photograph the number of its group, [n]: those of one group share it."""
    number_of = {photo.relative: number for number, members in enumerate(together) for photo in members}
    return np.array([number_of[photo.relative] for photo in photos], np.intp)


def grouped(photos: Sequence[Photo]) -> Indices:
    """`group_numbers` of photographs that nobody has grouped yet, [n]."""
    return group_numbers(photos, groups(photos, near_duplicates(photos)))


def copies(photos: Sequence[Photo], pairs: Iterable[Pair]) -> tuple[tuple[Photo, ...], ...]:
    """As `groups`, of copies alone: views of one object are not the same photograph."""
    return _connected(photos, ((pair.first, pair.second) for pair in pairs))


def _connected(photos: Sequence[Photo], connections: Iterable[tuple[Photo, Photo]]) -> tuple[tuple[Photo, ...], ...]:
    ordered = sorted(photos, key=lambda photo: photo.relative)
    place = {photo.relative: index for index, photo in enumerate(ordered)}
    joined = _Joined(len(ordered))
    for first, second in connections:
        joined.join(place[first.relative], place[second.relative])
    together: dict[int, list[Photo]] = {}
    for index, photo in enumerate(ordered):
        together.setdefault(joined.root(index), []).append(photo)
    return tuple(tuple(members) for members in together.values())


class _Joined:
    """Disjoint sets of 0 .. n - 1; a set's root is its smallest member."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, member: int) -> int:
        while self._parent[member] != member:
            self._parent[member] = self._parent[self._parent[member]]
            member = self._parent[member]
        return member

    def join(self, first: int, second: int) -> bool:
        """False where they were in one set already."""
        first, second = sorted((self.root(first), self.root(second)))
        self._parent[second] = first
        return first != second


class _Found:
    """The pairs so far, and who is connected by them."""

    def __init__(self, photos: Sequence[Photo], others: Sequence[Photo]) -> None:
        self._photos, self._others = photos, others
        self._within = photos is others
        self._shift = 0 if self._within else len(photos)
        count = len(photos) + (0 if self._within else len(others))
        self._joined = _Joined(count)
        self._in_vain = [0] * count  # of a set's root: photographs since its last copy that were none
        self._tried: set[tuple[int, int]] = set()  # of these one alignment failed, and another may not
        self._pairs: list[Pair] = []

    def add_same_bytes(self) -> None:
        first_with: dict[str, int] = {}
        for row, photo in enumerate(self._photos):
            first = first_with.setdefault(photo.sha256, row)
            if self._within and first != row:
                self._connect(first, row, 1.0)
        if not self._within:
            first_there: dict[str, int] = {}
            for column, photo in enumerate(self._others):
                first_there.setdefault(photo.sha256, column)
                if photo.sha256 in first_with:
                    self._connect(first_with[photo.sha256], column, 1.0)
            for row, photo in enumerate(self._photos):
                if photo.sha256 in first_there:
                    self._connect(row, first_there[photo.sha256], 1.0)

    def judge(self, row: int, column: int, look: NDArray[np.uint8], other: NDArray[np.uint8], variant: int) -> None:
        """Candidates come likeliest first: who has met enough that were none is not compared with less likely ones.

        Unless the other one has not: a photograph that hundreds resemble is still compared with its copy.
        """
        root, other_root = self._joined.root(row), self._joined.root(column + self._shift)
        if root == other_root:
            return
        is_new = (row, column) not in self._tried
        if is_new and min(self._in_vain[root], self._in_vain[other_root]) >= TRIES_MAX:
            return
        how_alike = agreement(look, other, variant, enough=AGREEMENT_MIN)
        if how_alike >= AGREEMENT_MIN:
            self._connect(row, column, min(how_alike, 1.0))
            self._in_vain[self._joined.root(row)] = 0
        elif is_new:
            self._tried.add((row, column))
            self._in_vain[root] += 1
            self._in_vain[other_root] += 1

    def sorted_pairs(self) -> tuple[Pair, ...]:
        return tuple(sorted(self._pairs, key=lambda pair: (pair.first.relative, pair.second.relative)))

    def _connect(self, row: int, column: int, how_alike: float) -> None:
        if self._joined.join(row, column + self._shift):
            first, second = self._photos[row], self._others[column]
            self._pairs.append(Pair(first, second, first.sha256 == second.sha256, how_alike))


@dataclass(frozen=True, slots=True)
class _Alike:
    """Photographs and variants of others that hash and coefficients call alike; [n] each."""

    rows: Indices  # of prints
    columns: Indices  # of the others
    variants: Indices  # of the other
    correlations: NDArray[np.float32]  # of their coefficients: the higher, the likelier are they copies

    def at(self, place: np.intp) -> tuple[int, int, int]:
        """(row, column, variant)."""
        return int(self.rows[place]), int(self.columns[place]), int(self.variants[place])


def _alike(prints: Prints, others: Prints) -> _Alike:
    rows, columns, variants = _hash_neighbours(prints.hashes[:, 0], others.hashes)
    correlations = np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), _CHUNK):  # of millions the coefficients would be gigabytes
        chunk = slice(start, start + _CHUNK)
        own = prints.wave(rows[chunk], np.zeros_like(variants[chunk]))
        correlations[chunk] = np.einsum("ij,ij->i", own, others.wave(columns[chunk], variants[chunk]))
    kept = np.flatnonzero(correlations >= WAVE_CORRELATION_MIN)  # pictures of nothing have no coefficients: never
    return _Alike(rows[kept], columns[kept], variants[kept], correlations[kept])


def _hash_neighbours(hashes: NDArray[np.uint64], others: NDArray[np.uint64]) -> tuple[Indices, Indices, Indices]:
    """All (row, other row, variant) whose hashes are within HASH_DISTANCE_MAX and that share a band."""
    mask = np.uint64((1 << _BAND_BITS) - 1)
    met: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        keys = (hashes >> shift) & mask
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        for variant in range(VARIANTS):
            wanted = ((others[:, variant] >> shift) & mask)[:, None] ^ _PROBES
            left = np.searchsorted(sorted_keys, wanted, side="left").ravel()
            counts = np.searchsorted(sorted_keys, wanted, side="right").ravel() - left
            columns = np.repeat(np.repeat(np.arange(len(others)), len(_PROBES)), counts)
            offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            rows = order[np.repeat(left, counts) + offsets]
            near = np.bitwise_count(hashes[rows] ^ others[columns, variant]) <= HASH_DISTANCE_MAX
            met.append((rows[near] * len(others) + columns[near]) * VARIANTS + variant)
    # One pair meets in several bands.
    codes, variants = np.divmod(np.unique(np.concatenate(met)), VARIANTS)
    rows, columns = np.divmod(codes, len(others))
    return rows, columns, variants
