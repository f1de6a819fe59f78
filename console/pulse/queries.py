"""What is known of the other processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from django.utils.timezone import now

from console.pulse.models import Pulse, Service

# A busy machine is not a dead one; beat sends the worker's sign every ten seconds.
SILENT_AFTER: Final = timedelta(seconds=60)


class Health(StrEnum):
    WELL = "well"
    UNWELL = "unwell"  # it lives and says what is wrong
    SILENT = "silent"  # nothing was heard for SILENT_AFTER
    UNKNOWN = "unknown"  # nothing was ever heard


@dataclass(frozen=True, slots=True)
class ServiceState:
    service: Service
    health: Health
    heard_at: datetime | None
    problem: str


def service_states() -> Sequence[ServiceState]:
    """Every service, known or not, in one query."""
    known = {pulse.service: pulse for pulse in Pulse.objects.all()}
    return [_state(service, known.get(service)) for service in Service]


def _state(service: Service, pulse: Pulse | None) -> ServiceState:
    if pulse is None:
        return ServiceState(service, Health.UNKNOWN, None, "")
    if abs(now() - pulse.beaten_at) > SILENT_AFTER:  # a clock that was set back makes no dead process alive
        return ServiceState(service, Health.SILENT, pulse.beaten_at, "")
    health = Health.UNWELL if pulse.problem else Health.WELL
    return ServiceState(service, health, pulse.beaten_at, pulse.problem)
