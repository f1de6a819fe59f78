"""A search as people read it: what to take and what it is worth, then every trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from markupsafe import Markup

from training.experiments.page import cell, difference
from training.experiments.search import Search, Trial
from training.experiments.search_space import Choice, Range, said
from training.pages import charts, render, settings_rows
from training.pages.charts import Dot

_MEASURE: Final = "balanced accuracy"
_TICKS_MAX: Final = 10
_MARGIN: Final = 0.02
_FIGURE_WORDS: Final = (
    ("nested", "to expect of what a search finds", "answered by a recipe that was chosen without them"),
    ("naive", "the best recipe, on the folds that chose it", "too good by the luck of choosing"),
    ("base", "the recipe as it is", "nothing was chosen"),
)


def search_page(found: Search) -> str:
    """The whole report as one HTML file that needs nothing else."""
    ordered = sorted(found.trials, key=lambda trial: -trial.balanced_accuracy)
    return render(
        "experiments/search.html.j2",
        found=found,
        better=found.gain.low > 0.0,
        sentences=list(search_sentences(found)),
        figures=[
            {"word": word, "what": what, "cell": cell(getattr(found, name))} for name, word, what in _FIGURE_WORDS
        ],
        differences=[
            {"word": word, **difference(_MEASURE, interval)}
            for word, interval in (("too good", found.optimism), ("gained", found.gain))
        ],
        history=_history(found),
        importance=[
            {"name": name, "bar": charts.whisker(share, 0.0, share, width=150), "share": f"{share:.0%}"}
            for name, share in found.importance.items()
        ],
        slices=[
            {"name": name, "chart": _slice(found, name)}
            for name, among in found.space.fields.items()
            if len(among.ends) > 1
        ],
        trials=[{"trial": trial, "settings": settings_said(trial.settings)} for trial in ordered],
        chosen=[settings_said(settings) if settings else "the recipe as it is" for settings in found.chosen],
        recipe=list(settings_rows(found.recipe.document())),
    )


def search_sentences(found: Search) -> Iterator[str]:
    """What to take, what to expect of it, and how much the best trial flatters itself."""
    base, gain, nested = found.base, found.gain, found.nested
    if found.best is None:
        yield f"None of {len(found.trials)} trials is better than the recipe as it is: keep it."
    elif gain.low > 0.0:
        yield f"Take recipe.yaml: searching gains {_signed(gain)} {_MEASURE}, more than luck."
    else:
        yield (
            f"Keep the recipe as it is: searching gains {_signed(gain)} {_MEASURE}, which could be luck. "
            f"recipe.yaml holds the best of {len(found.trials)} trials."
        )
    yield (
        f"Expect {nested.value:.3f} ({nested.low:.3f} to {nested.high:.3f}) of what this search finds: measured on "
        f"photographs that its choice never saw. The recipe as it is has {base.value:.3f}."
    )
    yield (
        f"On the folds that chose it, the best has {found.naive.value:.3f}: {_signed(found.optimism)} too good"
        f"{'' if found.optimism.sure else ', within luck'}."
    )
    if found.best is not None:
        yield f"Without one fold the search takes the same recipe in {found.agreement} of {found.folds} cases."


def settings_said(settings: Any) -> str:
    """In one line."""
    return ", ".join(f"{name} {_value(value)}" for name, value in settings.items())


def _history(found: Search) -> Markup:
    count = len(found.trials)
    step = max(1, math.ceil(count / _TICKS_MAX))
    return charts.scatter(
        [_dot(trial.number, trial) for trial in found.trials],
        x_name="trial",
        y_name=_MEASURE,
        x_ticks=[(float(number), str(number)) for number in range(step if step > 1 else 1, count + 1, step)],
        x_range=(0.5, count + 0.5),
        y_range=_heights(found),
        best_so_far=True,
        guides=(found.base.value, found.nested.value),
        width=940,
    )


def _slice(found: Search, name: str) -> Markup:
    """All trials by the value that they drew of one setting."""
    among = found.space.fields[name]
    trials = [trial for trial in found.trials if name in trial.settings]
    if isinstance(among, Choice):
        places = {said(value): float(number) for number, value in enumerate(among.values)}
        dots = [_dot(places[said(trial.settings[name])], trial) for trial in trials]
        ticks: Sequence[tuple[float, str]] = [(at, text) for text, at in places.items()]
        ends = (-0.5, len(places) - 0.5)
    else:
        place = math.log10 if among.log else float
        dots = [_dot(place(trial.settings[name]), trial) for trial in trials]
        ticks = [(place(value), f"{float(f'{value:.3g}'):g}") for value in _spread(among)]
        ends = (place(among.low), place(among.high))
    return charts.scatter(
        dots, x_name=name, y_name=_MEASURE, x_ticks=ticks, x_range=ends, y_range=_heights(found), width=440
    )


def _spread(among: Range) -> list[float]:
    """Five values from low to high, as far apart as they are drawn."""
    shares = [number / 4 for number in range(5)]
    if among.log:
        return [among.low * (among.high / among.low) ** share for share in shares]
    return [among.low + share * (among.high - among.low) for share in shares]


def _heights(found: Search) -> tuple[float, float]:
    seen = [trial.balanced_accuracy for trial in found.trials] + [found.base.value, found.nested.value]
    return max(0.0, min(seen) - _MARGIN), min(1.0, max(seen) + _MARGIN)


def _dot(x: float, trial: Trial) -> Dot:
    return Dot(float(x), trial.balanced_accuracy, f"trial {trial.number}, {settings_said(trial.settings)}")


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _signed(interval: Any) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
