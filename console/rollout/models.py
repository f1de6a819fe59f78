"""Routes: which approved version answers which share of a model's calls.

                 ┌────────────▶ shadow ──┐
    approved ────┼────────────▶ canary ──┼──▶ production ──▶ (taken over, kept for a rollback)
                 └───────────────────────┘

A route is a row that is never changed but for its end, so the table is also the history of
what answered when, and why.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from console.registry.models import ModelVersion


class Mode(models.TextChoices):
    PRODUCTION = "production", _("production")
    CANARY = "canary", _("canary")
    SHADOW = "shadow", _("shadow")


class Route(models.Model):
    """One version's part in answering for one model, from its start to its end."""

    model = models.CharField(_("model"), max_length=100)
    version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="routes", verbose_name=_("version")
    )
    mode = models.CharField(_("mode"), max_length=12, choices=Mode)
    # Of all calls, for a canary; production has what the canary leaves, a shadow answers nobody.
    canary_ratio = models.FloatField(_("share"), default=0.0)
    started_at = models.DateTimeField(_("since"), default=now)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("started by")
    )
    reason = models.TextField(_("reason"))
    # The production route that this one took over from: where a rollback leads.
    previous = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    ended_at = models.DateTimeField(_("until"), null=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("ended by")
    )
    end_reason = models.TextField(_("reason of the end"), blank=True)

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model"],
                condition=Q(mode=Mode.PRODUCTION, ended_at=None),
                name="one_production_version_per_route",
            ),
            models.UniqueConstraint(
                fields=["model"], condition=Q(mode=Mode.CANARY, ended_at=None), name="one_canary_per_route"
            ),
            models.UniqueConstraint(fields=["version"], condition=Q(ended_at=None), name="one_part_for_each_version"),
            models.CheckConstraint(
                condition=(Q(mode=Mode.CANARY) & Q(canary_ratio__gt=0) & Q(canary_ratio__lt=1))
                | (~Q(mode=Mode.CANARY) & Q(canary_ratio=0)),
                name="only_a_canary_has_a_share",
            ),
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="known_route_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.version} ({self.get_mode_display()})"


class PolicyIssue(models.Model):
    """The one row that remembers which policy was last handed out, so that its revision only grows."""

    revision = models.BigIntegerField(default=0)
    fingerprint = models.CharField(max_length=64, default="")
    issued_at = models.DateTimeField(default=now)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(pk=1), name="one_policy_issue")]
