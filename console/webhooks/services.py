"""What changes endpoints, puts messages into their queues, and takes them out."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from itertools import zip_longest
from operator import or_
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _
from django.utils.translation import override

from console.audit import queries as audit
from console.audit.models import Entry
from console.audit.names import subject_name, type_name
from console.audit.services import record
from console.errors import Conflict, Invalid, NotFound, Outdated
from console.staff.models import User
from console.staff.services import require
from console.webhooks import queries, sending, signing
from console.webhooks.events import EVENTS, TEST
from console.webhooks.models import Delivery, Endpoint, State

_log = logging.getLogger(__name__)
CHANGE: Final = "webhooks.change_endpoint"
URL_MAX: Final = 500
# As Standard Webhooks proposes: at once, then later and later, three days in all.
TRIES_AFTER: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
TRIES_MAX: Final = len(TRIES_AFTER) + 1
KEPT: Final = timedelta(days=30)
_ENTRIES_AT_ONCE: Final = 500
_DELIVERIES_AT_ONCE: Final = 100
# Longer than any try: the name service, a mail server's every step and `SECONDS_MAX` among it.
_TRY_TAKES_MAX: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """An endpoint with the secret that is shown this once."""

    endpoint: Endpoint
    secret: str

    def __repr__(self) -> str:
        return f"Issued(endpoint={self.endpoint.pk})"


def create_endpoint(*, actor: User, url: str, events: Collection[str]) -> Issued:
    """Let an address hear of events from now on. Raises NotAllowed, Invalid naming the field."""
    require(actor, CHANGE)
    chosen = _chosen(events)
    if len(url) > URL_MAX:
        raise Invalid(_("An address has at most {most} characters.").format(most=URL_MAX), field="url")
    sending.check_address(url)
    with transaction.atomic():
        endpoint = Endpoint.objects.create(
            url=url,
            events=chosen,
            nonce=secrets.token_bytes(signing.NONCE_BYTES),
            told_through=audit.last_sequence(),
            created_by=actor,
        )
        _record(actor, "webhooks.endpoint_created", endpoint, events=endpoint.events)
    return Issued(endpoint, signing.secret_text(bytes(endpoint.nonce)))


@transaction.atomic
def renew_secret(*, actor: User, endpoint_id: int, seen: int | None = None) -> Issued:
    """Make a new secret; the old one signs nothing from now on.

    seen: number of the audit entry about the secret that whoever asks would replace (`queries.secret_made`). Where
    another one was made since, which a program may have by now, nothing is done. None: whichever it is.
    Raises NotAllowed, NotFound, Outdated.
    """
    require(actor, CHANGE)
    endpoint = _held(endpoint_id)
    made = queries.secret_made(endpoint)
    if seen is not None and made is not None and made.sequence > seen:
        told = _("{who} made a new secret on {when}, after you opened this page. Nothing was changed.")
        raise Outdated(told.format(**_who_and_when(made)))
    endpoint.nonce = secrets.token_bytes(signing.NONCE_BYTES)
    endpoint.save(update_fields=["nonce"])
    _record(actor, "webhooks.secret_renewed", endpoint)
    return Issued(endpoint, signing.secret_text(bytes(endpoint.nonce)))


@transaction.atomic
def change_endpoint(
    *,
    actor: User,
    endpoint_id: int,
    active: bool | None = None,
    events: Collection[str] | None = None,
    seen: int | None = None,
) -> Endpoint:
    """Let it hear again, or no more; let it hear of these events and of no others. None: as it is.

    What happens while it is off is not told later. A message that waits already is sent, whatever it hears of now.

    seen: the revision (`queries.revision`) that whoever asks has seen. Another one by now: nothing is done, since
    it would undo what a colleague did. None: whatever it is.
    Raises NotAllowed, NotFound, Invalid naming the field, Outdated.
    """
    require(actor, CHANGE)
    endpoint = _held(endpoint_id)
    changed = queries.changed(endpoint)
    if seen is not None and changed is not None and changed.sequence != seen:
        told = _("{who} changed this webhook on {when}, after you looked at it. Nothing of yours was changed.")
        raise Outdated(told.format(**_who_and_when(changed)))
    if events is not None and (chosen := _chosen(events)) != endpoint.events:
        before, endpoint.events = endpoint.events, chosen
        endpoint.save(update_fields=["events"])
        _record(actor, "webhooks.events_changed", endpoint, before=before, after=chosen)
    if active is not None and active != endpoint.active:
        endpoint.active = active
        if active:
            endpoint.told_through = audit.last_sequence()
        endpoint.save(update_fields=["active", "told_through"])
        _record(actor, "webhooks.endpoint_enabled" if active else "webhooks.endpoint_disabled", endpoint)
    return endpoint


@transaction.atomic
def remove_endpoint(*, actor: User, endpoint_id: int) -> None:
    """Forget an address and its deliveries. Raises NotAllowed, NotFound."""
    require(actor, CHANGE)
    endpoint = find_endpoint(endpoint_id)
    _record(actor, "webhooks.endpoint_removed", endpoint)
    endpoint.delete()


def send_test(*, actor: User, endpoint_id: int) -> Delivery:
    """Put a message into the queue of an address that says no more than that it is a test. It is tried once.

    Raises NotAllowed, NotFound, and Conflict while the webhook is off or a test waits already.
    """
    require(actor, CHANGE)
    with transaction.atomic():
        endpoint = _on(endpoint_id)
        if Delivery.objects.filter(endpoint=endpoint, type=TEST, state=State.WAITING).exists():
            raise Conflict(_("A test is on its way already."))
        entry = audit.find_entry(_record(actor, "webhooks.test_sent", endpoint))
        return Delivery.objects.create(endpoint=endpoint, sequence=entry.sequence, type=TEST, body=_body_of(entry))


def deliver_again(*, actor: User, endpoint_id: int, delivery_id: int) -> Delivery:
    """Send what arrived, or was given up, once more: the same message under the same id, with all its tries.

    Raises NotAllowed, NotFound; Conflict while the webhook is off, for what waits already, and where its entry
    was erased.
    """
    require(actor, CHANGE)
    with transaction.atomic():
        endpoint = _on(endpoint_id)
        delivery = _of(endpoint, delivery_id)
        if delivery.state == State.WAITING:
            raise Conflict(_("It waits to be delivered already."))
        _check_not_erased(delivery)
        _record(
            actor, "webhooks.delivery_repeated", endpoint,
            event=delivery.type, number=delivery.sequence, before=delivery.state,
        )  # fmt: skip
        delivery.state, delivery.tries, delivery.answer = State.WAITING, 0, ""
        delivery.next_try_at, delivery.settled_at = now(), None
        delivery.save(update_fields=["state", "tries", "answer", "next_try_at", "settled_at"])
        return delivery


def try_now(*, actor: User, endpoint_id: int, delivery_id: int) -> Delivery:
    """Let what waits after a try that failed be tried at once. It is one of its tries: no more are made of it.

    Raises NotAllowed, NotFound; Conflict while the webhook is off or the message is being tried, for what is due or
    settled already, and where its entry was erased.
    """
    require(actor, CHANGE)
    with transaction.atomic():
        endpoint = _on(endpoint_id)
        delivery = _of(endpoint, delivery_id)
        at = now()
        if delivery.state != State.WAITING:
            raise Conflict(_("It does not wait any more: it is settled."))
        being_tried = Conflict(_("It is being tried at this moment."))
        if is_tried(delivery, at):
            raise being_tried
        if delivery.next_try_at <= at:
            raise Conflict(_("It leaves within seconds already."))
        _check_not_erased(delivery)
        mine = Delivery.objects.filter(pk=delivery.pk, state=State.WAITING, tries=delivery.tries)
        if not mine.update(next_try_at=at):  # it was begun since that look
            raise being_tried
        _record(actor, "webhooks.delivery_hastened", endpoint, event=delivery.type, number=delivery.sequence)
        delivery.next_try_at = at
        return delivery


def is_tried(delivery: Delivery, at: datetime) -> bool:
    """Whether a worker is at it: a second try beside the first would be heard twice."""
    until = delivery.claimed_until
    return until is not None and at < until <= at + 2 * _TRY_TAKES_MAX  # further: the clock was set back since


def tries_max(delivery: Delivery) -> int:
    """How often it is tried before it is given up. Who sends a test waits for what comes of it."""
    return 1 if delivery.type == TEST else TRIES_MAX


def enqueue() -> int:
    """Put what happened since the last call into the queues, each once. Returns how many messages."""
    return sum(_enqueue_for(endpoint_id) for endpoint_id in _active_ids())


def deliver(*, at: datetime) -> int:
    """Try what is due, of each address in turn. Returns how many arrived.

    An address that fails is left alone until the next call, and holds up nobody else.
    """
    began_s = time.monotonic()
    arrived, failing = 0, set[int]()
    for delivery in _in_turns(at):
        # As late as it is by now: others before it may have taken their time.
        moment = at + timedelta(seconds=int(time.monotonic() - began_s))
        if delivery.endpoint_id in failing or not _claim(delivery, moment):
            continue
        try:
            answer = _send(delivery)
        except sending.NotDelivered as error:
            failing.add(delivery.endpoint_id)
            _put_off(delivery, str(error), next_try_at=moment + _wait_after(delivery.tries))
        else:
            arrived += 1
            _arrived(delivery, answer)
    return arrived


def tidy(*, at: datetime) -> int:
    """Drop old lines of the log of deliveries. Returns how many."""
    return Delivery.objects.filter(created_at__lt=at - KEPT).exclude(state=State.WAITING).delete()[0]


def find_endpoint(endpoint_id: int) -> Endpoint:
    """Raises NotFound."""
    endpoint = Endpoint.objects.filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound(_("There is no webhook {number}.").format(number=endpoint_id))
    return endpoint


def _chosen(events: Collection[str]) -> list[str]:
    """These, each once and in their order. Raises Invalid."""
    if unknown := sorted(set(events) - EVENTS.keys()):
        raise Invalid(
            _("{name} is no event; the events are {names}.").format(name=unknown[0], names=", ".join(EVENTS)),
            field="events",
        )
    if not events:
        raise Invalid(_("Choose at least one event."), field="events")
    return [name for name in EVENTS if name in events]


def _who_and_when(entry: Entry) -> Mapping[str, str]:
    return {
        "who": audit.staff_names({entry.actor}).get(entry.actor, entry.actor),
        "when": date_format(localtime(entry.recorded_at), "DATETIME_FORMAT"),
    }


def _held(endpoint_id: int) -> Endpoint:
    """The endpoint, which nobody changes until the transaction ends. Raises NotFound."""
    return Endpoint.objects.select_for_update().filter(pk=endpoint_id).first() or find_endpoint(endpoint_id)


def _on(endpoint_id: int) -> Endpoint:
    """The endpoint, which nobody changes until the transaction ends. Raises NotFound, Conflict while it is off."""
    endpoint = _held(endpoint_id)
    if not endpoint.active:
        raise Conflict(_("The webhook is switched off: switch it on first."))
    return endpoint


def _of(endpoint: Endpoint, delivery_id: int) -> Delivery:
    """Raises NotFound, for another one's, too."""
    delivery = Delivery.objects.filter(endpoint=endpoint, pk=delivery_id).first()
    if delivery is None:
        raise NotFound(_("There is no message {number} to this webhook.").format(number=delivery_id))
    return delivery


def _check_not_erased(delivery: Delivery) -> None:
    """Raises Conflict."""
    if getattr(audit.find_entry(delivery.sequence), "payload", None) is None:
        raise Conflict(_("What it tells of was erased: it is told to nobody any more."))


def _active_ids() -> list[int]:
    return list(Endpoint.objects.filter(active=True).order_by("pk").values_list("pk", flat=True))


@transaction.atomic
def _enqueue_for(endpoint_id: int) -> int:
    endpoint = Endpoint.objects.select_for_update().filter(pk=endpoint_id, active=True).first()
    if endpoint is None:
        return 0
    # Entries become visible in their order, the head row sees to that: none can come in below `last` later.
    last = audit.last_sequence()
    told = audit.entries_with_payloads().filter(
        type__in=endpoint.events, sequence__gt=endpoint.told_through, sequence__lte=last
    )
    entries = list(told.order_by("sequence")[:_ENTRIES_AT_ONCE])
    messages = [
        Delivery(endpoint=endpoint, sequence=entry.sequence, type=entry.type, body=_body_of(entry))
        for entry in entries
        if getattr(entry, "payload", None) is not None  # what was erased meanwhile is told to nobody
    ]
    Delivery.objects.bulk_create(messages, ignore_conflicts=True)
    endpoint.told_through = entries[-1].sequence if len(entries) == _ENTRIES_AT_ONCE else last
    endpoint.save(update_fields=["told_through"])
    return len(messages)


def _body_of(entry: Entry) -> str:
    details = json.loads(entry.payload.text)
    kind, key = entry.payload.about
    return json.dumps(
        {
            "type": entry.type,
            "timestamp": entry.recorded_at.isoformat(),
            "data": {
                "audit_sequence": entry.sequence,
                kind: key,
                **{name: details[name] for name in EVENTS.get(entry.type, ()) if name in details},
            },
        },
        ensure_ascii=False,
    )


def _in_turns(at: datetime) -> list[Delivery]:
    """What is due, the oldest of each address first, then the second of each: a long queue is before no other."""
    due = Delivery.objects.filter(_due(at), state=State.WAITING).select_related("endpoint")
    queues = [
        list(due.filter(endpoint=endpoint_id).order_by("next_try_at", "pk")[:_DELIVERIES_AT_ONCE])
        for endpoint_id in _active_ids()
    ]
    turns = [each for row in zip_longest(*queues) for each in row if each is not None]
    return turns[:_DELIVERIES_AT_ONCE]


def _due(at: datetime) -> Q:
    """Whose wait after its last try is over."""
    waits = enumerate((_TRY_TAKES_MAX, *TRIES_AFTER))
    ahead = (Q(tries=tries, next_try_at__gt=at + 2 * max(wait, _TRY_TAKES_MAX)) for tries, wait in waits)
    return reduce(or_, ahead, Q(next_try_at__lte=at))  # ahead: the clock was set back since


def _claim(delivery: Delivery, at: datetime) -> bool:
    """Count the try before it is made: two workers never try at once, and a try that dies is followed by the next."""
    delivery.tries += 1
    wait = max(_wait_after(delivery.tries), _TRY_TAKES_MAX)
    mine = Delivery.objects.filter(pk=delivery.pk, state=State.WAITING, tries=delivery.tries - 1)
    claimed = {"tried_at": at, "claimed_until": at + _TRY_TAKES_MAX}
    return bool(mine.update(tries=delivery.tries, next_try_at=at + wait, **claimed))


def _wait_after(tries: int) -> timedelta:
    return TRIES_AFTER[min(tries, len(TRIES_AFTER)) - 1]


def _send(delivery: Delivery) -> str:
    url = delivery.endpoint.url
    if url.startswith("mailto:"):
        return sending.mail(url, *_letter(delivery))
    body = delivery.body.encode()
    secret = signing.secret_of(bytes(delivery.endpoint.nonce))
    headers = signing.headers_of(secret, message_id=delivery.message_id, sent_at_s=int(time.time()), body=body)
    return sending.post(url, body, headers)


def _letter(delivery: Delivery) -> tuple[str, str]:
    """Subject and text, in Thai and English: an address has no language."""
    message = json.loads(delivery.body)
    subject, lines = [], []
    for language in ("th", "en"):
        with override(language):
            subject.append(type_name(delivery.type))
            lines.append(f"{type_name(delivery.type)}  {message['timestamp']}")
            lines += [f"  {subject_name(name)}: {value}" for name, value in message["data"].items()]
            lines.append("")
    return f"Amulet: {' / '.join(subject)}", "\n".join(lines)


def _arrived(delivery: Delivery, answer: str) -> None:
    """Whatever another try came to: who was asked has it."""
    settled = {"state": State.DELIVERED, "answer": answer[:200], "settled_at": now()}
    Delivery.objects.filter(pk=delivery.pk).update(**settled, claimed_until=None)


def _put_off(delivery: Delivery, answer: str, *, next_try_at: datetime) -> None:
    """Note a try that failed; nothing where a later one has begun, as after a worker that stood still."""
    mine = Delivery.objects.filter(pk=delivery.pk, state=State.WAITING, tries=delivery.tries)
    if delivery.tries < tries_max(delivery):
        mine.update(answer=answer[:200], next_try_at=next_try_at, claimed_until=None)
    elif mine.update(answer=answer[:200], state=State.GIVEN_UP, settled_at=now(), claimed_until=None):
        _log.warning("a webhook's message is given up", extra={"delivery": delivery.message_id, "answer": answer})


def _record(actor: User, action: str, endpoint: Endpoint, **details: Any) -> int:
    # Not its address: that may be a person's, and what the log says is kept.
    return record(actor=actor, action=action, subject_type="webhook", subject_id=str(endpoint.pk), details=details)
