"""One page says what is known of a person and what learnt from it, at a cost that does not grow."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.datasets.services import export_zip
from console.ingest.services import apply_batch
from console.privacy import services
from console.privacy.subject_page import PREDICTIONS_SHOWN
from console.registry.models import ModelVersion
from console.site.roles import Role
from console.vault import queries as vault_queries
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import browser, member
from tests.unit.console.versions import a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
PERSON = "shop-1"


def address(person: str = PERSON) -> str:
    subject = vault_queries.subject_of(person)
    assert subject is not None
    return reverse("admin:vault_subject_change", args=[subject.pk])


def test_it_shows_consents_requests_what_is_kept_predictions_and_the_versions_that_learnt(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    officer, engineer = member(Role.PRIVACY_OFFICER), member(Role.MODEL_ENGINEER)
    consenting(officer, PERSON)
    consenting(officer, "shop-2")
    prediction = labelled(member(Role.REVIEWER), PERSON, is_a(CLASSES[0]))
    made, content = export_zip(actor=engineer, model=MODEL)
    content.close()
    version = a_version(engineer, model=MODEL)
    version.card_document["data"]["fingerprint"] = made.fingerprint  # type: ignore[index]
    version.save()
    other = ModelVersion.objects.exclude(pk=version.pk)
    assert not other.exists()
    request = services.receive(actor=officer, pseudonym=PERSON, kind="access", laws="both", channel="web")
    visit = browser(officer)
    with django_assert_max_num_queries(15):
        shown = visit.get(address()).content.decode()
    for word in (f"keep-{PERSON}", f"train-{PERSON}", f"{MODEL} {version.version}", str(made)):
        assert word in shown
    for name, key in (("predictions_prediction", prediction), ("privacy_privacyrequest", request.pk)):
        assert reverse(f"admin:{name}_change", args=[key]) in shown
    assert reverse("admin:datasets_dataset_change", args=[made.pk]) not in shown  # a page that this role does not open
    nobody = visit.get(address("shop-2")).content.decode()
    assert version.version not in nobody
    assert f"keep-{PERSON}" not in nobody


def test_predictions_come_a_page_at_a_time_each_once() -> None:
    events = []
    for number in range(2 * PREDICTIONS_SHOWN + 3):
        event = prediction_event(subject=pb.Subject(pseudonym=PERSON))
        event.happened_at.FromDatetime(now() - timedelta(minutes=number // 2))  # some at one instant
        events.append(event)
    apply_batch(events)
    visit, seen, place = browser(member(Role.PRIVACY_OFFICER)), [], ""
    for _page in range(3):
        answer = visit.get(address(), {"before": place} if place else {})
        seen += re.findall(r"predictions/prediction/([0-9a-f-]{36})/change", answer.content.decode())
        place = answer.context["next"]
        if place:
            assert place in unquote(answer.content.decode())
    assert place == ""
    assert sorted(seen) == sorted(event.prediction.prediction_id for event in events)
    assert len(set(seen)) == len(events)
    assert visit.get(address(), {"before": "yesterday"}).status_code == 400
