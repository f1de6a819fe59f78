from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.site.roles import Role
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, feedback_event, prediction_event, uuid7
from tests.unit.console.people import caller

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_one_prediction_is_found_by_its_id_with_the_disclaimer() -> None:
    event = prediction_event()
    apply_batch([event, prediction_event()])
    viewer = caller(Role.VIEWER)
    answer = viewer.get(f"/api/v1/predictions/?prediction_id={event.prediction.prediction_id}").json()
    (found,) = answer["results"]
    assert found["prediction_id"] == event.prediction.prediction_id
    assert found["verdict"] == "IN_DOMAIN"
    assert found["disclaimer"]["th"].startswith("ผลประเมิน")
    whole = viewer.get(f"/api/v1/predictions/{found['prediction_id']}/").json()
    assert len(whole["detail"]["candidates"]) == len(CLASSES)


def test_a_list_is_read_along_time_to_its_end_whatever_arrives_meanwhile() -> None:
    """Equal times, several pages, a new prediction between two pages: none twice, none left out."""
    events = [prediction_event(happened_at=NOON + timedelta(seconds=n // 3)) for n in range(10)]
    apply_batch(events)
    viewer = caller(Role.VIEWER)
    url, seen = "/api/v1/predictions/?page_size=3", []
    while url:
        page = viewer.get(url).json()
        seen += [row["prediction_id"] for row in page["results"]]
        url = page["next"]
        apply_batch([prediction_event(happened_at=NOON + timedelta(hours=1))])
    assert sorted(seen) == sorted(event.prediction.prediction_id for event in events)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("verdict=UNSURE", 1),
        ("class_id=sivali", 1),
        ("version=v9", 1),
        ("client_id=other", 1),
        ("since=2026-11-23T13:00:00Z", 1),
        ("until=2026-11-23T12:00:00Z", 0),
        ("verdict=IN_DOMAIN", 4),
        ("request_id=order-17", 1),
        ("request_id=order-1", 0),
        ("prediction_id=01a21460-c7fb-70ce-9709-93376b107383", 0),  # nobody's
    ],
)
def test_filters_narrow_the_list(query: str, count: int) -> None:
    apply_batch(
        [
            prediction_event(verdict=words.VERDICT_UNSURE, happened_at=NOON),
            prediction_event(top_class="sivali", happened_at=NOON),
            prediction_event(version="v9", happened_at=NOON),
            prediction_event(client_id="other", happened_at=NOON, request_id="order-17"),
            prediction_event(happened_at=NOON + timedelta(hours=2)),
        ]
    )
    assert len(caller(Role.VIEWER).get(f"/api/v1/predictions/?{query}").json()["results"]) == count


def test_a_prediction_says_what_its_caller_said_of_it_later() -> None:
    event = prediction_event()
    key = event.prediction.prediction_id
    said = [feedback_event(key, happened_at=NOON + timedelta(hours=hour), comment=f"word {hour}") for hour in (2, 1)]
    apply_batch([event, *said, feedback_event(uuid7())])
    found = caller(Role.VIEWER).get(f"/api/v1/predictions/{key}/").json()["feedback"]
    assert [(each["kind"], each["true_class"], each["comment"]) for each in found] == [
        ("WRONG", CLASSES[1], "word 1"), ("WRONG", CLASSES[1], "word 2"),
    ]  # fmt: skip


def test_it_is_said_whether_the_caller_named_the_version() -> None:
    named, drawn, older = (prediction_event(version_named=told) for told in (True, False, False))
    apply_batch([named, drawn, older])
    Prediction.objects.filter(pk=older.prediction.prediction_id).update(version_named=None)
    rows = caller(Role.VIEWER).get("/api/v1/predictions/").json()["results"]
    said = {row["prediction_id"]: row["version_named"] for row in rows}
    assert said == {
        named.prediction.prediction_id: True,
        drawn.prediction.prediction_id: False,
        older.prediction.prediction_id: None,
    }


@pytest.mark.parametrize(("query", "field"), [("prediction_id=7", "prediction_id"), ("verdict=PERHAPS", "verdict")])
def test_a_wrong_filter_is_named(query: str, field: str) -> None:
    answer = caller(Role.VIEWER).get(f"/api/v1/predictions/?{query}")
    assert answer.status_code == 400
    assert answer.json()["field"] == field


def test_a_page_costs_as_many_queries_with_fifty_rows_as_with_one(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    apply_batch([prediction_event() for _ in range(50)])
    viewer = caller(Role.VIEWER)
    with django_assert_max_num_queries(5):
        assert len(viewer.get("/api/v1/predictions/").json()["results"]) == 50


def test_without_a_token_nothing_is_shown() -> None:
    from rest_framework.test import APIClient

    assert APIClient().get("/api/v1/predictions/").status_code == 401
