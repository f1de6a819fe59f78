"""Restriction: what is kept of a person stays, and nobody works with it, until somebody lifts that.

While it holds nothing new is kept of the person, nothing is opened but for the person, and nothing is learnt from.
As with a withdrawal, whoever keeps or takes out something holds the person's consents, and whoever restricts takes
them first: the later one sees what the earlier one did.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from console.audit.services import record
from console.staff.models import User
from console.vault import cipher, queries
from console.vault.models import Consent, Subject
from console.vault.rotation import of_now


@transaction.atomic
def restrict(*, actor: User, found_by: bytes) -> Subject | None:
    """Restrict whoever is found by this keyed hash, also somebody who is not known yet. Harmless when repeated.

    None for a person who is being erased. The caller has asked for permission.
    """
    subject = _known(found_by)
    list(Consent.objects.select_for_update().filter(subject=subject).order_by("pk").values_list("pk"))
    if Subject.objects.filter(pk=subject.pk, shut_at=None, restricted_at=None).update(restricted_at=now()):
        _record(actor, "vault.restricted", subject)
    return Subject.objects.filter(pk=subject.pk, shut_at=None).first()


@transaction.atomic
def lift(*, actor: User, subject_id: UUID, reason: str) -> bool:
    """Let what is kept be worked with again. False when it was not restricted. The caller has asked for permission."""
    subject = Subject.objects.filter(pk=subject_id).first()
    if subject is None or not Subject.objects.filter(pk=subject_id, restricted_at__isnull=False).update(
        restricted_at=None
    ):
        return False
    _record(actor, "vault.restriction_lifted", subject, reason=reason)
    return True


def restricted_among(subject_ids: Collection[UUID]) -> frozenset[UUID]:
    """Which of these people are restricted now: asked when their consents are held, it holds as long as they are."""
    if not subject_ids:
        return frozenset()
    rows = Subject.objects.filter(pk__in=list(subject_ids), restricted_at__isnull=False)
    return frozenset(rows.values_list("pk", flat=True))


def hold(rows: QuerySet[Any]) -> None:
    """Hold the people of these rows, which have a `subject`, until the caller's transaction ends. Two queries.

    Whoever restricts what is done with theirs was first, and who asks after this sees it, or waits.
    """
    people = Subject.objects.filter(pk__in=rows.values("subject"))
    list(people.select_for_update(no_key=True).order_by("pk").values_list("pk"))


def _known(found_by: bytes) -> Subject:
    fresh = Subject(id=uuid.uuid4(), found_by=found_by)
    keys = queries.keys()
    fresh.wrapped_key = cipher.new_subject_key(keys, fresh.id)
    Subject.objects.bulk_create([fresh], ignore_conflicts=True)
    of_now([fresh], keys)
    return Subject.objects.get(found_by=found_by)


def _record(actor: User, action: str, subject: Subject, **details: str) -> None:
    record(actor=actor, action=action, subject_type="subject", subject_id=str(subject.pk), details=details)
