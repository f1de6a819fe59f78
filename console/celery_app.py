"""The Celery application: `python -m celery -A console.celery_app worker` and `… beat`.

Celery is a wake-up call, never a store: what must be done stands in the database, a task
that is lost is found again by the next beat, and every task may run twice.
"""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.site.settings")

app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
