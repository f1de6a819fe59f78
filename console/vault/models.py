"""Subjects, consents, what is kept, and for a while who was erased.

A consent's life:

    given ──▶ withdrawn          for ever; whoever agrees again gives a new consent
      │
      └─ (its time runs out)     by the clock, where it has an end
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _


class Purpose(models.TextChoices):
    """What a person agrees to."""

    KEEP_PHOTOGRAPH = "keep_photograph", _("keep the photograph for review and audit")
    TRAINING = "training", _("use the photograph to improve the model")


class Kind(models.TextChoices):
    """What an object is."""

    PHOTOGRAPH = "photograph", _("photograph")
    HEAT_MAP = "heat_map", _("heat map")


class Subject(models.Model):
    """A person behind photographs. The random id stands for the person elsewhere; nothing here names one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    found_by = models.BinaryField(max_length=32, unique=True, editable=False)  # keyed hash of the pseudonym
    wrapped_key = models.BinaryField(max_length=64, editable=False)
    created_at = models.DateTimeField(_("first seen"), default=now, editable=False)
    # Set while this person is being erased: nothing is added to what is known, nothing opened.
    shut_at = models.DateTimeField(null=True, editable=False)
    # Set while this person asked that what is kept be left alone: see `restriction`.
    restricted_at = models.DateTimeField(_("restricted"), null=True, editable=False)

    class Meta:
        verbose_name = _("data subject")
        verbose_name_plural = _("data subjects")
        ordering: ClassVar = ["-created_at"]
        default_permissions = ("view",)
        indexes: ClassVar = [
            models.Index(fields=["-created_at"], name="vault_subject_by_age"),
            # The few who are restricted, whom every look at the review queue leaves out.
            models.Index(
                fields=["restricted_at"], condition=Q(restricted_at__isnull=False), name="vault_subject_restricted"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Erased(models.Model):
    """That somebody was erased, for as long as an event from before may still be on its way. Then it goes too."""

    found_by = models.BinaryField(max_length=32, primary_key=True)  # as in Subject
    erased_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.erased_at)


class Consent(models.Model):
    """One person's agreement to one purpose, with what is needed to prove it."""

    reference = models.CharField(_("reference"), max_length=128, unique=True)
    subject = models.ForeignKey(
        Subject, on_delete=models.CASCADE, related_name="consents", verbose_name=_("data subject")
    )
    purpose = models.CharField(_("purpose"), max_length=20, choices=Purpose)
    text_version = models.CharField(_("version of the text"), max_length=40)
    channel = models.CharField(_("channel"), max_length=40)  # how it was given: counter, web, LINE…
    given_at = models.DateTimeField(_("given"))
    expires_at = models.DateTimeField(_("runs out"), null=True, blank=True)
    recorded_at = models.DateTimeField(_("recorded"), default=now, editable=False)
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, blank=True, editable=False)
    withdrawal_channel = models.CharField(_("withdrawn through"), max_length=40, blank=True, editable=False)

    class Meta:
        verbose_name = _("consent")
        verbose_name_plural = _("consents")
        ordering: ClassVar = ["-recorded_at"]
        default_permissions = ("view", "add", "change")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(withdrawn_at=None, withdrawal_channel="")
                | Q(withdrawn_at__isnull=False) & ~Q(withdrawal_channel=""),
                name="withdrawal_says_how",
            ),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=F("given_at")), name="consent_ends_after_it_began"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], condition=Q(withdrawn_at=None), name="vault_consent_running_out"),
            models.Index(fields=["-recorded_at", "-id"], name="vault_consent_by_age"),
            models.Index(fields=["purpose", "-recorded_at"], name="vault_consent_by_purpose"),
        ]

    def __str__(self) -> str:
        return self.reference


class StoredObject(models.Model):
    """One encrypted object. Its bytes lie in the store under its id; without this row nobody can read them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="objects_kept")
    consent = models.ForeignKey(Consent, on_delete=models.CASCADE, related_name="objects_kept")
    kind = models.CharField(max_length=12, choices=Kind)
    owner = models.CharField(max_length=64, help_text="Id of the prediction that it belongs to.")
    part = models.PositiveSmallIntegerField(help_text="Which view of it.")
    salt = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(default=now)

    class Meta:
        default_permissions = ()
        permissions: ClassVar = [
            ("open_storedobject", "Can open kept photographs"),
            ("train_storedobject", "Can take kept photographs for training"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "kind", "part"], name="one_object_per_owner_kind_and_part")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.part} of {self.owner}"
