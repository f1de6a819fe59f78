"""Calls that named a key, and what they were answered."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.timezone import now


class Call(models.Model):
    """One call by one caller. Answers may hold a secret that is shown once: they are sealed under the key itself."""

    caller = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key_digest = models.BinaryField(max_length=32)
    call_digest = models.BinaryField(max_length=32)  # of path and body, keyed with the caller's key
    begun_at = models.DateTimeField(default=now)
    status = models.PositiveSmallIntegerField(null=True)  # None: not answered yet, or nobody knows
    content_type = models.CharField(max_length=100, blank=True)
    sealed = models.BinaryField(default=b"")

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["caller", "key_digest"], name="one_call_per_key")]
        indexes: ClassVar = [models.Index(fields=["begun_at"], name="call_by_age")]

    def __str__(self) -> str:
        return f"{self.caller_id} {self.begun_at}"
