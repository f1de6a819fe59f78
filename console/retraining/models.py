"""Training jobs.

A job's life:

    queued ──▶ running ──▶ uploaded        its version goes on as `registry.models` draws it
      │ ▲         │ │
      │ └─────────┘ ├────▶ failed          a sentence says why
      │  its worker │
      │  went away  │
      └─────────────┴────▶ cancelled

Whoever runs a job holds it by its number and its try: an arrow that somebody else took first
finds neither, and what was begun is then stopped. What stands before a job, that a model should
learn anew, is a proposal (`console.datasets.proposals`).
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from console.datasets.models import Dataset
from console.registry.models import ModelVersion

SEED_MAX = 2**32 - 1  # as `amulet train` has it


class State(models.TextChoices):
    QUEUED = "queued", _("waiting")
    RUNNING = "running", _("running")
    UPLOADED = "uploaded", _("uploaded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


OPEN = (State.QUEUED, State.RUNNING)


class Stage(models.TextChoices):
    """What a running job is at."""

    EXPORT = "export", _("takes the labelled photographs out")
    TRAIN = "train", _("trains")
    PACKAGE = "package", _("packs and signs")
    UPLOAD = "upload", _("hands the archive in")


class Recipe(models.TextChoices):
    """The recipes of `amulet train` whose runs can be served."""

    STANDARD = "standard", _("standard: a head on a frozen network, minutes")
    FINETUNED = "finetuned", _("finetuned: the network learns too, hours")
    LOGISTIC = "logistic", _("logistic: logistic regression as the head")
    BASELINE = "baseline", _("baseline: the reference point, photographs as they are")


class Failure(models.TextChoices):
    """Why a job failed. What a program said about it stands in `said`."""

    NO_KEY = "no_key", _("There is no key to sign with that the console trusts.")
    NO_PROGRAM = "no_program", _("The program that trains is not there.")
    EXPORT = "export", _("The labelled photographs could not be taken out.")
    TRAIN = "train", _("The training failed.")
    PACKAGE = "package", _("The run could not be packed.")
    UPLOAD = "upload", _("The archive could not be handed in.")
    TIME = "time", _("It took longer than it may.")
    ERASED = "erased", _("Somebody whose photographs it learnt from was erased meanwhile. Start it again.")
    WITHDRAWN = (
        "withdrawn",
        _(
            "A photograph that it learnt from may not be used any more: a consent was taken back or ran out, or its "
            "person restricted it. Start it again without it."
        ),
    )
    WORKER_GONE = "worker_gone", _("Its worker died each time that it was tried.")
    DISK = "disk", _("The disk refused.")
    UNEXPECTED = "unexpected", _("An unexpected error: the worker's log says more.")


class Plan(models.Model):
    """That a version learnt from somebody who was erased since, and by when it should be replaced.

    It says how much, and of nobody whom. It goes when the version is retired.
    """

    version = models.OneToOneField(
        ModelVersion, on_delete=models.CASCADE, primary_key=True, related_name="plan", verbose_name=_("model version")
    )
    photographs = models.PositiveIntegerField(_("erased photographs"))
    since = models.DateTimeField(_("since"))
    due_at = models.DateTimeField(_("to be replaced by"))

    class Meta:
        verbose_name = _("plan to train anew after an erasure")
        verbose_name_plural = _("plans to train anew after erasures")
        ordering: ClassVar = ["due_at", "pk"]
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.version)


class TrainingJob(models.Model):
    """One model that learns anew from what experts labelled."""

    model = models.CharField(_("model"), max_length=100)
    recipe = models.CharField(_("recipe"), max_length=20, choices=Recipe, default=Recipe.STANDARD)
    seed = models.PositiveBigIntegerField(_("seed"), default=0, validators=[MaxValueValidator(SEED_MAX)])
    note = models.CharField(_("note"), max_length=200, blank=True)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("started by")
    )
    asked_at = models.DateTimeField(_("started"), default=now)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    # While it runs.
    tries = models.PositiveSmallIntegerField(default=0)
    began_at = models.DateTimeField(_("began"), null=True)
    alive_at = models.DateTimeField(_("last heard of"), null=True)
    stage = models.CharField(_("stage"), max_length=10, choices=Stage, blank=True)
    step = models.CharField(max_length=60, blank=True)  # as the program calls it
    step_done = models.PositiveIntegerField(default=0)
    step_total = models.PositiveIntegerField(default=0)
    # What came of it.
    ended_at = models.DateTimeField(_("ended"), null=True)
    cancelled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("cancelled by")
    )
    failure = models.CharField(_("why it failed"), max_length=12, choices=Failure, blank=True)
    said = models.CharField(max_length=500, blank=True)
    log_tail = models.TextField(_("log"), blank=True)  # without ids and places
    dataset = models.ForeignKey(
        Dataset, on_delete=models.PROTECT, null=True, related_name="jobs", verbose_name=_("data set")
    )
    version = models.OneToOneField(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="job", verbose_name=_("model version")
    )

    class Meta:
        verbose_name = _("training job")
        verbose_name_plural = _("training jobs")
        ordering: ClassVar = ["-pk"]
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["state"], condition=Q(state=State.RUNNING), name="one_job_runs"),
            models.UniqueConstraint(fields=["model"], condition=Q(state__in=OPEN), name="one_open_job_per_model"),
            models.CheckConstraint(
                condition=~Q(state=State.UPLOADED) | Q(version__isnull=False, dataset__isnull=False),
                name="uploaded_job_has_its_version",
            ),
            models.CheckConstraint(
                condition=Q(state=State.FAILED) & ~Q(failure="") | ~Q(state=State.FAILED) & Q(failure=""),
                name="failed_job_says_why",
            ),
            models.CheckConstraint(
                condition=Q(state__in=OPEN, ended_at=None) | ~Q(state__in=OPEN) & Q(ended_at__isnull=False),
                name="job_ends_with_its_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.pk}"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN
