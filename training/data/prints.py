"""What a photograph is recognised by when it comes back changed: hashes and small pictures.

The perceptual hash is imagehash's phash, 64 bits: which of the lowest 8 x 8 DCT
coefficients of the 32 x 32 luma lie above their median. Up to the threshold it is linear
in the pixels, so the hashes of a photograph's crops and turns are one matrix product each,
and those of its mirrorings and quarter turns are sign changes and transpositions of the
coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from training.data.folder import LOOK_PX, Photo

Floats = NDArray[np.float32]

HASH_PX: Final = 8
_SMALL_PX: Final = 32
_FLAT: Final = 64.0  # length of the coefficients of a picture in which there is nothing to see
_CHUNK: Final = 1024
_COARSE_PX: Final = 4.0
# Coarse first: fine structure that is a pixel or two off does not correlate, and shows no way to go.
_STAGES: Final = ((2.5, 10.0), (0.0, _COARSE_PX))
_STEPS: Final = 8
_PROMISING: Final = 0.3
_GAIN_MIN: Final = 0.005
_STILL: Final = np.array([1.0, 0.0, 0.0, 0.0])
_GRID: Final = np.mgrid[0:LOOK_PX, 0:LOOK_PX] - (LOOK_PX - 1) / 2  # rows and columns from the middle
_REACH: Final = np.array([0.28, 0.22, 9.0, 9.0])  # of a motion: scale, turn in radians, shift in pixels of a look


@dataclass(frozen=True, slots=True)
class Change:
    """A way in which people change a photograph's frame."""

    crop_ratio: float = 0.0  # cut from each edge, before the shift
    turn_deg: float = 0.0
    down_ratio: float = 0.0  # of the frame
    right_ratio: float = 0.0

    @property
    def motion(self) -> NDArray[np.float64]:
        """Scale, turn in radians, shift down and right in pixels of a look."""
        shift = self.down_ratio * LOOK_PX, self.right_ratio * LOOK_PX
        return np.array([1 - 2 * self.crop_ratio, math.radians(self.turn_deg), *shift])


# Between two of these a copy is near enough to one of them to be found, and `agreement` aligns the rest.
CHANGES: Final = (
    Change(),
    Change(crop_ratio=0.03),
    Change(crop_ratio=0.06),
    Change(crop_ratio=0.10),
    Change(turn_deg=-5.0),
    Change(turn_deg=-2.5),
    Change(turn_deg=2.5),
    Change(turn_deg=5.0),
    *(Change(crop_ratio=0.05, down_ratio=down, right_ratio=right) for down in (-0.04, 0.04) for right in (-0.04, 0.04)),
)
MIRRORINGS: Final = 8  # four quarter turns, each as it is and mirrored
VARIANTS: Final = len(CHANGES) * MIRRORINGS


@dataclass(frozen=True, slots=True)
class Prints:
    """Of n photographs; a variant is `change * MIRRORINGS + mirroring`, variant 0 the photograph itself."""

    hashes: NDArray[np.uint64]  # [n, VARIANTS]
    waves: Floats  # [n, len(CHANGES), 64]: DCT coefficients without the mean's, each row of length 1 (or all 0)
    looks: NDArray[np.uint8]  # [n, LOOK_PX, LOOK_PX]

    def wave(self, rows: NDArray[np.intp], variants: NDArray[np.intp]) -> Floats:
        """The coefficients [len(rows), 64] of one variant of each row."""
        change, mirroring = np.divmod(variants, MIRRORINGS)
        places, signs = _mirrorings()
        wave: Floats = np.take_along_axis(self.waves[rows, change], places[mirroring], axis=1) * signs[mirroring]
        return wave


def prints_of(photos: Sequence[Photo]) -> Prints:
    """Hashes and small pictures of photographs, in their order."""
    looks = np.frombuffer(b"".join(photo.look for photo in photos), dtype=np.uint8)
    looks = looks.reshape(len(photos), LOOK_PX, LOOK_PX)
    hashes = np.zeros((len(photos), VARIANTS), dtype=np.uint64)
    waves = np.zeros((len(photos), len(CHANGES), HASH_PX**2), dtype=np.float32)
    places, signs = _mirrorings()
    for start in range(0, len(photos), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        changed = looks[chunk].reshape(-1, LOOK_PX**2).astype(np.float32) @ _coefficients().T
        changed = changed.reshape(-1, len(CHANGES), HASH_PX**2)
        mirrored = changed[:, :, places] * signs
        above = mirrored > np.median(mirrored, axis=-1, keepdims=True)
        packed = np.packbits(above, axis=-1, bitorder="little").view(np.uint64)
        hashes[chunk] = packed.reshape(-1, VARIANTS)
        changed[..., 0] = 0.0
        length = np.linalg.norm(changed, axis=-1, keepdims=True)
        waves[chunk] = np.divide(changed, length, out=np.zeros_like(changed), where=length > _FLAT)
    return Prints(hashes=hashes, waves=waves, looks=looks)


def agreement(look: NDArray[np.uint8], other: NDArray[np.uint8], variant: int, *, enough: float) -> float:
    """How alike two small pictures are when `other` is brought into line with `look`, up to 1.

    Correlation of the fine structure (what a Gaussian of _COARSE_PX leaves), which two
    pieces of one mould on one backdrop do not share. Starts from a variant of `other` and,
    where that is promising but not `enough`, follows the gradient of the difference to a
    better crop and turn (Lucas & Kanade 1981, over shift, turn and scale).
    """
    change, mirroring = CHANGES[variant // MIRRORINGS], variant % MIRRORINGS
    target = unmirror(look.astype(np.float32), mirroring)
    source = np.ascontiguousarray(other.astype(np.float32))
    motion = change.motion
    best = _closeness(target, source, motion)
    if best >= enough:
        return best
    for smooth_px, coarse_px in _STAGES:
        wanted = _band(target, smooth_px, coarse_px)
        before = -1.0
        for _ in range(_STEPS):
            moved, inside = _moved(source, motion)
            seen = _band(moved, smooth_px, coarse_px)
            correlation = _correlation(wanted, seen, inside)
            if correlation < _PROMISING or correlation - before < _GAIN_MIN:
                break
            before = correlation
            motion = motion + _step(wanted, seen, inside, motion)
            if np.any(np.abs(motion - _STILL) > _REACH):  # it slid away: no frame that a person would have cut
                return best
        best = max(best, _closeness(target, source, motion))
        if best >= enough:
            break
    return best


def _closeness(target: Floats, source: Floats, motion: NDArray[np.float64]) -> float:
    moved, inside = _moved(source, motion)
    return _correlation(_band(target, 0.0, _COARSE_PX), _band(moved, 0.0, _COARSE_PX), inside)


def unmirror(picture: Floats, mirroring: int) -> Floats:
    """A square picture whose mirroring is undone: of axes exchanged (4), left and right (2), up and down (1)."""
    if mirroring & 4:
        picture = picture.T
    if mirroring & 1:
        picture = picture[::-1]
    return picture[:, ::-1] if mirroring & 2 else picture


def _band(picture: Floats, smooth_px: float, coarse_px: float) -> Floats:
    """What is finer than one Gaussian and coarser than another."""
    smooth = _blurred(picture, smooth_px) if smooth_px else picture
    band: Floats = smooth - _blurred(picture, coarse_px)
    return band


def _blurred(picture: Floats, sigma_px: float) -> Floats:
    """scipy's gaussian_filter, as the two matrix products that it is: a quarter of its time at this size."""
    gaussian = _gaussian(sigma_px)
    return np.asarray(gaussian @ picture @ gaussian.T, np.float32)


@cache
def _gaussian(sigma_px: float) -> Floats:
    """[LOOK_PX, LOOK_PX]: along one axis, edges reflected."""
    return np.asarray(ndimage.gaussian_filter1d(np.eye(LOOK_PX), sigma_px, axis=0), np.float32)


def _correlation(first: Floats, second: Floats, seen: Floats) -> float:
    weight = seen.sum()
    if weight < 0.5 * seen.size:
        return -1.0
    first = (first - (first * seen).sum() / weight) * seen
    second = (second - (second * seen).sum() / weight) * seen
    length = math.sqrt(float((first * first).sum()) * float((second * second).sum()))
    return float((first * second).sum()) / length if length > 1e-6 else 0.0


def _places(motion: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel of the changed picture lies in the original: (rows, columns)."""
    scale, turn, down, right = motion
    y, x = _GRID
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    middle = (LOOK_PX - 1) / 2
    return cos * y + sin * x + middle + down, cos * x - sin * y + middle + right


def _moved(picture: Floats, motion: NDArray[np.float64]) -> tuple[Floats, Floats]:
    rows, columns = _places(motion)
    moved = ndimage.map_coordinates(picture, (rows, columns), order=1, mode="nearest", output=np.float32)
    edge = LOOK_PX - 0.5
    inside = (rows > -0.5) & (rows < edge) & (columns > -0.5) & (columns < edge)
    return moved, inside.astype(np.float32)


def _step(target: Floats, moved: Floats, inside: Floats, motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """One Gauss-Newton step of the motion towards the target; both pictures are fine structure."""
    contrast = float(np.sqrt((target * target * inside).sum() / max(float((moved * moved * inside).sum()), 1e-6)))
    scale, turn = float(motion[0]), float(motion[1])
    down, right = (slope * contrast for slope in np.gradient(moved))
    # Slopes are along the changed picture's axes; turned and scaled back they are along the original's.
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    along_rows, along_columns = cos * down + sin * right, cos * right - sin * down
    y, x = _GRID
    cos, sin = math.cos(turn), math.sin(turn)
    by_scale = along_rows * (cos * y + sin * x) + along_columns * (cos * x - sin * y)
    by_turn = scale * (along_rows * (-sin * y + cos * x) + along_columns * (-sin * x - cos * y))
    slopes = np.stack([by_scale, by_turn, along_rows, along_columns], axis=-1) * inside[..., None]
    slopes = slopes.reshape(-1, 4).astype(np.float64)
    missing = ((target - moved * contrast) * inside).ravel().astype(np.float64)
    normal = slopes.T @ slopes
    normal[np.diag_indices(4)] += 1e-3 * np.diag(normal) + 1e-9
    step: NDArray[np.float64] = np.linalg.solve(normal, slopes.T @ missing)
    limits = np.array([0.03, 0.03, 1.5, 1.5])
    return step.clip(-limits, limits)


@cache
def _mirrorings() -> tuple[NDArray[np.intp], Floats]:
    """[MIRRORINGS, 64] each: a mirroring's coefficients are the picture's own at these places, times these signs."""
    rows, columns = np.divmod(np.arange(HASH_PX**2), HASH_PX)
    places, signs = [], []
    for mirroring in range(MIRRORINGS):
        row, column = (columns, rows) if mirroring & 4 else (rows, columns)
        places.append(row * HASH_PX + column)
        odd = (row * (mirroring & 1) + column * (mirroring >> 1 & 1)) % 2
        signs.append(np.where(odd == 1, -1.0, 1.0))
    return np.array(places), np.array(signs, dtype=np.float32)


@cache
def _coefficients() -> Floats:
    """[len(CHANGES) * 64, LOOK_PX**2]: from a look straight to the hash's coefficients of each change."""
    frequencies, places = np.arange(HASH_PX)[:, None], np.arange(_SMALL_PX)[None, :]
    cosines = 2 * np.cos(np.pi * frequencies * (2 * places + 1) / (2 * _SMALL_PX))
    halves = np.kron(np.eye(_SMALL_PX), np.full((1, LOOK_PX // _SMALL_PX), _SMALL_PX / LOOK_PX))
    transform = np.kron(cosines @ halves, cosines @ halves)
    return np.concatenate([transform @ _sampling(change) for change in CHANGES]).astype(np.float32)


def _sampling(change: Change) -> sparse.csr_array:
    """[LOOK_PX**2, LOOK_PX**2]: bilinear sampling of a look at the places of a change, edges repeated."""
    rows, columns = (places.ravel().clip(0, LOOK_PX - 1) for places in _places(change.motion))
    top, left = (np.minimum(np.floor(places).astype(int), LOOK_PX - 2) for places in (rows, columns))
    down, right = rows - top, columns - left
    pixels = np.arange(LOOK_PX**2)
    corners = [
        (top, left, (1 - down) * (1 - right)),
        (top, left + 1, (1 - down) * right),
        (top + 1, left, down * (1 - right)),
        (top + 1, left + 1, down * right),
    ]
    return sparse.csr_array(
        (
            np.concatenate([weight for _, _, weight in corners]),
            (np.tile(pixels, 4), np.concatenate([row * LOOK_PX + column for row, column, _ in corners])),
        ),
        shape=(LOOK_PX**2, LOOK_PX**2),
    )
