"""What answers now, what answered before, and what TorchServe must therefore hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Case, Exists, F, FloatField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from console.predictions.models import Prediction
from console.registry import queries as registry
from console.registry.models import ModelVersion, State
from console.rollout.guardrails import is_watched
from console.rollout.models import Firing, Mode, Route
from console.torchserve.management import BackendVersion

SLOW_FROM: Final = 500
SLOW_FROM_MIN: Final = 50
SLOW_MS_DEFAULT: Final = 250.0


@dataclass(frozen=True, slots=True)
class Served:
    """A model with its routes that are in force."""

    model: str
    routes: Sequence[Route]  # production first, then the canary, then shadows; each with its version

    @property
    def production(self) -> Route | None:
        return next((route for route in self.routes if route.mode == Mode.PRODUCTION), None)

    @property
    def canary(self) -> Route | None:
        return next((route for route in self.routes if route.mode == Mode.CANARY), None)

    def weight_ratio(self, route: Route) -> float:
        """The share of calls that a route answers; over the routes that are no shadow they sum to 1."""
        if route.mode == Mode.CANARY:
            return route.canary_ratio
        if route.mode == Mode.PRODUCTION:
            return 1.0 - (self.canary.canary_ratio if self.canary else 0.0)
        return 0.0


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback would do."""

    ends: Route  # the canary, or production where there is none
    serves: ModelVersion  # what answers every call afterwards


def routes() -> QuerySet[Route]:
    """Routes, in force or past, with version and people, in one query."""
    return Route.objects.select_related("version", "started_by", "previous__version")


def routes_in_force() -> QuerySet[Route]:
    """Those that have not ended."""
    return routes().filter(ended_at=None)


def served_models() -> list[Served]:
    """Every model that has a route, by name, in one query."""
    order = list(map(str, Mode.values))
    by_model: dict[str, list[Route]] = {}
    for route in routes_in_force().order_by("model", "pk"):
        by_model.setdefault(route.model, []).append(route)
    return [
        Served(model, sorted(routes, key=lambda route: (order.index(route.mode), route.pk)))
        for model, routes in by_model.items()
    ]


def served_model(model: str) -> Served:
    """One model with its routes; without any where it has none."""
    return next((served for served in served_models() if served.model == model), Served(model, ()))


def versions_with_routes() -> QuerySet[ModelVersion]:
    """Versions, newest first, each with `weight_ratio`, `shadow` and `route_mode`, in one query."""
    own = Route.objects.filter(version=OuterRef("pk"), ended_at=None)
    canary_of_model = Route.objects.filter(model=OuterRef("model"), mode=Mode.CANARY, ended_at=None)
    return registry.versions().annotate(
        route_mode=Coalesce(Subquery(own.values("mode")[:1]), Value("")),
        shadow=Exists(own.filter(mode=Mode.SHADOW)),
        weight_ratio=Case(
            When(
                route_mode=Mode.PRODUCTION,
                then=Value(1.0) - Coalesce(Subquery(canary_of_model.values("canary_ratio")[:1]), Value(0.0)),
            ),
            default=Coalesce(Subquery(own.values("canary_ratio")[:1]), Value(0.0)),
            output_field=FloatField(),
        ),
    )


def rollback_target(served: Served) -> Route | None:
    """The production route that a rollback from production returns to; None when there is none."""
    if served.production is None:
        return None
    route, same = served.production.previous, served.production.version_id
    # A retired version is not brought back; and beyond one, the version that answers now may have answered before.
    while route is not None and (route.version.state != State.APPROVED or route.version_id == same):
        route = route.previous
    return route


def rollback_of(served: Served) -> Rollback | None:
    """What a rollback would undo, the newest change first; None where there is nothing to return to."""
    if served.production is None:
        return None
    if served.canary is not None:
        return Rollback(served.canary, served.production.version)
    target = rollback_target(served)
    return None if target is None else Rollback(served.production, target.version)


def wanted_backend_versions() -> set[BackendVersion]:
    """What TorchServe must hold: all that has a route, where a rollback would lead, and what is held."""
    wanted = set(registry.held())
    for served in served_models():
        wanted.update(registry.backend_version(route.version) for route in served.routes)
        target = rollback_target(served)
        if target is not None:
            wanted.add(registry.backend_version(target.version))
    return wanted


def slow_ms(model: str, version: str) -> float:
    """What is slow beside a production version: half again as long as nearly all of its newest answers took.

    Fixed when a route begins, so that nothing that the new version does moves it. Reads at most
    SLOW_FROM answers.
    """
    newest = Prediction.objects.filter(model=model, version=version).order_by("-happened_at")[:SLOW_FROM]
    took = sorted(detail.get("inference_ms", 0.0) for detail in newest.values_list("detail_document", flat=True))
    if len(took) < SLOW_FROM_MIN:
        return SLOW_MS_DEFAULT
    return 1.5 * float(took[int(0.95 * (len(took) - 1))])


def watched_routes(at: datetime) -> list[Route]:
    """Routes that guardrails act on now, in one query."""
    return [route for route in routes_in_force().order_by("pk") if is_watched(route, at)]


def firings() -> QuerySet[Firing]:
    """Guardrails that fired, newest first, with route, version and whoever took note, in one query."""
    return Firing.objects.select_related("route__version", "returned_to", "seen_by").order_by("-fired_at", "-pk")


def unseen_firings(most: int) -> list[Firing]:
    """Those that nobody has taken note of, newest first. Along their own index."""
    return list(firings().filter(seen_at=None)[:most])


def unseen() -> QuerySet[Firing]:
    """All that nobody has taken note of."""
    return Firing.objects.filter(seen_at=None)


def fingerprint() -> tuple[object, ...]:
    """All that the gateway must hear of routes and can change, in one small query."""
    return tuple(
        Route.objects.filter(ended_at=None)
        .order_by("pk")
        .annotate(sha256=F("version__sha256"))
        .values_list("pk", "model", "version_id", "sha256", "mode", "canary_ratio")
    )


def count_in_force() -> Mapping[str, int]:
    """How many routes are in force, by mode."""
    counts = dict.fromkeys(map(str, Mode.values), 0)
    for mode in Route.objects.filter(ended_at=None).values_list("mode", flat=True):
        counts[mode] += 1
    return counts
