"""What became of each rule of retention: counts of a day, which the audit trail keeps when the day is over."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Applied(models.Model):
    """The newest application of one rule: `deleted` counts the day (UTC), the others are as it left them."""

    rule = models.CharField(_("rule"), max_length=20, primary_key=True)  # names in `rules.RULES`
    day = models.DateField()
    deleted = models.PositiveIntegerField(_("deleted today"), default=0)
    held = models.PositiveIntegerField(_("held"), default=0)  # its time is over, and it is kept for the rule's reason
    failed = models.PositiveIntegerField(_("not deleted"), default=0)  # its time is over, and it is still there
    problem = models.CharField(_("problem"), max_length=60, blank=True)  # the type of the error, never its text
    last_at = models.DateTimeField(_("last applied"))
    next_at = models.DateTimeField(_("next"))

    class Meta:
        verbose_name = _("rule of retention")
        verbose_name_plural = _("rules of retention")
        ordering: ClassVar = ["rule"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.rule

    @property
    def due(self) -> int:
        """How much had its time behind it today."""
        return self.deleted + self.held + self.failed
