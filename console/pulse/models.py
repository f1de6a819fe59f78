"""One row for each process that is listened to: when it was last heard of, and what it complained of."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

NAME_MAX = 128  # of a gateway: as long as AMULET_GATEWAY_ID may be


class Service(models.TextChoices):
    """Who is listened to. What the names are for people is the page's to say."""

    GATEWAY = "gateway"
    TORCHSERVE = "torchserve"  # by the reconciler, which asks it once a second
    WORKER = "worker"  # its sign goes from beat through the broker
    SIGNER = "signer"  # of the audit log


class Pulse(models.Model):
    service = models.CharField(max_length=20, choices=Service)
    name = models.CharField(max_length=NAME_MAX, blank=True)  # which of them, where there may be several
    beaten_at = models.DateTimeField()
    problem = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["service", "name"], name="one_pulse_each")]

    def __str__(self) -> str:
        return f"{self.service} {self.name}".strip()
