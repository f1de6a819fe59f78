"""What an address may say and no database takes: it is refused in a sentence, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from urllib.parse import quote
from uuid import uuid4

import pytest

from console.clients.services import create_client
from console.site.roles import Role
from console.vault.queries import subject_of
from tests.unit.console.people import browser, member
from tests.unit.console.shop import OWNER, agreed

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
PAST_THE_CALENDAR = ["0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
FAR_OFFSET = "2026-01-01T00:00:00-23:59"
HUGE = "9" * 40


@pytest.mark.parametrize("path", ["audit/entries/", "predictions/"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_a_list_is_asked_for_from_any_moment_that_there_is(path: str, name: str) -> None:
    boss = browser(member(Role.ADMINISTRATOR))
    for moment in PAST_THE_CALENDAR:
        answer = boss.get(f"/api/v1/{path}", {name: moment})
        assert (answer.status_code, answer.json()["field"]) == (400, name)
        assert answer.json()["detail"] == "There is no such day."
    for moment in (FAR_OFFSET, "0001-01-01T00:00:00Z", "1970-01-01"):
        assert boss.get(f"/api/v1/{path}", {name: moment}).status_code == 200, moment


@pytest.mark.parametrize("moment", [*PAST_THE_CALENDAR, FAR_OFFSET, "0001-01-01T00:00:00Z"])
def test_the_page_of_a_person_goes_on_from_any_moment_or_says_that_it_is_none(moment: str) -> None:
    agreed()
    subject = subject_of(OWNER)
    assert subject is not None
    page = f"/admin/vault/subject/{subject.pk}/change/"
    shown = browser(member(Role.ADMINISTRATOR)).get(page, {"before": f"{moment}_{uuid4()}"})
    assert shown.status_code == (400 if moment in PAST_THE_CALENDAR else 200)


@pytest.mark.parametrize("client", ["\0", "kiosk\0"])
def test_the_time_machine_knows_no_client_with_a_name_that_is_no_text(client: str) -> None:
    boss = browser(member(Role.ADMINISTRATOR))
    asked = {"client": client, "at": "2026-01-01T00:00"}
    assert boss.get("/api/v1/routes/then/", asked).status_code == 404
    assert boss.get("/admin/rollout/route/then/", asked).status_code == 200


@pytest.mark.parametrize("moment", [*PAST_THE_CALENDAR, FAR_OFFSET, "0001-01-01T00:00:00Z"])
def test_the_time_machine_is_asked_about_any_moment(moment: str) -> None:
    lead = member(Role.ADMINISTRATOR)
    create_client(actor=lead, name="kiosk")
    told = browser(lead).get("/api/v1/routes/then/", {"client": "kiosk", "at": moment})
    assert (told.status_code, told.json()["field"]) == (400, "at")
    assert browser(lead).get("/admin/rollout/route/then/", {"client": "kiosk", "at": moment}).status_code == 200


@pytest.mark.parametrize("number", ["7", HUGE, "9" * 4400])
@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/webhooks/{}/deliveries/",
        "/api/v1/privacy/requests/{}/certificate/",
        "/api/v1/privacy/requests/{}/certificate/pdf/",
        "/admin/vault/consent/{}/withdraw/",
    ],
)
def test_nothing_has_a_number_that_no_database_counts_to(address: str, number: str) -> None:
    for role in (Role.ADMINISTRATOR, Role.PRIVACY_OFFICER):
        answer = browser(member(role)).get(address.format(quote(number)))
        assert answer.status_code in (403, 404), role


def test_a_request_from_the_year_1_is_refused_on_its_page() -> None:
    officer = browser(member(Role.PRIVACY_OFFICER))
    given = {"subject": "a", "kind": "access", "laws": "both", "channel": "letter"}
    day = {"received_at_0": "0001-01-01", "received_at_1": "00:00"}
    shown = officer.post("/admin/privacy/privacyrequest/enter/", {**given, **day}, headers={"Accept-Language": "en"})
    assert shown.status_code == 200
    assert "A request cannot have come in before the year 2000." in shown.content.decode()
    assert officer.get("/admin/").status_code == 200
