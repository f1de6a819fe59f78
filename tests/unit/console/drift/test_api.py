"""Drift for scripts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils.timezone import now

from console.drift import tasks
from console.drift.models import EVERYBODY, Against, Finding, Outcome
from console.ingest.services import apply_batch
from console.registry.models import State
from console.review import services
from console.review.models import Decided, ReviewItem
from console.review.services import Decision
from console.site.roles import Role
from tests.console_events import CLASSES, CLIENT, prediction_event
from tests.unit.console.people import caller, member
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db
VERSION = "v20261123_tiny_0.900"


def a_worse_week(version: str = VERSION) -> None:
    for confidence, at in ((0.95, now() - timedelta(days=7)), (0.6, now() - timedelta(hours=1))):
        apply_batch([prediction_event(confidence=confidence, version=version, happened_at=at) for _ in range(210)])


def test_findings_are_filtered_and_come_in_pages() -> None:
    known = a_version(member(Role.MODEL_ENGINEER), number=7, state=State.SMOKE_TESTED)
    a_worse_week()
    a_worse_week(known.version)
    tasks.watch()
    script = caller(Role.VIEWER)

    def found(**wanted: object) -> list[dict[str, object]]:
        return list(script.get("/api/v1/drift/findings/", {"page_size": 500, **wanted}).json()["results"])

    assert len(found()) == Finding.objects.count()
    assert {row["version"] for row in found(version=VERSION)} == {VERSION}
    assert {row["version"] for row in found(model=known.model)} == {known.version}
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
    assert caller(Role.AUDITOR).get(f"/api/v1/drift/findings/{row.pk}/").json()["grew"] is None


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
