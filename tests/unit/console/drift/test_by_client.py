"""Drift of one client: found beside everybody's, corrected for how many are looked at, and bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.urls import reverse

from console.audit.models import Entry
from console.clients.services import create_client
from console.datasets.proposals import propose_all
from console.drift import queries, services
from console.drift.models import EVERYBODY, Against, Distribution, Finding, Named, Outcome, Span
from console.ingest.services import apply_batch
from console.site.roles import Role
from model_store.reference import Reference, Sketch
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, prediction_event, uuid7
from tests.unit.console.people import member
from tests.unit.console.predictions.test_pages import browser

pytestmark = pytest.mark.django_db
VERSION = "v20261123_tiny_0.900"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


def asked(client: str, count: int, *, at: datetime, worse: bool = False, seed: int = 1) -> list[pb.Event]:
    random = np.random.default_rng(seed)
    return [
        prediction_event(
            client_id=client,
            confidence=float(random.beta(3, 3) if worse else random.beta(9, 2)),
            verdict=words.VERDICT_IN_DOMAIN,
            top_class=CLASSES[number % len(CLASSES)],
            happened_at=at,
        )
        for number in range(count)
    ]


@pytest.mark.usefixtures("static_files")
def test_what_one_client_asks_differently_is_found_although_nobody_else_does() -> None:
    shop = str(create_client(actor=member(Role.ADMINISTRATOR), name="the shop").client_id)
    others = [uuid7() for _ in range(3)]
    for number, client in enumerate((shop, *others)):
        apply_batch(asked(client, 250, at=NOON - WEEK, seed=number))
        apply_batch(asked(client, 250, at=NOON, seed=number + 10, worse=client == shop))
    services.fold()
    services.watch(at=NOON)
    drifted = Finding.objects.filter(against=Against.PREVIOUS, outcome=Outcome.DRIFT, measure="confidence")
    assert set(drifted.exclude(client=EVERYBODY).values_list("client", flat=True)) == {shop}
    told = Entry.objects.filter(type="drift.alert_opened").order_by("pk").last()
    assert told is not None
    assert f'"client":"{shop}"' in told.payload.text
    page = browser(member(Role.VIEWER))
    listed = page.get(reverse("admin:drift_finding_changelist"), {"client": shop})
    assert {(row.client, row.client_name) for row in listed.context["cl"].result_list} == {(shop, "the shop")}
    listed = page.get(reverse("admin:drift_finding_changelist"), {"client": "everybody"})
    assert {row.client for row in listed.context["cl"].result_list} == {EVERYBODY}
    finding = drifted.get(client=shop)
    assert ", the shop" in page.get(reverse("admin:drift_finding_change", args=[finding.pk])).content.decode()
    # The drift of one client is no reason to train the model anew.
    Finding.objects.filter(client=EVERYBODY).delete()
    assert propose_all(at=NOON) == 0


def test_too_few_of_a_client_say_nothing() -> None:
    client = uuid7()
    for at, worse in ((NOON - WEEK, False), (NOON, True)):
        apply_batch(asked(client, services.SAMPLES_MIN - 1, at=at, worse=worse))
    services.fold()
    services.watch(at=NOON)
    assert set(Finding.objects.filter(client=client).values_list("outcome", flat=True)) == {Outcome.TOO_FEW}


def test_many_clients_cost_no_more_than_a_few_and_all_of_them_count_together() -> None:
    clients = [uuid7() for _ in range(services.CLIENTS_MAX + 5)]
    for _ in range(2):  # the second time the places are taken
        apply_batch([event for client in clients for event in asked(client, 2, at=NOON)])
        services.fold()
    days = Distribution.objects.filter(span=Span.DAY)
    assert days.exclude(client=EVERYBODY).count() == services.CLIENTS_MAX
    assert not Distribution.objects.filter(span=Span.HOUR).exclude(client=EVERYBODY).exists()
    counts = {row.client: row.reference().samples["confidence"].count for row in days}
    assert counts.pop(EVERYBODY) == 4 * len(clients)
    assert set(counts.values()) == {4}
    services.tidy(at=NOON + services.CLIENT_DAYS_KEPT + timedelta(days=1))
    assert queries.clients_since(Named("amulets", VERSION), NOON) == []
    assert days.get().client == EVERYBODY


def test_the_correction_is_for_all_clients_together() -> None:
    random = np.random.default_rng(5)

    def of(shift: float = 0.0) -> Reference:
        return Reference({"confidence": Sketch(random.normal(shift, 1, 300))}, {})

    moved = (of(), of(0.3))
    (alone,) = services.compare_all({"shop": moved})["shop"]
    (among,) = services.compare_all({"shop": moved, **{f"other-{n}": (of(), of()) for n in range(19)}})["shop"]
    assert alone.q == alone.found.p
    assert among.found.p == alone.found.p
    assert alone.q < among.q <= 20 * alone.q
