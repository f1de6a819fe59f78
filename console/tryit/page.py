"""What the page shows of an answer, as plain values for its template."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from numpy.typing import NDArray

from amulet_client import Candidate, Example, Finding, HeatMap, Prediction
from console.predictions.models import Verdict
from console.predictions.overlay import picture_of
from console.predictions.page import VERDICT_COLOURS, Bar
from console.predictions.similar import Similar, similar

# Ninths of the picture, row by row.
_PLACES: Final = (
    gettext_noop("at the upper left"),
    gettext_noop("at the top"),
    gettext_noop("at the upper right"),
    gettext_noop("at the left"),
    gettext_noop("in the middle"),
    gettext_noop("at the right"),
    gettext_noop("at the lower left"),
    gettext_noop("at the bottom"),
    gettext_noop("at the lower right"),
)
# A ninth that holds twice what an even spread would give it is worth naming.
_NAMED_FROM: Final = 2 / 9
_MEANING: Final = {
    Verdict.IN_DOMAIN: gettext_noop("One of the known kinds, and sure enough to name it."),
    Verdict.UNSURE: gettext_noop("Perhaps one of the known kinds; what stands in the way is said below."),
    Verdict.OUT_OF_DISTRIBUTION: gettext_noop("Not like anything that the model learnt from, so no kind is named."),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One photograph of the answer."""

    number: int  # of the photographs that were sent, from 1
    heat_map: str  # address of its picture, as data; "" where there is none
    words: str  # where the model looked; "" where there is no heat map


@dataclass(frozen=True, slots=True)
class Advice:
    message: str
    advice: str
    number: int  # of the photograph that it is about; 0: all


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: an answer, or the sentence that stands for it."""

    photographs: tuple[Seen, ...]
    refusal: str = ""  # not "": there is nothing below
    verdict: Verdict = Verdict.UNSURE
    colour: str = ""
    meaning: str = ""
    groups: tuple[Bar, ...] = ()  # what the answer is sure of above the classes, best first
    candidates: tuple[Bar, ...] = ()  # best first
    certainty: str = ""
    similar: tuple[Similar, ...] = ()  # nearest first
    findings: tuple[Advice, ...] = ()
    will_be_reviewed: bool = False
    version: str = ""
    link: str = ""  # of the prediction in the console


def refused(numbers: Sequence[int], sentence: str) -> Answer:
    return Answer(photographs=tuple(Seen(number, "", "") for number in numbers), refusal=sentence)


def answered(numbers: Sequence[int], prediction: Prediction) -> Answer:
    """numbers: of the photographs, in the order in which the gateway got them."""
    # A verdict that this console has no name for is at least not a plain yes.
    verdict = Verdict.__members__.get(prediction.verdict, Verdict.UNSURE)
    named = verdict != Verdict.OUT_OF_DISTRIBUTION
    above = bool(prediction.level)
    classes = prediction.class_candidates if above else prediction.candidates
    names = {each.class_id: each.display_name or each.class_id for each in (*prediction.candidates, *classes)}
    maps = {each.view: each for each in prediction.heat_maps}
    return Answer(
        photographs=tuple(_seen(number, maps.get(view), names if named else {}) for view, number in enumerate(numbers)),
        verdict=verdict,
        colour=VERDICT_COLOURS[verdict],
        meaning=_(_MEANING[verdict]),
        groups=_bars(prediction, prediction.candidates) if named and above else (),
        candidates=_bars(prediction, classes) if named else (),
        certainty=_certainty(prediction, names) if named else "",
        similar=tuple(map(_similar, prediction.nearest_examples)) if named else (),
        findings=_findings(prediction, numbers),
        will_be_reviewed=prediction.will_be_reviewed,
        version=prediction.version,
        link=reverse("tried", args=[prediction.prediction_id]),
    )


def _bars(prediction: Prediction, candidates: Sequence[Candidate]) -> tuple[Bar, ...]:
    return tuple(
        Bar(
            name=each.display_name or each.class_id,
            id=each.class_id,
            text=f"{each.probability:.1%}",
            percent=round(100 * each.probability, 1),
            in_set=each.class_id in prediction.prediction_set,
        )
        for each in candidates
    )


def _similar(example: Example) -> Similar:
    return similar(
        name=example.display_name or example.class_id,
        example_id=example.example_id,
        thumbnail_jpeg=example.thumbnail_jpeg,
        similarity_ratio=example.similarity_ratio,
    )


def _certainty(prediction: Prediction, names: dict[str, str]) -> str:
    """What the answer lies among, where that is more than the best candidate."""
    if len(prediction.prediction_set) < 2:
        return ""
    listed = ", ".join(names.get(class_id, class_id) for class_id in prediction.prediction_set)
    return _("With {percent} certainty one of: {names}").format(percent=f"{prediction.set_coverage:.0%}", names=listed)


def _findings(prediction: Prediction, numbers: Sequence[int]) -> tuple[Advice, ...]:
    """Reasons of the whole answer first, then remarks on single photographs; nothing twice."""
    several = len(numbers) > 1

    def advice(finding: Finding, view: int) -> Advice:
        return Advice(finding.message or finding.reason, finding.advice, numbers[view] if several and view >= 0 else 0)

    found = [advice(each, each.view) for each in prediction.reasons]
    found += [advice(each, view) for view, report in enumerate(prediction.views) for each in report.findings]
    return tuple(dict.fromkeys(found))


def _seen(number: int, heat_map: HeatMap | None, names: dict[str, str]) -> Seen:
    if heat_map is None or not heat_map.values:
        return Seen(number, "", "")
    grid = np.asarray(heat_map.values, dtype=np.float64).reshape(heat_map.rows, heat_map.columns)
    if grid.max() <= 0:
        return Seen(number, "", _("Nothing in this photograph speaks for the best candidate."))
    picture = picture_of(np.rint(255 * grid / grid.max()).astype(np.uint8))
    kind = names.get(heat_map.class_id)
    speaks = (
        _("The brighter a spot, the more it speaks for {kind}.").format(kind=kind)
        if kind
        else _("The brighter a spot, the more the model went by it.")
    )
    return Seen(number, f"data:image/png;base64,{base64.b64encode(picture).decode()}", f"{speaks} {_where(grid)}")


def _where(grid: NDArray[np.float64]) -> str:
    """The ninth of the picture that holds most of the evidence, in words."""
    rows = np.arange(grid.shape[0]) * 3 // grid.shape[0]
    columns = np.arange(grid.shape[1]) * 3 // grid.shape[1]
    shares = np.zeros((3, 3))
    np.add.at(shares, (rows[:, None], columns[None, :]), grid / grid.sum())
    best = int(shares.argmax())
    if shares.flat[best] < _NAMED_FROM:
        return _("The evidence is spread over the whole picture.")
    return _("The largest part of the evidence lies {place} ({percent} of it).").format(
        place=_(_PLACES[best]), percent=f"{shares.flat[best]:.0%}"
    )
