"""Every list of the REST interface is cut into pages by cursor; a walk loses and doubles nothing while rows come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils.timezone import now
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from console.audit.models import Entry
from console.audit.services import NewEntry, append
from console.clients.models import Client
from console.ingest.services import apply_batch
from console.paging import SIZE_DEFAULT, SIZE_MAX
from console.predictions.models import Prediction
from console.privacy.models import PrivacyRequest
from console.privacy.services import receive, refuse
from console.site.roles import Role
from tests.console_events import prediction_event
from tests.unit.console.people import caller, member

pytestmark = pytest.mark.django_db
# Reports and no lists: a row for each rule, a row for each version that answered lately, and a ranking, which is made
# of all versions of a model at once.
WHOLE = {
    "/api/v1/drift/performance/",
    "/api/v1/privacy/retention/",
    "/api/v1/reviews/accuracy/",
    "/api/v1/versions/best/",
}


def document() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


def answer_of(paths: dict[str, Any], path: str, components: dict[str, Any]) -> dict[str, Any]:
    content = paths[path]["get"]["responses"]["200"].get("content", {}).get("application/json", {})
    schema: dict[str, Any] = content.get("schema", {})
    named = schema.get("$ref", "").rpartition("/")[2]
    return components[named] if named else schema


def test_every_list_is_paged_by_cursor_within_stated_bounds() -> None:
    made = document()
    paths, components = made["paths"], made["components"]["schemas"]
    lists = []
    for path in paths:
        if "get" not in paths[path]:
            continue
        answer = answer_of(paths, path, components)
        if answer.get("type") == "array":
            assert path in WHOLE, f"{path} answers with all there is"
            continue
        if "results" not in answer.get("properties", {}):
            continue
        lists.append(path)
        assert answer["properties"]["results"]["maxItems"] == SIZE_MAX
        named = {parameter["name"]: parameter["schema"] for parameter in paths[path]["get"]["parameters"]}
        assert named["cursor"]["type"] == "string"
        assert named["page_size"] == {"type": "integer", "minimum": 1, "maximum": SIZE_MAX, "default": SIZE_DEFAULT}
        assert not {"page", "offset", "limit"} & named.keys(), path
    assert len(lists) == 26, lists


def pages(script: APIClient, address: str, *, way: str = "next") -> Iterator[list[Any]]:
    while address:
        answer = script.get(address)
        assert answer.status_code == 200, answer.content
        yield answer.json()["results"]
        address = answer.json()[way]


def predicted(count: int, *, minutes_ago: float = 0) -> None:
    moment = now() - timedelta(minutes=minutes_ago)
    receipt = apply_batch([prediction_event(happened_at=moment) for _ in range(count)])
    assert receipt.applied == count


def logged(count: int) -> None:
    # A batch has one time: where a page ends is decided within it.
    with transaction.atomic():
        append([NewEntry("test.written", "test", str(number)) for number in range(count)], actor="test")


@pytest.mark.parametrize("since", ["", "&since=2020-01-01T00:00:00Z"])
def test_a_walk_over_the_audit_log_loses_and_doubles_none_while_entries_come_in(since: str) -> None:
    script = caller(Role.AUDITOR)
    logged(30)
    before = set(Entry.objects.values_list("sequence", flat=True))
    walked: list[int] = []
    for page in pages(script, f"/api/v1/audit/entries/?page_size=7{since}"):
        walked += [row["sequence"] for row in page]
        logged(3)
    assert len(walked) == len(set(walked))
    assert before <= set(walked)


@pytest.mark.parametrize("late", [0, 1], ids=["newer ones", "ones of the same instant"])
def test_a_walk_over_predictions_loses_and_doubles_none_while_some_come_in(late: int) -> None:
    script = caller(Role.VIEWER)
    moment = now() - timedelta(minutes=10)
    predicted(25)
    Prediction.objects.update(happened_at=moment)
    before = set(map(str, Prediction.objects.values_list("pk", flat=True)))
    walked: list[str] = []
    for page in pages(script, "/api/v1/predictions/?page_size=4"):
        walked += [row["prediction_id"] for row in page]
        predicted(2)
        if late:
            Prediction.objects.filter(happened_at__gt=moment).update(happened_at=moment)
    assert len(walked) == len(set(walked))
    assert before <= set(walked)


def test_pages_lead_back_as_they_led_on() -> None:
    script = caller(Role.ADMINISTRATOR)
    Client.objects.bulk_create(Client(name=f"client {number:02d}") for number in range(11))
    there = list(pages(script, "/api/v1/clients/?page_size=4"))
    assert [len(page) for page in there] == [4, 4, 3]
    names = [row["name"] for page in there for row in page]
    assert names == sorted(names)
    address = "/api/v1/clients/?page_size=4"
    while following := script.get(address).json()["next"]:
        address = following
    assert list(pages(script, address, way="previous")) == there[::-1]


def test_open_requests_stand_before_closed_ones_on_every_page() -> None:
    officer, script = member(Role.PRIVACY_OFFICER), caller(Role.AUDITOR)
    for number in range(6):
        made = receive(actor=officer, pseudonym=f"p-{number}", kind="access", laws="both", channel="web")
        if number % 2:
            refuse(actor=officer, request_id=made.pk, reason="not theirs")
    found = [row["id"] for page in pages(script, "/api/v1/privacy/requests/?page_size=2") for row in page]
    closed = list(PrivacyRequest.objects.exclude(closed_at=None).order_by("-closed_at").values_list("pk", flat=True))
    assert found[3:] == closed
    assert sorted(found) == sorted(PrivacyRequest.objects.values_list("pk", flat=True))


def of_another_list(script: APIClient) -> str:
    Client.objects.bulk_create(Client(name=f"client {number}") for number in range(2))
    following: str = script.get("/api/v1/clients/?page_size=1").json()["next"]
    return following.partition("cursor=")[2].partition("&")[0]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (lambda _: "page_size=0", "page_size"),
        (lambda _: f"page_size={SIZE_MAX + 1}", "page_size"),
        (lambda _: "page_size=many", "page_size"),
        (lambda _: "cursor=", "cursor"),
        (lambda _: "cursor=cD0yMDI2", "cursor"),
        (lambda script: f"cursor={of_another_list(script)}", "cursor"),
        (lambda _: "page=2", "page"),
        (lambda _: "versoin=v1", "versoin"),
        (lambda _: "version=", "version"),
    ],
)  # fmt: skip
def test_what_could_not_take_effect_is_refused(query: Callable[[APIClient], str], field: str) -> None:
    script = caller(Role.ADMINISTRATOR)
    refused = script.get(f"/api/v1/versions/?{query(script)}")
    assert (refused.status_code, refused.json()["field"]) == (400, field)
