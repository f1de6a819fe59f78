"""The Celery application: `python -m celery -A console.celery_app worker` and `… beat`.

Celery is a wake-up call, never a store: what must be done stands in the database, a task
that is lost is found again by the next beat, and every task may run twice.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from amqp.exceptions import AMQPError  # type: ignore[import-untyped]
from celery import Celery
from celery.signals import celeryd_after_setup, worker_init
from kombu.exceptions import OperationalError

from console import folder_broker
from console.site.configuration import ConfigurationWrong

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.site.settings")
# Django's checks read every page and view, 40 MB that a worker never uses; `migrate` has run them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

_log = logging.getLogger(__name__)
_DECLARED_S_MAX: Final = 20.0
_AGAIN_S: Final = 1.0

folder_broker.register()
app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_configure.connect
def read_settings(**_: Any) -> None:
    """Celery's own commands know no setting that is wrong, and would show where it was found. Ends with status 2."""
    from django.conf import settings

    try:
        settings.AMULET  # noqa: B018 - read now
    except ConfigurationWrong as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


@app.on_after_configure.connect
def make_broker_folders(sender: Celery, **_: Any) -> None:
    """The filesystem broker expects its folders to be there."""
    for name in ("data_folder_in", "control_folder"):
        folder = sender.conf.broker_transport_options.get(name)
        if folder:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)


@worker_init.connect
def look_before_the_first_task(**_: Any) -> None:
    """A worker starts under what the web process starts under: it erases people, and opens what they gave.

    Before any process is forked, and not for the beat, which has no key. Ends the start with one sentence, status 2.
    """
    from django.conf import settings
    from django.db import connections

    from console.vault.queries import key_complaint

    complaint = next(iter(settings.AMULET.unusable_files()), None) or key_complaint()
    connections.close_all()
    if complaint is not None:
        sys.stderr.write(f"{complaint}\n")
        raise SystemExit(2)


@celeryd_after_setup.connect
def declare_queues(instance: Any, **_: Any) -> None:
    """A worker's queues are there before it asks for them: RabbitMQ refuses one that another process makes just then.

    What it refuses for longer ends the start with one sentence, status 2; Celery itself would end at the first refusal,
    with a trace. A broker that is away is waited for as ever.
    """
    until_s = time.monotonic() + _DECLARED_S_MAX
    while refusal := _refusal(instance.app):
        if time.monotonic() > until_s:
            place = instance.app.connection_for_read().as_uri()  # without its password
            sys.stderr.write(f"AMULET_BROKER_URL names {place}, which refuses the queues of tasks: {refusal}\n")
            raise SystemExit(2)
        _log.warning("the broker refuses a queue, which is asked for again", extra={"error": refusal})
        time.sleep(_AGAIN_S)


def _refusal(celery: Celery) -> str:
    """Why a broker that is there refuses the queues that this process reads; empty where it does not."""
    try:
        with celery.connection_for_read() as connection, connection.channel() as channel:
            for queue in celery.amqp.queues.consume_from.values():
                queue(channel).declare()
    except AMQPError as error:
        return str(error)
    except (OperationalError, OSError):
        pass
    return ""


def wake(task: str, *numbers: int) -> None:
    """Send a task by name. A broker that is away loses nothing: the beat finds the work in the database.

    numbers: of rows of ours, and nothing else: a queue may lie on another machine, where no erasure looks for a
    person's words. Raises TypeError for anything but whole numbers.
    """
    if any(type(number) is not int for number in numbers):
        raise TypeError("a message in a queue holds numbers of rows and nothing else")
    try:
        app.send_task(task, args=numbers, retry=False)
    except (OperationalError, AMQPError, OSError) as error:
        _log.warning("the broker takes no task", extra={"task": task, "error": type(error).__name__})
