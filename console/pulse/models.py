"""One row for each kind of process: when it was last heard of, and what it complained of."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Service(models.TextChoices):
    """Who is listened to. What the names are for people is the page's to say."""

    GATEWAY = "gateway"
    TORCHSERVE = "torchserve"  # by the reconciler, which asks it once a second
    WORKER = "worker"  # its sign goes from beat through the broker
    SIGNER = "signer"  # of the audit log


class Pulse(models.Model):
    service = models.CharField(max_length=20, primary_key=True, choices=Service)
    beaten_at = models.DateTimeField()
    problem = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions: ClassVar = ()

    def __str__(self) -> str:
        return self.service
