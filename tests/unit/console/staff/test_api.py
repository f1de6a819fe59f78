"""Who works here and with which tokens, as a script reads it: no secret, and nobody else's tokens."""

from __future__ import annotations

import pytest

from console.site.roles import Role
from console.staff.services import create_token, set_active
from tests.unit.console.people import NAMES, caller, member

pytestmark = pytest.mark.django_db


def test_staff_are_listed_by_name_with_their_roles() -> None:
    script = caller(Role.ADMINISTRATOR)
    somchai = member(Role.APPROVER)
    set_active(actor=member(Role.ADMINISTRATOR), user_id=somchai.pk, active=False)
    rows = script.get("/api/v1/staff/").json()["results"]
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    (found,) = script.get("/api/v1/staff/?role=approver").json()["results"]
    assert (found["name"], found["roles"], found["active"]) == ("somchai", ["approver"], False)
    assert "somchai" not in {row["name"] for row in script.get("/api/v1/staff/?active=true").json()["results"]}


def test_everybody_sees_their_own_tokens_and_an_administrator_all() -> None:
    malee = member(Role.MODEL_ENGINEER)
    text = create_token(user=malee, name="nightly", actor=malee, scopes=["read"])
    own = caller(Role.VIEWER).get("/api/v1/staff/tokens/").json()["results"]
    assert {row["of"] for row in own} == {f"{NAMES[Role.VIEWER]}-script"}
    answer = caller(Role.ADMINISTRATOR).get("/api/v1/staff/tokens/")
    (found,) = (row for row in answer.json()["results"] if row["name"] == "nightly")
    assert (found["of"], found["scopes"], found["revoked_at"]) == ("malee", ["read"], None)
    assert text.rpartition("_")[2] not in answer.content.decode()
