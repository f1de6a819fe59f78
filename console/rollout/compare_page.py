"""What the page that compares versions shows: the order by one metric, and two versions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from console.card_words import detector_text, metric_text, sentence_text
from console.errors import Refusal
from console.predictions.names import KnownClass
from console.registry.comparison import Better, Comparison, Data, best, compare, is_lower_better, metric_names
from console.registry.models import NAMED, ModelVersion
from console.registry.services import find_version
from console.rollout.models import Route
from console.rollout.quality_plots import confusions, reliability
from console.rollout.version_page import route_label
from model_store.card import MetricCard

_FACTS: Final[Mapping[str, str]] = {
    "data": gettext_noop("Photographs learnt from"),
    "fingerprint": gettext_noop("Fingerprint of the photographs"),
    "split": gettext_noop("Split and its seed"),
    "recipe": gettext_noop("Recipe and its seed"),
    "code": gettext_noop("Version of the code"),
    "backbone": gettext_noop("Backbone"),
    "licence": gettext_noop("Licence of the weights"),
    "form": gettext_noop("Graph"),
    "size": gettext_noop("Size of the archive"),
    "latency": gettext_noop("Graph's run in the smoke test"),
    "temperature": gettext_noop("Temperature"),
    "confidence": gettext_noop("Least confidence"),
    "detectors": gettext_noop("Detectors: unsure / out from"),
}
_SAYS: Final[Mapping[Better, tuple[str, str]]] = {
    Better.FIRST: (gettext_noop("the first is better"), "success"),
    Better.SECOND: (gettext_noop("the second is better"), "success"),
    Better.LUCK: (gettext_noop("could be luck"), "info"),
    Better.OTHER_DATA: (gettext_noop("other photographs or another split: cannot be compared"), "warning"),
    Better.ONE_ONLY: (gettext_noop("only one has it"), "info"),
}
# The label, its colour, and what it means for whoever compares.
_DATA_SAYS: Final[Mapping[Data, tuple[str, str, str]]] = {
    Data.SAME: (gettext_noop("the same photographs"), "success", ""),
    Data.OTHER_SPLIT: (
        gettext_noop("the same photographs, divided or answered otherwise"),
        "warning",
        gettext_noop(
            "Both come from the same photographs, but another split, seed or way of answering: small differences "
            "say nothing."
        ),
    ),
    Data.OTHER_PHOTOGRAPHS: (
        gettext_noop("different photographs"),
        "danger",
        gettext_noop(
            "The two were measured on different photographs: read each for itself and do not hold their numbers "
            "against each other."
        ),
    ),
}
_VERSIONS_MOST: Final = 100


def compare_context(*, model: str, metric: str, a: str, b: str) -> dict[str, Any]:
    """The context of `rollout/compare.html`, from what the address says. At most eight queries."""
    versions = list(ModelVersion.objects.filter(state__in=NAMED).order_by("-pk")[:_VERSIONS_MOST])
    models = sorted({version.model for version in versions})
    chosen = model if model in models else (versions[0].model if versions else "")
    metrics = metric_names(chosen)
    by = metric if metric in metrics else (metrics[0] if metrics else "")
    context: dict[str, Any] = {
        "models": models,
        "model": chosen,
        "metrics": [(name, metric_text(name)) for name in metrics],
        "metric": by,
        "metric_text": metric_text(by),
        "lower": is_lower_better(by),
        "ranked": [
            (place, item.version, _figure(item.metric), sentence_text(item.metric.data), item.may_be_best)
            for place, item in enumerate(best(by, model=chosen), 1)
        ],
        "versions": [version for version in versions if version.model == chosen],
        "a": a,
        "b": b,
        "problem": "",
    }
    if a and b:
        try:
            context |= _pair(compare(find_version(_number(a)), find_version(_number(b))))
        except Refusal as refusal:
            context["problem"] = refusal.message
    return context


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 15 else 0


def _pair(found: Comparison) -> dict[str, Any]:
    cards = found.first.card(), found.second.card()
    drawn = confusions(*cards)
    versions = found.first, found.second
    return {
        "confusions": drawn,
        "matrices": list(zip(versions, drawn.of, strict=True)),
        "confusion_said": _data_said(found.confusion.data),
        "reliabilities": [(version, reliability(card)) for version, card in zip(versions, cards, strict=True)],
        "reliability_said": _data_said(found.reliability.data),
        "first": found.first,
        "second": found.second,
        "pairs": [
            (
                metric_text(pair.name),
                _figure(pair.first),
                _figure(pair.second),
                _(_SAYS[pair.better][0]),
                _SAYS[pair.better][1],
            )
            for pair in found.metrics
        ],
        "facts": [
            (_(_FACTS[name]), _fact(name, one), _fact(name, other), one != other) for name, one, other in found.facts
        ],
        "settings": found.settings,
        "classes": [
            (KnownClass(item.class_id, item.names).name, _count(item.first), _count(item.second))
            for item in found.classes
        ],
        "stories": [(version, _story(version)) for version in (found.first, found.second)],
    }


def _data_said(data: Data | None) -> tuple[str, str, str] | None:
    if data is None:
        return None
    text, colour, meaning = _DATA_SAYS[data]
    return _(text), colour, _(meaning) if meaning else ""


def _figure(metric: MetricCard | None) -> str:
    if metric is None:
        return "–"
    value, low, high = (number_format(number, 3) for number in (metric.value, metric.low, metric.high))
    return f"{value} [{low}, {high}]"


def _fact(name: str, told: str) -> str:
    """What a card says, in the reader's language where that is a sentence or a name of ours."""
    if name in ("split", "recipe"):
        words, _comma, seed = told.rpartition(", ")
        return f"{sentence_text(words)}, {seed}"
    if name == "licence":
        return sentence_text(told)
    if name == "detectors":
        return "; ".join(_detector(part) for part in told.split("; "))
    return told


def _detector(told: str) -> str:
    name, blank, limits = told.partition(" ")
    return f"{detector_text(name)}{blank}{limits}"


def _count(photographs: int | None) -> str:
    return _("not known") if photographs is None else number_format(photographs, force_grouping=True)


def _story(version: ModelVersion) -> Sequence[tuple[Any, str, str, str]]:
    """Who did what with a version, in order: when, what, who ("" for a guardrail), why."""
    story: list[tuple[Any, str, str, str]] = [
        (version.uploaded_at, _("uploaded"), version.uploaded_by.get_username(), version.note)
    ]
    if version.approved_by is not None:
        story.append((version.approved_at, _("approved"), version.approved_by.get_username(), version.approval_reason))
    for route in Route.objects.filter(version=version).select_related("started_by", "ended_by").order_by("pk"):
        who = route.started_by.get_username() if route.started_by else ""
        story.append((route.started_at, route_label(route), who, route.reason_text))
        if route.ended_at is not None:
            who = route.ended_by.get_username() if route.ended_by else ""
            story.append(
                (route.ended_at, _("{mode} ended").format(mode=route_label(route)), who, route.end_reason_text)
            )
    return story
