"""What changes routes: rollout, rollback, the end of a canary or a shadow, guardrails, retirement.

The gateway hears of a change with its next look at the policy, two seconds later at most. A
version gets a route only when TorchServe holds it with a worker that is ready, so a rollout
never sends callers to something that is still loading. A version that loses its route stays with
TorchServe until no gateway can send it a call any more (decision 0153).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.words import record_with_words
from console.errors import Conflict, Invalid, NotAvailable, NotFound
from console.registry import queries as registry
from console.registry import services as registry_services
from console.registry.models import ModelVersion, State
from console.registry.services import checked_reason, find_version
from console.registry.smoke import ensure_ready
from console.rollout import queries
from console.rollout.guardrails import Reading, rules_for
from console.rollout.models import Firing, Mode, Route, Rule, guardrail_reason
from console.rollout.queries import Rollback, Served, rollback_of, rollback_target, served_model
from console.staff.models import User
from console.staff.services import require
from console.torchserve.errors import BackendError
from console.torchserve.management import Backend

READY_S_MAX: Final = 30.0
HOLD_S: Final = 120.0
# What gateways do, which a test holds equal: between two looks at the policy, and how long the old routes may still
# answer once it is known. Two looks may fail.
LOOK_S_MAX: Final = 4.0
LOOKS_MAX: Final = 3
HANDOVER_S_MAX: Final = 10.0
LOG_EVIDENCE_MAX: Final = 1e6  # a database has no infinity


def roll_out(
    *,
    actor: User,
    version_id: int,
    mode: Mode,
    weight_ratio: float | None,
    reason: str,
    backend: Callable[[], Backend],
    unguarded: Collection[Rule] = (),
    asking: Callable[[Route], object] | None = None,
    seen: Collection[int] | None = None,
) -> Route:
    """Give an approved version its part: production, a canary's share of calls, or a shadow's copies.

    weight_ratio: 1 or None for production and a shadow, which see all; between 0 and 1 for a canary.
    unguarded: guardrails that shall not end this route, of those that watch its mode.
    seen: what `exclusive` said to whoever asks. Others by now: nothing is done, since it would end what nobody saw.
    asking: keeps the question of an experiment, in the transaction that begins the route; no other canary ends for it.
    Returns when the route is in force. Raises NotAllowed, Invalid, NotFound, Conflict; NotAvailable
    when TorchServe does not have the version ready, and then nothing has changed.
    """
    require(actor, "rollout.change_route")
    reason = checked_reason(reason)
    _check_weight(mode, weight_ratio)
    _check_unguarded(mode, unguarded)
    version = find_version(version_id)
    _check_approved(version)
    registry_services.hold(version_id=version_id, seconds=HOLD_S)
    try:
        ready = ensure_ready(backend(), registry.backend_version(version), seconds=READY_S_MAX)
    except BackendError as error:
        raise NotAvailable(
            _("TorchServe does not take part just now: {why}").format(why=error), reason="backend_unavailable"
        ) from None
    if not ready:
        raise NotAvailable(
            _("TorchServe has no worker ready for {version} after {seconds:g} s.").format(
                version=version, seconds=READY_S_MAX
            ),
            reason="model_not_ready",
        )
    share = weight_ratio if mode is Mode.CANARY and weight_ratio is not None else 0.0
    return _start_route(actor, version_id, mode, share, reason, sorted(unguarded), asking, seen)


def exclusive(served: Served) -> list[int]:
    """The routes that a rollout may end, by number: production and the canary, of which a model has one each."""
    return [route.pk for route in (served.production, served.canary) if route is not None]


def check_no_canary(served: Served) -> None:
    """Raises Conflict where a canary is in force, which an experiment would end."""
    if served.canary is not None:
        raise Conflict(
            _("{version} is a canary already; one question at a time.").format(version=served.canary.version),
            reason="canary_in_force",
        )


def find_rollback(model: str) -> Rollback:
    """What a rollback would end and bring back now. Raises NotFound where it would lead nowhere."""
    found = rollback_of(served_model(model))
    if found is None:
        raise NotFound(
            _("{model} has no earlier production version to return to.").format(model=model),
            reason="no_earlier_version",
            field="model",
        )
    return found


@transaction.atomic
def roll_back(*, actor: User, model: str, reason: str, ends: int | None = None) -> Route:
    """Undo the newest change to what callers get: end the canary if there is one, else bring back the
    production version before this one, which TorchServe still holds.

    ends: the route that whoever asks saw would end. Another one would by now: nothing is done, since a
    guardrail or a colleague was faster, and a second rollback would undo more than was asked for.
    Returns the production route that is in force afterwards. Raises NotAllowed, Invalid, Conflict.
    """
    require(actor, "rollout.change_route")
    reason = checked_reason(reason)
    served = served_model(model)
    newest = served.canary or served.production
    if ends is not None and newest is not None and newest.pk != ends:
        raise _changed_meanwhile()
    if served.production is None:
        raise Conflict(
            _("{model} has no version in production.").format(model=model), reason="no_production", field="model"
        )
    if served.canary is not None:
        _end(served.canary, actor, reason)
        ended = served.canary.version.version
        _record(actor, "rollout.canary_rolled_back", model, words={"reason": reason}, ended=ended)
        return served.production
    target = rollback_target(served)
    if target is None:
        raise Conflict(
            _("{model} has no earlier production version to return to.").format(model=model),
            reason="no_earlier_version",
            field="model",
        )
    route = _return_to(target, served, actor, reason)
    _record(
        actor,
        "rollout.rolled_back",
        model,
        ended=served.production.version.version,
        version=target.version.version,
        words={"reason": reason},
    )
    return route


@transaction.atomic
def end_route(*, actor: User, route_id: int, reason: str) -> Route:
    """End a canary or a shadow. Raises NotAllowed, Invalid, Conflict for production or a route that ended."""
    require(actor, "rollout.change_route")
    reason = checked_reason(reason)
    route = Route.objects.select_related("version").filter(pk=route_id, ended_at=None).first()
    if route is None:
        raise Conflict(_("This route is not in force."), reason="route_ended", field="id")
    if route.mode == Mode.PRODUCTION:
        raise Conflict(
            _("Production ends when another version takes over, or with a rollback."), reason="production_route"
        )
    _end(route, actor, reason)
    _record(
        actor,
        "rollout.route_ended",
        route.model,
        ended=route.version.version,
        mode=route.mode,
        words={"reason": reason},
    )
    return route


@transaction.atomic
def act_on(reading: Reading, *, route_id: int) -> Firing | None:
    """A guardrail has fired: end this canary or shadow, or bring back the production version before this one.

    None when the route has ended meanwhile, or there is no version to return to any more: of
    two processes that read the same evidence, one acts.
    """
    route = Route.objects.select_related("version", "previous__version").filter(pk=route_id, ended_at=None).first()
    if route is None:
        return None
    rule = Rule(reading.definition.rule)
    reason = guardrail_reason(rule)
    try:
        with transaction.atomic():
            returned_to = _undo(route, reason)
            if route.mode == Mode.PRODUCTION and returned_to is None:
                return None
            firing = Firing.objects.create(
                route=route,
                rule=rule,
                watched_yes=reading.watched.yes,
                watched_n=reading.watched.n,
                standard_yes=reading.standard.yes if reading.standard else None,
                standard_n=reading.standard.n if reading.standard else None,
                limit=reading.definition.limit,
                log_evidence=min(reading.log_evidence, LOG_EVIDENCE_MAX),
                returned_to=returned_to,
            )
    except Conflict:
        return None
    _record(
        None,
        "rollout.guardrail_fired",
        route.model,
        ended=route.version.version,
        mode=route.mode,
        rule=rule.value,
        watched=[reading.watched.yes, reading.watched.n],
        production=[reading.standard.yes, reading.standard.n] if reading.standard else None,
        limit=reading.definition.limit,
        returned_to=returned_to.version if returned_to else None,
    )
    return firing


@transaction.atomic
def see_firing(*, actor: User, firing_id: int) -> Firing:
    """Somebody has taken note of it: it leaves the home page. Raises NotAllowed, NotFound, Conflict."""
    require(actor, "rollout.change_route")
    moved = Firing.objects.filter(pk=firing_id, seen_at=None).update(seen_by=actor, seen_at=now())
    firing = Firing.objects.select_related("route__version", "seen_by").filter(pk=firing_id).first()
    if firing is None:
        raise NotFound(_("No guardrail fired under the number {id}.").format(id=firing_id), field="id")
    if not moved:
        raise Conflict(_("Somebody has taken note of it already."), reason="already_seen")
    _record(actor, "rollout.guardrail_seen", firing.route.model, firing=firing.pk, rule=firing.rule)
    return firing


@transaction.atomic
def retire(*, actor: User, version_id: int, reason: str) -> ModelVersion:
    """approved → retired, for a version that has no route. Raises NotAllowed, Invalid, NotFound, Conflict."""
    version = registry_services.retire_version(actor=actor, version_id=version_id, reason=reason)
    if Route.objects.filter(version=version, ended_at=None).exists():
        raise Conflict(
            _("{version} still has a route; end that first.").format(version=version), reason="version_has_route"
        )
    return version


@transaction.atomic
def _start_route(
    actor: User,
    version_id: int,
    mode: Mode,
    share: float,
    reason: str,
    unguarded: list[Rule],
    asking: Callable[[Route], object] | None,
    seen: Collection[int] | None,
) -> Route:
    # Writing the row keeps a retirement from slipping in between this look and the new route.
    registry_services.hold(version_id=version_id, seconds=HOLD_S)
    version = find_version(version_id)
    _check_approved(version)
    served = served_model(version.model)
    if seen is not None and set(seen) != set(exclusive(served)):
        raise _changed_meanwhile()
    own = next((route for route in served.routes if route.version_id == version_id), None)
    if own is not None and (own.mode, own.canary_ratio) == (mode, share):
        raise Conflict(_("{version} has this part already.").format(version=version), reason="already_so", field="mode")
    if own is not None and own.mode == Mode.PRODUCTION:
        raise Conflict(
            _("{version} is in production; roll back or roll out another version instead.").format(version=version),
            reason="in_production",
            field="mode",
        )
    if mode is not Mode.PRODUCTION and served.production is None:
        raise Conflict(
            _("{model} has no version in production that the others would stand beside.").format(model=version.model),
            reason="no_production",
            field="mode",
        )
    if asking is not None:
        check_no_canary(served)
    replaced = {Mode.PRODUCTION: served.production, Mode.CANARY: served.canary, Mode.SHADOW: None}[mode]
    for route in {route.pk: route for route in (own, replaced) if route is not None}.values():
        _end(route, actor, reason)
    try:
        with transaction.atomic():
            started = Route.objects.create(
                model=version.model,
                version=version,
                mode=mode,
                canary_ratio=share,
                started_by=actor,
                reason=reason,
                previous=served.production if mode is Mode.PRODUCTION else None,
                unguarded=[rule.value for rule in unguarded],
                slow_ms=queries.slow_ms(version.model, served.production.version.version if served.production else ""),
            )
    except IntegrityError:
        raise _changed_meanwhile() from None
    _record(
        actor,
        "rollout.rolled_out",
        version.model,
        version=version.version,
        mode=mode,
        weight_ratio=share if mode is Mode.CANARY else float(mode is Mode.PRODUCTION),
        replaced=replaced.version.version if replaced else None,
        unguarded=[rule.value for rule in unguarded],
        words={"reason": reason},
    )
    if asking is not None:
        asking(started)
    return started


def _undo(route: Route, reason: str) -> ModelVersion | None:
    """End a route on nobody's behalf. Returns the version that production went back to, where it was production."""
    if route.mode != Mode.PRODUCTION:
        _end(route, None, reason)
        return None
    served = served_model(route.model)
    if served.production is None or served.production.pk != route.pk:
        raise _changed_meanwhile()
    target = rollback_target(served)
    return _return_to(target, served, None, reason).version if target is not None else None


def _return_to(target: Route, served: Served, actor: User | None, reason: str) -> Route:
    """Put an earlier production version back into production. Raises Conflict where it has been retired meanwhile."""
    assert served.production is not None
    # As in `_start_route`: a retirement comes before this write and is seen below, or waits and then sees the route.
    registry_services.hold(version_id=target.version_id, seconds=HOLD_S)
    _check_approved(find_version(target.version_id))
    _end(served.production, actor, reason)
    # It was a shadow or the canary meanwhile: asked now, since a rollout of it may have come before the write above.
    for other in Route.objects.filter(version=target.version_id, ended_at=None):
        _end(other, actor, reason)
    return Route.objects.create(
        model=served.model,
        version=target.version,
        mode=Mode.PRODUCTION,
        started_by=actor,
        reason=reason,
        previous=target.previous,
    )


def _end(route: Route, actor: User | None, reason: str) -> None:
    moved = Route.objects.filter(pk=route.pk, ended_at=None).update(ended_at=now(), ended_by=actor, end_reason=reason)
    if not moved:
        raise _changed_meanwhile()
    registry_services.hold(version_id=route.version_id, seconds=_leaving_s())


def _leaving_s() -> float:
    """Until every gateway that hears the console follows the new routes, and the last call by the old ones is over."""
    return LOOKS_MAX * LOOK_S_MAX + HANDOVER_S_MAX + float(settings.AMULET.request_s_max)


def _changed_meanwhile() -> Conflict:
    return Conflict(_("Somebody else changed the routes at the same moment; look again."), reason="changed_meanwhile")


def _check_weight(mode: Mode, weight_ratio: float | None) -> None:
    """A share that could not take effect is refused, not ignored."""
    if mode is Mode.CANARY and (weight_ratio is None or not 0.0 < weight_ratio < 1.0):
        raise Invalid(_("A canary's share lies between 0 and 1, both excluded."), field="weight_ratio")
    if mode is Mode.PRODUCTION and weight_ratio not in (None, 1.0):
        raise Invalid(_("Production takes all; a share of calls is a canary."), field="weight_ratio")
    if mode is Mode.SHADOW and weight_ratio not in (None, 1.0):
        raise Invalid(_("A shadow sees copies of all calls: it has no share."), field="weight_ratio")


def _check_unguarded(mode: Mode, unguarded: Collection[Rule]) -> None:
    """A guardrail that does not watch this mode cannot be switched off for it."""
    known = {definition.rule for definition in rules_for(mode)}
    for rule in unguarded:
        if rule not in known:
            raise Invalid(
                _(
                    "The guardrail “{rule}” does not watch a route in the mode “{mode}”: it cannot be switched off."
                ).format(rule=rule.label, mode=mode.label),
                field="unguarded",
            )


def _check_approved(version: ModelVersion) -> None:
    if version.state != State.APPROVED:
        raise Conflict(
            _("{version} is {state}; only an approved version is rolled out.").format(
                version=version, state=State(version.state).label
            ),
            reason="not_approved",
            field="state",
        )


def _record(
    actor: User | None, action: str, model: str, *, words: Mapping[str, str] | None = None, **details: Any
) -> None:
    """words: what somebody typed with it, by field."""
    record_with_words(
        actor=actor, action=action, subject_type="model", subject_id=model, details=details, words=words or {}
    )
