"""Charts as inline SVG that takes its colours from the page: light, dark and print alike.

Every function returns safe markup; text that comes from outside is escaped. Numbers are
cut to a tenth of a pixel, so that the same figures always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from training.listing import counted

COLOURS: Final = tuple(f"var(--{name})" for name in ("one", "two", "three", "four", "five", "six"))
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 18.0, 26.0, 36.0
_DECILES: Final = tuple(number / 5 for number in range(6))


@dataclass(frozen=True, slots=True)
class Line:
    """One curve, with a band around it where the interval is known."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Border:
    """A value on the x axis that means something."""

    at: float
    name: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One measurement."""

    x: float
    y: float
    name: str


class _Plane:
    """Axes from data to pixels."""

    def __init__(self, width: float, height: float, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.width, self.height, self._x, self._y = width, height, x, y

    def x(self, value: float) -> float:
        share = (value - self._x[0]) / ((self._x[1] - self._x[0]) or 1.0)
        return round(_LEFT + share * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self._y[0]) / ((self._y[1] - self._y[0]) or 1.0)
        return round(self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM), 1)

    def frame(
        self,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_name: str,
        y_name: str,
    ) -> str:
        left, right, bottom = self.x(self._x[0]), self.x(self._x[1]), self.y(self._y[0])
        parts = []
        for value, text in y_ticks:
            at = self.y(value)
            parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{at}" y2="{at}"/>')
            parts.append(f'<text x="{left - 6}" y="{round(at + 4, 1)}" text-anchor="end">{escape(text)}</text>')
        for value, text in x_ticks:
            parts.append(
                f'<text x="{self.x(value)}" y="{round(bottom + 15, 1)}" text-anchor="middle">{escape(text)}</text>'
            )
        middle = round((left + right) / 2, 1)
        parts.append(f'<text x="{middle}" y="{self.height - 4}" text-anchor="middle">{escape(x_name)}</text>')
        parts.append(f'<text x="{left}" y="11" text-anchor="start">{escape(y_name)}</text>' if y_name else "")
        return "".join(parts)


def lines(
    curves: Sequence[Line],
    *,
    x_name: str,
    y_name: str,
    y_range: tuple[float, float] = (0.0, 1.0),
    x_labels: Sequence[str] = (),
    guide: float | None = None,
    width: float = 460,
    height: float = 250,
) -> Markup:
    """Curves over one plane. x_labels: names of x = 0, 1, ... in place of numbers.  guide: a level to compare with."""
    if not any(len(curve.x) for curve in curves):
        return Markup("")
    ends = [value for curve in curves for value in curve.x]
    plane = _Plane(width, height, (min(ends), max(ends)), y_range)
    x_ticks = (
        [(float(at), text) for at, text in enumerate(x_labels)]
        if x_labels
        else [(value, f"{value:.0%}") for value in _DECILES if min(ends) <= value <= max(ends)]
    )
    parts = [plane.frame(x_ticks, _ticks(*y_range), x_name, y_name)]
    if guide is not None:
        parts.append(_level(plane, guide, min(ends), max(ends)))
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        if curve.low and curve.high:
            up = [f"{plane.x(x)},{plane.y(y)}" for x, y in zip(curve.x, curve.high, strict=True)]
            down = [f"{plane.x(x)},{plane.y(y)}" for x, y in zip(curve.x, curve.low, strict=True)]
            parts.append(f'<polygon points="{" ".join([*up, *reversed(down)])}" fill="{colour}" opacity=".15"/>')
        points = " ".join(f"{plane.x(x)},{plane.y(y)}" for x, y in zip(curve.x, curve.y, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if curve.dots:
            parts += [
                f'<circle cx="{plane.x(x)}" cy="{plane.y(y)}" r="3" fill="{colour}"><title>'
                f"{escape(curve.name)}: {y:.3f}</title></circle>"
                for x, y in zip(curve.x, curve.y, strict=True)
            ]
    return _svg(width, height, parts, f"{y_name} over {x_name}")


def scatter(
    dots: Sequence[Dot],
    *,
    x_name: str,
    y_name: str,
    x_ticks: Sequence[tuple[float, str]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    best_so_far: bool = False,
    guides: Sequence[float] = (),
    width: float = 460,
    height: float = 230,
) -> Markup:
    """One dot a measurement.  best_so_far: with the highest up to each x, the dots in the order of x.

    guides: levels to compare with.
    """
    plane = _Plane(width, height, x_range, y_range)
    parts = [plane.frame(x_ticks, _ticks(*y_range), x_name, y_name)]
    parts += [_level(plane, guide, *x_range) for guide in guides]
    if best_so_far and dots:
        highest = np.maximum.accumulate([dot.y for dot in dots])
        corners: list[tuple[float, float]] = []
        for dot, level in zip(dots, highest, strict=True):
            before = corners[-1][1] if corners else plane.y(level)
            corners += [(plane.x(dot.x), before), (plane.x(dot.x), plane.y(level))]
        points = " ".join(f"{x},{y}" for x, y in corners)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[1]}" stroke-width="2"/>')
    parts += [
        f'<circle cx="{plane.x(dot.x)}" cy="{plane.y(dot.y)}" r="4" fill="{COLOURS[0]}" fill-opacity=".7"><title>'
        f"{escape(dot.name)}: {dot.y:.3f}</title></circle>"
        for dot in dots
    ]
    return _svg(width, height, parts, f"{y_name} over {x_name}")


def reliability(rows: Sequence[tuple[float, float, int]], *, width: float = 460, height: float = 300) -> Markup:
    """rows: (mean confidence, accuracy, photographs) of each filled bin; the area of a dot is its photographs."""
    plane = _Plane(width, height, (0.0, 1.0), (0.0, 1.0))
    ticks = [(value, f"{value:.0%}") for value in _DECILES]
    parts = [plane.frame(ticks, ticks, "what it says of its answer", "how often that is right")]
    parts.append(f'<line class="guide" x1="{plane.x(0)}" y1="{plane.y(0)}" x2="{plane.x(1)}" y2="{plane.y(1)}"/>')
    largest = max((photos for _, _, photos in rows), default=1)
    for confidence, accuracy, photos in rows:
        radius = round(3.0 + 11.0 * (photos / largest) ** 0.5, 1)
        x, y = plane.x(confidence), plane.y(accuracy)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{plane.y(confidence)}" y2="{y}" stroke="var(--one)" opacity=".5"/>')
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="{radius}" fill="var(--one)" opacity=".85">'
            f"<title>{counted(photos, 'photograph')}: "
            f"{confidence:.0%} said, {accuracy:.0%} right</title></circle>"
        )
    return _svg(width, height, parts, "reliability diagram")


def histogram(
    groups: Sequence[tuple[str, NDArray[np.floating]]],
    borders: Sequence[Border],
    *,
    x_name: str,
    x_range: tuple[float, float],
    bins: int = 40,
    width: float = 940,
    height: float = 230,
) -> Markup:
    """Shares of each group by value; what lies outside the range is counted at its end."""
    edges = np.linspace(*x_range, bins + 1)
    shares = [
        (name, np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(len(values), 1))
        for name, values in groups
    ]
    top = max((float(share.max()) for _, share in shares), default=1.0) or 1.0
    plane = _Plane(width, height, x_range, (0.0, top * 1.12))
    step = _step(x_range[1] - x_range[0])
    first = np.ceil(x_range[0] / step) * step
    x_ticks = [(float(value), f"{value:g}") for value in np.arange(first, x_range[1] + step / 2, step).round(6) + 0.0]
    parts = [plane.frame(x_ticks, [(0.0, "0"), (top, f"{top:.0%}")], x_name, "share of photographs")]
    for number, (name, share) in enumerate(shares):
        colour = COLOURS[number % len(COLOURS)]
        points = [f"{plane.x(edges[0])},{plane.y(0)}"]
        for left, right, value in zip(edges, edges[1:], share, strict=False):
            points += [f"{plane.x(left)},{plane.y(value)}", f"{plane.x(right)},{plane.y(value)}"]
        points.append(f"{plane.x(edges[-1])},{plane.y(0)}")
        parts.append(
            f'<polygon points="{" ".join(points)}" fill="{colour}" fill-opacity=".28" stroke="{colour}" '
            f'stroke-width="1.5"><title>{escape(name)}</title></polygon>'
        )
    for border in borders:
        x = plane.x(border.at)
        parts.append(f'<line class="guide" x1="{x}" x2="{x}" y1="{plane.y(top * 1.12)}" y2="{plane.y(0)}"/>')
        parts.append(f'<text class="strong" x="{x + 4}" y="{_TOP + 10}">{escape(border.name)}</text>')
    return _svg(width, height, parts, f"histogram of {x_name}")


def whisker(
    value: float,
    low: float,
    high: float,
    *,
    ends: tuple[float, float] = (0.0, 1.0),
    guide: float | None = None,
    colour: str = COLOURS[0],
    width: float = 150,
) -> Markup:
    """A dot in its interval, for a cell of a table."""
    span = (ends[1] - ends[0]) or 1.0

    def at(number: float) -> float:
        return round(5 + (min(max(number, ends[0]), ends[1]) - ends[0]) / span * (width - 10), 1)

    parts = [f'<line class="axis" x1="5" x2="{width - 5}" y1="8" y2="8"/>']
    if guide is not None:
        parts.append(f'<line class="guide" x1="{at(guide)}" x2="{at(guide)}" y1="1" y2="15"/>')
    parts.append(f'<line class="whisker" x1="{at(low)}" x2="{at(high)}" y1="8" y2="8" stroke="{colour}"/>')
    parts.append(f'<circle cx="{at(value)}" cy="8" r="4" fill="{colour}"/>')
    return _svg(width, 16, parts, f"{value:.3f}, from {low:.3f} to {high:.3f}", fixed=True)


def _level(plane: _Plane, value: float, left: float, right: float) -> str:
    at = plane.y(value)
    return f'<line class="guide" x1="{plane.x(left)}" x2="{plane.x(right)}" y1="{at}" y2="{at}"/>'


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    step = _step(high - low)
    first = np.ceil(low / step - 1e-9) * step
    # + 0.0: the ceiling of a little below 0 is "-0".
    return [(float(value), f"{value:g}") for value in np.arange(first, high + step / 2, step).round(6) + 0.0]


def _step(span: float) -> float:
    """A round number that divides the span into four to ten."""
    raw = span / 5.0 if span > 0.0 else 1.0
    unit = 10.0 ** np.floor(np.log10(raw))
    return float(next(factor * unit for factor in (1.0, 2.0, 5.0, 10.0) if factor * unit >= raw * 0.999))


def _svg(width: float, height: float, parts: Sequence[str], said: str, *, fixed: bool = False) -> Markup:
    size = (
        f' class="cell" width="{width:g}" height="{height:g}"'
        if fixed
        else f' style="--width:{width:g}px;width:100%;max-width:{width:g}px"'
    )
    return Markup(  # noqa: S704 - every text in the parts was escaped where it was put in
        f'<svg viewBox="0 0 {width:g} {height:g}"{size} role="img" aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )
