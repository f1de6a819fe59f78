"""What is known of the other processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from django.utils.timezone import now

from console.pulse.models import Pulse, Service

# A busy machine is not a dead one; beat sends the worker's sign every ten seconds.
SILENT_AFTER: Final = timedelta(seconds=60)
# One of several that was silent for so long was taken away, and is told of no more.
FORGOTTEN_AFTER: Final = timedelta(days=1)


class Health(StrEnum):
    WELL = "well"
    UNWELL = "unwell"  # it lives and says what is wrong
    SILENT = "silent"  # nothing was heard for SILENT_AFTER
    UNKNOWN = "unknown"  # nothing was ever heard


@dataclass(frozen=True, slots=True)
class ServiceState:
    service: Service
    name: str  # which of them, where there may be several; "": there is one
    health: Health
    heard_at: datetime | None
    problem: str


def service_states() -> Sequence[ServiceState]:
    """Every service, known or not, and each of those of which there are several; in one query."""
    heard = defaultdict(list)
    for pulse in Pulse.objects.order_by("name"):
        heard[pulse.service].append(pulse)
    return [state for service in Service for state in _states(service, heard[service])]


def _states(service: Service, heard: Sequence[Pulse]) -> Iterator[ServiceState]:
    if not heard:
        yield ServiceState(service, "", Health.UNKNOWN, None, "")
        return
    moment = now()
    alive = any(not _silent(pulse, moment) for pulse in heard)
    newest = max(heard, key=lambda pulse: pulse.beaten_at)
    for pulse in heard:
        if not _silent(pulse, moment):
            health = Health.UNWELL if pulse.problem else Health.WELL
            yield ServiceState(service, pulse.name, health, pulse.beaten_at, pulse.problem)
        elif (pulse is newest and not alive) or abs(moment - pulse.beaten_at) <= FORGOTTEN_AFTER:
            yield ServiceState(service, pulse.name, Health.SILENT, pulse.beaten_at, "")


def _silent(pulse: Pulse, moment: datetime) -> bool:
    return abs(moment - pulse.beaten_at) > SILENT_AFTER  # a clock that was set back makes no dead process alive
