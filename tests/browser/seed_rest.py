"""What a fortnight of work does not leave by itself: a row of every other kind that the console has pages for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.console_pages import ROWS


def seed_rest(users: Mapping[str, Any], *, model: str, production_version: int) -> None:
    """Webhooks with their deliveries, two requests of persons, reviewers who disagree, a training job, a plan,
    a data set, applied rules.
    """
    from django.utils.timezone import now

    from console.datasets.models import Dataset
    from console.privacy.services import receive
    from console.retention.services import apply_due
    from console.retraining.models import Plan
    from console.retraining.services import start_job

    lead = users["suda"]
    _webhooks(lead)
    for person in ("customer-003", "nobody-that-we-know"):
        receive(actor=users["wipa"], pseudonym=person, kind="erasure", laws="both", channel="letter")
    _dispute(users)
    start_job(actor=lead, model=model)
    Dataset.objects.create(
        model=model, made_by=lead, fingerprint="0" * 64, photographs=1, outside=0, left_out=0, per_class={}
    )
    Plan.objects.create(version_id=production_version, photographs=1, since=now(), due_at=now())
    apply_due(at=now())


def _webhooks(lead: Any) -> None:
    """People who hear of little and are switched off, and a program that took most messages and takes none now."""
    from django.utils.timezone import now

    from console.webhooks import sentences
    from console.webhooks.events import EVENTS
    from console.webhooks.models import Delivery, Endpoint, State
    from console.webhooks.services import TRIES_AFTER, enqueue

    Endpoint.objects.create(
        url="mailto:desk@listener.example", events=list(EVENTS)[:5], nonce=bytes(16), told_through=0,
        created_by=lead, active=False,
    )  # fmt: skip
    program = Endpoint.objects.create(
        url="https://listener.example/hooks/amulet", events=list(EVENTS), nonce=bytes(16), told_through=0,
        created_by=lead,
    )  # fmt: skip
    enqueue()
    messages = Delivery.objects.filter(endpoint=program)
    messages.update(state=State.DELIVERED, answer="204", tries=1, settled_at=now())
    oldest, *_rest, newest = messages.order_by("pk")
    given_up = {"state": State.GIVEN_UP, "answer": "503", "tries": len(TRIES_AFTER) + 1, "settled_at": now()}
    Delivery.objects.filter(pk=oldest.pk).update(**given_up)
    silence = sentences.NO_ANSWER.format(host="listener.example", seconds="10")
    waits = {"state": State.WAITING, "answer": silence, "tries": 3, "next_try_at": now() + TRIES_AFTER[2]}
    Delivery.objects.filter(pk=newest.pk).update(**waits, settled_at=None)


def _dispute(users: Mapping[str, Any]) -> None:
    """Two reviewers of one answer contradict each other: a third person settles it."""
    from console.review import services
    from console.review.models import Decided, ReviewItem, State

    item = ReviewItem.objects.filter(state=State.OPEN, with_photograph=False).order_by("pk")[0]
    ReviewItem.objects.filter(pk=item.pk).update(opinions_wanted=2)
    for name, decided in (("prasert", Decided.UNSURE), ("ladda", Decided.NOT_OUR_KIND)):
        services.take(actor=users[name], item_id=item.pk)
        services.decide(actor=users[name], item_id=item.pk, decision=services.Decision(decided))
    assert ReviewItem.objects.get(pk=item.pk).state == State.DISPUTED


def rows() -> dict[str, str]:
    """Of every kind of row that has pages, as "vault/subject": the number of the newest one."""
    from django.apps import apps

    found = {}
    for kind in ROWS:
        newest = apps.get_model(kind.replace("/", "."))._default_manager.order_by("-pk").first()
        if newest is not None:
            found[kind] = str(newest.pk)
    return found
