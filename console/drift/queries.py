"""What is asked of distributions and findings."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, reduce

from django.conf import settings
from django.db.models import QuerySet

from console.drift.models import EVERYBODY, Distribution, Finding, Named, Outcome, Span
from console.registry.models import ModelVersion
from model_store.errors import ArchiveRefused
from model_store.reference import Reference
from model_store.store import open_stored

_log = logging.getLogger(__name__)


def versions_since(moment: datetime) -> list[Named]:
    """Versions that answered since a time. Along the index by time."""
    rows = Distribution.objects.filter(client=EVERYBODY, span=Span.DAY, begins_at__gte=moment - timedelta(days=1))
    return sorted({Named(*names) for names in rows.values_list("model", "version")})


def clients_since(version: Named, moment: datetime) -> list[str]:
    """Clients that a version's distributions are kept of, and whom it answered since a time."""
    rows = _distributions(version).filter(span=Span.DAY, begins_at__gte=moment - timedelta(days=1))
    return sorted(set(rows.exclude(client=EVERYBODY).values_list("client", flat=True)))


@dataclass(frozen=True, slots=True)
class Day:
    """What a version saw and said in one day (UTC)."""

    begins_at: datetime
    reference: Reference


def days(version: Named, *, since: datetime, client: str = EVERYBODY) -> list[Day]:
    """A version's days that began since a time, in order. One query, one row a day, however much there was."""
    rows = _distributions(version).filter(client=client, span=Span.DAY, begins_at__gte=since)
    return [Day(row.begins_at, row.reference()) for row in rows.order_by("begins_at")]


def window(version: Named, *, ends_at: datetime, length: timedelta, client: str = EVERYBODY) -> Reference:
    """What a version saw and said in the days before an instant, that day included: one merged distribution."""
    since = _midnight(ends_at) - length + timedelta(days=1)
    return window_of(days(version, since=since, client=client), ends_at=ends_at, length=length)


def window_of(some: Iterable[Day], *, ends_at: datetime, length: timedelta) -> Reference:
    """The same from days that are at hand already."""
    last = _midnight(ends_at)
    within = (day.reference for day in some if last - length < day.begins_at <= last)
    return reduce(lambda one, other: one.merged(other), within, Reference({}, {}))


def clients_kept(version: Named) -> set[str]:
    """Clients that a version's distributions are kept of."""
    rows = _distributions(version).filter(span=Span.DAY).exclude(client=EVERYBODY)
    return set(rows.values_list("client", flat=True).distinct())


def _distributions(of: Named) -> QuerySet[Distribution]:
    return Distribution.objects.filter(model=of.model, version=of.version)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def reference_of(version: Named) -> Reference | None:
    """What the archive of a version carries; None where it is not at hand."""
    rows = ModelVersion.objects.filter(model=version.model, version=version.version).exclude(version="")
    row = rows.order_by("-pk").first()
    return None if row is None else reference_in(row)


def reference_in(row: ModelVersion) -> Reference | None:
    """The same of a version that is at hand already; reads no row."""
    try:
        return _reference_in(row.file_name)
    except (ArchiveRefused, OSError) as error:
        _log.warning("a version has no reference at hand", extra={"version": row.version, "error": str(error)})
        return None


@lru_cache(maxsize=8)
def _reference_in(file_name: str) -> Reference:
    return open_stored(settings.AMULET.model_store / file_name).reference()


def findings() -> QuerySet[Finding]:
    """Newest comparisons, alerts first, the strongest on top."""
    return Finding.objects.order_by("outcome", "-effect", "model", "version", "measure")


def alerts() -> QuerySet[Finding]:
    """Comparisons that found drift."""
    return Finding.objects.filter(outcome=Outcome.DRIFT)
