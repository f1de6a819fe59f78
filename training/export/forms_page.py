"""The deployable forms of a run as people read them: which one to take first, then what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from training.export.comparison import FP32, PARTS, RESULT, Form, Forms
from training.export.forms import GAIN_MIN, loses_little, loss_allowed
from training.pages import charts, render

DECODE: Final = "decode"
_EIGHT_BITS: Final = ("int8", "dynamic")
_LOSS_SHOWN: Final = 0.05  # of accuracy, either way: the scale of the whiskers, unless an interval is wider


def page(found: Forms, *, beside: str = RESULT) -> str:
    """The whole report as one HTML file that needs nothing else.

    beside: the file with the same figures; empty: there is none.
    """
    ends = max(_LOSS_SHOWN, *(abs(value) for form in found.forms for value in form.accuracy_lost_interval))
    longest = {name: max(getattr(form, name) for form in found.forms) for name in ("file_bytes", "peak_mib", "p99_ms")}
    whole_ms = max(form.cpu_ms for form in found.forms) + found.decode_ms
    return render(
        "export/forms.html.j2",
        found=found,
        sentences=list(sentences(found)),
        rows=[
            {
                "form": form,
                "lost": charts.whisker(
                    -form.accuracy_lost,
                    *sorted(-value for value in form.accuracy_lost_interval),
                    ends=(-ends, ends),
                    guide=-loss_allowed(found.photos),
                    width=110,
                ),
                "file_share": 100.0 * form.file_bytes / longest["file_bytes"],
                "memory_share": 100.0 * form.peak_mib / longest["peak_mib"],
                "bars": {
                    name: 100.0 * getattr(form, name) / longest["p99_ms"] for name in ("p50_ms", "p95_ms", "p99_ms")
                },
                "spent_ms": (spent := _spent_ms(found, form)),
                "spent_shares": {part: 100.0 * taken / whole_ms for part, taken in spent.items()},
            }
            for form in found.forms
        ],
        parts=(DECODE, *PARTS),
        footer=f"The same figures are in {beside} beside this page." if beside else "",
    )


def _spent_ms(found: Forms, form: Form) -> dict[str, float]:
    """Of one photograph, decoding included, by part; a form that tells nothing of itself is all backbone's."""
    shares = form.shares or {PARTS[0]: 1.0}
    return {DECODE: found.decode_ms, **{part: form.cpu_ms * shares.get(part, 0.0) for part in PARTS}}


def sentences(found: Forms) -> Iterator[str]:
    """Which form to take, and what forbids to take the figures at their word."""
    full = next(form for form in found.forms if form.name == FP32)
    # TorchScript lacks detectors and heat maps, CUDA another machine: neither is an archive's graph.
    worth = [form for form in found.forms if form.name in _EIGHT_BITS and _worth(form, full, found.photos)]
    if worth:
        best = min(worth, key=lambda form: form.cpu_ms)
        yield (
            f"Take {best.name}: {full.cpu_ms / best.cpu_ms:.2f} times as fast as fp32 on this processor and "
            f"{best.times_smaller:.1f} times smaller, for {_points(best)} of accuracy."
        )
    else:
        yield (
            f"Stay with fp32: no 8-bit form is {GAIN_MIN} times as fast on this processor and loses at most "
            f"{loss_allowed(found.photos):.1%} of accuracy."
        )
    if found.trained_on:
        yield f"{found.trained_on.said}: {too_good(found)}."
    yield (
        f"Measured on {found.photos} photographs that nothing was calibrated on: one more mistake is "
        f"{1.0 / found.photos:.1%} of accuracy."
    )
    losses = [f"{form.name} {form.accuracy_lost_at_most:.1%}" for form in found.forms if form.name in _EIGHT_BITS]
    if losses:
        yield f"So few photographs leave room for a loss of up to (95%): {', '.join(losses)}."
    added = [f"{form.added_share:.1%} of {form.name}'s" for form in found.forms if form.added_share is not None]
    if added:
        yield (
            f"Detectors and heat maps take {', '.join(added)} time: measured against the same graph without them, turn "
            f"about. A profile, as below, takes time itself for each node, and theirs are small."
        )


def too_good(found: Forms) -> str:
    """What follows where photographs were trained on."""
    fewer = f" ({found.not_fitted_on} of them for temperature and borders alone)" if found.not_fitted_on else ""
    return f"accuracies are too good{fewer}, and on others more may be lost than here"


def _worth(form: Form, full: Form, photos: int) -> bool:
    return full.cpu_ms >= GAIN_MIN * form.cpu_ms and loses_little(form.accuracy_lost, photos)


def _points(form: Form) -> str:
    return f"{100.0 * form.accuracy_lost:.1f} points" if form.accuracy_lost > 0.0 else "no loss"
