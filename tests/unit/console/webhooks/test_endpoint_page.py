"""What an operator is told of a webhook first: whether its messages arrive, why not, and when the next is tried."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import override

from console.site.roles import Role
from console.staff.models import User
from console.webhooks import queries, sentences, services
from console.webhooks.events import EVENTS
from console.webhooks.models import Delivery, Endpoint, State
from console.webhooks.queries import Health
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
OPENED = "drift.alert_opened"
HOST = "hooks.example.org"
ROW = re.compile(r"<tr[^>]*>.*?</tr>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")


@pytest.fixture
def suda() -> User:
    return member(Role.ADMINISTRATOR)


def webhook(suda: User, name: str = "hook", *, active: bool = True, events: Any = (OPENED,)) -> Endpoint:
    return Endpoint.objects.create(
        url=f"https://{HOST}/{name}",
        events=list(events),
        nonce=b"n" * 16,
        told_through=0,
        created_by=suda,
        active=active,
    )


def message(endpoint: Endpoint, state: State, answer: str = "", tries: int = 1, **more: Any) -> Delivery:
    number = Delivery.objects.filter(endpoint=endpoint).count() + 1
    settled_at = None if state == State.WAITING else now()
    return Delivery.objects.create(
        endpoint=endpoint, sequence=number, type=OPENED, body='{"type": "x"}', state=state, answer=answer,
        tries=tries, settled_at=settled_at, **more,
    )  # fmt: skip


def read(desk: Browser, address: str, language: str = "en") -> str:
    answered = desk.get(address, headers={"Accept-Language": language})
    assert answered.status_code == 200
    return answered.content.decode()


def text_of(markup: str) -> str:
    return re.sub(r"\s+", " ", TAG.sub(" ", markup))


def page_of(endpoint: Endpoint) -> str:
    return reverse("admin:webhooks_endpoint_change", args=[endpoint.pk])


def test_the_last_message_of_which_something_came_says_how_an_address_does(suda: User) -> None:
    new, well, failing, recovered, given_up, off = (
        webhook(suda, name, active=name != "off") for name in ("new", "well", "failing", "recovered", "given-up", "off")
    )
    message(new, State.WAITING, tries=0)
    message(well, State.DELIVERED, "204")
    message(well, State.WAITING, tries=1)  # being tried: nothing came of it yet
    message(failing, State.DELIVERED, "204")
    soon, later = now() + timedelta(minutes=5), now() + timedelta(hours=2)
    message(failing, State.WAITING, "503", next_try_at=later)
    message(failing, State.WAITING, "503", next_try_at=soon)
    message(recovered, State.WAITING, "503", tries=4)
    message(recovered, State.DELIVERED, "204")
    message(given_up, State.GIVEN_UP, "503", tries=services.TRIES_MAX)
    message(off, State.DELIVERED, "204")
    everybody = (new, well, failing, recovered, given_up, off)
    with CaptureQueriesContext(connection) as asked:
        found = queries.standings(everybody)
    assert len(asked) == 2
    assert [found[each.pk].health for each in everybody] == [
        Health.NEW, Health.ARRIVES, Health.FAILS, Health.ARRIVES, Health.FAILS, Health.OFF,
    ]  # fmt: skip
    assert [found[each.pk].waiting for each in everybody] == [1, 1, 2, 1, 0, 0]
    assert found[failing.pk].next_try_at == soon
    assert found[given_up.pk].next_try_at is None


@pytest.mark.parametrize(
    ("language", "fails", "why", "few", "whole"),
    [
        ("en", "does not arrive", "It has not arrived after 3 tries. It answered 503.", "and 1 more", "all events"),
        ("th", "ส่งไม่ถึง", "ส่งไปแล้ว 3 ครั้ง แต่ยังไม่ถึง ปลายทางตอบ 503", "และอีก 1 เหตุการณ์", "ทุกเหตุการณ์"),
    ],
)
def test_the_list_says_who_hears_what_and_what_does_not_arrive(
    suda: User, language: str, fails: str, why: str, few: str, whole: str
) -> None:
    next_try_at = now() + timedelta(minutes=30)
    message(webhook(suda, events=list(EVENTS)[:4]), State.WAITING, "503", tries=3, next_try_at=next_try_at)
    webhook(suda, "silent", events=EVENTS)
    rows = ROW.findall(read(browser(suda), reverse("admin:webhooks_endpoint_changelist"), language))
    [failing] = [text_of(row) for row in rows if f"{HOST}/hook" in row]
    [silent] = [text_of(row) for row in rows if f"{HOST}/silent" in row]
    with override(language):
        when = date_format(localtime(next_try_at), "DATETIME_FORMAT")
    assert [part for part in (fails, why, few, when) if part not in failing] == []
    assert whole in silent


def test_a_list_of_many_webhooks_costs_as_much_as_one_of_one(suda: User) -> None:
    desk, address = browser(suda), reverse("admin:webhooks_endpoint_changelist")

    def cost() -> int:
        with CaptureQueriesContext(connection) as asked:
            read(desk, address)
        return len(asked)

    message(webhook(suda), State.DELIVERED, "204")
    read(desk, address)  # permissions and content types are read once in a process
    one = cost()
    for number in range(12):
        made = webhook(suda, str(number))
        message(made, State.WAITING, "503")
    assert cost() == one


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            ("It has not arrived after 2 tries.", f"{HOST} did not answer within 10 seconds.", "2 of 10", "by suda"),
        ),
        ("th", ("ส่งไปแล้ว 2 ครั้ง แต่ยังไม่ถึง", f"{HOST} ไม่ตอบภายใน 10 วินาที", "2 จาก 10 ครั้ง", "โดย suda")),
    ],
)
def test_a_webhooks_page_says_what_failed_why_and_what_comes_next(
    suda: User, language: str, words: tuple[str, ...]
) -> None:
    endpoint = webhook(suda, events=EVENTS)
    message(endpoint, State.DELIVERED, "204")
    answer = sentences.NO_ANSWER.format(host=HOST, seconds="10")
    failed = message(endpoint, State.WAITING, answer, tries=2, next_try_at=now() + timedelta(minutes=30))
    page = read(browser(suda), page_of(endpoint), language)
    with override(language):
        when = date_format(localtime(failed.next_try_at), "DATETIME_FORMAT")
    assert [word for word in (*words, when) if word not in page] == []
    ways = [
        reverse(f"admin:webhooks_endpoint_{name}", args=[endpoint.pk]) for name in ("switch", "renew_secret", "remove")
    ]
    ways.append(reverse("admin:webhooks_delivery_change", args=[failed.pk]))
    ways.append(f"{reverse('admin:webhooks_delivery_changelist')}?endpoint__id__exact={endpoint.pk}")
    assert [way for way in ways if f'href="{way}"' not in page] == []
    assert read(browser(suda), ways[-1]).count('<td class="field-event_name') == 2


@pytest.mark.parametrize(("language", "said"), [("en", "1 try"), ("th", "1 ครั้ง")])
def test_of_what_arrived_no_more_tries_are_promised(suda: User, language: str, said: str) -> None:
    delivery = message(webhook(suda), State.DELIVERED, "204")
    for address in (page_of(delivery.endpoint), reverse("admin:webhooks_delivery_changelist")):
        cells = re.findall(r"<td.*?</td>", read(browser(suda), address, language), re.DOTALL)
        assert said in [text_of(cell).strip() for cell in cells]


def test_what_is_switched_off_has_no_next_try_and_says_what_becomes_of_what_waits(suda: User) -> None:
    endpoint = webhook(suda, active=False)
    waiting = message(endpoint, State.WAITING, "503", next_try_at=now() + timedelta(minutes=30))
    desk = browser(suda)
    page = read(desk, page_of(endpoint))
    assert "They are tried once it is switched on again." in page
    assert "Switch on" in page
    address = reverse("admin:webhooks_delivery_change", args=[waiting.pk])
    assert "it is tried once that is switched on again" in read(desk, address)
    when = date_format(localtime(waiting.next_try_at), "DATETIME_FORMAT")
    lists = [reverse(f"admin:webhooks_{kind}_changelist") for kind in ("endpoint", "delivery")]
    assert [each for each in (page_of(endpoint), address, *lists) if when in read(desk, each)] == []


def test_a_letter_is_signed_with_no_secret_and_is_offered_no_new_one(suda: User) -> None:
    endpoint = webhook(suda)
    Endpoint.objects.update(url="mailto:desk@example.org")
    message(endpoint, State.DELIVERED, sentences.SENT)
    page = read(browser(suda), page_of(endpoint))
    assert "It arrived at the first try. The mail server took the letter." in page
    assert reverse("admin:webhooks_endpoint_renew_secret", args=[endpoint.pk]) not in page


def test_a_messages_page_leads_to_its_webhook_and_to_what_it_tells_of(suda: User) -> None:
    endpoint = webhook(suda)
    given_up = message(endpoint, State.GIVEN_UP, "ConnectError", tries=services.TRIES_MAX)
    page = read(browser(suda), reverse("admin:webhooks_delivery_change", args=[given_up.pk]))
    said = "It did not arrive and is given up, after 10 tries. The connection failed: ConnectError."
    entry = reverse("admin:audit_entry_change", args=[given_up.sequence])
    assert [part for part in (said, page_of(endpoint), entry, given_up.message_id) if part not in page] == []


def test_what_is_done_on_its_page_leads_back_to_it(suda: User) -> None:
    endpoint, desk = webhook(suda), browser(suda)
    switched = desk.post(reverse("admin:webhooks_endpoint_switch", args=[endpoint.pk]))
    assert switched.headers["Location"] == page_of(endpoint)
    renewed = desk.post(reverse("admin:webhooks_endpoint_renew_secret", args=[endpoint.pk])).content.decode()
    assert f'href="{page_of(endpoint)}"' in renewed
    assert "secret of a webhook renewed" in read(desk, page_of(endpoint))  # in its part of the audit trail


@pytest.mark.parametrize("language", ["en", "th"])
def test_a_test_and_a_message_again_are_asked_for_on_their_pages(suda: User, language: str) -> None:
    endpoint, desk = webhook(suda), browser(suda)
    given_up = message(endpoint, State.GIVEN_UP, "503", tries=services.TRIES_MAX)
    own = reverse("admin:webhooks_delivery_change", args=[given_up.pk])
    again = reverse("admin:webhooks_delivery_deliver_again", args=[given_up.pk])
    test = reverse("admin:webhooks_endpoint_send_test", args=[endpoint.pk])
    assert f'href="{test}"' in read(desk, page_of(endpoint), language)
    assert f'href="{again}"' in read(desk, own, language)
    assert {"en": "the same number", "th": "หมายเลขเดิม"}[language] in read(desk, again, language)

    assert desk.post(again).headers["Location"] == own
    assert desk.post(test).headers["Location"] == page_of(endpoint)

    assert f'href="{again}"' not in read(desk, own, language)  # it waits
    words = {"en": ("test sent to a webhook", "0 of 1"), "th": ("ส่งข้อความทดสอบไปยังเว็บฮุก", "0 จาก 1 ครั้ง")}[language]
    assert [word for word in words if word not in read(desk, page_of(endpoint), language)] == []
    refused = desk.post(test, headers={"accept-language": language}).content.decode()
    assert {"en": "on its way already", "th": "กำลังส่งอยู่แล้ว"}[language] in refused
    Endpoint.objects.update(active=False)
    assert f'href="{test}"' not in read(desk, page_of(endpoint), language)


@pytest.mark.parametrize(("language", "last", "sooner"), [("en", "Last try", "Try now"), ("th", "ส่งครั้งล่าสุด", "ส่งทันที")])
def test_what_waits_says_when_it_was_tried_and_is_tried_sooner_from_its_page(
    suda: User, language: str, last: str, sooner: str
) -> None:
    endpoint, desk, tried_at = webhook(suda), browser(suda), now() - timedelta(minutes=7)
    next_try_at = now() + timedelta(minutes=30)
    waiting = message(endpoint, State.WAITING, "503", tries=3, tried_at=tried_at, next_try_at=next_try_at)
    own = reverse("admin:webhooks_delivery_change", args=[waiting.pk])
    at_once = reverse("admin:webhooks_delivery_try_now", args=[waiting.pk])
    with override(language):
        when = date_format(localtime(tried_at), "DATETIME_FORMAT")
    for address in (own, page_of(endpoint)):
        page = read(desk, address, language)
        assert [word for word in (last, when) if word not in page] == []
    assert f'href="{at_once}"' in read(desk, own, language)
    assert sooner in read(desk, at_once, language)

    Delivery.objects.update(claimed_until=now() + timedelta(minutes=4))
    assert f'href="{at_once}"' not in read(desk, own, language)  # it is being tried
    Delivery.objects.update(claimed_until=None)
    assert desk.post(at_once).headers["Location"] == own
    assert f'href="{at_once}"' not in read(desk, own, language)  # it leaves
    Delivery.objects.update(next_try_at=next_try_at)
    Endpoint.objects.update(active=False)
    assert f'href="{at_once}"' not in read(desk, own, language)
