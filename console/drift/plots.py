"""Two distributions as SVG: two rising lines for a number, pairs of bars for choices. Styled by classes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.drift.figures import ChoiceShare, Curves

WIDTH: Final = 640
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 30


def lines(drawn: Curves, *, title: str) -> SafeString:
    """The share of values at or below each value, of both."""
    low, high = drawn.values[0], drawn.values[-1]
    parts = [_axis(f"{low:.3g}", f"{high:.3g}")]
    for name, ranks in (("is-before", drawn.before), ("is-now", drawn.now)):
        path = " ".join(
            f"{'M' if place == 0 else 'L'}{_x((value - low) / (high - low)):.1f} {_y(rank):.1f}"
            for place, (value, rank) in enumerate(zip(drawn.values, ranks, strict=True))
        )
        parts.append(format_html('<path class="d-line {}" d="{}"></path>', name, path))
    return _framed(parts, title)


def bars(chosen: Sequence[ChoiceShare], *, title: str, names: Mapping[str, str]) -> SafeString:
    """The share of each choice, of both."""
    slot = (WIDTH - _LEFT - _RIGHT) / max(1, len(chosen))
    parts = [_axis("", "")]
    for place, each in enumerate(chosen):
        for side, (name, share) in enumerate((("is-before", each.before), ("is-now", each.now))):
            parts.append(
                format_html(
                    '<rect class="d-bar {}" x="{}" y="{}" width="{}" height="{}"></rect>',
                    name,
                    f"{_LEFT + slot * (place + 0.12 + side * 0.38):.1f}",
                    f"{_y(share):.1f}",
                    f"{slot * 0.36:.1f}",
                    f"{max(0.0, _y(0.0) - _y(share)):.1f}",
                )
            )
        middle = f"{_LEFT + slot * (place + 0.5):.1f}"
        text = names.get(each.choice, each.choice)
        shown = text if len(text) <= slot / 6 else f"{text[: max(1, int(slot / 6) - 1)]}…"
        parts.append(
            format_html('<text class="d-text" x="{}" y="{}" text-anchor="middle">{}</text>', middle, HEIGHT - 10, shown)
        )
    return _framed(parts, title)


def _x(share: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * share


def _y(share: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - share)


def _axis(first: str, last: str) -> SafeString:
    marks: Sequence[tuple[str, str, str, str, str]] = [
        (str(_LEFT), f"{_y(share):.1f}", str(WIDTH - _RIGHT), f"{_y(share) + 4:.1f}", f"{share:.0%}")
        for share in (0.0, 0.5, 1.0)
    ]
    grid = format_html_join(
        "",
        '<line class="d-grid" x1="{0}" y1="{1}" x2="{2}" y2="{1}"></line>'
        '<text class="d-text d-axis" x="38" y="{3}" text-anchor="end">{4}</text>',
        marks,
    )
    ends = format_html(
        '<text class="d-text d-axis is-below" x="{}" y="{}">{}</text>'
        '<text class="d-text d-axis is-below" x="{}" y="{}" text-anchor="end">{}</text>',
        _LEFT, HEIGHT - 10, first, WIDTH - _RIGHT, HEIGHT - 10, last,
    )  # fmt: skip
    return format_html("{}{}", grid, ends)


def _framed(parts: Sequence[SafeString], title: str) -> SafeString:
    return format_html(
        '<svg class="d-plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        WIDTH, HEIGHT, title, format_html_join("", "{}", ((part,) for part in parts)),
    )  # fmt: skip
