"""Photographs and heat maps by REST: as on the pages, for whoever may, while the consent holds, and on the record."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils.timezone import now
from rest_framework.test import APIClient

from console.audit.models import Entry
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.review.models import ReviewItem
from console.site.roles import Role
from console.staff.services import create_token
from console.vault.models import Consent, Subject
from console.vault.services import withdraw_consent
from tests.console_events import prediction_event
from tests.unit.console import shop
from tests.unit.console.people import caller, member

pytestmark = pytest.mark.django_db
PICTURES = ("photograph", "heat_map")


@pytest.fixture
def kept(consent: Consent) -> str:
    """A prediction of which everything is kept; its id."""
    return str(shop.queued().prediction_id)


def address(name: str, prediction_id: str, part: int = 0) -> str:
    return f"/api/v1/predictions/{prediction_id}/{name.replace('_', '-')}s/{part}/"


def told(script: APIClient, prediction_id: str, language: str = "en") -> dict[str, object]:
    """What a prediction says of its first view."""
    answer = script.get(f"/api/v1/predictions/{prediction_id}/", HTTP_ACCEPT_LANGUAGE=language)
    found: dict[str, object] = answer.json()["pictures"][0]
    return found


def opened() -> int:
    return Entry.objects.filter(type="vault.opened").count()


@pytest.mark.parametrize("name", PICTURES)
def test_a_prediction_says_where_its_pictures_are_and_each_look_is_audited(kept: str, name: str) -> None:
    expert = caller(Role.REVIEWER)
    where = told(expert, kept)[name]
    assert where == f"http://testserver{address(name, kept)}"
    answer = expert.get(str(where))
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")
    assert "no-store" in answer["Cache-Control"]
    (entry,) = Entry.objects.filter(type="vault.opened").select_related("payload")
    assert kept in entry.payload.text


def test_whose_roles_open_no_photographs_is_told_so_and_opens_none(kept: str) -> None:
    viewer = caller(Role.VIEWER)
    assert told(viewer, kept) == {
        "part": 0, "photograph": None, "heat_map": None, "why_not": "Your roles do not let you see photographs.",
    }  # fmt: skip
    assert [viewer.get(address(name, kept)).status_code for name in PICTURES] == [403, 403]
    assert opened() == 0


def test_a_token_that_looks_at_everything_else_opens_no_photograph(kept: str) -> None:
    expert = member(Role.REVIEWER, "owner")
    for scope, status in (("read", 403), ("photographs:read", 200)):
        script = APIClient()
        token = create_token(user=expert, name=scope, actor=expert, scopes=[scope]).text
        script.credentials(HTTP_AUTHORIZATION=f"Token {token}")
        assert [script.get(address(name, kept)).status_code for name in PICTURES] == [status, status]
        assert script.get("/api/v1/predictions/").status_code == (200 if scope == "read" else 403)


@pytest.mark.parametrize("name", PICTURES)
def test_what_must_not_be_opened_any_more_is_refused_with_its_reason(kept: str, name: str) -> None:
    expert, here = caller(Role.REVIEWER), address(name, kept)

    def refused() -> tuple[int, str]:
        answer = expert.get(here)
        assert answer["Content-Type"] == "application/problem+json"
        return answer.status_code, answer.json()["reason"]

    Subject.objects.update(restricted_at=now())
    assert refused() == (404, "restricted")
    assert (told(expert, kept)[name], told(expert, kept)["why_not"]) == (
        None, "Not shown: its person has restricted what is done.",
    )  # fmt: skip
    Subject.objects.update(restricted_at=None)
    assert expert.get(here).status_code == 200
    Consent.objects.update(expires_at=now() - timedelta(minutes=1))  # its daily deletion has not come yet
    assert refused() == (404, "not_kept")
    assert told(expert, kept) == {
        "part": 0, "photograph": None, "heat_map": None,
        "why_not": "Not shown: the consent has run out. It is deleted within a day.",
    }  # fmt: skip
    assert told(expert, kept, "th")["why_not"] == "ไม่แสดง เพราะความยินยอมสิ้นอายุแล้ว จะลบภายในหนึ่งวัน"
    Consent.objects.update(expires_at=None)
    withdraw_consent(actor=member(Role.PRIVACY_OFFICER, "wipa-2"), reference="c-1", channel="web")
    assert refused() == (404, "not_kept")
    Prediction.objects.all().delete()
    assert refused() == (404, "not_kept")
    assert opened() == 1


@pytest.mark.parametrize("name", PICTURES)
def test_what_never_was_and_what_was_not_kept_look_the_same(name: str) -> None:
    event, expert = prediction_event(), caller(Role.REVIEWER)
    apply_batch([event])
    for prediction_id in (event.prediction.prediction_id, str(uuid4())):
        answer = expert.get(address(name, prediction_id))
        assert (answer.status_code, answer.json()["reason"]) == (404, "not_kept")


def test_before_the_expert_has_answered_the_heat_map_is_withheld_and_the_photograph_is_not(kept: str) -> None:
    ReviewItem.objects.update(blind=True, withheld_until=now() + timedelta(minutes=5))
    expert = caller(Role.REVIEWER)
    assert expert.get(address("photograph", kept)).status_code == 200
    answer = expert.get(address("heat_map", kept))
    assert (answer.status_code, answer.json()["reason"]) == (404, "withheld")
    assert caller(Role.PRIVACY_OFFICER).get(address("heat_map", kept)).status_code == 200  # is never asked
    assert opened() == 2
