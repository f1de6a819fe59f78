"""Which events were applied: the one place that makes each count once."""

from __future__ import annotations

from django.db import models


class AppliedEvent(models.Model):
    """An event whose effects are in this database. Written in the transaction of those effects."""

    event_id = models.UUIDField(primary_key=True)
    applied_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.event_id)
