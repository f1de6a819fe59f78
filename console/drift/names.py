"""What measures are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from console.card_words import detector_text
from console.drift.measures import SIDE
from model_store.reference import EMBEDDING, confidence_in, is_confidence_in_a_class

_NAMES: Final = {
    "confidence": gettext_noop("confidence"),
    "margin": gettext_noop("lead over the second candidate"),
    "verdict": gettext_noop("verdicts"),
    "predicted_class": gettext_noop("classes"),
    "sharpness_var": gettext_noop("sharpness"),
    "brightness_ratio": gettext_noop("brightness"),
    "contrast_ratio": gettext_noop("contrast"),
    SIDE: gettext_noop("shorter side in pixels"),
}


def name_of(measure: str, class_names: Mapping[str, str]) -> str:
    """A measure in the language of whoever looks; one of another program's archive by its own name.

    class_names: class id -> display name.
    """
    if is_confidence_in_a_class(measure):
        known = {confidence_in(class_id): name for class_id, name in class_names.items()}
        return _("confidence in {name}").format(name=known.get(measure, measure.partition(".")[2]))
    if measure.startswith("score_"):
        return _("score of {detector}").format(detector=detector_text(measure.removeprefix("score_")))
    if measure in EMBEDDING:
        return _("direction {number} of what the network sees").format(number=EMBEDDING.index(measure) + 1)
    return _(_NAMES[measure]) if measure in _NAMES else measure
