"""What moves training jobs: one function for each arrow of the drawing in `models`.

Each is a conditional UPDATE. The ones that a worker calls name the try too, so that a worker that was
given up for dead and is not cannot move what another one has taken over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import record
from console.datasets.models import Dataset
from console.datasets.queries import versions_with_erased
from console.datasets.services import NOTE_MAX
from console.errors import Conflict, Invalid, NotFound
from console.registry.models import ModelVersion
from console.registry.models import State as Version
from console.registry.queries import models_known
from console.retraining import demand, queries
from console.retraining.models import OPEN, SEED_MAX, Failure, Plan, Recipe, Stage, State, TrainingJob
from console.staff.models import User
from console.staff.services import require

TRIES_MAX: Final = 3
LOG_CHARACTERS_MAX: Final = 4000
_SAID_MAX: Final = 500
# A job does what a person would do by hand: take photographs out, and hand an archive in.
NEEDED: Final = ("vault.train_storedobject", "registry.upload_modelversion")


def start_job(*, actor: User, model: str, recipe: str = Recipe.STANDARD, seed: int = 0, note: str = "") -> TrainingJob:
    """Queue the training of a model on what experts labelled; its version will be this person's upload.

    Raises NotAllowed; Invalid naming the field; Conflict while a job of the model is open.
    """
    _may(actor)
    if model not in (known := models_known()):
        wanted = ", ".join(known) or _("none yet")
        raise Invalid(_("{name} is no model; the models are: {names}.").format(name=model, names=wanted), field="model")
    if recipe not in Recipe.values:
        wanted = ", ".join(Recipe.values)
        raise Invalid(
            _("{name} is no recipe; the recipes are: {names}.").format(name=recipe, names=wanted), field="recipe"
        )
    if not 0 <= seed <= SEED_MAX:
        raise Invalid(_("A seed is a whole number from 0 to {most}.").format(most=SEED_MAX), field="seed")
    if len(note) > NOTE_MAX:
        raise Invalid(_("A note has at most {most} characters.").format(most=NOTE_MAX), field="note")
    try:
        with transaction.atomic():
            job = TrainingJob.objects.create(model=model, recipe=recipe, seed=seed, note=note, asked_by=actor)
            _record(actor, "retraining.job_started", job.pk, model=model, recipe=recipe, seed=seed)
            transaction.on_commit(demand.ask)
    except IntegrityError:
        raise Conflict(
            _("{model} is being trained already: wait for that job, or cancel it.").format(model=model),
            reason="job_open",
            field="model",
        ) from None
    return job


@transaction.atomic
def cancel_job(*, actor: User, job_id: int) -> TrainingJob:
    """queued, running → cancelled. A running one stops within seconds, and its photographs go with it.

    Raises NotAllowed, NotFound, Conflict when it has ended.
    """
    _may(actor)
    moved = TrainingJob.objects.filter(pk=job_id, state__in=OPEN).update(
        state=State.CANCELLED, ended_at=now(), cancelled_by=actor
    )
    job = queries.jobs().filter(pk=job_id).first()
    if job is None:
        raise NotFound(_("There is no training job {number}.").format(number=job_id))
    if not moved:
        raise Conflict(_("This job has ended: there is nothing to cancel."), reason="job_ended")
    _record(actor, "retraining.job_cancelled", job_id)
    return job


def begin_next() -> TrainingJob | None:
    """queued → running: the job that waits longest. None while another one runs, or when none waits."""
    job = queries.longest_waiting()
    if job is None:
        return None
    moment = now()
    try:
        with transaction.atomic():
            moved = TrainingJob.objects.filter(pk=job.pk, state=State.QUEUED).update(
                state=State.RUNNING,
                tries=job.tries + 1,
                began_at=moment,
                alive_at=moment,
                stage=Stage.EXPORT,
                step="",
                step_done=0,
                step_total=0,
            )
    except IntegrityError:  # another worker began another one
        return None
    return TrainingJob.objects.select_related("asked_by").get(pk=job.pk) if moved else None


def note_progress(job: TrainingJob, *, stage: Stage, step: str = "", done: int = 0, total: int = 0) -> bool:
    """Say that its worker is alive, and how far it is. False when the job is no longer this worker's."""
    return bool(
        _held(job).update(alive_at=now(), stage=stage, step=step[:60], step_done=max(done, 0), step_total=max(total, 0))
    )


def note_dataset(job: TrainingJob, dataset: Dataset) -> bool:
    """Write down what it learns from. False when the job is no longer this worker's."""
    return bool(_held(job).update(dataset=dataset))


@transaction.atomic
def settle(job: TrainingJob, *, version: ModelVersion, log: str) -> bool:
    """running → uploaded. False when the job is no longer this worker's."""
    moved = _held(job).update(
        state=State.UPLOADED, version=version, ended_at=now(), log_tail=log[-LOG_CHARACTERS_MAX:], stage="", step=""
    )
    if moved:
        _record(None, "retraining.job_uploaded", job.pk, model=job.model, version=version.pk)
    return bool(moved)


@transaction.atomic
def fail(job: TrainingJob, *, failure: Failure, said: str = "", log: str = "") -> bool:
    """running → failed, for a reason and with what a program said. False when the job is no longer this worker's."""
    moved = _held(job).update(
        state=State.FAILED,
        failure=failure,
        said=said[:_SAID_MAX],
        log_tail=log[-LOG_CHARACTERS_MAX:],
        ended_at=now(),
    )
    if moved:
        _record(None, "retraining.job_failed", job.pk, model=job.model, failure=failure)
    return bool(moved)


def put_back(job: TrainingJob) -> bool:
    """running → queued: its worker goes away, and another one begins anew; failed when that happened too often.

    False when the job is no longer this worker's.
    """
    if job.tries >= TRIES_MAX:
        return fail(job, failure=Failure.WORKER_GONE)
    return bool(_held(job).update(state=State.QUEUED, stage="", step=""))


@dataclass(slots=True)
class Silence:
    """For how long this process has heard nothing new of each job.

    What a worker writes is the time by its wall clock, and here only whether it is another one than before: a clock
    that is set an hour on does not end a training that runs, and one that is set back keeps no dead one alive.
    """

    clock: Callable[[], float] = time.monotonic
    _heard: dict[tuple[int, int, datetime | None], float] = field(default_factory=dict)

    def over(self) -> list[TrainingJob]:
        """Jobs whose worker has been silent for too long. One query."""
        now_s, running = self.clock(), {(job.pk, job.tries, job.alive_at): job for job in queries.running()}
        self._heard = {heard: self._heard.get(heard, now_s) for heard in running}
        silent_s = queries.SILENT_MAX.total_seconds()
        return [job for heard, job in running.items() if now_s - self._heard[heard] > silent_s]


def find_stranded(silence: Silence) -> int:
    """Put back every job whose worker died. Returns how many."""
    return sum(put_back(job) for job in silence.over())


@transaction.atomic
def plan_after_erasures(*, at: datetime) -> int:
    """Plan to train anew what learnt from erased people; forget the plans of retired versions. Returns how many stand.

    May run twice: a plan's limit counts from when it was first seen.
    """
    due_at = at + timedelta(days=settings.AMULET.retrain_erased_days)
    living = (Version.VERIFIED, Version.SMOKE_TESTED, Version.APPROVED)
    for version, photographs in versions_with_erased(living).items():
        _plan, opened = Plan.objects.update_or_create(
            version=version,
            defaults={"photographs": photographs},
            create_defaults={"photographs": photographs, "since": at, "due_at": due_at},
        )
        if opened:
            record(
                actor=None,
                action="retraining.planned",
                subject_type="model_version",
                subject_id=str(version.pk),
                details={"reason": "erasure", "photographs": photographs, "due_at": due_at.isoformat()},
            )
    Plan.objects.filter(version__state=Version.RETIRED).delete()
    return Plan.objects.count()


def _may(actor: User) -> None:
    for permission in NEEDED:
        require(actor, permission)


def _held(job: TrainingJob) -> QuerySet[TrainingJob]:
    return TrainingJob.objects.filter(pk=job.pk, state=State.RUNNING, tries=job.tries)


def _record(actor: User | None, action: str, job_id: int, **details: Any) -> None:
    record(actor=actor, action=action, subject_type="training_job", subject_id=str(job_id), details=details)
