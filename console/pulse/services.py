"""What writes a sign of life."""

from __future__ import annotations

import logging
import time
from typing import Final

from django.db import DatabaseError
from django.utils.timezone import now

from console.pulse.models import Pulse, Service

_log = logging.getLogger(__name__)
EVERY_S: Final = 5.0
PROBLEM_MAX: Final = 300
# What this process wrote last: service -> (monotonic time, problem).
_written: dict[Service, tuple[float, str]] = {}


def beat(service: Service, problem: str = "") -> None:
    """Say that a service is alive, and what is wrong with it. Cheap: written every EVERY_S, or when that changes.

    Never raises: whoever beats has something better to do than to fail over it.
    """
    problem = problem[:PROBLEM_MAX]
    at_s, said = _written.get(service, (float("-inf"), ""))
    if problem == said and time.monotonic() - at_s < EVERY_S:
        return
    try:
        Pulse.objects.update_or_create(service=service, defaults={"beaten_at": now(), "problem": problem})
    except DatabaseError as error:
        _log.warning("a sign of life was not written: %s", type(error).__name__, extra={"service": str(service)})
        return
    _written[service] = (time.monotonic(), problem)
