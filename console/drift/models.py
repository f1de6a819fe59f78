"""Distributions as sketches, what waits to be folded into them, and what comparing them found."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from model_store.reference import Reference, parse

# Ids of clients in this app; empty: all clients together.
EVERYBODY = ""


class Named(NamedTuple):
    """A version. Its name is its model's alone: two models that learnt on one day may each have one of that name."""

    model: str
    version: str


class Pending(models.Model):
    """Measurements of one batch of events, written in its transaction; folded into sketches within a minute."""

    model = models.CharField(max_length=100, db_default="")
    version = models.CharField(max_length=100)
    client = models.CharField(max_length=36, default=EVERYBODY)
    hour = models.DateTimeField()
    document = models.JSONField()  # {"samples": {name: [numbers]}, "counts": {name: {choice: n}}}

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.model} {self.version} {self.hour}"

    @property
    def of(self) -> Named:
        return Named(self.model, self.version)


class Span(models.TextChoices):
    HOUR = "hour", _("hour")
    DAY = "day", _("day")


class Distribution(models.Model):
    """What one version saw and said in one hour or day (UTC), as sketches: for everybody, and for each of the
    clients that ask it most by the day alone.
    """

    model = models.CharField(_("model"), max_length=100, db_default="")
    version = models.CharField(_("version"), max_length=100)
    client = models.CharField(_("client"), max_length=36, default=EVERYBODY)
    span = models.CharField(_("span"), max_length=4, choices=Span)
    begins_at = models.DateTimeField(_("begins"))
    text = models.TextField()  # as `model_store.reference` renders it

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model", "version", "client", "span", "begins_at"], name="one_distribution_of_each"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["span", "begins_at"], name="distribution_by_time")]

    def __str__(self) -> str:
        return f"{self.model} {self.version} {self.span} {self.begins_at}"

    def reference(self) -> Reference:
        return parse(self.text)


class Against(models.TextChoices):
    """What the last seven days are compared with."""

    REFERENCE = "reference", _("measured when it was trained")
    PREVIOUS = "previous", _("the seven days before")


class Outcome(models.TextChoices):
    NONE = "none", _("no drift")
    DRIFT = "drift", _("drift")
    TOO_FEW = "too_few", _("too few to say")


class Finding(models.Model):
    """The newest comparison of one measure of one version, for everybody or for one client."""

    model = models.CharField(_("model"), max_length=100, db_default="")
    version = models.CharField(_("version"), max_length=100)
    client = models.CharField(_("client"), max_length=36, default=EVERYBODY)
    against = models.CharField(_("compared with"), max_length=10, choices=Against)
    measure = models.CharField(_("measure"), max_length=64)
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome)
    test = models.CharField(_("test"), max_length=4)
    statistic = models.FloatField(_("statistic"))
    effect = models.FloatField(_("effect"))
    psi = models.FloatField("PSI")
    p = models.FloatField("p")
    q = models.FloatField("q", help_text=_("p corrected for the number of measures"))
    n_reference = models.BigIntegerField(_("n before"))
    n_window = models.BigIntegerField(_("n now"))
    error = models.FloatField(_("error of the sketches"))
    since = models.DateTimeField(_("since"), null=True)  # of an alert
    looked_at = models.DateTimeField(_("looked at"))

    class Meta:
        verbose_name = _("drift finding")
        verbose_name_plural = _("drift findings")
        ordering: ClassVar = ["outcome", "-effect"]
        default_permissions = ("view",)
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model", "version", "client", "against", "measure"], name="one_finding_of_each"
            ),
            models.CheckConstraint(
                condition=Q(outcome="drift", since__isnull=False) | ~models.Q(outcome="drift") & models.Q(since=None),
                name="an_alert_says_since_when",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.version} {self.against} {self.measure}"

    @property
    def of(self) -> Named:
        return Named(self.model, self.version)
