"""What is asked of retention."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q, QuerySet

from console.retention.models import Applied

LATE_AFTER: Final = timedelta(hours=1)


def overdue(at: datetime) -> QuerySet[Applied]:
    """Rules that were not applied when they should have been, or did not delete all that they should have."""
    return Applied.objects.filter(Q(next_at__lt=at - LATE_AFTER) | Q(failed__gt=0) | ~Q(problem=""))
