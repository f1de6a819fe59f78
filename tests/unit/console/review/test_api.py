from __future__ import annotations

import pytest

from console.ingest.services import apply_batch
from console.site.roles import Role
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import caller

pytestmark = pytest.mark.django_db


def test_a_script_takes_the_next_item_and_decides_it() -> None:
    expert = caller(Role.REVIEWER)
    assert expert.post("/api/v1/reviews/next/").status_code == 204
    apply_batch([prediction_event(confidence=0.5)])
    item = expert.post("/api/v1/reviews/next/").json()
    assert (item["why"], item["state"], item["held_by"]) == ("LOW_CONFIDENCE", "open", "prasert-script")
    url = f"/api/v1/reviews/{item['id']}/decide/"
    wrong = expert.post(url, {"decided": "class", "class_id": "unheard-of"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "class_id")
    made = expert.post(url, {"decided": "class", "class_id": CLASSES[0]})
    assert made.status_code == 201
    assert made.json()["agrees"] is True
    assert expert.post(url, {"decided": "unsure"}).status_code == 409
    (listed,) = expert.get("/api/v1/reviews/?state=decided&why=LOW_CONFIDENCE").json()["results"]
    assert listed["prediction"]["class_id"] == CLASSES[0]


def test_a_script_takes_its_decision_back() -> None:
    apply_batch([prediction_event(confidence=0.5)])
    expert = caller(Role.REVIEWER)
    item = expert.post("/api/v1/reviews/next/").json()["id"]
    assert expert.post(f"/api/v1/reviews/{item}/take-back/").status_code == 404
    assert expert.post(f"/api/v1/reviews/{item}/decide/", {"decided": "unusable"}).status_code == 201
    back = expert.post(f"/api/v1/reviews/{item}/take-back/")
    assert (back.status_code, back.json()["state"], back.json()["held_by"]) == (200, "open", "prasert-script")
    assert expert.post(f"/api/v1/reviews/{item}/decide/", {"decided": "unsure"}).status_code == 201


def test_an_item_is_taken_and_given_back() -> None:
    apply_batch([prediction_event(confidence=0.5)])
    one, other = caller(Role.REVIEWER), caller(Role.ADMINISTRATOR)
    (item,) = one.get("/api/v1/reviews/").json()["results"]
    assert one.post(f"/api/v1/reviews/{item['id']}/take/").status_code == 200
    refused = other.post(f"/api/v1/reviews/{item['id']}/take/")
    assert (refused.status_code, refused.json()["reason"]) == (409, "held_by_another")
    assert one.post(f"/api/v1/reviews/{item['id']}/give-back/").status_code == 204
    assert other.post(f"/api/v1/reviews/{item['id']}/take/").status_code == 200


def test_who_may_not_is_refused() -> None:
    viewer = caller(Role.VIEWER)
    assert viewer.get("/api/v1/reviews/").status_code == 403
    assert viewer.post("/api/v1/reviews/next/").status_code == 403
