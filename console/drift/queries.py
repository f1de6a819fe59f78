"""What is asked of distributions and findings."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import lru_cache, reduce

from django.conf import settings
from django.db.models import QuerySet

from console.drift.models import Distribution, Finding, Outcome, Span
from console.registry.models import ModelVersion
from model_store.errors import ArchiveRefused
from model_store.reference import Reference

_log = logging.getLogger(__name__)


def versions_since(moment: datetime) -> list[str]:
    """Versions that answered since a time. Along the index by time."""
    rows = Distribution.objects.filter(span=Span.DAY, begins_at__gte=moment - timedelta(days=1))
    return sorted(set(rows.values_list("version", flat=True)))


def window(version: str, *, ends_at: datetime, length: timedelta) -> Reference:
    """What a version saw and said in the days before an instant, that day included: one merged distribution.

    Reads one row a day, however much there was.
    """
    last = ends_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = Distribution.objects.filter(
        version=version, span=Span.DAY, begins_at__gt=last - length, begins_at__lte=last
    ).order_by("begins_at")
    return reduce(lambda one, other: one.merged(other), (row.reference() for row in rows), Reference({}, {}))


def days(version: str, *, since: datetime) -> list[Distribution]:
    """A version's days since a time, in order."""
    return list(Distribution.objects.filter(version=version, span=Span.DAY, begins_at__gte=since).order_by("begins_at"))


def reference_of(version: str) -> Reference | None:
    """What the archive of a version carries; None where it is not at hand."""
    row = ModelVersion.objects.filter(version=version).exclude(version="").order_by("-pk").first()
    if row is None:
        return None
    try:
        return _reference_in(row.file_name)
    except (ArchiveRefused, OSError) as error:
        _log.warning("a version has no reference at hand", extra={"version": version, "error": str(error)})
        return None


@lru_cache(maxsize=8)
def _reference_in(file_name: str) -> Reference:
    from model_store.archive import Archive  # brings the whole of signing along, which few processes need

    return Archive.open(settings.AMULET.model_store / file_name).reference()


def findings() -> QuerySet[Finding]:
    """Newest comparisons, alerts first, the strongest on top."""
    return Finding.objects.order_by("outcome", "-effect", "version", "measure")


def alerts() -> QuerySet[Finding]:
    """Comparisons that found drift."""
    return Finding.objects.filter(outcome=Outcome.DRIFT)
