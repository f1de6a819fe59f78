"""Who trains is told that a job waits: a worker by a message, or whoever starts the trainer by a file.

Neither is a store. Jobs stand in the database, and the beat tells again of one that nobody has taken.
"""

from __future__ import annotations

import logging
from typing import Final

from django.conf import settings

from console.celery_app import wake

TASK: Final = "console.retraining.tasks.train"
_log = logging.getLogger(__name__)


def ask() -> None:
    """Say that a job waits. Never raises: the beat says it again."""
    file = settings.AMULET.training_wanted_file
    if file is None:
        wake(TASK)
        return
    try:
        file.touch(mode=0o600)
    except OSError as error:
        _log.warning("nobody can be told that a training job waits: %s", error)


def taken() -> None:
    """Say that somebody looks for jobs now. Raises OSError."""
    if (file := settings.AMULET.training_wanted_file) is not None:
        file.unlink(missing_ok=True)
