"""What writes a sign of life."""

from __future__ import annotations

import logging
import time
from typing import Final

from django.db import DatabaseError
from django.utils.timezone import now

from console.pulse.models import Pulse, Service
from console.pulse.queries import FORGOTTEN_AFTER, SILENT_AFTER

_log = logging.getLogger(__name__)
EVERY_S: Final = 5.0
PROBLEM_MAX: Final = 300
# What this process wrote last: service and name -> (monotonic time, problem).
_written: dict[tuple[Service, str], tuple[float, str]] = {}


def beat(service: Service, problem: str = "", *, name: str = "") -> None:
    """Say that a service is alive, and what is wrong with it. Cheap: written every EVERY_S, or when that changes.

    name: which of them, where there may be several; at most NAME_MAX characters. Whoever is new takes the place of
    those that were silent for long.
    Never raises: whoever beats has something better to do than to fail over it.
    """
    problem = problem[:PROBLEM_MAX]
    at_s, said = _written.get((service, name), (float("-inf"), ""))
    if problem == said and time.monotonic() - at_s < EVERY_S:
        return
    moment = now()
    try:
        _, is_new = Pulse.objects.update_or_create(
            service=service, name=name, defaults={"beaten_at": moment, "problem": problem}
        )
        if is_new:
            Pulse.objects.filter(service=service, beaten_at__lt=moment - FORGOTTEN_AFTER).delete()
    except DatabaseError as error:
        _not_written(service, error)
        return
    _written[service, name] = (time.monotonic(), problem)


def farewell(service: Service, *, name: str) -> None:
    """Say that one of several ends as it was told to, so that nobody misses it. Who is the only one stays known.

    Never raises.
    """
    try:
        others = Pulse.objects.filter(service=service, beaten_at__gt=now() - SILENT_AFTER).exclude(name=name)
        if others.exists():
            Pulse.objects.filter(service=service, name=name).delete()
    except DatabaseError as error:
        _not_written(service, error)


def _not_written(service: Service, error: DatabaseError) -> None:
    _log.warning("a sign of life was not written: %s", type(error).__name__, extra={"service": str(service)})
