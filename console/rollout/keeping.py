"""TorchServe holds what routes want, for as long as the process lives."""

from __future__ import annotations

import socket
from functools import partial
from threading import Event

from django.conf import settings
from django.db import DatabaseError, close_old_connections

from console.pulse.models import NAME_MAX, Service
from console.pulse.services import beat, farewell
from console.rollout.queries import wanted_backend_versions
from console.torchserve import connections
from console.torchserve.errors import WantedUnknown
from console.torchserve.management import BackendVersion
from console.torchserve.reconcile import INTERVAL_S, only_one, run


class AnotherAtWork(Exception):
    """Some other process reconciles this TorchServe."""


def keep_torchserve(*, stopped: Event, interval_s: float = INTERVAL_S) -> None:
    """Register what has a route, unregister what has none, until told to stop. Raises AnotherAtWork."""
    with only_one(settings.AMULET.data_dir / "reconcile.lock") as alone:
        if not alone:
            raise AnotherAtWork("another reconciler is at work on this state folder")
        name = socket.gethostname()[:NAME_MAX]  # one machine, or one pod, has one TorchServe
        run(
            connections.management(),
            _wanted,
            wait=stopped.wait,
            interval_s=interval_s,
            looked=partial(beat, Service.TORCHSERVE, name=name),
        )
        farewell(Service.TORCHSERVE, name=name)


def _wanted() -> set[BackendVersion]:
    close_old_connections()
    try:
        return wanted_backend_versions()
    except DatabaseError as error:
        raise WantedUnknown(f"the database does not answer: {type(error).__name__}") from None
