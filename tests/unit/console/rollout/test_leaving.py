"""A version that loses its route stays loaded until no gateway can send it a call any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta

import pytest
from django.conf import settings

from console.errors import NotAvailable
from console.registry.models import ModelVersion
from console.registry.queries import backend_version
from console.rollout import services
from console.rollout.guardrails import Reading, rules_for
from console.rollout.models import Mode, Route
from console.rollout.queries import wanted_backend_versions
from console.rollout.sequential import Count
from console.site.configuration import ConsoleSettings
from gateway.policy import PolicySettings
from gateway.routing.handover import HANDOVER_S_MAX
from gateway.settings import Settings as GatewaySettings
from tests.unit.console.rollout.desk import Desk

pytestmark = pytest.mark.django_db
GATEWAY = {field.name: field.default for field in fields(PolicySettings)}
LOOK_S_MAX = GATEWAY["interval_s"] + GATEWAY["answer_s_max"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def later(seconds: float) -> None:
    """So much time passes for what is held."""
    for version in ModelVersion.objects.exclude(held_until=None):
        assert version.held_until is not None
        ModelVersion.objects.filter(pk=version.pk).update(held_until=version.held_until - timedelta(seconds=seconds))


def rolled_back(desk: Desk) -> ModelVersion:
    desk.roll_out(desk.second)
    later(services.HOLD_S)
    desk.roll_back()
    return desk.second


def canary_rolled_back(desk: Desk) -> ModelVersion:
    desk.roll_out(desk.second, Mode.CANARY, 0.5)
    later(services.HOLD_S)
    desk.roll_back()
    return desk.second


def canary_replaced(desk: Desk) -> ModelVersion:
    desk.roll_out(desk.second, Mode.CANARY, 0.5)
    later(services.HOLD_S)
    desk.roll_out(desk.third, Mode.CANARY, 0.5)
    return desk.second


def shadow_ended(desk: Desk) -> ModelVersion:
    shadow = desk.roll_out(desk.second, Mode.SHADOW)
    later(services.HOLD_S)
    services.end_route(actor=desk.somchai, route_id=shadow.pk, reason="seen enough")
    return desk.second


def production_undone_by_a_guardrail(desk: Desk) -> ModelVersion:
    act(desk.roll_out(desk.second))
    return desk.second


def canary_ended_by_a_guardrail(desk: Desk) -> ModelVersion:
    act(desk.roll_out(desk.second, Mode.CANARY, 0.5))
    return desk.second


def retired_at_once(desk: Desk) -> ModelVersion:
    """Rolled back, and then nobody shall roll it out again: gateways do not know that yet."""
    rolled_back(desk)
    services.retire(actor=desk.somchai, version_id=desk.second.pk, reason="leaks")
    return desk.second


def act(route: Route) -> None:
    later(services.HOLD_S)
    definition = rules_for(Mode(route.mode))[0]
    reading = Reading(definition, watched=Count(9, 10), standard=Count(0, 10), log_evidence=9.0, is_off=False)
    assert services.act_on(reading, route_id=route.pk) is not None


@pytest.mark.parametrize(
    "ended",
    [
        rolled_back,
        canary_rolled_back,
        canary_replaced,
        shadow_ended,
        production_undone_by_a_guardrail,
        canary_ended_by_a_guardrail,
        retired_at_once,
    ],
)
def test_what_gateways_may_still_ask_stays_loaded_and_then_goes(
    desk: Desk, ended: Callable[[Desk], ModelVersion]
) -> None:
    desk.roll_out(desk.first)
    left = backend_version(ended(desk))
    later(LOOK_S_MAX + HANDOVER_S_MAX + settings.AMULET.request_s_max)
    assert left in wanted_backend_versions()
    later(2 * LOOK_S_MAX + 1.0)
    assert left not in wanted_backend_versions()


def test_a_rollout_that_came_to_nothing_does_not_end_that_sooner(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "AMULET", settings.AMULET.model_copy(update={"request_s_max": 600.0}))
    desk.roll_out(desk.first)
    rolled_back(desk)
    desk.backend.workers_ready = 0
    monkeypatch.setattr(services, "READY_S_MAX", 0.1)
    with pytest.raises(NotAvailable):
        desk.roll_out(desk.second)
    later(600.0)
    assert backend_version(desk.second) in wanted_backend_versions()


def test_the_console_knows_what_gateways_do() -> None:
    assert (services.LOOK_S_MAX, services.HANDOVER_S_MAX) == (LOOK_S_MAX, HANDOVER_S_MAX)
    ours, theirs = ConsoleSettings.model_fields["request_s_max"], GatewaySettings.model_fields["request_s_max"]
    assert (ours.default, ours.metadata) == (theirs.default, theirs.metadata)
