"""Routes: who answers which share of the calls, and the ways between."""

from __future__ import annotations

import json

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from console.audit.queries import entries_about
from console.audit.words import words_with
from console.errors import Conflict, Invalid, NotAllowed, NotAvailable
from console.registry import services as registry_services
from console.registry.models import ModelVersion, State
from console.registry.queries import backend_version
from console.rollout import queries, services
from console.rollout.models import Mode, Route, Rule
from console.site.roles import Role
from tests.unit.console.people import caller, member
from tests.unit.console.rollout.desk import Desk
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_production_takes_over_and_is_ready_before_it_does(desk: Desk) -> None:
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    assert desk.shares() == {desk.second.version: 1.0}
    assert backend_version(desk.second) in desk.backend.holds()


def test_a_version_that_does_not_get_ready_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.roll_out(desk.first)
    desk.backend.workers_ready = 0
    monkeypatch.setattr(services, "READY_S_MAX", 0.1)
    with pytest.raises(NotAvailable) as refused:
        desk.roll_out(desk.second)
    assert refused.value.reason == "model_not_ready"
    assert desk.shares() == {desk.first.version: 1.0}


def test_a_canary_takes_its_share_from_production(desk: Desk) -> None:
    desk.roll_out(desk.first)
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    desk.roll_out(desk.third, Mode.SHADOW)
    assert desk.shares() == {desk.first.version: 0.9, desk.second.version: 0.1, desk.third.version: 0.0}
    listed = caller(Role.VIEWER).get("/api/v1/versions/").json()["results"]
    assert [(row["weight_ratio"], row["shadow"]) for row in reversed(listed)] == [
        (pytest.approx(0.9), False),
        (0.1, False),
        (0.0, True),
    ]


def test_a_canary_can_grow_and_become_production(desk: Desk) -> None:
    desk.roll_out(desk.first)
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    desk.roll_out(desk.second, Mode.CANARY, 0.5)
    assert desk.shares()[desk.second.version] == 0.5
    desk.roll_out(desk.second)
    assert desk.shares() == {desk.second.version: 1.0}
    assert desk.roll_back().version == desk.first


def test_a_rollback_ends_the_canary_first(desk: Desk) -> None:
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    desk.roll_out(desk.third, Mode.CANARY, 0.2)
    assert desk.roll_back().version == desk.second
    assert desk.shares() == {desk.second.version: 1.0}
    assert desk.roll_back().version == desk.first


def test_rollbacks_go_back_step_by_step_and_then_no_further(desk: Desk) -> None:
    for version in (desk.first, desk.second, desk.third):
        desk.roll_out(version)
    assert [desk.roll_back().version, desk.roll_back().version] == [desk.second, desk.first]
    with pytest.raises(Conflict) as refused:
        desk.roll_back()
    assert refused.value.reason == "no_earlier_version"


def test_a_rollback_steps_over_what_was_retired_meanwhile(desk: Desk) -> None:
    for version in (desk.first, desk.second, desk.third):
        desk.roll_out(version)
    services.retire(actor=desk.somchai, version_id=desk.second.pk, reason="leaks")
    assert desk.roll_back().version == desk.first


def test_a_rollback_never_leads_to_the_version_that_answers_now(desk: Desk) -> None:
    for version in (desk.third, desk.first, desk.second, desk.first):
        desk.roll_out(version)
    services.retire(actor=desk.somchai, version_id=desk.second.pk, reason="leaks")
    would = queries.rollback_of(queries.served_model("tiny"))
    assert would is not None
    assert would.serves == desk.third
    assert desk.roll_back().version == desk.third


def test_a_rollback_leads_to_what_somebody_makes_a_shadow_at_the_same_moment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    hold = registry_services.hold

    def meanwhile(*, version_id: int, seconds: float) -> None:
        """The rollout is done between the rollback's look at the routes and its own lock."""
        monkeypatch.undo()
        desk.roll_out(desk.first, Mode.SHADOW)
        hold(version_id=version_id, seconds=seconds)

    monkeypatch.setattr(registry_services, "hold", meanwhile)
    assert desk.roll_back().version == desk.first
    assert desk.shares() == {desk.first.version: 1.0}


def test_a_rollback_to_what_somebody_retires_at_the_same_moment_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)

    def meanwhile(**_fields: object) -> None:
        monkeypatch.undo()
        services.retire(actor=desk.somchai, version_id=desk.first.pk, reason="leaks")

    monkeypatch.setattr(registry_services, "hold", meanwhile)
    with pytest.raises(Conflict) as refused:
        desk.roll_back()
    assert (refused.value.reason, desk.shares()) == ("not_approved", {desk.second.version: 1.0})


def test_a_rollback_asks_nothing_of_torchserve(desk: Desk) -> None:
    """It must work while TorchServe is on its knees; what it returns to is held all the time."""
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    assert backend_version(desk.first) in queries.wanted_backend_versions()
    desk.backend.calls.clear()
    desk.roll_back()
    assert desk.backend.calls == []


def test_torchserve_holds_routes_and_the_way_back_and_nothing_else(desk: Desk) -> None:
    for version in (desk.first, desk.second, desk.third):
        desk.roll_out(version)
    ModelVersion.objects.update(held_until=None)
    assert queries.wanted_backend_versions() == {backend_version(desk.third), backend_version(desk.second)}


@pytest.mark.parametrize(
    ("mode", "ratio"),
    [(Mode.PRODUCTION, 0.5), (Mode.CANARY, 0.0), (Mode.CANARY, 1.0), (Mode.CANARY, -1.0), (Mode.CANARY, float("nan"))],
)
def test_a_share_that_makes_no_sense_is_refused(desk: Desk, mode: Mode, ratio: float) -> None:
    desk.roll_out(desk.first)
    with pytest.raises(Invalid) as refused:
        desk.roll_out(desk.second, mode, ratio)
    assert refused.value.field == "weight_ratio"


@pytest.mark.parametrize("mode", [Mode.CANARY, Mode.SHADOW])
def test_a_canary_or_shadow_stands_beside_a_production_version(desk: Desk, mode: Mode) -> None:
    with pytest.raises(Conflict) as refused:
        desk.roll_out(desk.first, mode, 0.5 if mode is Mode.CANARY else None)
    assert refused.value.reason == "no_production"


def test_what_is_in_production_does_not_become_a_canary(desk: Desk) -> None:
    desk.roll_out(desk.first)
    with pytest.raises(Conflict):
        desk.roll_out(desk.first, Mode.CANARY, 0.5)
    with pytest.raises(Conflict) as refused:
        desk.roll_out(desk.first)
    assert refused.value.reason == "already_so"


@pytest.mark.parametrize("state", [state for state in State if state is not State.APPROVED])
def test_only_an_approved_version_is_rolled_out(desk: Desk, state: State) -> None:
    version = a_version(desk.malee, state=state, number=9)
    with pytest.raises(Conflict) as refused:
        desk.roll_out(version)
    assert refused.value.reason == "not_approved"


def test_a_version_with_a_route_is_not_retired(desk: Desk) -> None:
    desk.roll_out(desk.first)
    with pytest.raises(Conflict):
        services.retire(actor=desk.somchai, version_id=desk.first.pk, reason="old")
    desk.first.refresh_from_db()
    assert desk.first.state == State.APPROVED


def test_production_is_not_ended_but_replaced(desk: Desk) -> None:
    route = desk.roll_out(desk.first)
    with pytest.raises(Conflict):
        services.end_route(actor=desk.somchai, route_id=route.pk, reason="no more")
    shadow = desk.roll_out(desk.second, Mode.SHADOW)
    services.end_route(actor=desk.somchai, route_id=shadow.pk, reason="seen enough")
    with pytest.raises(Conflict):
        services.end_route(actor=desk.somchai, route_id=shadow.pk, reason="again")
    assert desk.shares() == {desk.first.version: 1.0}


def test_the_database_itself_refuses_two_production_versions(desk: Desk) -> None:
    desk.roll_out(desk.first)
    with pytest.raises(IntegrityError), transaction.atomic():
        Route.objects.create(
            model="tiny", version=desk.second, mode=Mode.PRODUCTION, started_by=desk.somchai, reason="by hand"
        )


def test_models_do_not_disturb_each_other(desk: Desk) -> None:
    other = desk.approved(7, model="coins")
    desk.roll_out(desk.first)
    desk.roll_out(other)
    assert [(served.model, len(served.routes)) for served in queries.served_models()] == [("coins", 1), ("tiny", 1)]


def test_every_change_is_in_the_audit_trail_with_who_and_why(desk: Desk) -> None:
    first, second, third = (each.version for each in (desk.first, desk.second, desk.third))
    desk.roll_out(desk.first)
    desk.roll_out(desk.second)
    desk.roll_out(desk.third, Mode.CANARY, 0.25, unguarded=[Rule.LATENCY])
    desk.roll_back()
    shadow = desk.roll_out(desk.third, Mode.SHADOW)
    services.end_route(actor=desk.somchai, route_id=shadow.pk, reason="seen enough")
    desk.roll_back()

    def out(
        version: str, mode: str, share: float, replaced: str | None, *unguarded: str
    ) -> tuple[str, dict[str, object]]:
        said = {"version": version, "mode": mode, "weight_ratio": share, "replaced": replaced}
        return "rollout.rolled_out", {**said, "unguarded": list(unguarded)}

    entries = entries_about("model", "tiny")
    assert {entry.actor for entry in entries} == {str(desk.somchai.pseudonym)}
    told = [(entry.type, json.loads(entry.payload.text)) for entry in entries]
    assert told == [
        (action, {"about": ["model", "tiny"], **details})
        for action, details in (
            out(first, "production", 1.0, None),
            out(second, "production", 1.0, first),
            out(third, "canary", 0.25, None, "latency"),
            ("rollout.canary_rolled_back", {"ended": third}),
            out(third, "shadow", 0.0, None),
            ("rollout.route_ended", {"ended": third, "mode": "shadow"}),
            ("rollout.rolled_back", {"ended": second, "version": first}),
        )
    ]
    why = ["better", "better", "better", "worse", "better", "seen enough", "worse"]
    typed = [words_with(entry) for entry in entries]
    assert [json.loads(entry.payload.text)["reason"] for entry in typed if entry] == why


def test_who_may_not_change_routes_does_not(desk: Desk) -> None:
    with pytest.raises(NotAllowed):
        desk.roll_out(desk.first, actor=member(Role.VIEWER))
    with pytest.raises(NotAllowed):
        services.roll_back(actor=member(Role.AUDITOR), model="tiny", reason="no")
    desk.roll_out(desk.first)
    shadow = desk.roll_out(desk.second, Mode.SHADOW)
    with pytest.raises(NotAllowed):
        services.end_route(actor=member(Role.REVIEWER), route_id=shadow.pk, reason="no")
    assert set(desk.shares()) == {desk.first.version, desk.second.version}


def test_versions_through_rest_say_their_share(desk: Desk) -> None:
    desk.roll_out(desk.first)
    desk.roll_out(desk.second, Mode.CANARY, 0.25)
    answer = caller(Role.VIEWER).get(f"/api/v1/versions/?version={desk.second.version}").json()
    (found,) = answer["results"]
    assert (found["state"], found["weight_ratio"], found["shadow"]) == ("approved", 0.25, False)
    assert found["metrics"][0].keys() >= {"name", "value", "low", "high", "data"}
    back = caller(Role.APPROVER).post("/api/v1/models/tiny/rollback/", {"reason": "no"}).json()
    assert (back["version"], back["weight_ratio"]) == (desk.first.version, 1.0)
    nothing = caller(Role.MODEL_ENGINEER).post("/api/v1/models/tiny/rollback/", {"reason": "no"})
    assert (nothing.status_code, nothing.json()["reason"]) == (409, "no_earlier_version")


def test_a_rollback_through_rest_says_what_it_ends_and_ends_that_alone(desk: Desk) -> None:
    desk.roll_out(desk.first)
    address, script = "/api/v1/models/tiny/rollback/", caller(Role.APPROVER)
    nowhere = script.get(address)
    assert (nowhere.status_code, nowhere.json()["reason"]) == (404, "no_earlier_version")
    desk.roll_out(desk.second)
    canary = desk.roll_out(desk.third, Mode.CANARY, 0.25)
    would = script.get(address).json()
    assert (would["ends"]["id"], would["ends"]["weight_ratio"]) == (canary.pk, 0.25)
    assert (would["serves"], would["serves_id"]) == (desk.second.version, desk.second.pk)
    seen = {"reason": "worse", "ends": canary.pk}
    assert script.post(address, seen).json()["version"] == desk.second.version
    late = script.post(address, seen)  # a guardrail or a colleague was faster
    assert (late.status_code, late.json()["reason"]) == (409, "changed_meanwhile")
    assert desk.shares() == {desk.second.version: 1.0}
    would = script.get(address).json()
    assert (would["ends"]["mode"], would["serves"]) == ("production", desk.first.version)
    assert script.post(address, {"reason": "worse", "ends": would["ends"]["id"]}).status_code == 200
    assert desk.shares() == {desk.first.version: 1.0}


def test_a_mistyped_setting_is_refused_and_not_ignored(desk: Desk) -> None:
    desk.roll_out(desk.first)
    body = {"mode": "canary", "weight_ratio": 0.5, "ungarded": ["errors"], "reason": "typed in haste"}
    answer = caller(Role.APPROVER).post(f"/api/v1/versions/{desk.second.pk}/rollout/", body)
    assert (answer.status_code, answer.json()["field"]) == (400, "ungarded")
    assert "unguarded" in answer.json()["detail"]
    assert desk.shares() == {desk.first.version: 1.0}


def test_a_script_reads_what_was_in_force_and_what_is(desk: Desk) -> None:
    first, second = desk.roll_out(desk.first), desk.roll_out(desk.second)
    viewer = caller(Role.VIEWER)

    def listed(query: str) -> list[tuple[int, float]]:
        found = viewer.get(f"/api/v1/routes/{query}").json()["results"]
        return [(row["id"], row["weight_ratio"]) for row in found]

    assert listed("") == listed("?ended=false") == [(second.pk, 1.0)]
    assert listed("?ended=true") == listed(f"?ended=true&version={desk.first.version}") == [(first.pk, 0.0)]
    assert listed(f"?ended=true&version={desk.second.version}") == listed("?ended=true&model=other") == []


def test_a_list_of_routes_costs_the_same_however_many_they_are(desk: Desk) -> None:
    desk.roll_out(desk.first)
    viewer = caller(Role.VIEWER)

    def asked() -> tuple[list[float], int]:
        with CaptureQueriesContext(connection) as captured:
            rows = viewer.get("/api/v1/routes/").json()["results"]
        return [row["weight_ratio"] for row in rows], len(captured)

    shares, one = asked()
    assert shares == [1.0]
    desk.roll_out(desk.second, Mode.CANARY, 0.1)
    desk.roll_out(desk.third, Mode.SHADOW)
    for number in (4, 5):
        desk.roll_out(desk.approved(number, model=f"tiny-{number}"))
    assert asked() == ([0.9, 0.1, 0.0, 1.0, 1.0], one)
    assert one <= 15
