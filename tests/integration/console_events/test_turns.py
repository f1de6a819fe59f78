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


ERASURE: Final = """
from tests.integration.console_events.turns import outcome_of_second
from tests.unit.console.people import member
from tests.unit.console.privacy.planted import PERSON, ask_erasure
from console.privacy import erasure, services
from console.privacy.models import Erasure, PrivacyRequest, Step
from console.privacy.queries import unfinished_erasures
from console.site.roles import Role
from console.vault.services import give_consent

officer = member(Role.PRIVACY_OFFICER, "wipa-refuses")
give_consent(actor=officer, pseudonym=PERSON, purpose="training", text_version="1", channel="web")
request = ask_erasure(officer)

def work():
    erasure._advance(request.pk)

def refuse():
    services.refuse(actor=officer, request_id=request.pk, reason="asked by mistake")

said = outcome_of_second(work, refuse)
request.refresh_from_db()
goes_on = unfinished_erasures().filter(pk=request.pk).exists()
step = Erasure.objects.get(pk=request.pk).step
answer = {"said": said, "state": request.state, "step": Step(step).name, "goes_on": goes_on}
"""


def test_an_erasure_that_takes_its_first_step_while_it_is_refused_goes_on(crew: Crew) -> None:
    told = crew.shell(ERASURE)
    assert told == {"said": "Conflict", "state": "in_progress", "step": "KEY", "goes_on": True}


RESET: Final = """
from tests.integration.console_events.turns import outcome_of_second
from tests.unit.console.people import member
from console.site.roles import Role
from console.staff import services
from console.staff.models import ApiToken, User

name = "{first}-then-{second}"
suda, victim = member(Role.ADMINISTRATOR, name), member(Role.ADMINISTRATOR, "victim-of-" + name)
let_in = User.objects.get(pk=victim.pk)

def reset_access():
    services.reset_access(actor=suda, user_id=victim.pk)

def set_role():
    services.set_role(actor=suda, user_id=victim.pk, role=Role.VIEWER)

def create_token():
    services.create_token(user=let_in, name="thief's", actor=let_in)

said = outcome_of_second({first}, {second})
answer = {"said": said, "in_force": ApiToken.objects.filter(user=victim, revoked_at=None).count()}
"""


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("reset_access", "create_token", "NotAllowed"),
        ("set_role", "create_token", "NotAllowed"),
        ("create_token", "reset_access", "done"),
        ("create_token", "set_role", "done"),
    ],
)
def test_no_token_outlives_a_change_of_access_that_it_is_made_beside(
    crew: Crew, first: str, second: str, said: str
) -> None:
    code = RESET.replace("{first}", first).replace("{second}", second)
    assert crew.shell(code) == {"said": said, "in_force": 0}
