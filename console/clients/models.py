"""Clients and their keys."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

# Thai writes vowels and tones above and below a letter; to a regular expression those are no letters.
NAME_FORM = r"^\w[\w\u0E31\u0E34-\u0E3A\u0E47-\u0E4E .@/+-]*\Z"
CALLS_PER_MINUTE_DEFAULT = 100
CALLS_PER_MINUTE_MAX = 1_000_000


class Client(models.Model):
    """A program of another team that may ask for predictions."""

    client_id = models.UUIDField(_("client id"), default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(
        _("name"),
        max_length=100,
        unique=True,
        validators=[RegexValidator(NAME_FORM, _("Letters, digits, spaces and . @ / + - only."))],
    )
    calls_per_minute = models.PositiveIntegerField(
        _("calls a minute"),
        default=CALLS_PER_MINUTE_DEFAULT,
        validators=[MinValueValidator(1), MaxValueValidator(CALLS_PER_MINUTE_MAX)],
        help_text=_("For each key. The gateway refuses the calls beyond it."),
    )
    model_names = models.JSONField(
        _("models"), default=list, blank=True, help_text=_("Names of the models that it may ask; empty: all.")
    )
    created_at = models.DateTimeField(_("created"), default=now, editable=False)

    class Meta:
        verbose_name = _("client")
        verbose_name_plural = _("clients")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(calls_per_minute__gte=1) & models.Q(calls_per_minute__lte=CALLS_PER_MINUTE_MAX),
                name="calls_per_minute_in_range",
            )
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A key of a client. Only its digest is kept; a revoked key stays, so that its caller is told the truth."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="keys", verbose_name=_("client"))
    key_id = models.CharField(_("key id"), max_length=12, unique=True, editable=False)
    digest = models.BinaryField(max_length=32, editable=False)
    created_at = models.DateTimeField(_("created"), default=now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
        verbose_name=_("created by"),
    )
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True, help_text=_("Empty: never."))
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"amk_{self.key_id}_…"
