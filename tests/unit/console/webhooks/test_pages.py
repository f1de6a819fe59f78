"""The pages of webhooks: made, looked at, switched off and removed by who may, in both languages."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext, override

from console.audit.names import type_name
from console.audit.services import record
from console.site.roles import Role
from console.staff.models import User
from console.webhooks import sentences, services
from console.webhooks.models import Delivery, Endpoint
from tests.unit.console.people import member
from tests.unit.console.review.test_blind_and_double import at_the_desk

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
OPENED = "drift.alert_opened"
NEW = "admin:webhooks_endpoint_new_endpoint"


def test_a_webhook_is_made_watched_and_removed(settings: Any) -> None:
    settings.AMULET = settings.AMULET.model_copy(update={"webhook_private": True})
    desk = at_the_desk(member(Role.ADMINISTRATOR))
    for language, text in (("th", "เปิดการแจ้งเตือนดริฟต์"), ("en", "drift alert opened")):
        desk.cookies["django_language"] = language
        assert text in desk.get(reverse(NEW)).content.decode()
    # Nobody listens on port 1.
    made = desk.post(reverse(NEW), {"url": "http://127.0.0.1:1/", "events": [OPENED]})
    assert "whsec_" in made.content.decode()
    endpoint = Endpoint.objects.get()
    with transaction.atomic():
        record(actor=None, action=OPENED, subject_type="model_version", subject_id="v1", details={})
    services.enqueue()
    services.deliver(at=now())
    log = desk.get(reverse("admin:webhooks_delivery_changelist"), {"state__exact": "waiting"}).content.decode()
    assert "ConnectError" in log
    sent = desk.get(reverse("admin:webhooks_delivery_change", args=[Delivery.objects.get().pk])).content.decode()
    assert f"{{\n  &quot;type&quot;: &quot;{OPENED}&quot;" in sent  # a field to a line
    pages = [("delivery_change", Delivery.objects.get().pk)]
    pages += [(f"endpoint_{name}", endpoint.pk) for name in ("change", "renew_secret", "switch", "remove")]
    for name, key in pages:
        shown = desk.get(reverse(f"admin:webhooks_{name}", args=[key]))
        assert shown.status_code == 200, name
        assert "whsec_" not in shown.content.decode()
    assert desk.get(reverse("admin:webhooks_endpoint_remove", args=[endpoint.pk + 1])).status_code == 404
    desk.post(reverse("admin:webhooks_endpoint_switch", args=[endpoint.pk]), {"seen": "on"})
    assert not Endpoint.objects.get().active
    desk.post(reverse("admin:webhooks_endpoint_remove", args=[endpoint.pk]))
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize("was_on", [True, False])
def test_a_switch_does_what_its_page_said_whatever_another_window_made_of_it(was_on: bool) -> None:
    """Of two pages that both said “Switch off” the second one switched it on again."""
    boss = member(Role.ADMINISTRATOR)
    endpoint, desk = _endpoint(boss, active=was_on), at_the_desk(boss)
    address = reverse("admin:webhooks_endpoint_switch", args=[endpoint.pk])
    page = desk.get(address)
    assert ("Switch off" if was_on else "Switch on") in page.content.decode()
    for _window in ("one", "another"):
        desk.post(address, {"seen": page.context["seen"]})
        assert Endpoint.objects.get().active is not was_on


@pytest.mark.parametrize("language", ["en", "th"])
def test_a_secret_is_not_renewed_from_a_page_that_is_older_than_it(language: str) -> None:
    """A program may have the newer one by now. Whoever is told of it and asks again means it."""
    boss, other = member(Role.ADMINISTRATOR), member(Role.ADMINISTRATOR, "second")
    endpoint, desk = _endpoint(boss), at_the_desk(boss)
    desk.cookies["django_language"] = language
    address = reverse("admin:webhooks_endpoint_renew_secret", args=[endpoint.pk])
    seen = desk.get(address).context["seen"]
    services.send_test(actor=boss, endpoint_id=endpoint.pk)  # which is no new secret
    assert "whsec_" in desk.post(address, {"seen": seen}).content.decode()
    services.renew_secret(actor=other, endpoint_id=endpoint.pk)
    theirs = bytes(Endpoint.objects.get().nonce)
    refused = desk.post(address, {"seen": seen})
    told = "{who} made a new secret on {when}, after you opened this page. Nothing was changed."
    with override(language):
        start, end = gettext(told).split("{when}")
    assert start.format(who=other) in refused.content.decode()
    assert end in refused.content.decode()
    assert bytes(Endpoint.objects.get().nonce) == theirs
    assert "whsec_" in desk.post(address, {"seen": refused.context["seen"]}).content.decode()


@pytest.mark.parametrize("language", ["en", "th"])
def test_what_it_hears_of_is_chosen_anew_and_not_from_a_page_that_is_older(language: str) -> None:
    """A second page that was opened before took away what a colleague had added."""
    closed, boss, other = "drift.alert_closed", member(Role.ADMINISTRATOR), member(Role.ADMINISTRATOR, "second")
    endpoint, desk = _endpoint(boss), at_the_desk(boss)
    desk.cookies["django_language"] = language
    address = reverse("admin:webhooks_endpoint_change_events", args=[endpoint.pk])
    page = desk.get(address)
    assert page.context["form"]["events"].value() == [OPENED]
    seen = page.context["seen"]
    services.send_test(actor=other, endpoint_id=endpoint.pk)  # which changes nothing
    services.change_endpoint(actor=other, endpoint_id=endpoint.pk, events=[OPENED, closed])
    refused = desk.post(address, {"seen": seen, "events": ["erasure.done"]})
    with override(language):
        told = gettext("{who} changed this webhook on {when}, after you looked at it. Nothing of yours was changed.")
    start, end = told.split("{when}")
    assert start.format(who=other) in refused.content.decode()
    assert end in refused.content.decode()
    assert Endpoint.objects.get().events == [OPENED, closed]
    # What was ticked is ticked still; whoever is told and asks again means it.
    assert refused.context["form"]["events"].value() == ["erasure.done"]
    done = desk.post(address, {"seen": refused.context["seen"], "events": ["erasure.done"]}, follow=True)
    assert Endpoint.objects.get().events == ["erasure.done"]
    with override(language):
        assert gettext("Change events") in done.content.decode()
        assert type_name("erasure.done") in done.content.decode()
    nothing = desk.post(address, {"seen": done.context.get("seen", ""), "events": []})
    assert nothing.context["form"].errors["events"]


def _endpoint(boss: User, *, active: bool = True) -> Endpoint:
    endpoint = Endpoint.objects.create(
        url="https://hooks.example.org/",
        events=[OPENED],
        nonce=b"n" * 16,
        told_through=0,
        created_by=boss,
        active=active,
    )
    with transaction.atomic():
        record(
            actor=boss,
            action="webhooks.endpoint_created",
            subject_type="webhook",
            subject_id=str(endpoint.pk),
            details={},
        )
    return endpoint


def test_why_a_message_did_not_arrive_is_told_in_the_readers_language() -> None:
    desk = at_the_desk(member(Role.ADMINISTRATOR))
    # As a worker writes it: the endpoint's host was public when it was made.
    endpoint = Endpoint.objects.create(
        url="https://hooks.example.org/",
        events=[OPENED],
        nonce=b"n" * 16,
        told_through=0,
        created_by=member(Role.ADMINISTRATOR, "second"),
    )
    said = sentences.NO_ANSWER.format(host="hooks.example.org", seconds="10")
    waiting = Delivery.objects.create(endpoint=endpoint, sequence=1, type=OPENED, body='{"type": "x"}', answer=said)
    other = Delivery.objects.create(endpoint=endpoint, sequence=2, type=OPENED, body='{"type": "x"}', answer="503")
    page = reverse("admin:webhooks_delivery_change", args=[waiting.pk])
    for language, text in (("th", "hooks.example.org ไม่ตอบ"), ("en", said)):
        desk.cookies["django_language"] = language
        for address in (reverse("admin:webhooks_delivery_changelist"), page):
            assert text in desk.get(address).content.decode()
    assert "503" in desk.get(reverse("admin:webhooks_delivery_change", args=[other.pk])).content.decode()


@pytest.mark.parametrize("sentence", sentences.SENTENCES)
def test_every_reason_of_ours_is_found_again(sentence: str) -> None:
    fields = {"host": "hooks.example.org", "seconds": "10", "path": "/etc/own.pem", "why": "it has expired"}
    with override("th"):
        assert sentences.for_reader(sentence.format(**fields)) == gettext(sentence).format(**fields)
        assert gettext(sentence) != sentence
        assert sentences.for_reader("ConnectError") == "ConnectError"


def test_others_see_none_of_it() -> None:
    desk = at_the_desk(member(Role.APPROVER))
    for name in ("endpoint_changelist", "endpoint_new_endpoint", "delivery_changelist"):
        assert desk.get(reverse(f"admin:webhooks_{name}")).status_code == 403
