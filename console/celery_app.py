"""The Celery application: `python -m celery -A console.celery_app worker` and `… beat`.

Celery is a wake-up call, never a store: what must be done stands in the database, a task
that is lost is found again by the next beat, and every task may run twice.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.site.settings")
# Django's checks read every page and view, 40 MB that a worker never uses; `migrate` has run them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

_log = logging.getLogger(__name__)

app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_configure.connect
def make_broker_folders(sender: Celery, **_: Any) -> None:
    """The filesystem broker expects its folders to be there."""
    for name in ("data_folder_in", "control_folder"):
        folder = sender.conf.broker_transport_options.get(name)
        if folder:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)


def wake(task: str, *numbers: int) -> None:
    """Send a task by name. A broker that is away loses nothing: the beat finds the work in the database.

    numbers: of rows of ours, and nothing else: a queue may lie on another machine, where no erasure looks for a
    person's words. Raises TypeError for anything but whole numbers.
    """
    if any(type(number) is not int for number in numbers):
        raise TypeError("a message in a queue holds numbers of rows and nothing else")
    try:
        app.send_task(task, args=numbers, retry=False)
    except (OperationalError, OSError) as error:
        _log.warning("the broker is away", extra={"task": task, "error": type(error).__name__})
