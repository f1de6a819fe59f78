"""The rules: what is kept for a time, for what, how long, and what deletes it. One row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.functional import Promise, lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from console.idempotency import services as idempotency
from console.predictions.models import Feedback, Prediction
from console.predictions.services import discard_orphan_feedback
from console.privacy import erasure
from console.privacy import queries as privacy_queries
from console.privacy import services as privacy
from console.privacy.models import PrivacyRequest
from console.retention import predictions
from console.sheets import withdrawal as sheets
from console.staff.sign_ins import forget_attempts
from console.vault import services as vault
from console.vault.models import Consent, StoredObject
from console.vault.queries import consents_ended
from console.webhooks import services as webhooks
from console.webhooks.models import Delivery, State

_ATTEMPTS_KEPT: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of thing that goes when its time is over."""

    name: str
    text: Promise  # what, and for what it is kept
    time: Promise | str  # how long
    every: timedelta
    due: Callable[[datetime], QuerySet[Any]]  # whose time is over at an instant
    delete: Callable[[datetime], object]  # may be repeated
    held: Callable[[QuerySet[Any]], QuerySet[Any]] | None = None  # of what is due, what is kept all the same
    why_held: Promise | str = ""


def _photographs(at: datetime) -> QuerySet[StoredObject]:
    return StoredObject.objects.filter(consent__expires_at__lte=at)


def _feedback(at: datetime) -> QuerySet[Feedback]:
    known = Prediction.objects.filter(pk=OuterRef("prediction_id"))
    return Feedback.objects.filter(~Exists(known), happened_at__lt=at - vault.LATE_EVENTS_MAX)


def _deliveries(at: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.filter(created_at__lt=at - webhooks.KEPT)


def _days(setting: str) -> timedelta | None:
    """How long a setting keeps something; None for ever."""
    days = int(getattr(settings.AMULET, setting))
    return timedelta(days=days) if days else None


def _as_set(setting: str) -> str:
    kept = _days(setting)
    if kept is None:
        return str(_("for ever"))
    if years := _whole_years(kept.days):
        return ngettext("{years} year", "{years} years", years).format(years=years)
    return ngettext("{days} day", "{days} days", kept.days).format(days=kept.days)


def _whole_years(days: int) -> int:
    """How many years have so many days, wherever their leap days fall: 5 of 1826 and 1827; 0 where none have."""
    years = days // 365
    leap_days = days - 365 * years
    return years if years // 4 <= leap_days <= -(-years // 4) else 0


_time_of = lazy(_as_set, str)


def _predictions(at: datetime) -> QuerySet[Prediction]:
    kept = _days("keep_predictions_days")
    return Prediction.objects.none() if kept is None else predictions.older_than(at - kept)


def _discard_predictions(at: datetime) -> object:
    kept = _days("keep_predictions_days")
    return kept and predictions.discard_older_than(at - kept)


def _consents(at: datetime) -> QuerySet[Consent]:
    return consents_ended(at - timedelta(days=settings.AMULET.keep_consents_days))


def _requests(at: datetime) -> QuerySet[PrivacyRequest]:
    return privacy_queries.closed_before(at - timedelta(days=settings.AMULET.keep_requests_days))


def _sessions(at: datetime) -> QuerySet[Session]:
    return Session.objects.filter(expire_date__lt=at)


def _attempts(at: datetime) -> Any:  # axes ships without annotations
    return AccessAttempt.objects.filter(attempt_time__lt=at - _ATTEMPTS_KEPT)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "photographs",
        _("photographs and heat maps, for review, audit and training"),
        _("until their consent runs out"),
        timedelta(minutes=10),
        _photographs,
        lambda _at: vault.discard_expired(),
        held=lambda due: due.exclude(subject__restricted_at=None),
        why_held=_("their person has restricted what is done"),
    ),
    Rule(
        "sheets",
        _("photographs on review sheets, to judge what a model learnt from"),
        _("until their person agrees no longer to training"),
        timedelta(minutes=10),
        lambda _at: sheets.withdrawn(),
        lambda _at: sheets.discard_withdrawn(),
        held=lambda due: due.exclude(prediction__subject__restricted_at=None),
        why_held=_("their person has restricted what is done"),
    ),
    Rule(
        "feedback",
        _("feedback on predictions that are not here any more"),
        _("30 days"),
        timedelta(days=1),
        _feedback,
        lambda at: discard_orphan_feedback(before=at - vault.LATE_EVENTS_MAX),
    ),
    Rule(
        "erasures",
        _("keyed hashes of erased people and their predictions, so that a late event brings nobody back"),
        _("30 days"),
        timedelta(days=1),
        lambda at: vault.forgettable(at=at),
        lambda _at: erasure.forget(),
    ),
    Rule(
        "calls",
        _("answers to calls under an Idempotency-Key, so that each is done once"),
        _("24 hours"),
        timedelta(hours=1),
        lambda at: idempotency.old(at=at),
        lambda at: idempotency.tidy(at=at),
    ),
    Rule(
        "deliveries",
        _("log of webhooks' deliveries, to see what arrived"),
        _("30 days"),
        timedelta(days=1),
        _deliveries,
        lambda at: webhooks.tidy(at=at),
        held=lambda due: due.filter(state=State.WAITING),
        why_held=_("still to be delivered"),
    ),
    Rule(
        "predictions",
        _("predictions, with their photographs, reviews and feedback, to see what was answered and why"),
        _time_of("keep_predictions_days"),
        timedelta(minutes=10),
        _predictions,
        _discard_predictions,
        held=predictions.held,
        why_held=_("named by a data set, or their person has restricted what is done"),
    ),
    Rule(
        "consents",
        _("consents that were withdrawn or ran out, to prove that there was one"),
        _time_of("keep_consents_days"),
        timedelta(days=1),
        _consents,
        lambda at: vault.discard_ended(before=at - timedelta(days=settings.AMULET.keep_consents_days)),
        held=lambda due: due.exclude(objects_kept=None, subject__restricted_at=None),
        why_held=_("their person has restricted what is done"),
    ),
    Rule(
        "requests",
        _("closed privacy requests and certificates, to prove what was done"),
        _time_of("keep_requests_days"),
        timedelta(days=1),
        _requests,
        lambda at: privacy.discard_closed(before=at - timedelta(days=settings.AMULET.keep_requests_days)),
        held=lambda due: due.filter(pk__in=privacy_queries.keeping_restrictions()),
        why_held=_("the restriction is in force"),
    ),
    Rule(
        "sessions",
        _("sessions of staff"),
        _("until they end"),
        timedelta(hours=1),
        _sessions,
        lambda at: _sessions(at).delete(),
    ),
    Rule(
        "attempts",
        _("names and addresses of failed sign-ins, for the lockout"),
        _("24 hours"),
        timedelta(hours=1),
        _attempts,
        lambda at: forget_attempts(before=at - _ATTEMPTS_KEPT),
    ),
)
RULE: Final = {rule.name: rule for rule in RULES}
