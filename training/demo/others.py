"""Things that are no tablets: coins, and what else lies about on a table.

A model of the tablets should say of each of them that it is not its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np

from training.demo.moulds import Mould
from training.demo.relief import (
    X,
    Y,
    both,
    box,
    circle,
    domed,
    ellipse,
    highest,
    limb,
    noise,
    polygon,
    ring,
    text,
    union,
)


def coin(rng: np.random.Generator) -> Mould:
    """A struck disc: rim, beads or reeds, a number or a head, writing around."""
    outline = circle(0, 0, 0.92)
    rim = domed(ring(circle(0, 0, 0.85), 0.06), 0.04)
    angle = np.arctan2(Y, X)
    layers = [0.8 * rim]
    if rng.random() < 0.5:
        beads = int(rng.integers(36, 60))
        layers.append(0.5 * (np.cos(angle * beads) > 0) * domed(ring(circle(0, 0, 0.75), 0.025), 0.025))
    else:
        layers.append(0.35 * domed(ring(circle(0, 0, rng.uniform(0.5, 0.72)), 0.02), 0.02))
    if rng.random() < 0.65:
        number = str(rng.choice(["1", "2", "5", "10", "20", "25", "50"]))
        x = rng.uniform(-0.15, 0.15)
        layers.append(0.8 * text(number, x=x, y=-0.1, size=0.75 if len(number) == 1 else 0.62))
        unit = str(rng.choice(["CENT", "SATANG", "BAHT", "CROWN", "PENCE", "MARK"]))
        layers.append(0.6 * text(unit, x=0, y=0.42, size=0.2))
    else:
        face = union(ellipse(-0.04, -0.16, 0.26, 0.34), limb((-0.02, 0.1), (0.1, 0.36), 0.17))
        nose = polygon([(-0.26, -0.24), (-0.4, -0.06), (-0.24, -0.04)])
        bust = both(ellipse(0.08, 0.66, 0.5, 0.36), circle(0, 0, 0.7))
        layers.append(0.9 * domed(union(face, nose, bust), 0.2))
        layers.append(0.5 * text(str(rng.integers(1950, 2026)), x=0.48, y=0.05, size=0.17))
    for star in range(int(rng.integers(0, 13))):
        turn = star * np.pi / 6 + np.pi / 2
        layers.append(0.5 * domed(circle(0.63 * np.cos(turn), 0.63 * np.sin(turn), 0.04), 0.04))
    return Mould(outline, highest(layers), thickness=0.6)


def _button(rng: np.random.Generator) -> Mould:
    outline = circle(0, 0, 0.85)
    holes = 4 if rng.random() < 0.6 else 2
    places = [(0.18 * np.cos(a), 0.18 * np.sin(a)) for a in np.pi / 4 + np.arange(holes) * 2 * np.pi / holes]
    pierced = union(*[circle(x, y, 0.085) for x, y in places])
    dish = 0.6 * domed(ring(outline + 0.14, 0.13), 0.13)
    return Mould(np.maximum(outline, -pierced), dish, thickness=0.8)


def _key(rng: np.random.Generator) -> Mould:
    bow = np.maximum(circle(0, -0.72, 0.36), -ellipse(0, -0.82, 0.16, 0.12))
    shaft = box(0, 0.3, 0.1, 0.85)
    bits = [box(0.14, y, rng.uniform(0.06, 0.16), 0.05) for y in np.linspace(0.45, 1.05, 6)]
    outline = union(bow, shaft, *bits)
    groove = -0.4 * domed(box(-0.03, 0.35, 0.025, 0.7), 0.02)
    return Mould(outline, groove + 0.2, thickness=0.6)


def _nut(rng: np.random.Generator) -> Mould:
    turn = np.arange(6) * np.pi / 3
    hexagon = polygon([(0.85 * np.cos(a), 0.85 * np.sin(a)) for a in turn])
    hole = circle(0, 0, rng.uniform(0.36, 0.48))
    return Mould(np.maximum(hexagon, -hole), 0.5 * domed(hexagon, 0.2), thickness=2.0)


def _leaf(rng: np.random.Generator) -> Mould:
    bend = 0.16 * rng.uniform(-1, 1)
    width = 0.42 * np.sqrt(np.clip(1 - (Y / 1.05) ** 2, 0, 1)) * (1 + 0.25 * Y)
    blade = np.abs(X - bend * Y * Y) - width * (1 + 0.05 * np.cos(Y * rng.uniform(30, 60)))
    outline = union(blade.astype(np.float32), limb((bend, 0.95), (bend * 1.5, 1.22), 0.025))
    veins = np.cos((Y + np.abs(X - bend * Y * Y) * 0.9) * 26) * 0.3
    middle = 0.8 * domed(np.abs(X - bend * Y * Y) - 0.03, 0.03)
    return Mould(outline, np.maximum(middle, veins).astype(np.float32), thickness=0.25)


def _pebble(rng: np.random.Generator) -> Mould:
    angle = np.arctan2(Y, X)
    radius = 0.72 + sum(rng.uniform(-0.09, 0.09) * np.cos(k * angle + rng.uniform(0, 6)) for k in (1, 2, 3))
    outline = (np.hypot(X * rng.uniform(0.8, 1.2), Y) - radius).astype(np.float32)
    lumps = 0.1 * noise(rng, X.shape, 4, octaves=2)
    return Mould(outline, 2.5 * domed(outline, 0.7) + lumps, thickness=0.6)


def _cap(rng: np.random.Generator) -> Mould:
    angle = np.arctan2(Y, X)
    outline = (np.hypot(X, Y) - 0.85 - 0.05 * np.cos(21 * angle)).astype(np.float32)
    word = str(rng.choice(["COLA", "SODA", "MALT", "7", "O2", "FIZZ"]))
    pleats = 0.8 * np.cos(21 * angle) * (np.hypot(X, Y) > 0.68)
    return Mould(outline, np.maximum(pleats, 0.45 * text(word, x=0, y=0, size=0.42)).astype(np.float32), thickness=1.4)


def _spoon(rng: np.random.Generator) -> Mould:
    bowl = ellipse(0, -0.72, 0.34, 0.46)
    outline = union(bowl, limb((0, -0.3), (0, 1.15), 0.05, rng.uniform(0.1, 0.16)))
    return Mould(outline, 0.4 - 1.2 * domed(bowl + 0.03, 0.3), thickness=0.6)


def _dice(rng: np.random.Generator) -> Mould:
    outline = box(0, 0, 0.62, 0.62, corner=0.14)
    spots = {1: [(0, 0)], 2: [(-1, -1), (1, 1)], 3: [(-1, -1), (0, 0), (1, 1)], 4: [(-1, -1), (1, 1), (-1, 1), (1, -1)]}
    count = int(rng.integers(1, 5))
    marks = union(*[circle(0.32 * x, 0.32 * y, 0.12) for x, y in spots[count]])
    return Mould(outline, 0.6 - 1.0 * domed(marks, 0.08), thickness=2.5)


def _clip(rng: np.random.Generator) -> Mould:
    bends = [
        (-0.2, 0.8),
        (-0.2, -0.7),
        (0.0, -0.95),
        (0.2, -0.7),
        (0.2, 0.6),
        (0.06, 0.78),
        (-0.07, 0.6),
        (-0.07, -0.5),
    ]
    thickness = rng.uniform(0.035, 0.055)
    wire = union(*[limb(start, end, thickness) for start, end in pairwise(bends)])
    return Mould(wire, domed(wire, 0.05), thickness=0.3)


def _card(rng: np.random.Generator) -> Mould:
    outline = box(0, 0, 0.95, 0.6, corner=0.06)
    lines = [
        domed(box(rng.uniform(-0.3, 0), y, rng.uniform(0.3, 0.6), 0.03), 0.02) for y in np.arange(-0.1, 0.45, 0.13)
    ]
    title = text(str(rng.choice(["TICKET", "No. 4711", "MEMBER", "HELLO", "OPEN"])), x=0, y=-0.34, size=0.24)
    return Mould(outline, 0.35 * highest([title, *lines]), thickness=0.15)


OBJECTS: Final[Mapping[str, Callable[[np.random.Generator], Mould]]] = MappingProxyType(
    {
        "button": _button,
        "cap": _cap,
        "card": _card,
        "clip": _clip,
        "dice": _dice,
        "key": _key,
        "leaf": _leaf,
        "nut": _nut,
        "pebble": _pebble,
        "spoon": _spoon,
    }
)


def thing(kind: str, rng: np.random.Generator) -> Mould:
    """One of OBJECTS, no two alike."""
    return OBJECTS[kind](rng)
