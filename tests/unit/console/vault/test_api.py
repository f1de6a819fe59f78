from __future__ import annotations

import pytest

from console.site.roles import Role
from tests.unit.console.people import caller

pytestmark = pytest.mark.django_db
CONSENT = {
    "subject": "shop-17",
    "purpose": "keep_photograph",
    "text_version": "2026-01",
    "channel": "counter",
    "reference": "c-1",
}


def test_a_consent_is_given_listed_and_withdrawn() -> None:
    officer = caller(Role.PRIVACY_OFFICER)
    given = officer.post("/api/v1/consents/", CONSENT)
    assert given.status_code == 201
    assert given.json()["reference"] == "c-1"
    assert "subject" not in given.json()
    assert officer.post("/api/v1/consents/", CONSENT).status_code == 409
    withdrawn = officer.post("/api/v1/consents/c-1/withdraw/", {"channel": "telephone"})
    assert withdrawn.json()["withdrawn_at"]
    (listed,) = officer.get("/api/v1/consents/?reference=c-1").json()["results"]
    assert listed["withdrawal_channel"] == "telephone"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"purpose": "fun"}, "purpose"), ({"subject": ""}, "subject"), ({"given_at": "2099-01-01T00:00:00Z"}, "given_at")],
)
def test_a_wrong_consent_is_answered_with_its_field(change: dict[str, str], field: str) -> None:
    answer = caller(Role.PRIVACY_OFFICER).post("/api/v1/consents/", {**CONSENT, **change})
    assert answer.status_code == 400
    assert answer.json()["field"] == field


def test_who_may_not_is_refused() -> None:
    viewer = caller(Role.VIEWER)
    assert viewer.get("/api/v1/consents/").status_code == 403
    assert viewer.post("/api/v1/consents/", CONSENT).status_code == 403
    assert viewer.post("/api/v1/consents/c-1/withdraw/", {"channel": "web"}).status_code == 403


def test_an_unknown_consent_is_not_found() -> None:
    answer = caller(Role.PRIVACY_OFFICER).post("/api/v1/consents/none/withdraw/", {"channel": "web"})
    assert answer.status_code == 404
