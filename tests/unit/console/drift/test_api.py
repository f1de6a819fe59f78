"""Drift for scripts."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.drift import tasks
from console.drift.models import EVERYBODY, Against, Finding, Outcome
from console.ingest.services import apply_batch
from console.registry.models import ModelVersion, State
from console.review import services
from console.review.models import Decided, ReviewItem
from console.review.services import Decision
from console.site.roles import Role
from tests.console_events import CLASSES, CLIENT, prediction_event
from tests.unit.console.people import browser, caller, member
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db
VERSION = "v20261123_tiny_0.900"


def a_worse_week(version: str = VERSION, **fields: str) -> None:
    for confidence, at in ((0.95, now() - timedelta(days=7)), (0.6, now() - timedelta(hours=1))):
        made = [prediction_event(confidence=confidence, version=version, happened_at=at, **fields) for _ in range(210)]
        apply_batch(made)


def test_findings_are_filtered_and_come_in_pages() -> None:
    known = a_version(member(Role.MODEL_ENGINEER), model="coins", number=7, state=State.SMOKE_TESTED)
    a_worse_week()
    a_worse_week(known.version, model=known.model)
    tasks.watch()
    script = caller(Role.VIEWER)

    def found(**wanted: object) -> list[dict[str, object]]:
        return list(script.get("/api/v1/drift/findings/", {"page_size": 500, **wanted}).json()["results"])

    assert len(found()) == Finding.objects.count()
    assert {row["version"] for row in found(version=VERSION)} == {VERSION}
    assert {(row["model"], row["version"]) for row in found(model=known.model)} == {(known.model, known.version)}
    assert found(model="no-such") == []
    drifted = found(outcome="drift", version=VERSION, client=CLIENT)
    assert {row["measure"] for row in drifted} >= {"confidence", "margin"}
    assert {row["outcome"] for row in found(measure="confidence")} == {"drift"}
    first = script.get("/api/v1/drift/findings/", {"page_size": 2}).json()
    second = script.get(first["next"]).json()
    assert [row["id"] for row in (*first["results"], *second["results"])] == sorted(
        Finding.objects.values_list("pk", flat=True)
    )[:4]
    assert script.get("/api/v1/drift/findings/", {"outcome": "awful"}).status_code == 400


def test_one_finding_says_what_grew() -> None:
    a_worse_week()
    tasks.watch()
    row = Finding.objects.get(client=EVERYBODY, against=Against.PREVIOUS, measure="confidence")
    told = caller(Role.VIEWER).get(f"/api/v1/drift/findings/{row.pk}/").json()
    assert (told["outcome"], told["n_window"]) == (Outcome.DRIFT, 210)
    assert told["grew"] == {"bound": pytest.approx(0.6), "is_low": True, "choice": None, "before": 0.0, "now": 1.0}
    row = Finding.objects.get(client=EVERYBODY, against=Against.PREVIOUS, measure="predicted_class")
    calm = caller(Role.AUDITOR).get(f"/api/v1/drift/findings/{row.pk}/").json()
    assert (calm["grew"], calm["advice"]) == (None, None)


def test_a_drift_comes_with_the_advice_of_its_page() -> None:
    a_worse_week()
    tasks.watch()
    row = Finding.objects.get(client=EVERYBODY, against=Against.PREVIOUS, measure="confidence")

    def advice(role: Role) -> dict[str, Any]:
        found: dict[str, Any] = caller(role).get(f"/api/v1/drift/findings/{row.pk}/").json()["advice"]
        return found

    told = advice(Role.MODEL_ENGINEER)
    assert told["cause"].startswith("The version sees what it did not learn from")
    addresses = [way["url"] for way in told["ways"]]
    assert addresses[1].endswith(f"/admin/predictions/prediction/?version={VERSION}")
    assert all(address.startswith("http") for address in addresses)
    # Where somebody may not go nobody sends them.
    assert (len(addresses), len(advice(Role.VIEWER)["ways"])) == (3, 2)


@pytest.mark.usefixtures("static_files")
@pytest.mark.parametrize("scores", [(math.inf,), (math.inf, -math.inf), (1e300,), (math.nan,)])
def test_a_finding_of_scores_beyond_all_bounds_is_told_and_drawn(scores: tuple[float, ...]) -> None:
    at = now()
    for when, odd in ((at - timedelta(days=7), False), (at - timedelta(hours=1), True)):
        batch = [prediction_event(happened_at=when) for _ in range(210)]
        for number, event in enumerate(batch[::10]):
            if odd:
                event.prediction.ood_scores[0].score = scores[number % len(scores)]
        assert apply_batch(batch).applied == 210
    tasks.watch()
    row = Finding.objects.get(client=EVERYBODY, against=Against.PREVIOUS, measure="score_mahalanobis")
    told = caller(Role.VIEWER).get(f"/api/v1/drift/findings/{row.pk}/")
    assert told.status_code == 200
    assert all(0 <= share <= 1 for share in told.json()["curves"]["now"])
    page = browser(member(Role.VIEWER, "v")).get(reverse("admin:drift_finding_change", args=[row.pk]))
    assert page.status_code == 200
    assert not re.search(rb"[ \",]-?(nan|inf)\b", page.content)


def test_one_finding_tells_what_its_page_draws(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    a_worse_week()
    tasks.watch()
    script = caller(Role.VIEWER)

    def told(measure: str) -> dict[str, Any]:
        row = Finding.objects.get(client=EVERYBODY, against=Against.PREVIOUS, measure=measure)
        with django_assert_max_num_queries(15):
            answer: dict[str, Any] = script.get(f"/api/v1/drift/findings/{row.pk}/").json()
        return answer

    of_number = told("confidence")
    curves, course = of_number["curves"], of_number["course"]
    assert len(curves["values"]) == len(curves["before"]) == len(curves["now"]) == 65
    assert (curves["values"][0], curves["values"][-1]) == (pytest.approx(0.6), pytest.approx(0.95))
    # A week ago all were 0.95, now all are 0.6: of what lies at or below 0.6, nothing then and everything now.
    assert (curves["before"][1], curves["now"][1], curves["before"][-1]) == (0.0, 1.0, 1.0)
    assert of_number["choices"] == []
    assert course["choice"] is None
    assert course["before"] == dict.fromkeys(("low", "middle", "high"), pytest.approx(0.95))
    assert [(day["n"], day["low"], day["middle"], day["high"]) for day in course["days"]] == [
        (210, *[pytest.approx(0.95)] * 3), (210, *[pytest.approx(0.6)] * 3),
    ]  # fmt: skip
    first, last = (datetime.fromisoformat(day["begins_at"]) for day in course["days"])
    assert timedelta(days=6) <= last - first <= timedelta(days=7)

    of_choice = told("predicted_class")
    assert of_choice["curves"] is None
    assert of_choice["choices"] == [{"choice": CLASSES[0], "before": 1.0, "now": 1.0}]
    assert (of_choice["course"]["choice"], of_choice["course"]["before"]["middle"]) == (CLASSES[0], 1.0)
    assert [(day["n"], day["middle"], day["high"]) for day in of_choice["course"]["days"]] == [(210, 1.0, 1.0)] * 2


def test_a_finding_whose_archive_is_not_at_hand_tells_its_days_alone() -> None:
    a_worse_week()
    version = a_version(member(Role.MODEL_ENGINEER), number=7, state=State.SMOKE_TESTED)
    tasks.watch()
    row = Finding.objects.filter(client=EVERYBODY, against=Against.PREVIOUS, measure="confidence").get()
    Finding.objects.filter(pk=row.pk).update(against=Against.REFERENCE, version=VERSION)
    ModelVersion.objects.filter(pk=version.pk).update(model="amulets", version=VERSION)  # its file is not in the store
    told = caller(Role.VIEWER).get(f"/api/v1/drift/findings/{row.pk}/").json()
    assert (told["curves"], told["choices"], told["grew"], told["course"]["before"]) == (None, [], None, None)
    assert [day["n"] for day in told["course"]["days"]] == [210, 210]


def test_expected_accuracy_is_told_by_version_and_day() -> None:
    expert = member(Role.REVIEWER)
    apply_batch([prediction_event(confidence=0.5) for _ in range(4)])
    script = caller(Role.VIEWER)
    (told,) = script.get("/api/v1/drift/performance/").json()
    assert (told["version"], told["answers"], told["corrected"], told["days"]) == (VERSION, 4, None, [])
    for item in ReviewItem.objects.all()[:2]:
        services.take(actor=expert, item_id=item.pk)
        services.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, CLASSES[0]))
    (told,) = script.get("/api/v1/drift/performance/").json()
    assert told["corrected"]["value"] == 1.0
    assert told["corrected"]["n"] == told["from_reviews"]["n"] == 2
    assert [day["value"] for day in told["days"]] == [1.0]
