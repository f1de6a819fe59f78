"""Who wants to hear of what, and what became of each message.

waiting ──▶ delivered
   │
   └──▶ given up      after the last try
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _


class Endpoint(models.Model):
    """An address that hears of some events. No secret is kept: it is derived from `nonce` (`signing`)."""

    url = models.CharField(_("address"), max_length=500)
    events = models.JSONField(_("events"))  # names out of `events.EVENTS`
    active = models.BooleanField(_("active"), default=True)
    nonce = models.BinaryField(max_length=16, editable=False)
    told_through = models.BigIntegerField(editable=False)  # number of the last audit entry that was looked at
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), default=now)

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering: ClassVar = ["url", "pk"]
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.url


class State(models.TextChoices):
    WAITING = "waiting", _("waiting")
    DELIVERED = "delivered", _("delivered")
    GIVEN_UP = "given_up", _("given up")


class Delivery(models.Model):
    """One message to one address. It keeps its id over all tries, so that who hears it twice can tell."""

    endpoint = models.ForeignKey(
        Endpoint, on_delete=models.CASCADE, related_name="deliveries", verbose_name=_("webhook")
    )
    sequence = models.BigIntegerField(_("audit entry"))
    type = models.CharField(_("event"), max_length=64)
    body = models.TextField(_("message"))
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    tried_at = models.DateTimeField(_("last try"), null=True)  # when it began
    claimed_until = models.DateTimeField(null=True, editable=False)  # while a worker tries it
    next_try_at = models.DateTimeField(_("next try"), default=now)
    answer = models.CharField(_("last answer"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("since"), default=now)
    settled_at = models.DateTimeField(_("settled"), null=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering: ClassVar = ["-pk"]
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["endpoint", "sequence"], name="one_delivery_per_endpoint_and_entry")
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_try_at"], condition=Q(state="waiting"), name="delivery_due"),
            models.Index(fields=["created_at"], name="delivery_by_age"),
        ]

    def __str__(self) -> str:
        return self.message_id

    @property
    def message_id(self) -> str:
        return f"msg_{self.endpoint_id}_{self.sequence}"
