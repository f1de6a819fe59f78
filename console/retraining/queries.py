"""What is asked of training jobs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from console.registry.models import ModelVersion
from console.retraining.models import OPEN, Plan, State, TrainingJob
from console.rollout.queries import routes_in_force

# Verification, the longest that a worker keeps silent, ends within 180 s.
SILENT_MAX: Final = timedelta(minutes=5)
# Of `plans`.
PLAN_ORDER: Final = ("-answers", "due_at", "pk")
UNHEARD_AFTER: Final = timedelta(minutes=2)


def jobs() -> QuerySet[TrainingJob]:
    """Jobs, newest first; joins the people, the data set and the version."""
    return TrainingJob.objects.select_related("asked_by", "cancelled_by", "dataset", "version").order_by("-pk")


def open_jobs() -> QuerySet[TrainingJob]:
    return TrainingJob.objects.filter(state__in=OPEN).order_by("pk")


def longest_waiting() -> TrainingJob | None:
    """The job that may begin now; None while one runs, or when none waits. Two queries."""
    if TrainingJob.objects.filter(state=State.RUNNING).exists():
        return None
    return TrainingJob.objects.filter(state=State.QUEUED).order_by("pk").first()


def running() -> QuerySet[TrainingJob]:
    return TrainingJob.objects.filter(state=State.RUNNING)


def nobody_came(job: TrainingJob, at: datetime) -> bool:
    """Whether a job should have begun by now: it waits for no other, and no worker took it."""
    if job.state != State.QUEUED or job.asked_at > at - UNHEARD_AFTER:
        return False
    first = longest_waiting()
    return first is not None and first.pk == job.pk


def plans() -> QuerySet[Plan]:
    """What should be trained anew after erasures: what answers callers first, then by its limit. One query."""
    answers = Exists(routes_in_force().filter(version=OuterRef("pk")))
    return Plan.objects.select_related("version").annotate(answers=answers).order_by(*PLAN_ORDER)


def job_of(version: ModelVersion) -> TrainingJob | None:
    """The job that made a version; None when somebody pushed it."""
    return TrainingJob.objects.filter(version=version).first()
