"""Requests and erasures.

A request's life:

    received ──▶ identity checked ──▶ in progress ──▶ done
       │                │                 │
       ├────────────────┴─────────────────┤          (an erasure that has begun is refused no more)
       ▼                                  ▼
    refused                            paused ──▶ where it was

The clock of the law runs on while a request is paused. A second request of the same kind by
the same person is a duplicate: it shares the fate of the first.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import ClassVar, Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from console.privacy import clocks
from console.privacy.clocks import Law, Limits
from console.vault.models import Subject


class Kind(models.TextChoices):
    """What a person may ask for."""

    ACCESS = "access", _("access")
    PORTABILITY = "portability", _("portability")
    ERASURE = "erasure", _("erasure")
    RECTIFICATION = "rectification", _("rectification")
    RESTRICTION = "restriction", _("restriction")
    OBJECTION = "objection", _("objection")


class State(models.TextChoices):
    RECEIVED = "received", _("received")
    IDENTITY_CHECKED = "identity_checked", _("identity checked")
    IN_PROGRESS = "in_progress", _("in progress")
    PAUSED = "paused", _("paused")
    DONE = "done", _("done")
    REFUSED = "refused", _("refused")


class Laws(models.TextChoices):
    """Which law's clock binds."""

    BOTH = "both", _("GDPR and PDPA")
    GDPR = "gdpr", _("GDPR")
    PDPA = "pdpa", _("PDPA")


RESTRICTS = (Kind.RESTRICTION, Kind.OBJECTION)  # from the start of the work until it is lifted
OPEN = (State.RECEIVED, State.IDENTITY_CHECKED, State.IN_PROGRESS, State.PAUSED)
_LAWS_OF = {
    Laws.BOTH: frozenset(Law),
    Laws.GDPR: frozenset({Law.GDPR}),
    Laws.PDPA: frozenset({Law.PDPA}),
}


# When a request was closed, or a day that nobody will see while it is open: the same order without nulls, which
# an index and the place after a row both need.
END: Final = Coalesce("closed_at", models.Value(datetime(9999, 1, 1, tzinfo=UTC)))


class PrivacyRequest(models.Model):
    """What a person asks about their data. Nothing here names the person."""

    kind = models.CharField(_("asks for"), max_length=14, choices=Kind)
    laws = models.CharField(_("law"), max_length=4, choices=Laws, default=Laws.BOTH)
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.RECEIVED)
    subject = models.ForeignKey(
        Subject, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("data subject")
    )
    # Keyed hash of the pseudonym while the request is open, empty afterwards: whoever is not
    # known here yet may be when the work begins.
    found_by = models.BinaryField(max_length=32, editable=False)
    channel = models.CharField(_("channel"), max_length=40)
    received_at = models.DateTimeField(_("received"))
    recorded_at = models.DateTimeField(_("recorded"), default=now, editable=False)
    due_at = models.DateTimeField(_("due"), editable=False)  # the first instant that is too late
    extended_at = models.DateTimeField(_("extended"), null=True, editable=False)
    extension_reason = models.CharField(max_length=500, blank=True, editable=False)
    identity_method = models.CharField(_("identity checked by"), max_length=200, blank=True, editable=False)
    identity_checked_at = models.DateTimeField(null=True, editable=False)
    paused_from = models.CharField(max_length=16, blank=True, editable=False)
    reason = models.CharField(_("reason"), max_length=500, blank=True, editable=False)
    duplicate_of = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="duplicates", editable=False
    )
    told = models.CharField(max_length=8, default=clocks.Escalation.NONE.value, editable=False)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("handled by"),
    )
    closed_at = models.DateTimeField(_("closed"), null=True, editable=False)

    class Meta:
        verbose_name = _("privacy request")
        verbose_name_plural = _("privacy requests")
        ordering: ClassVar = ["due_at", "pk"]
        default_permissions = ("view", "add")
        permissions: ClassVar = [
            ("handle_privacyrequest", "Can work on privacy requests"),
            ("export_privacyrequest", "Can hand out what is known of a person"),
            ("erase_typed", "Can look for and erase free text that names somebody"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=["done", "refused"], closed_at__isnull=False, found_by=b"")
                | Q(state__in=["received", "identity_checked", "in_progress", "paused"], closed_at=None),
                name="a_closed_request_forgets_whose_it_was",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["refused", "paused"]) | ~Q(reason=""), name="refused_or_paused_with_a_reason"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["due_at"], condition=Q(closed_at=None), name="privacy_request_open"),
            models.Index(fields=["found_by"], condition=Q(closed_at=None), name="privacy_request_by_person"),
            models.Index(END.desc(), "due_at", "id", name="privacy_request_urgent"),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.kind}"

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    def limits(self, received_at: datetime | None = None) -> Limits:
        """Both clocks, and the day that binds. received_at: where it is known that the one noted here is wrong."""
        return clocks.limits(
            received_on=clocks.day_of(received_at or self.received_at),
            erasure=self.kind == Kind.ERASURE,
            laws=_LAWS_OF[Laws(self.laws)],
            extended=self.extended_at is not None,
        )

    def counts_to(self, today: date) -> date:
        """The day that the limits are held against: today, or the day on which it was closed."""
        return today if self.closed_at is None else clocks.day_of(self.closed_at)

    def days_left(self, today: date) -> int:
        """Negative: it is too late, or was when it was closed."""
        return self.limits().days_left(self.counts_to(today))


class Step(models.IntegerChoices):
    """What an erasure does next."""

    SHUT = 1, _("close the person's records and count")
    KEY = 2, _("destroy the key")
    ROWS = 3, _("delete rows, store by store")
    SUBJECT = 4, _("delete the person, enter the ledger")
    FILES = 5, _("delete the files")
    SEARCH = 6, _("search a second time")
    FINISH = 7, _("empty what the database left, and certify")
    DONE = 8, _("nothing more")


class Erasure(models.Model):
    """An erasure under way, or done. While it goes on it knows what to look for; afterwards nothing of it is left."""

    request = models.OneToOneField(PrivacyRequest, on_delete=models.PROTECT, primary_key=True, related_name="erasure")
    step = models.PositiveSmallIntegerField(_("step"), choices=Step, default=Step.SHUT)
    traces = models.JSONField(default=dict)  # `stores.Traces`; empty once nothing is found any more
    before = models.JSONField(default=dict)  # store -> how much was there
    remaining = models.JSONField(default=dict)  # store -> how much the last search found
    # "MODEL VERSION" of what learnt from this person's photographs.
    learnt = models.JSONField(default=list)
    begun_at = models.DateTimeField(_("begun"), default=now)
    key_destroyed_at = models.DateTimeField(_("key destroyed"), null=True)
    searched_at = models.DateTimeField(_("searched"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    statement = models.JSONField(null=True)  # what the certificate says
    entry_sequence = models.BigIntegerField(null=True)  # of the audit entry that commits to it

    class Meta:
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        default_permissions = ()
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(step__lt=8)
                | Q(step=8, traces={}, remaining={}, finished_at__isnull=False, entry_sequence__isnull=False),
                name="an_erasure_is_done_when_nothing_remains",
            )
        ]

    def __str__(self) -> str:
        return f"{self.request_id}: {Step(self.step).name}"
