"""What people read for the words of a card: its metrics, detectors and split, and on what something was measured.

A card is signed and keeps the words that training wrote, in English; here they are said in the reader's language. What
another program wrote is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

METRICS: Final = {
    "accuracy": gettext_noop("accuracy"),
    "balanced_accuracy_cv": gettext_noop("balanced accuracy cv"),
    "balanced_accuracy_calibrated": gettext_noop("balanced accuracy calibrated"),
    "macro_f1": gettext_noop("macro f1"),
    "macro_f1_cv": gettext_noop("macro f1 cv"),
    "ece": gettext_noop("ece"),
    "brier": gettext_noop("brier"),
    "nll": gettext_noop("nll"),
    "accepted": gettext_noop("accepted"),
    "accepted_accuracy": gettext_noop("accepted accuracy"),
    "wrongly_rejected": gettext_noop("wrongly rejected"),
    "set_coverage": gettext_noop("set coverage"),
    "set_size": gettext_noop("set size"),
    "accuracy_one_view": gettext_noop("accuracy one view"),
    "accuracy_all_views": gettext_noop("accuracy all views"),
    "auroc_unseen_class": gettext_noop("auroc unseen class"),
    "balanced_accuracy_cv_front": gettext_noop("balanced accuracy cv front"),
    "balanced_accuracy_cv_back": gettext_noop("balanced accuracy cv back"),
    "balanced_accuracy_cv_edge": gettext_noop("balanced accuracy cv edge"),
    "balanced_accuracy_cv_detail": gettext_noop("balanced accuracy cv detail"),
    "level_{level}_accuracy": gettext_noop("level {level} accuracy"),
    "level_{level}_set_coverage": gettext_noop("level {level} set coverage"),
    "level_{level}_wrong": gettext_noop("level {level} wrong"),
    "auroc_{name}": gettext_noop("auroc {name}"),
    "rejected_{name}": gettext_noop("rejected {name}"),
}
DETECTORS: Final = {
    "combination": gettext_noop("combination"),
    "isolation_forest": gettext_noop("isolation forest"),
    "k_nearest": gettext_noop("k nearest"),
    "mahalanobis": gettext_noop("mahalanobis"),
    "nearest_neighbour": gettext_noop("nearest neighbour"),
    "relative_mahalanobis": gettext_noop("relative mahalanobis"),
    "vim": gettext_noop("vim"),
}
# Sentences that training writes onto a card, around what differs. What stands in {how}, {side}, {what} and {whole} is
# one too. The first that fits is taken.
_SENTENCES: Final = (
    gettext_noop("none: nothing was fitted"),
    gettext_noop("grouped by near-duplicates and by object, stratified by class, then by side"),
    gettext_noop("by hand"),
    gettext_noop("as its owner says"),
    gettext_noop("front"),
    gettext_noop("back"),
    gettext_noop("edge"),
    gettext_noop("detail"),
    gettext_noop("each answered by a head fitted on all photographs outside its fold"),
    gettext_noop(
        "each answered by a whole version whose head, temperature and borders were fitted on separate parts outside "
        "its fold"
    ),
    gettext_noop("each photograph answered alone"),
    gettext_noop("all photographs of an object answered together"),
    gettext_noop("were every photograph answered at it"),
    gettext_noop("how often the set of groups holds the true one"),
    gettext_noop("the share whose answer backs off to it and is wrong"),
    gettext_noop(
        "mean over {classes} classes of a version that never saw the class, its photographs against held-out ones of "
        "the other classes; {whole}"
    ),
    gettext_noop(
        "mean over {classes} classes of a version that never saw the class, its photographs against held-out ones of "
        "the other classes ({how}); {whole}"
    ),
    gettext_noop("each of {versions} versions was made without {fewest} or {most} of {classes} classes"),
    gettext_noop("each of {versions} versions was made without {count} of {classes} classes"),
    gettext_noop("{whole}; the share called out"),
    gettext_noop(
        "{photos} photographs of {name} that no border was placed by, as each version scores them, against those it "
        "never saw of {whole}"
    ),
    gettext_noop(
        "{photos} photograph of {name} that no border was placed by, as each version scores them, against those it "
        "never saw of {whole}"
    ),
    gettext_noop("{whole}; the share called in domain"),
    gettext_noop("{whole}; the share called out of distribution"),
    gettext_noop("{whole}; how often the set holds the truth"),
    gettext_noop("{whole}; mean number of classes in the set"),
    gettext_noop("{whole}; of those called in domain"),
    gettext_noop("{whole}; the {photos} photographs of the {side}"),
    gettext_noop("{whole}; the {photos} photograph of the {side}"),
    gettext_noop("{whole}; {objects} objects with {photos} photographs, {how}"),
    gettext_noop("{whole}; {objects} object with {photos} photographs, {how}"),
    gettext_noop("{whole}; at the level {level} of the class tree, {what}"),
    gettext_noop(
        "{photos} photographs of {name} (fingerprint {fingerprint}), {folds}-fold cross-validation by groups of "
        "near-duplicates, seed {seed}; {how}"
    ),
)
_SENTENCES_IN: Final = ("how", "side", "what", "whole")  # which fields hold one more


def _form_of(sentence: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(sentence)))


_FORMS: Final[Mapping[str, re.Pattern[str]]] = {each: _form_of(each) for each in (*_SENTENCES, *METRICS)}


def metric_text(name: str) -> str:
    """A metric in the reader's language; one of another program's card by its own name."""
    for known, text in METRICS.items():
        if found := _FORMS[known].fullmatch(name):
            return _(text).format(**{field: _words(value) for field, value in found.groupdict().items()})
    return _words(name)


def detector_text(name: str) -> str:
    """A detector in the reader's language; one of another program's card by its own name."""
    return _(DETECTORS[name]) if name in DETECTORS else _words(name)


def sentence_text(text: str) -> str:
    """A sentence of a card in the reader's language; one that training does not write as it is."""
    for sentence in _SENTENCES:
        if found := _FORMS[sentence].fullmatch(text):
            told = found.groupdict()
            return _(sentence).format(
                **told | {name: sentence_text(told[name]) for name in told.keys() & _SENTENCES_IN}
            )
    return text


def _words(name: str) -> str:
    return name.replace("_", " ")
