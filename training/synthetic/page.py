"""A judgement as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from training.experiments.page import cell, difference
from training.pages import render
from training.synthetic.decision import ALL, Judgement
from training.synthetic.review_sheet import told

_WORDS = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "balanced_accuracy_other_table": "balanced accuracy on another table",
}


def page(found: Judgement) -> str:
    """The whole report as one HTML file that needs nothing else."""
    test = found.test
    figures = [(_WORDS[name], test.real[name], test.gain[name]) for name in _WORDS]
    figures += [(f"F1 {label}", test.per_class_f1[label], test.per_class_gain[label]) for label in test.per_class_f1]
    return render(
        "synthetic/judgement.html.j2",
        found=found,
        near=found.fidelity[ALL],
        sentences=list(sentences(found)),
        rows=[{"name": name, "real": cell(real), "gain": difference(name, gain)} for name, real, gain in figures],
    )


def sentences(found: Judgement) -> Iterator[str]:
    """What to do, and what to know about the figures."""
    kept = [label for label, verdict in found.verdicts.items() if verdict.keep]
    yield f"Keep those of {', '.join(kept)}; discard the others." if kept else "Discard them all."
    gain = found.test.gain["macro_f1"]
    luck = "more than luck" if gain.sure else "could be luck"
    yield f"With them macro F1 changes by {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}): {luck}."
    near = found.fidelity[ALL]
    yield (
        f"FID {near.fid:.1f}; halves of one size: {near.fid_halves:.1f} to the synthetic ones, {near.fid_floor:.1f} "
        "between real ones."
    )
    if found.experts is not None:
        rate, agreement = found.experts.synthetic.rate, found.experts.kappa
        said = f"Experts call {rate.value:.0%} of them plausible ({rate.low:.0%} to {rate.high:.0%})"
        if found.experts.real is not None:
            said += f", and {found.experts.real.rate.value:.0%} of real ones"
        alike = "" if agreement is None else f"; Cohen's kappa of two of them is {told(agreement)} in the mean"
        yield f"{said}{alike}."
    if not found.origins_known:
        yield (
            "Nothing says what they were made from: if a generator learnt from the real photographs that are measured "
            "on, the gain is too good."
        )
