"""Latency against load, drawn from what `amulet bench serving --json` wrote.

    python -m benchmarks.picture benchmarks/results/serving.json benchmarks/results/serving.svg

Above, each system is a line through its closed loops, from one connection to sixteen: how many photographs a
second it answered, and how long one took. Below it is one through its open loops, up to what it manages at most.
The same file gives the same picture, byte by byte.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

mpl.use("svg")

NAMES: Final[Mapping[str, str]] = {
    "amulet": "Amulet",
    "litserve": "LitServe, bare",
    "bentoml": "BentoML, bare",
    "torchserve_stock": "TorchServe, stock handler",
    "limit": "no server at all",
}
# Okabe and Ito's colours, which are told apart by everybody; ours stands out.
_COLOURS: Final = {
    "amulet": "#0072B2",
    "litserve": "#E69F00",
    "bentoml": "#009E73",
    "torchserve_stock": "#CC79A7",
    "limit": "#888888",
}
_PERCENTILES: Final = (("p50_ms", "half are faster than, ms"), ("p99_ms", "99 of 100 are faster than, ms"))
_LOOPS: Final = (("c", "closed loops"), ("open_", "open loops"))
_MINOR_LABELS: Final = (1.2, 0.6)  # decades below which the ticks between tens are labelled, some or all
_NUMBERED: Final = ("amulet", "litserve")  # more numbers at dots could not be read


def draw(document: Mapping[str, Any], path: Path) -> None:
    """document: the JSON of `amulet bench serving`. Raises KeyError or TypeError for another, OSError."""
    with mpl.rc_context({"svg.hashsalt": "amulet", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(10, 8.4), layout="constrained")
        panels = itertools.product(_LOOPS, _PERCENTILES)
        for place, ((prefix, loops_name), (figure_name, y_name)) in enumerate(panels, 1):
            axes = figure.add_subplot(2, 2, place)
            for system, cases in document["systems"].items():
                loops = [(name.removeprefix(prefix), row) for name, row in cases.items() if name.startswith(prefix)]
                _line(axes, system, [(name, row["rps"], row[figure_name]) for name, row in loops])
            axes.set(xlabel="photographs answered a second", ylabel=y_name, yscale="log", xlim=(0, None))
            axes.set_title(loops_name, fontsize=9)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=_MINOR_LABELS))
            axes.grid(visible=True, which="both", alpha=0.25)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
        machine = document["machine"]
        figure.suptitle(
            f"Latency against load, {machine['cpus']} cores. Numbers at the dots: connections above, "
            "shares of what 16 connections gave below",
            fontsize=10,
        )
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _line(axes: Axes, system: str, dots: Sequence[tuple[str, float, float]]) -> None:
    """dots: (number, x, y)."""
    axes.plot(
        [x for _, x, _ in dots],
        [y for _, _, y in dots],
        marker="o",
        label=NAMES.get(system, system),
        color=_COLOURS.get(system),
        linewidth=2.5 if system == "amulet" else 1.2,
        linestyle=":" if system == "limit" else "-",
    )
    if system in _NUMBERED:
        for number, x, y in dots:
            axes.annotate(number, (x, y), (5, 4), textcoords="offset points", size=8)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("picture: name the JSON of `amulet bench serving` and the SVG to write\n")
        return 2
    source, picture = map(Path, arguments)
    try:
        draw(json.loads(source.read_bytes()), picture)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"picture: {source} and {picture}: {error!r}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
