"""What the demonstration's tablets, coins and other things look like: outlines and heights.

A mould is drawn once and pressed many times; what differs between two pieces of one mould
(wear, chips, material) is the renderer's business. Colour says nothing about a class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

import numpy as np

from training.demo.relief import (
    Field,
    X,
    Y,
    both,
    box,
    circle,
    domed,
    ellipse,
    highest,
    limb,
    melted,
    polygon,
    ring,
    union,
)


@dataclass(frozen=True, slots=True)
class Mould:
    outline: Field  # signed distance to the piece's edge
    height: Field  # relief above the ground, about 0 to 1
    thickness: float = 1.0  # of the piece above the table, in the relief's unit


@dataclass(frozen=True, slots=True)
class Design:
    """A class of tablets."""

    names: Mapping[str, str]
    group: str
    front: Callable[[], Mould]
    back: Callable[[], Mould]


def _seated(x: float, y: float, size: float) -> Field:
    """A person sitting with crossed legs, hands in the lap; heights 0 to 1."""
    s = size
    head = domed(ellipse(x, y - 0.62 * s, 0.15 * s, 0.19 * s), 0.15 * s)
    crown = domed(polygon([(x - 0.09 * s, y - 0.76 * s), (x + 0.09 * s, y - 0.76 * s), (x, y - 1.02 * s)]), 0.06 * s)
    body = limb((x, y - 0.36 * s), (x, y + 0.12 * s), 0.27 * s, 0.19 * s)
    arms = union(
        limb((x - 0.3 * s, y - 0.3 * s), (x - 0.42 * s, y + 0.08 * s), 0.085 * s),
        limb((x - 0.42 * s, y + 0.08 * s), (x - 0.06 * s, y + 0.22 * s), 0.075 * s),
        limb((x + 0.3 * s, y - 0.3 * s), (x + 0.42 * s, y + 0.08 * s), 0.085 * s),
        limb((x + 0.42 * s, y + 0.08 * s), (x + 0.06 * s, y + 0.22 * s), 0.075 * s),
    )
    legs = melted(
        limb((x - 0.52 * s, y + 0.4 * s), (x + 0.3 * s, y + 0.36 * s), 0.13 * s, 0.1 * s),
        limb((x + 0.52 * s, y + 0.4 * s), (x - 0.3 * s, y + 0.43 * s), 0.13 * s, 0.08 * s),
        0.05,
    )
    sash = domed(ring(limb((x - 0.2 * s, y - 0.42 * s), (x + 0.12 * s, y + 0.14 * s), 0.01), 0.02 * s), 0.02 * s)
    return highest(
        [
            head,
            0.8 * crown,
            0.85 * domed(body, 0.2 * s) + 0.1 * sash * domed(body, 0.05 * s),
            0.95 * domed(arms, 0.08 * s),
            domed(legs, 0.12 * s),
        ]
    )


def _standing(x: float, y: float, size: float) -> Field:
    s = size
    head = domed(ellipse(x, y - 0.84 * s, 0.15 * s, 0.19 * s), 0.15 * s)
    crown = domed(circle(x, y - 1.04 * s, 0.07 * s), 0.06 * s)
    robe = polygon(
        [
            (x - 0.24 * s, y - 0.62 * s),
            (x + 0.24 * s, y - 0.62 * s),
            (x + 0.2 * s, y),
            (x + 0.36 * s, y + 0.86 * s),
            (x - 0.36 * s, y + 0.86 * s),
            (x - 0.2 * s, y),
        ]
    )
    folds = 0.12 * np.sin((X - x) * 38 / s) * domed(robe, 0.06)
    arm = limb((x - 0.25 * s, y - 0.54 * s), (x - 0.4 * s, y - 0.02 * s), 0.07 * s, 0.06 * s)
    raised = union(
        limb((x + 0.25 * s, y - 0.54 * s), (x + 0.4 * s, y - 0.24 * s), 0.07 * s),
        limb((x + 0.4 * s, y - 0.24 * s), (x + 0.3 * s, y - 0.66 * s), 0.06 * s),
        ellipse(x + 0.29 * s, y - 0.74 * s, 0.06 * s, 0.09 * s),
    )
    feet = union(
        ellipse(x - 0.14 * s, y + 0.93 * s, 0.12 * s, 0.06 * s), ellipse(x + 0.14 * s, y + 0.93 * s, 0.12 * s, 0.06 * s)
    )
    return highest(
        [
            head,
            0.8 * crown,
            0.8 * domed(robe, 0.16 * s) + folds,
            domed(arm, 0.07 * s),
            domed(raised, 0.06 * s),
            domed(feet, 0.06 * s),
        ]
    )


def _petals(y: float, half_width: float, count: int) -> Field:
    """A row of lotus petals."""
    step = 2 * half_width / count
    places = [-half_width + (index + 0.5) * step for index in range(count)]
    return highest([domed(ellipse(x, y, step * 0.52, step * 0.75), step * 0.4) for x in places])


def _script(rows: Sequence[tuple[float, int]], *, step: float) -> Field:
    """Rows of curled signs that look like writing and say nothing; a row is (y, signs)."""
    signs = np.zeros_like(X)
    for row, (y, count) in enumerate(rows):
        for index in range(count):
            x, kind = (index - (count - 1) / 2) * step, (3 * row + 2 * index) % 5
            loop = ring(circle(x - 0.02, y, 0.3 * step), 0.022)
            tail = limb((x + 0.28 * step, y - 0.1), (x + 0.3 * step, y + (0.1 if kind % 2 else 0.02)), 0.022)
            above = circle(x, y - 0.15, 0.028) if kind > 1 else limb((x - 0.08, y - 0.14), (x + 0.08, y - 0.15), 0.018)
            cut = both(loop, np.where(kind in (0, 3), x - X - 0.04, Y - y - 0.05).astype(np.float32))
            signs = np.maximum(signs, domed(union(cut, tail, above), 0.022))
    return signs


def _arch_outline() -> Field:
    reach = np.where(Y < -0.28, np.hypot(X, Y + 0.28), np.abs(X)) - 0.78
    outline: Field = np.maximum(reach, Y - 1.12)
    return outline


def _arch_front() -> Mould:
    outline = _arch_outline()
    frame = domed(ring(outline + 0.12, 0.045), 0.045)
    inner = domed(ring(outline + 0.24, 0.02), 0.02)
    figure = _seated(0, 0.18, 0.72)
    base = np.maximum(0.7 * domed(box(0, 0.72, 0.52, 0.08, corner=0.03), 0.04), 0.8 * _petals(0.9, 0.52, 7))
    return Mould(outline, highest([0.7 * frame, 0.45 * inner, figure, base]))


def _arch_back() -> Mould:
    outline = _arch_outline()
    lines = _script([(-0.5, 3), (-0.18, 5), (0.14, 4), (0.46, 5), (0.78, 3)], step=0.24)
    frame = 0.5 * domed(ring(outline + 0.12, 0.03), 0.03)
    return Mould(outline, np.maximum(frame, 0.65 * lines))


def _tall_outline() -> Field:
    return box(0, 0, 0.56, 1.14, corner=0.3)


def _tall_front() -> Mould:
    outline = _tall_outline()
    halo = domed(ring(ellipse(0, -0.66, 0.32, 0.34), 0.035), 0.035)
    rays = 0.25 * (np.sin(np.arctan2(Y + 0.66, X) * 22) > 0.2) * (np.hypot(X, (Y + 0.66)) < 0.3)
    base = domed(box(0, 0.93, 0.38, 0.07, corner=0.03), 0.04)
    frame = domed(ring(outline + 0.07, 0.03), 0.03)
    return Mould(outline, highest([0.6 * halo, rays, _standing(0, 0.04, 0.84), 0.7 * base, 0.5 * frame]))


def _tall_back() -> Mould:
    outline = _tall_outline()
    grid = domed(union(ring(np.abs(X) - 0.18, 0.014), ring(np.abs(np.mod(Y, 0.36) - 0.18), 0.014)), 0.014)
    field = both(box(0, 0, 0.4, 0.9), outline + 0.1)
    dots = domed(np.hypot(np.mod(X + 0.18, 0.36) - 0.18, np.mod(Y + 0.18, 0.36) - 0.18) - 0.06, 0.06)
    return Mould(outline, 0.6 * np.maximum(grid, dots) * (field < 0))


def _leaf_outline() -> Field:
    heart = union(both(circle(-0.34, 0.1, 0.92), circle(0.34, 0.1, 0.92)), ellipse(0, 0.3, 0.84, 0.72))
    return melted(heart, polygon([(-0.3, -0.55), (0.3, -0.55), (0, -1.2)]), 0.12)


def _leaf_front() -> Mould:
    outline = _leaf_outline()
    leaves = []
    for index in range(9):
        angle = np.pi * (1.1 + 0.1 * index)
        x, y = 0.5 * np.cos(angle), 0.26 + 0.72 * np.sin(angle)
        tip = (x * 1.28, 0.26 + (y - 0.26) * 1.2)
        leaves.append(domed(limb((x, y), tip, 0.085, 0.02), 0.06))
    figure = _seated(0, 0.34, 0.56)
    base = 0.7 * _petals(0.72, 0.44, 6)
    return Mould(outline, highest([0.75 * highest(leaves), figure, base]))


def _leaf_back() -> Mould:
    outline = _leaf_outline()
    stem = domed(limb((0, 0.95), (0, -1.0), 0.04, 0.012), 0.03)
    veins = [
        domed(limb((0, y), (side * 0.6 * (1 - abs(y) * 0.35), y - 0.34), 0.022, 0.008), 0.02)
        for y in (-0.3, 0.0, 0.3, 0.6, 0.85)
        for side in (-1, 1)
    ]
    return Mould(outline, 0.6 * highest([stem, *veins]) * (outline < -0.06))


def _wide_outline() -> Field:
    return ellipse(0, 0, 0.97, 0.8)


def _wide_front() -> Mould:
    outline = _wide_outline()
    pair = np.maximum(_seated(-0.38, 0.06, 0.5), _seated(0.38, 0.06, 0.5))
    beads = highest(
        [
            domed(circle(0.85 * np.cos(a), 0.68 * np.sin(a), 0.035), 0.035)
            for a in np.linspace(0, 2 * np.pi, 40, endpoint=False)
        ]
    )
    base = 0.6 * domed(box(0, 0.4, 0.72, 0.045, corner=0.02), 0.03)
    return Mould(outline, highest([pair, 0.6 * beads, base]))


def _wide_back() -> Mould:
    outline = _wide_outline()
    swirl = np.sin(14 * np.hypot(X, Y * 1.2) - 3 * np.arctan2(Y, X))
    return Mould(outline, 0.45 * np.clip(swirl * 1.4, 0, 1) * domed(outline + 0.12, 0.1))


def _wheel_outline() -> Field:
    angle = np.arctan2(Y, X)
    outline: Field = np.hypot(X, Y) - 0.93 - 0.035 * np.cos(8 * angle)
    return outline


def _wheel_front() -> Mould:
    outline = _wheel_outline()
    spokes = [
        domed(limb((0.16 * np.cos(a), 0.16 * np.sin(a)), (0.68 * np.cos(a), 0.68 * np.sin(a)), 0.05, 0.035), 0.04)
        for a in np.arange(8) * np.pi / 4
    ]
    knobs = [
        domed(circle(0.46 * np.cos(a), 0.46 * np.sin(a), 0.065), 0.06) for a in np.arange(8) * np.pi / 4 + np.pi / 8
    ]
    hub = np.maximum(domed(circle(0, 0, 0.17), 0.12), domed(ring(circle(0, 0, 0.24), 0.025), 0.025))
    rims = np.maximum(domed(ring(circle(0, 0, 0.73), 0.06), 0.06), 0.6 * domed(ring(circle(0, 0, 0.84), 0.02), 0.02))
    return Mould(outline, highest([*spokes, *knobs, hub, rims]))


def _wheel_back() -> Mould:
    outline = _wheel_outline()
    square = domed(ring(box(0, 0, 0.5, 0.5), 0.025), 0.025)
    turned = domed(ring(np.abs(X) + np.abs(Y) - 0.7, 0.03), 0.025)
    middle = _script([(-0.12, 2), (0.16, 3)], step=0.22)
    return Mould(outline, 0.6 * highest([square, turned, middle]))


def _gable_outline() -> Field:
    return polygon([(-0.8, 1.12), (0.8, 1.12), (0.72, -0.1), (0, -1.2), (-0.72, -0.1)]) - np.float32(0.03)


def _gable_front() -> Mould:
    outline = _gable_outline()
    steps = [
        0.62 * domed(box(0, 0.92, 0.6, 0.07), 0.03),
        0.72 * domed(box(0, 0.76, 0.48, 0.07), 0.03),
        0.82 * domed(box(0, 0.6, 0.37, 0.07), 0.03),
    ]
    bell = domed(union(ellipse(0, 0.22, 0.27, 0.3), box(0, 0.42, 0.3, 0.1, corner=0.04)), 0.2)
    rings = [0.9 * domed(ellipse(0, -0.13 - 0.085 * i, 0.14 - 0.017 * i, 0.045), 0.04) for i in range(7)]
    spire = 0.9 * domed(limb((0, -0.66), (0, -1.0), 0.035, 0.008), 0.02)
    side = [domed(limb((x, 0.4), (x, 0.82), 0.05, 0.07), 0.05) for x in (-0.6, 0.6)]
    frame = 0.5 * domed(ring(outline + 0.1, 0.025), 0.025)
    return Mould(outline, highest([*steps, bell, *rings, spire, *side, frame]))


def _gable_back() -> Mould:
    outline = _gable_outline()
    rows = highest([domed(both(ring(Y - y, 0.025), outline + 0.2), 0.025) for y in np.arange(-0.4, 1.0, 0.2)])
    return Mould(outline, 0.5 * np.maximum(rows, domed(ring(outline + 0.12, 0.03), 0.03)))


def _oval_outline() -> Field:
    return ellipse(0, 0, 0.8, 1.08)


def _oval_front() -> Mould:
    outline = _oval_outline()
    head = domed(ellipse(0, -0.32, 0.3, 0.38), 0.3)
    ears = domed(union(ellipse(-0.31, -0.3, 0.06, 0.13), ellipse(0.31, -0.3, 0.06, 0.13)), 0.06)
    eyes = domed(union(ellipse(-0.12, -0.38, 0.07, 0.03), ellipse(0.12, -0.38, 0.07, 0.03)), 0.03)
    nose = domed(limb((0, -0.36), (0, -0.22), 0.025, 0.05), 0.04)
    mouth = domed(limb((-0.09, -0.11), (0.09, -0.11), 0.02), 0.02)
    shoulders = domed(both(ellipse(0, 0.72, 0.68, 0.66), outline + 0.14), 0.25)
    robe = 0.18 * np.sin((X + Y * 0.7) * 26) * (shoulders > 0.1)
    rope = 0.6 * domed(ring(outline + 0.09, 0.04), 0.04) * (0.7 + 0.3 * np.sin(np.arctan2(Y, X) * 44))
    face = head - 0.22 * eyes + 0.16 * nose - 0.14 * mouth
    return Mould(outline, highest([face, 0.8 * ears, 0.75 * shoulders + robe, rope]))


def _oval_back() -> Mould:
    outline = _oval_outline()
    star = highest(
        [domed(limb((0, 0), (0.5 * np.cos(a), 0.62 * np.sin(a)), 0.07, 0.01), 0.05) for a in np.arange(12) * np.pi / 6]
    )
    band = domed(ring(ellipse(0, 0, 0.6, 0.8), 0.03), 0.03)
    return Mould(outline, 0.65 * np.maximum(star, band))


def _coiled_outline() -> Field:
    return melted(ellipse(0, -0.4, 0.74, 0.74), box(0, 0.42, 0.72, 0.7, corner=0.12), 0.2)


def _coiled_front() -> Mould:
    outline = _coiled_outline()
    coils = highest([domed(limb((-w, y), (w, y), 0.085), 0.08) for w, y in ((0.5, 0.9), (0.44, 0.72), (0.38, 0.55))])
    hood = highest(
        [
            domed(
                limb(
                    (0.12 * np.sin(a), -0.3 - 0.12 * np.cos(a)),
                    (0.5 * np.sin(a), -0.42 - 0.48 * np.cos(a)),
                    0.06,
                    0.085,
                ),
                0.08,
            )
            for a in np.linspace(-1.25, 1.25, 7)
        ]
    )
    return Mould(outline, highest([0.85 * coils, 0.7 * hood, _seated(0, 0.14, 0.56)]))


def _coiled_back() -> Mould:
    outline = _coiled_outline()
    scales = np.hypot(np.mod(X + 0.1 * (np.floor(Y / 0.16) % 2), 0.2) - 0.1, np.mod(Y, 0.16) - 0.02) - 0.1
    return Mould(outline, 0.5 * domed(ring(scales, 0.02), 0.02) * (outline < -0.14))


DESIGNS: Final[Mapping[str, Design]] = MappingProxyType(
    {
        "arch_seated": Design({"en": "Seated in an arch", "th": "พิมพ์นั่งซุ้ม"}, "seated", _arch_front, _arch_back),
        "bodhi_leaf": Design({"en": "Bodhi leaf", "th": "พิมพ์ใบโพธิ์"}, "seated", _leaf_front, _leaf_back),
        "gable_stupa": Design({"en": "Stupa under a gable", "th": "พิมพ์เจดีย์"}, "emblem", _gable_front, _gable_back),
        "naga_hood": Design({"en": "Naga hood", "th": "พิมพ์นาคปรก"}, "seated", _coiled_front, _coiled_back),
        "oval_portrait": Design({"en": "Oval portrait", "th": "พิมพ์รูปเหมือน"}, "figure", _oval_front, _oval_back),
        "standing_blessing": Design(
            {"en": "Standing blessing", "th": "พิมพ์ยืนประทานพร"}, "figure", _tall_front, _tall_back
        ),
        "twin_seated": Design({"en": "Twin seated", "th": "พิมพ์คู่นั่ง"}, "seated", _wide_front, _wide_back),
        "wheel_of_law": Design({"en": "Wheel of the law", "th": "พิมพ์ธรรมจักร"}, "emblem", _wheel_front, _wheel_back),
    }
)
GROUPS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "seated": {"en": "Seated figures", "th": "ปางนั่ง"},
        "figure": {"en": "Other figures", "th": "รูปบุคคลอื่น"},
        "emblem": {"en": "Emblems", "th": "สัญลักษณ์"},
    }
)


@cache
def tablet(class_id: str, side: str) -> Mould:
    """The mould of a class, "front" or "back"; drawn once a process."""
    design = DESIGNS[class_id]
    return design.front() if side == "front" else design.back()


def hand_cut(mould: Mould, rng: np.random.Generator) -> Mould:
    """The same relief in a rounded slab cut by hand: alike for every class, so that no outline tells them apart."""
    inside = mould.outline < 0
    half_width, half_height = float(np.abs(X[inside]).max()), float(np.abs(Y[inside]).max())
    half_width, half_height = half_width * rng.uniform(0.95, 1.05), min(half_height * rng.uniform(0.98, 1.05), 1.2)
    slab = box(0, 0, half_width, half_height, corner=rng.uniform(0.1, 0.9) * min(half_width, half_height))
    return Mould(slab, mould.height * (mould.outline < 0), mould.thickness)
