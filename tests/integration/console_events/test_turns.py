"""What one person does while another does the opposite: whoever is second sees what the first did."""

from __future__ import annotations

from typing import Final

import pytest

from tests.integration.console_events.processes import Crew

ROUTES: Final = """
from tests.integration.console_events.turns import outcome_of_second
from tests.unit.console.people import member
from tests.unit.console.versions import TorchServeInMemory, a_version
from console.registry.models import ModelVersion, State
from console.rollout import guardrails, services
from console.rollout.models import Mode, Route
from console.rollout.sequential import Count
from console.site.roles import Role

name = "retired-while-{second}"
malee, somchai = member(Role.MODEL_ENGINEER, f"malee-{name}"), member(Role.APPROVER, f"somchai-{name}")
versions = [a_version(malee, state=State.APPROVED, number=n, model=name, approver=somchai) for n in (1, 2)]
for version in versions:
    route = services.roll_out(
        actor=malee, version_id=version.pk, mode=Mode.PRODUCTION, weight_ratio=None, reason="x",
        backend=TorchServeInMemory,
    )

def retire():
    services.retire(actor=somchai, version_id=versions[0].pk, reason="leaks")

def roll_back():
    services.roll_back(actor=malee, model=name, reason="fire")

def guard():
    rule = guardrails.rules_for(Mode.PRODUCTION)[0]
    reading = guardrails.Reading(rule, Count(9, 10), Count(0, 10), 9.0, is_off=False)
    services.act_on(reading, route_id=route.pk)

said = outcome_of_second(retire, {second})
in_force = Route.objects.filter(model=name, ended_at=None).select_related("version").get().version
answer = {"said": said, "state": in_force.state, "first": in_force.pk == versions[0].pk}
"""


@pytest.mark.parametrize(("second", "said"), [("roll_back", "Conflict"), ("guard", "done")])
def test_what_is_retired_while_a_rollback_returns_to_it_stays_retired(crew: Crew, second: str, said: str) -> None:
    told = crew.shell(ROUTES.replace("{second}", second))
    assert told == {"said": said, "state": "approved", "first": False}
