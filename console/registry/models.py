"""Uploads and model versions.

A model version's life:

    uploaded ──▶ verified ──▶ smoke_tested ──▶ approved ──▶ retired
        │           │  ▲                          (a second person)
        ▼           ▼  │ try again
     refused      failed

`refused` broke a rule of `model_store.verification`; `failed` answered its golden
photographs otherwise than its card says, or not at all. Which approved versions answer
callers is not a state but a matter of routes (`console.rollout`). One function per arrow
stands in `services`.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from model_store.card import Card


class State(models.TextChoices):
    UPLOADED = "uploaded", _("uploaded")
    VERIFIED = "verified", _("verified")
    REFUSED = "refused", _("refused")
    SMOKE_TESTED = "smoke_tested", _("smoke-tested")
    FAILED = "failed", _("failed")
    APPROVED = "approved", _("approved")
    RETIRED = "retired", _("retired")


# From here on a name means one archive for ever.
NAMED = (State.VERIFIED, State.SMOKE_TESTED, State.APPROVED, State.RETIRED)


class Upload(models.Model):
    """An archive on its way in, piece by piece. Its bytes wait in the staging folder."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    filename = models.CharField(_("file"), max_length=200)
    size_bytes = models.BigIntegerField(_("size"))
    sha256 = models.CharField(max_length=64)
    note = models.TextField(_("note"), blank=True)
    offset_bytes = models.BigIntegerField(_("received"), default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(_("created"), default=now)
    touched_at = models.DateTimeField(_("last piece"), default=now, db_index=True)

    class Meta:
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(offset_bytes__gte=0) & Q(offset_bytes__lte=F("size_bytes")), name="offset_within_upload"
            )
        ]

    def __str__(self) -> str:
        return self.filename


class ModelVersion(models.Model):
    """One archive and all that was found out about it."""

    model = models.CharField(_("model"), max_length=100, blank=True)
    version = models.CharField(_("version"), max_length=100, blank=True, db_index=True)
    state = models.CharField(_("state"), max_length=20, choices=State, default=State.UPLOADED)
    note = models.TextField(_("note"), blank=True)
    filename = models.CharField(_("file"), max_length=200)
    size_bytes = models.BigIntegerField(_("size"))
    sha256 = models.CharField(_("SHA-256"), max_length=64, db_index=True)
    upload = models.OneToOneField(
        Upload, on_delete=models.SET_NULL, null=True, editable=False, related_name="model_version"
    )
    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("uploaded by")
    )
    uploaded_at = models.DateTimeField(_("uploaded"), default=now)
    # Verification.
    rules = models.JSONField(_("rules"), default=list)
    signer = models.CharField(_("signed by"), max_length=100, blank=True)
    card_document = models.JSONField(_("card"), null=True)
    verified_at = models.DateTimeField(_("verified"), null=True)
    # Smoke test.
    smoke_report = models.JSONField(_("smoke test"), null=True)
    smoke_tested_at = models.DateTimeField(_("smoke-tested"), null=True)
    # Approval and end.
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("approved by")
    )
    approved_at = models.DateTimeField(_("approved"), null=True)
    approval_reason = models.TextField(_("reason of the approval"), blank=True)
    retired_at = models.DateTimeField(_("retired"), null=True)
    # Who works on it (verification, smoke test) holds it until then; a process that dies lets go.
    claimed_until = models.DateTimeField(null=True, editable=False)
    # TorchServe keeps it loaded until then, routes or not: for a smoke test or a rollout that is being prepared.
    held_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")
        ordering: ClassVar = ["-pk"]
        permissions: ClassVar = [
            ("upload_modelversion", "Can upload model versions"),
            ("approve_modelversion", "Can approve model versions of others"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model", "version"], condition=Q(state__in=NAMED), name="one_archive_per_version_name"
            ),
            models.CheckConstraint(
                condition=Q(approved_by=None) | ~Q(approved_by=F("uploaded_by")), name="approved_by_second_person"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[State.APPROVED]) | Q(approved_by__isnull=False), name="approved_by_somebody"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=NAMED) | (~Q(version="") & Q(card_document__isnull=False)),
                name="verified_version_has_card",
            ),
            models.CheckConstraint(condition=Q(state__in=State.values), name="known_version_state"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.version}" if self.version else self.filename

    @property
    def file_name(self) -> str:
        """The archive's bare name in the model store."""
        return f"{self.sha256[:32]}.mar"

    def card(self) -> Card:
        """The typed card. Only for a version that was verified."""
        return card_of(self.card_document)


def card_of(document: object) -> Card:
    """The typed card of a stored document; it was checked against its schema when it came in."""
    from model_store.card import Card  # with the schema's checker, which few processes need

    return Card.parse(json.dumps(document))
