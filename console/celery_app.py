"""The Celery application: `python -m celery -A console.celery_app worker` and `… beat`.

Celery is a wake-up call, never a store: what must be done stands in the database, a task
that is lost is found again by the next beat, and every task may run twice.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.site.settings")

_log = logging.getLogger(__name__)

app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def wake(task: str, *arguments: Any) -> None:
    """Send a task by name. A broker that is away loses nothing: the beat finds the work in the database."""
    try:
        app.send_task(task, args=arguments, retry=False)
    except (OperationalError, OSError) as error:
        _log.warning("the broker is away", extra={"task": task, "error": type(error).__name__})
