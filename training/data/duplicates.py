"""Which photographs are one photograph: the same bytes, or copies made from one another.

A copy is a photograph rescaled, recompressed, brightened, blurred, made grey, mirrored or
turned by quarters. Candidates are found by perceptual hash (imagehash's phash: signs of
the lowest 8 x 8 DCT coefficients against their median, 64 bits) within a Hamming radius,
and confirmed by comparing the small pictures themselves: two tablets from one mould on
one backdrop are close in the hash, and yet two photographs.

Cost: hashes are looked up band by band, so that time grows with the photographs and their
candidates, not with their pairs (`benchmarks` has the figure for 20,000).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.folder import LOOK_PX, Photo

# Measured on 224 real photographs and ten kinds of copy: recompressed, rescaled, blurred, mirrored and turned copies
# lie within 8 bits and correlate by 0.94 or more; two different amulets within 8 bits correlate by 0.87 at most.
HASH_DISTANCE_MAX: Final = 8
CORRELATION_MIN: Final = 0.92
Pixel = TypeVar("Pixel", bound=np.generic)
_SMALL_PX: Final = 32
_BANDS: Final = 4
_BAND_BITS: Final = 16
# A copy within 7 bits agrees with its source in one of the four bands but for one bit at most; most at 8 bits do too.
_PROBES: Final = np.array([0] + [1 << bit for bit in range(_BAND_BITS)], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photographs that are one. `first.relative < second.relative` within one folder."""

    first: Photo
    second: Photo
    same_bytes: bool
    correlation: float  # of the small pictures in their best alignment, up to 1


@dataclass(frozen=True, slots=True)
class _Prints:
    """What the search compares."""

    hashes: NDArray[np.uint64]  # [n, 8]: in each alignment; column 0 as photographed
    pictures: NDArray[np.float32]  # [n, _SMALL_PX**2], each of mean 0 and length 1 (or all 0: one flat colour)


def near_duplicates(photos: Sequence[Photo]) -> tuple[Pair, ...]:
    """All pairs of one collection, sorted by name."""
    prints = _prints_of(photos)
    pairs = [pair for pair in _search(photos, prints, photos, prints) if pair.first.relative < pair.second.relative]
    return tuple(sorted(pairs, key=lambda pair: (pair.first.relative, pair.second.relative)))


def shared_photos(photos: Sequence[Photo], others: Sequence[Photo]) -> tuple[Pair, ...]:
    """All pairs across two collections: `first` from `photos`, `second` from `others`."""
    pairs = _search(photos, _prints_of(photos), others, _prints_of(others))
    return tuple(sorted(pairs, key=lambda pair: (pair.first.relative, pair.second.relative)))


def groups(photos: Sequence[Photo], pairs: Iterable[Pair]) -> tuple[tuple[Photo, ...], ...]:
    """The photographs in groups that must stay together; most groups have one member.

    Being a copy is taken as transitive: a copy of a copy belongs to the group. Sorted, and
    sorted within.
    """
    parent = {photo.relative: photo.relative for photo in photos}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for pair in pairs:
        first, second = sorted((root(pair.first.relative), root(pair.second.relative)))
        parent[second] = first
    together: dict[str, list[Photo]] = {}
    for photo in sorted(photos, key=lambda photo: photo.relative):
        together.setdefault(root(photo.relative), []).append(photo)
    return tuple(tuple(members) for members in together.values())


def _search(photos: Sequence[Photo], prints: _Prints, others: Sequence[Photo], other_prints: _Prints) -> Iterator[Pair]:
    places = np.arange(_SMALL_PX**2).reshape(_SMALL_PX, _SMALL_PX)
    moved = [aligned.ravel() for aligned in _alignments(places)]
    for first, second, alignment in _candidates(prints, other_prints):
        correlation = float(prints.pictures[first] @ other_prints.pictures[second, moved[alignment]])
        same_bytes = photos[first].sha256 == others[second].sha256
        if same_bytes or correlation >= CORRELATION_MIN:
            yield Pair(photos[first], others[second], same_bytes, min(correlation, 1.0))


def _prints_of(photos: Sequence[Photo]) -> _Prints:
    hashes = np.zeros((len(photos), 8), dtype=np.uint64)
    pictures = np.zeros((len(photos), _SMALL_PX**2), dtype=np.float32)
    weights = np.uint64(1) << np.arange(64, dtype=np.uint64)
    factor = LOOK_PX // _SMALL_PX
    for row, photo in enumerate(photos):
        look = np.frombuffer(photo.look, dtype=np.uint8).reshape(LOOK_PX, LOOK_PX)
        small = look.reshape(_SMALL_PX, factor, _SMALL_PX, factor).mean(axis=(1, 3))
        for column, picture in enumerate(_alignments(small.round().astype(np.uint8))):
            bits = imagehash.phash(Image.fromarray(picture)).hash.ravel()
            hashes[row, column] = (bits * weights).sum()
        centred = small.ravel() - small.mean()
        length = float(np.linalg.norm(centred))
        pictures[row] = centred / length if length > 0 else 0.0
    return _Prints(hashes, pictures)


def _alignments(picture: NDArray[Pixel]) -> Iterator[NDArray[Pixel]]:
    """The four quarter turns, each as it is and mirrored; the first is the picture itself."""
    for turns in range(4):
        turned = np.rot90(picture, turns)
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(turned[:, ::-1])


def _candidates(prints: _Prints, others: _Prints) -> Iterator[tuple[int, int, int]]:
    """(row of prints, row of others, alignment of others) of hashes within reach, best alignment of each pair."""
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        mask = np.uint64((1 << _BAND_BITS) - 1)
        keys = (prints.hashes[:, 0] >> shift) & mask
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        for alignment in range(8):
            wanted = (others.hashes[:, alignment] >> shift) & mask
            for probe in _PROBES:
                left = np.searchsorted(sorted_keys, wanted ^ probe, side="left")
                counts = np.searchsorted(sorted_keys, wanted ^ probe, side="right") - left
                columns = np.repeat(np.arange(len(wanted)), counts)
                offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
                rows = order[np.repeat(left, counts) + offsets]
                distances = np.bitwise_count(prints.hashes[rows, 0] ^ others.hashes[columns, alignment])
                near = distances <= HASH_DISTANCE_MAX
                for row, column, distance in zip(rows[near], columns[near], distances[near], strict=True):
                    found = (int(distance), alignment)
                    pair = (int(row), int(column))
                    if found < best.get(pair, (65, 0)):
                        best[pair] = found
    for (row, column), (_, alignment) in best.items():
        yield row, column, alignment
