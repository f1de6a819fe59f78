"""Who wants to hear of something hears of it: signed, once for each try, and nothing inside our own network."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from django.core import mail
from django.db import transaction
from django.utils.timezone import now

from console.audit.models import Entry, Payload
from console.audit.names import TYPES
from console.audit.services import record
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.site.roles import Role
from console.staff.models import User
from console.webhooks import sending, services
from console.webhooks.events import EVENTS, TEST
from console.webhooks.models import Delivery, Endpoint, State
from tests.unit.console.people import caller, member

pytestmark = pytest.mark.django_db
OPENED = "drift.alert_opened"


class Listener(HTTPServer):
    """A program that hears messages; answers with the statuses it was given, then with 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hearing)
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?of=amulet"


class _Hearing(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("location", self.server.url)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def boss() -> User:
    return member(Role.ADMINISTRATOR)


@pytest.fixture
def private(settings: Any) -> None:
    settings.AMULET = settings.AMULET.model_copy(update={"webhook_private": True, "smtp_url": "smtp://127.0.0.1"})


def happen(type_: str = OPENED, **details: Any) -> None:
    with transaction.atomic():
        record(actor=None, action=type_, subject_type="model_version", subject_id="v1", details=details)


def tell(at: datetime | None = None) -> int:
    services.enqueue()
    return services.deliver(at=at or now())


def test_what_can_be_heard_of_is_what_the_log_tells() -> None:
    assert EVENTS.keys() <= TYPES.keys()
    assert TEST in TYPES
    assert TEST not in EVENTS


@pytest.mark.usefixtures("private")
def test_a_message_is_signed_as_standard_webhooks_says_and_tells_nothing_else(boss: User, listener: Listener) -> None:
    happen(measure="before")
    issued = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED])
    happen(measure="confidence", q=0.01, reason="typed by somebody")
    happen("drift.alert_closed")
    assert tell() == 1
    ((headers, body),) = listener.heard
    secret = base64.b64decode(issued.secret.removeprefix("whsec_"))
    assert len(secret) == 32
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert abs(int(headers["webhook-timestamp"]) - now().timestamp()) < 60
    assert headers["host"] == f"127.0.0.1:{listener.server_port}"
    entry = Entry.objects.filter(type=OPENED).first()
    assert entry is not None
    assert json.loads(body) == {
        "type": OPENED,
        "timestamp": entry.recorded_at.isoformat(),
        "data": {"audit_sequence": entry.sequence, "model_version": "v1", "measure": "confidence", "q": 0.01},
    }
    assert tell() == 0
    assert len(listener.heard) == 1


@pytest.mark.usefixtures("private")
def test_what_fails_is_tried_again_later_with_the_same_id_and_given_up_in_the_end(
    boss: User, listener: Listener
) -> None:
    services.create_endpoint(actor=boss, url=listener.url, events=[OPENED])
    happen()
    listener.statuses = [500, 302]
    moment = now() + timedelta(seconds=1)
    assert tell(moment) == 0
    assert tell(moment + timedelta(seconds=4)) == 0
    assert len(listener.heard) == 1
    assert tell(moment + timedelta(seconds=6)) == 0  # a redirect is no delivery, and is not followed
    assert len(listener.heard) == 2
    assert tell(moment + timedelta(seconds=400)) == 1
    assert len({headers["webhook-id"] for headers, _body in listener.heard}) == 1
    happen()
    services.enqueue()
    listener.statuses = [500] * 20
    for day in range(20):
        services.deliver(at=moment + timedelta(days=day + 1))
    given_up = Delivery.objects.get(state=State.GIVEN_UP)
    assert (given_up.tries, given_up.answer) == (len(services.TRIES_AFTER) + 1, "500")
    assert len(listener.heard) == 4 + len(services.TRIES_AFTER)


@pytest.mark.usefixtures("private")
def test_what_is_rolled_back_is_told_to_nobody(boss: User, listener: Listener) -> None:
    services.create_endpoint(actor=boss, url=listener.url, events=[OPENED])
    with transaction.atomic():
        happen()
        transaction.set_rollback(True)
    assert tell() == 0


@pytest.mark.usefixtures("private")
def test_other_events_are_heard_of_under_the_same_secret_and_what_waits_still_leaves(
    boss: User, listener: Listener
) -> None:
    closed = "drift.alert_closed"
    issued = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED])
    number, nonce = issued.endpoint.pk, bytes(issued.endpoint.nonce)
    happen()
    assert services.enqueue() == 1
    services.change_endpoint(actor=boss, endpoint_id=number, events=[closed, closed])
    happen()
    happen(closed)
    assert tell() == 2
    assert [json.loads(body)["type"] for _headers, body in listener.heard] == [OPENED, closed]
    endpoint = Endpoint.objects.get()
    assert (endpoint.events, endpoint.active, bytes(endpoint.nonce)) == ([closed], True, nonce)
    said = Entry.objects.get(type="webhooks.events_changed")
    told = json.loads(said.payload.text)
    assert (told["before"], told["after"]) == ([OPENED], [closed])
    # The same once more is no change.
    services.change_endpoint(actor=boss, endpoint_id=number, events=[closed], active=True)
    assert Entry.objects.filter(type__startswith="webhooks.").count() == 2


@pytest.mark.usefixtures("private")
def test_a_script_that_says_what_it_saw_of_a_webhook_overwrites_nothing_else(boss: User) -> None:
    script, closed = caller(Role.ADMINISTRATOR), "drift.alert_closed"
    number = services.create_endpoint(actor=boss, url="https://192.0.2.1/", events=[OPENED]).endpoint.pk
    address = f"/api/v1/webhooks/{number}/"
    seen = script.get(address)["ETag"]
    first = script.put(address, {"active": True, "events": [closed]}, headers={"If-Match": seen})
    assert (first.status_code, first.json()["events"], first["ETag"] == seen) == (200, [closed], False)
    second = script.put(address, {"active": False}, headers={"If-Match": seen})
    assert (second.status_code, second.json()["reason"]) == (412, "changed_meanwhile")
    assert Endpoint.objects.get().active
    off = script.put(address, {"active": False}, headers={"If-Match": first["ETag"]})
    assert (off.json()["active"], off.json()["events"]) == (False, [closed])
    wrong = script.put(address, {"active": True, "events": ["drift.alert"]})
    assert (wrong.status_code, Endpoint.objects.get().active) == (400, False)


@pytest.mark.parametrize(("events", "said"), [([], "at least one"), (["drift.alert"], "drift.alert is no event")])
def test_events_that_are_none_are_refused_and_nothing_else_is_changed(
    boss: User, private: None, events: list[str], said: str
) -> None:
    number = services.create_endpoint(actor=boss, url="https://192.0.2.1/", events=[OPENED]).endpoint.pk
    with pytest.raises(Invalid, match=said) as refused:
        services.change_endpoint(actor=boss, endpoint_id=number, events=events, active=False)
    assert refused.value.field == "events"
    assert (Endpoint.objects.get().events, Endpoint.objects.get().active) == ([OPENED], True)


@pytest.mark.usefixtures("private")
def test_one_that_is_switched_off_hears_nothing_and_a_new_secret_signs(boss: User, listener: Listener) -> None:
    issued = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED])
    number = issued.endpoint.pk
    services.change_endpoint(actor=boss, endpoint_id=number, active=False)
    happen()
    assert tell() == 0
    services.change_endpoint(actor=boss, endpoint_id=number, active=True)
    assert tell() == 0
    assert services.renew_secret(actor=boss, endpoint_id=number).secret != issued.secret
    services.remove_endpoint(actor=boss, endpoint_id=number)
    assert not Delivery.objects.exists()


@pytest.mark.usefixtures("private")
def test_people_hear_by_e_mail_in_both_languages(boss: User) -> None:
    services.create_endpoint(actor=boss, url="mailto:team@example.org", events=[OPENED])
    happen(measure="confidence")
    assert tell() == 1
    (letter,) = mail.outbox
    assert letter.to == ["team@example.org"]
    assert "drift alert opened" in letter.subject
    assert "เปิดการแจ้งเตือนดริฟต์" in letter.subject
    assert "confidence" in letter.body


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://10.1.2.3/", "https://192.168.0.1:8443/x",
        "https://169.254.169.254/latest/meta-data", "https://[::ffff:10.0.0.1]/", "https://[2002:7f00:1::]/",
        "https://0.0.0.0/", "https://[fe80::1]/", "https://2130706433/", "https://0x7f.1/", "https://100.64.0.1/",
        "http://example.org/", "ftp://example.org/", "https://user@example.org/", "https:///x", "file:///etc/passwd",
        "https://[fec0::1]/", "https://[64:ff9b::a00:1]/", "https://[::7f00:1]/", "https://[64:ff9b:1::7f00:1]/",
        "https://8.8.8.8/\x01", "https://8.8.8.8:99999/", "https://8.8.8.8:-1/", "https://a..b/",
        "https://example.org:99999/", "mailto:team@example.org", "https://no-such-host.invalid/",
    ],
)  # fmt: skip
def test_an_address_inside_our_own_network_is_refused(boss: User, url: str) -> None:
    with pytest.raises(Invalid) as refused:
        services.create_endpoint(actor=boss, url=url, events=[OPENED])
    assert refused.value.field == "url"


@pytest.mark.usefixtures("private")
def test_a_long_queue_of_an_address_that_fails_is_before_nobody_elses(boss: User, listener: Listener) -> None:
    services.create_endpoint(actor=boss, url="http://127.0.0.1:1/", events=[OPENED])  # where nobody listens
    for _number in range(services._DELIVERIES_AT_ONCE + 5):
        happen()
    services.enqueue()
    services.create_endpoint(actor=boss, url=listener.url, events=[OPENED])
    happen()
    assert tell() == 1
    assert len(listener.heard) == 1


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/\x01", "http://127.0.0.1:99999/", "mailto:a\xe9\n@example.org"])
def test_an_address_that_was_entered_before_it_was_refused_holds_up_nobody(
    boss: User, listener: Listener, url: str
) -> None:
    first = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED]).endpoint
    Endpoint.objects.filter(pk=first.pk).update(url=url)
    services.create_endpoint(actor=boss, url=listener.url, events=[OPENED])
    happen()
    assert tell() >= 1
    assert len(listener.heard) == 1


@pytest.mark.usefixtures("private")
def test_while_a_listener_takes_its_time_no_second_try_begins(boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    services.create_endpoint(actor=boss, url="http://127.0.0.1:1/", events=[OPENED])
    happen()
    started, tries = now(), []

    def slow(*_: Any) -> str:
        tries.append(1)
        if len(tries) == 1:  # another worker's turn, while this one waits for the answer
            assert services.deliver(at=started + timedelta(seconds=9)) == 0
        return "204"

    monkeypatch.setattr(sending, "post", slow)
    assert tell(started + timedelta(seconds=1)) == 1
    assert len(tries) == 1


@pytest.mark.usefixtures("private")
def test_what_arrived_stays_arrived_whatever_an_older_try_comes_to(boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    services.create_endpoint(actor=boss, url="http://127.0.0.1:1/", events=[OPENED])
    happen()
    started, tries = now(), []

    def stood_still(*_: Any) -> str:
        tries.append(1)
        if len(tries) == 1:
            assert services.deliver(at=started + timedelta(hours=1)) == 1
            raise sending.NotDelivered("ReadError")
        return "204"

    monkeypatch.setattr(sending, "post", stood_still)
    assert tell(started + timedelta(seconds=1)) == 0
    told = Delivery.objects.get()
    assert (told.state, told.answer, told.tries) == (State.DELIVERED, "204", 2)
    assert services.deliver(at=started + timedelta(days=9)) == 0


def test_a_name_that_turns_private_later_reaches_nothing(boss: User, listener: Listener, settings: Any) -> None:
    allowed = settings.AMULET
    settings.AMULET = allowed.model_copy(update={"webhook_private": True})
    services.create_endpoint(actor=boss, url=listener.url.replace("127.0.0.1", "localhost"), events=[OPENED])
    settings.AMULET = allowed
    happen()
    assert tell() == 0
    assert listener.heard == []
    assert "private network" in Delivery.objects.get().answer


@pytest.mark.usefixtures("private")
def test_scripts_make_one_look_at_its_log_and_never_see_the_secret_again(listener: Listener) -> None:
    script = caller(Role.ADMINISTRATOR)
    made = script.post("/api/v1/webhooks/", {"url": listener.url, "events": [OPENED]})
    assert made.status_code == 201
    happen()
    tell()
    (one,) = script.get(f"/api/v1/webhooks/{made.data['id']}/deliveries/").json()["results"]
    assert (one["state"], one["tries"], one["answer"], one["message"]["type"]) == ("delivered", 1, "204", OPENED)
    secret = made.data["secret"]
    everything = script.get("/api/v1/webhooks/").content + script.get("/api/v1/audit/entries/").content
    assert secret.encode() not in everything
    odd = script.post("/api/v1/webhooks/", {"url": listener.url, "events": ["no.such"]})
    assert (odd.status_code, odd.json()["field"]) == (400, "events.0")


@pytest.mark.usefixtures("private")
def test_a_test_goes_the_way_of_every_message_and_is_tried_once(boss: User, listener: Listener) -> None:
    number = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED]).endpoint.pk
    listener.statuses = [500]
    first = services.send_test(actor=boss, endpoint_id=number)
    with pytest.raises(Conflict, match="on its way"):
        services.send_test(actor=boss, endpoint_id=number)
    assert tell() == 0
    first.refresh_from_db()
    assert (first.state, first.tries, first.answer) == (State.GIVEN_UP, 1, "500")
    second = services.send_test(actor=boss, endpoint_id=number)
    assert tell() == 1
    assert [headers["webhook-id"] for headers, _body in listener.heard] == [first.message_id, second.message_id]
    entry = Entry.objects.get(type=TEST, sequence=second.sequence)
    assert json.loads(listener.heard[-1][1]) == {
        "type": TEST,
        "timestamp": entry.recorded_at.isoformat(),
        "data": {"audit_sequence": entry.sequence, "webhook": str(number)},
    }
    services.change_endpoint(actor=boss, endpoint_id=number, active=False)
    with pytest.raises(Conflict, match="switched off"):
        services.send_test(actor=boss, endpoint_id=number)


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize("state", [State.GIVEN_UP, State.DELIVERED])
def test_what_is_settled_is_delivered_again_under_its_id_and_with_all_its_tries(
    boss: User, listener: Listener, state: State
) -> None:
    number = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED]).endpoint.pk
    happen(measure="confidence")
    assert tell() == 1
    told = Delivery.objects.get()
    Delivery.objects.update(state=state, tries=services.TRIES_MAX)
    services.deliver_again(actor=boss, endpoint_id=number, delivery_id=told.pk)
    with pytest.raises(Conflict, match="waits"):
        services.deliver_again(actor=boss, endpoint_id=number, delivery_id=told.pk)
    listener.statuses = [500]
    assert tell() == 0
    assert tell(now() + timedelta(seconds=10)) == 1
    first, *again = [(headers["webhook-id"], body) for headers, body in listener.heard]
    assert again == [first, first]
    told.refresh_from_db()
    assert (told.state, told.tries) == (State.DELIVERED, 2)
    payload = Entry.objects.get(type="webhooks.delivery_repeated").payload
    assert json.loads(payload.text) == {
        "about": ["webhook", str(number)], "event": OPENED, "number": told.sequence, "before": state.value
    }  # fmt: skip


@pytest.mark.usefixtures("private")
def test_what_waits_after_a_failed_try_is_tried_at_once_as_one_of_its_tries(boss: User, listener: Listener) -> None:
    number = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED]).endpoint.pk
    happen()
    listener.statuses = [500, 500]
    moment = now() + timedelta(seconds=1)
    assert tell(moment) == 0
    assert services.deliver(at=moment + timedelta(seconds=6)) == 0
    told = Delivery.objects.get()
    assert told.tried_at is not None
    assert timedelta(seconds=6) <= told.tried_at - moment < timedelta(seconds=60)
    assert services.deliver(at=now()) == 0  # five minutes are not over
    services.try_now(actor=boss, endpoint_id=number, delivery_id=told.pk)
    with pytest.raises(Conflict, match="within seconds"):
        services.try_now(actor=boss, endpoint_id=number, delivery_id=told.pk)
    assert services.deliver(at=now()) == 1
    told.refresh_from_db()
    assert (told.state, told.tries) == (State.DELIVERED, 3)
    with pytest.raises(Conflict, match="settled"):
        services.try_now(actor=boss, endpoint_id=number, delivery_id=told.pk)
    payload = Entry.objects.get(type="webhooks.delivery_hastened").payload
    assert json.loads(payload.text) == {"about": ["webhook", str(number)], "event": OPENED, "number": told.sequence}


@pytest.mark.usefixtures("private")
def test_a_try_that_is_under_way_gets_no_second_one_beside_it(boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    number = services.create_endpoint(actor=boss, url="http://127.0.0.1:1/", events=[OPENED]).endpoint.pk
    happen()
    tries = []

    def slow(*_: Any) -> str:
        tries.append(1)
        delivery = Delivery.objects.get()
        with pytest.raises(Conflict, match="being tried"):
            services.try_now(actor=boss, endpoint_id=number, delivery_id=delivery.pk)
        assert services.deliver(at=now()) == 0
        raise sending.NotDelivered("503")

    monkeypatch.setattr(sending, "post", slow)
    assert tell() == 0
    services.try_now(actor=boss, endpoint_id=number, delivery_id=Delivery.objects.get().pk)
    assert services.deliver(at=now()) == 0
    assert len(tries) == 2


@pytest.mark.usefixtures("private")
def test_one_whose_worker_died_while_it_tried_can_be_tried_at_once_when_no_try_takes_so_long(
    boss: User, listener: Listener
) -> None:
    number = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED]).endpoint.pk
    happen()
    services.enqueue()
    told = Delivery.objects.select_related("endpoint").get()
    long_ago = now() - services._TRY_TAKES_MAX
    assert services._claim(told, long_ago)
    Delivery.objects.update(next_try_at=now() + timedelta(hours=1))
    services.try_now(actor=boss, endpoint_id=number, delivery_id=told.pk)
    assert services.deliver(at=now()) == 1


@pytest.mark.usefixtures("private")
def test_what_was_erased_is_told_to_nobody_again(boss: User, listener: Listener) -> None:
    number = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED]).endpoint.pk
    other = services.create_endpoint(actor=boss, url=listener.url, events=[OPENED]).endpoint.pk
    happen()
    assert tell() == 2
    told = Delivery.objects.get(endpoint=number)
    with pytest.raises(NotFound):  # another one's
        services.deliver_again(actor=boss, endpoint_id=other, delivery_id=told.pk)
    Payload.objects.filter(entry=told.sequence).delete()
    with pytest.raises(Conflict, match="erased"):
        services.deliver_again(actor=boss, endpoint_id=number, delivery_id=told.pk)


@pytest.mark.usefixtures("private")
def test_scripts_send_a_test_and_a_message_again(listener: Listener) -> None:
    script = caller(Role.ADMINISTRATOR)
    number = script.post("/api/v1/webhooks/", {"url": listener.url, "events": [OPENED]}).data["id"]
    sent = script.post(f"/api/v1/webhooks/{number}/test/")
    assert (sent.status_code, sent.json()["state"], sent.json()["type"]) == (201, "waiting", TEST)
    again = f"/api/v1/webhooks/{number}/deliveries/{sent.json()['id']}/again/"
    assert script.post(again).status_code == 409
    assert tell() == 1
    assert (script.post(again).status_code, tell()) == (200, 1)
    assert len({headers["webhook-id"] for headers, _body in listener.heard}) == 1


@pytest.mark.usefixtures("private")
def test_scripts_let_a_message_be_tried_now_and_hear_when_it_was_tried(listener: Listener) -> None:
    script = caller(Role.ADMINISTRATOR)
    number = script.post("/api/v1/webhooks/", {"url": listener.url, "events": [OPENED]}).data["id"]
    happen()
    services.enqueue()
    (one,) = script.get(f"/api/v1/webhooks/{number}/deliveries/").json()["results"]
    assert one["tried_at"] is None
    listener.statuses = [500]
    services.deliver(at=now())
    hastened = script.post(f"/api/v1/webhooks/{number}/deliveries/{one['id']}/now/")
    assert (hastened.status_code, hastened.json()["state"], hastened.json()["tries"]) == (200, "waiting", 1)
    assert hastened.json()["tried_at"] is not None
    assert services.deliver(at=now()) == 1


def test_others_may_not(listener: Listener) -> None:
    approver = member(Role.APPROVER)
    with pytest.raises(NotAllowed):
        services.create_endpoint(actor=approver, url=listener.url, events=[OPENED])
    with pytest.raises(NotAllowed):
        services.send_test(actor=approver, endpoint_id=1)
    with pytest.raises(NotAllowed):
        services.deliver_again(actor=approver, endpoint_id=1, delivery_id=1)
    with pytest.raises(NotAllowed):
        services.try_now(actor=approver, endpoint_id=1, delivery_id=1)
