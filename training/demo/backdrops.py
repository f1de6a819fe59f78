"""What the photographed thing lies on: cloth, wood, paper, stone, felt, plastic, in any colour."""

from __future__ import annotations

import colorsys
from typing import Final

import numpy as np

from training.demo.relief import Field, noise

KINDS: Final = ("cloth", "felt", "wood", "paper", "stone", "plain")


def backdrop(rng: np.random.Generator, kind: str, width_px: int, height_px: int) -> Field:
    """Reflectance, 0 to 1, float32 [height_px, width_px, 3], before any light falls on it."""
    shape = (height_px, width_px)
    if kind == "wood":
        base = _colour(rng, hue=(0.04, 0.11), saturation=(0.25, 0.6), value=(0.25, 0.75))
    elif kind == "paper":
        base = _colour(rng, hue=(0.05, 0.2), saturation=(0.0, 0.15), value=(0.7, 0.95))
    else:
        base = _colour(rng, hue=(0.0, 1.0), saturation=(0.05, 0.8), value=(0.15, 0.85))
    pattern = _PATTERNS[kind](rng, shape)
    tint = 1 + rng.uniform(-0.12, 0.12, 3).astype(np.float32)
    lit = pattern.astype(np.float32)[..., None] * (tint * base) + base
    np.clip(lit, 0.01, 1, out=lit)
    return lit


def _colour(
    rng: np.random.Generator,
    *,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> Field:
    return np.array(
        colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value)), dtype=np.float32
    )


def _turned(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field]:
    """Pixel coordinates along and across a random direction."""
    y, x = np.ogrid[0 : shape[0], 0 : shape[1]]
    angle = rng.uniform(0, np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle)).astype(np.float32)
    across = (y * np.cos(angle) - x * np.sin(angle)).astype(np.float32)
    return along, across


def _cloth(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    along, across = _turned(rng, shape)
    pitch = rng.uniform(0.5, 1.4)
    weave = np.sin(along * pitch) * np.sin(across * pitch)
    stripes = np.sign(np.sin(along * rng.uniform(0.02, 0.1))) * rng.choice([0.0, 0.18])
    pattern: Field = 0.12 * weave + stripes + 0.05 * noise(rng, shape, 5, octaves=3)
    return pattern


def _felt(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    fibres = rng.standard_normal(shape, dtype=np.float32)
    return 0.06 * (fibres + np.roll(fibres, 1, axis=1)) + 0.06 * noise(rng, shape, 4, octaves=2)


def _wood(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    along, across = _turned(rng, shape)
    waves = across * rng.uniform(0.04, 0.15) + 1.6 * noise(rng, shape, 3) + 2 * np.sin(along * 0.004)
    pattern: Field = (
        0.14 * np.sin(waves) + 0.06 * np.sin(waves * 5.3) + 0.03 * rng.standard_normal(shape, dtype=np.float32)
    )
    return pattern


def _paper(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    along, across = _turned(rng, shape)
    grain = 0.02 * rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.5:
        return grain + 0.03 * noise(rng, shape, 3)
    pitch = rng.uniform(14, 34)
    inked = (np.mod(across, pitch) < pitch * 0.35) & (
        np.sin(along * 0.21) + np.sin(along * 0.083 + across // pitch * 7) > -0.3
    )
    printed: Field = grain - rng.uniform(0.2, 0.6) * inked
    return printed


def _stone(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    clouds = noise(rng, shape, 4, octaves=4)
    veins: Field = np.exp(-np.abs(clouds) * 7)
    return 0.12 * clouds + rng.uniform(-0.3, 0.35) * veins


def _plain(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    return 0.05 * noise(rng, shape, 2, octaves=2) + 0.05 * noise(rng, shape, 160)


_PATTERNS: Final = {
    "cloth": _cloth,
    "felt": _felt,
    "wood": _wood,
    "paper": _paper,
    "stone": _stone,
    "plain": _plain,
}
