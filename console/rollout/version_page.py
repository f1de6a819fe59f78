"""What the page of one version shows, as plain values for its template."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from console.card_words import detector_text, metric_text, sentence_text
from console.datasets.queries import learnt_from
from console.pages import Colours
from console.predictions.names import KnownClass
from console.predictions.page import DISCLAIMERS
from console.registry.golden import CONTENT_TYPE, may_open, open_golden
from console.registry.models import ModelVersion, State
from console.registry.rule_names import broken_text, found_text, refusal_text, rule_name
from console.rollout.models import Mode, Route
from console.rollout.quality_plots import confusions, reliability
from console.rollout.queries import Served, rollback_of, served_model
from console.staff.models import User
from model_store.card import Card, MetricCard

STATE_COLOURS: Final = Colours(
    {
        State.UPLOADED: "info",
        State.VERIFIED: "info",
        State.SMOKE_TESTED: "warning",
        State.APPROVED: "success",
        State.REFUSED: "danger",
        State.FAILED: "danger",
    }
)
MODE_COLOURS: Final = Colours({Mode.PRODUCTION: "success", Mode.CANARY: "warning", Mode.SHADOW: "info"})
_PATH: Final = (State.UPLOADED, State.VERIFIED, State.SMOKE_TESTED, State.APPROVED)


@dataclass(frozen=True, slots=True)
class Button:
    text: str
    url: str
    variant: str  # of the admin's buttons


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric with its interval, and where both lie on a scale from 0 to 1."""

    name: str
    value: str
    interval: str
    data: str
    bar: tuple[float, float, float] | None  # low, width, value in per cent; None off the scale


def version_context(version: ModelVersion, person: User) -> dict[str, Any]:
    """The context of `rollout/version.html`. Takes six queries whatever the version holds, and what looking at
    photographs takes that people lent.
    """
    card = version.card() if version.card_document else None
    served = served_model(version.model)
    opens = may_open(person, version)
    return {
        "version": version,
        "state": State(version.state),
        "is_refused": version.state == State.REFUSED,
        "state_colour": STATE_COLOURS.get(version.state, ""),
        "path": _path(version),
        "buttons": _buttons(version, person, served),
        "route": next((route for route in served.routes if route.version_id == version.pk), None),
        "share": next((served.weight_ratio(route) for route in served.routes if route.version_id == version.pk), 0.0),
        "history": Route.objects.filter(version=version).select_related("started_by", "ended_by").order_by("-pk")[:20],
        "rules": _rules(version),
        "refusal": next((rule for rule in _rules(version) if not rule["passed"] and rule["reason"]), None),
        "card": card,
        "licence": sentence_text(card.weights.licence) if card else "",
        "learnt_from": learnt_from(card.data.fingerprint) if card else None,
        "metrics": _metrics(card) if card else (),
        "detectors": [(detector_text(item.name), item) for item in card.decision.limits.detectors] if card else (),
        "confusions": confusions(card) if card else None,
        "reliability": reliability(card) if card else None,
        "per_class": _classes(card) if card else (),
        "photos": _photos(version, person) if opens else (),
        "photos_withheld": not opens,
        "disclaimers": DISCLAIMERS,
        "smoke": version.smoke_report or {},
        "compared": _compared(version.smoke_report or {}),
    }


def route_label(route: Route) -> str:
    """Mode and share of a route."""
    mode = Mode(route.mode)
    return f"{mode.label} {route.canary_ratio:.0%}" if mode is Mode.CANARY else str(mode.label)


def _path(version: ModelVersion) -> Sequence[tuple[str, str]]:
    """The states that lead to approval, each with how far this version got: done, here, or nothing."""
    state = State(version.state)
    steps = {
        State.REFUSED: (*_PATH[:1], State.REFUSED),
        State.FAILED: (*_PATH[:2], State.FAILED),
        State.RETIRED: (*_PATH, State.RETIRED),
    }.get(state, _PATH)
    at = steps.index(state)
    return [
        (str(step.label), "is-done" if index < at else "is-here" if index == at else "")
        for index, step in enumerate(steps)
    ]


def _buttons(version: ModelVersion, person: User, served: Served) -> Sequence[Button]:
    """What this person may do with this version in its state."""
    route = next((route for route in served.routes if route.version_id == version.pk), None)
    may_roll = person.has_perm("rollout.change_route")
    may_approve = person.has_perm("registry.approve_modelversion")
    found: list[Button] = []

    def offer(wanted: bool, action: str, text: str, variant: str) -> None:
        if wanted:
            url = reverse(f"admin:registry_modelversion_{action}", args=[version.pk])
            found.append(Button(text, url, variant))

    waiting = version.state == State.SMOKE_TESTED and version.uploaded_by_id != person.pk
    in_production = route is not None and route.mode == Mode.PRODUCTION
    undoable = rollback_of(served) is not None
    offer(waiting and may_approve, "approve", _("Approve"), "primary")
    offer(version.state == State.APPROVED and not in_production and may_roll, "roll_out", _("Roll out"), "primary")
    offer(
        version.state == State.APPROVED
        and not in_production
        and served.production is not None
        and served.canary is None
        and may_roll,
        "experiment",
        _("Experiment"),
        "default",
    )
    offer(
        route is not None and route.mode != Mode.SHADOW and undoable and may_roll, "roll_back", _("Roll back"), "danger"
    )
    can_upload = person.has_perm("registry.upload_modelversion")
    offer(version.state == State.FAILED and can_upload, "retry", _("Smoke-test again"), "default")
    offer(version.state == State.APPROVED and route is None and may_approve, "retire", _("Retire"), "default")
    return found


def _rules(version: ModelVersion) -> Sequence[Mapping[str, Any]]:
    colours = {"passed": "success", "failed": "danger"}
    words = {"passed": _("holds"), "failed": _("broken"), "not run": _("not looked at")}
    return [
        {
            **rule,
            "name": rule_name(rule["rule"]),
            "said": refusal_text(rule["reason"]),
            "found": broken_text(rule["message"]) if rule["state"] == "failed" else found_text(rule["message"]),
            "is_english": rule["state"] == "failed" or found_text(rule["message"]) == rule["message"],
            "colour": colours.get(rule["state"], ""),
            "word": words.get(rule["state"], rule["state"]),
        }
        for rule in version.rules
    ]


def _metrics(card: Card) -> Sequence[MetricRow]:
    rows = []
    for metric in card.metrics:
        on_scale = 0.0 <= metric.low <= metric.high <= 1.0
        bar = _bar(metric) if on_scale else None
        rows.append(
            MetricRow(
                name=metric_text(metric.name),
                value=number_format(metric.value, 3),
                interval=f"{number_format(metric.low, 3)} – {number_format(metric.high, 3)}",
                data=sentence_text(metric.data),
                bar=bar,
            )
        )
    return rows


def _bar(metric: MetricCard) -> tuple[float, float, float]:
    """Where the interval begins, how wide it is and where the value stands, in per cent; always wide enough to see."""
    low = min(100 * metric.low, 98.5)
    return low, max(100 * metric.high - low, 1.5), min(100 * metric.value, 98.5)


def _classes(card: Card) -> Sequence[tuple[str, str, str, int]]:
    """Id, English and Thai name, photographs in training."""
    return [
        (item.id, item.names.get("en", ""), item.names.get("th", ""), card.data.per_class.get(item.id, 0))
        for item in card.classes
    ]


def _photos(version: ModelVersion, person: User) -> Sequence[tuple[str, str, str]]:
    """Golden photographs as data addresses, each with the class that the card expects and its probability."""
    return [
        (
            f"data:{CONTENT_TYPE};base64,{base64.b64encode(golden.png).decode()}",
            KnownClass(golden.expected.id, golden.expected.names).name,
            f"{golden.probability:.0%}",
        )
        for golden in open_golden(actor=person, version=version)
    ]


def _compared(report: Mapping[str, Any]) -> Sequence[tuple[str, str, str, str]]:
    """Photograph, distance of probabilities, distance of scores, problem."""

    def distance(value: float | None) -> str:
        return "–" if value is None else f"{value:.1e}"

    return [
        (
            item["photo"],
            distance(item["probability_distance"]),
            distance(item["score_distance_ratio"]),
            item["problem"],
        )
        for item in report.get("photos", [])
    ]
