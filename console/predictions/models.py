"""Predictions and feedback: written once, by ingest; lists are read along time."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from console.predictions.detail import Detail
from console.vault.models import Subject
from protos.amulet.v1 import vocabulary_pb2 as words

TEXT_MAX = 128


class Verdict(models.IntegerChoices):
    """As in the contract (`amulet.v1.Verdict`)."""

    IN_DOMAIN = words.VERDICT_IN_DOMAIN, _("in domain")
    UNSURE = words.VERDICT_UNSURE, _("unsure")
    OUT_OF_DISTRIBUTION = words.VERDICT_OUT_OF_DISTRIBUTION, _("out of distribution")


_SELDOM = ~Q(verdict=Verdict.IN_DOMAIN)


class FeedbackKind(models.IntegerChoices):
    """As in the contract (`amulet.v1.SubmitFeedbackRequest.Kind`)."""

    CONFIRMED = 1, _("confirmed")
    WRONG = 2, _("wrong")
    NOT_OUR_KIND = 3, _("not our kind")
    COMPLAINT = 4, _("complaint")


class Prediction(models.Model):
    """One acknowledged answer. Its id is a UUID version 7 that the gateway gave."""

    prediction_id = models.UUIDField(_("prediction id"), primary_key=True)
    happened_at = models.DateTimeField(_("time"))
    client_id = models.CharField(_("client"), max_length=64)
    model = models.CharField(_("model"), max_length=100)
    version = models.CharField(_("version"), max_length=100)
    verdict = models.PositiveSmallIntegerField(_("verdict"), choices=Verdict)
    top_class = models.CharField(_("class"), max_length=TEXT_MAX)
    confidence = models.FloatField(_("confidence"))
    subject = models.ForeignKey(
        Subject, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("data subject")
    )
    # First view's keyed hash of the encoded photograph, so that the same one is found again.
    input_hash = models.BinaryField(max_length=32)
    request_id = models.CharField(_("caller's own id"), max_length=TEXT_MAX, blank=True)
    gateway_id = models.CharField(_("gateway"), max_length=TEXT_MAX)
    detail_document = models.JSONField()
    # No weight chose the version: its caller named it, or it has no route and ended a batch that it began.
    # None: the answer is older than this column.
    version_named = models.BooleanField(_("version named"), null=True)

    class Meta:
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")
        ordering: ClassVar = ["-happened_at", "-prediction_id"]
        default_permissions = ("view",)
        indexes: ClassVar = [
            # With model and version: what is counted of weeks is read from here alone, and not from rows of a kilobyte.
            models.Index(
                fields=["happened_at", "prediction_id", "model", "version"], name="prediction_by_time_version"
            ),
            models.Index(fields=["verdict", "happened_at"], name="prediction_by_verdict"),
            models.Index(fields=["top_class", "happened_at"], name="prediction_by_class"),
            models.Index(fields=["version", "happened_at"], name="prediction_by_version"),
            models.Index(fields=["client_id", "happened_at"], name="prediction_by_client"),
            models.Index(fields=["request_id"], condition=~Q(request_id=""), name="prediction_by_request"),
            # Verdicts other than "in domain" are few and often looked for together with something else;
            # along an index of one of the two, the rare rows of the other would be read for from all the others.
            models.Index(
                fields=["verdict", "top_class", "happened_at"], condition=_SELDOM, name="prediction_seldom_by_class"
            ),
            models.Index(
                fields=["verdict", "version", "happened_at"], condition=_SELDOM, name="prediction_seldom_by_version"
            ),
            models.Index(
                fields=["verdict", "client_id", "happened_at"], condition=_SELDOM, name="prediction_seldom_by_client"
            ),
        ]

    def __str__(self) -> str:
        return str(self.prediction_id)

    def detail(self) -> Detail:
        """What else the event said. Raises ValueError when the stored document is not of that form."""
        return Detail.parse(self.detail_document)


class Span(models.TextChoices):
    """What a tally counts over: an hour, or a day as the console's time zone has it."""

    HOUR = "hour"
    DAY = "day"


class Tally(models.Model):
    """How many predictions fell into a span, by version, verdict and confidence: what plots cost does not grow."""

    BINS: ClassVar = 20  # of confidence, 0 to 1

    span = models.CharField(max_length=4, choices=Span)
    begins_at = models.DateTimeField()
    model = models.CharField(max_length=100)
    version = models.CharField(max_length=100)
    verdict = models.PositiveSmallIntegerField(choices=Verdict)
    confidence_bin = models.PositiveSmallIntegerField()
    count = models.BigIntegerField()

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["span", "begins_at", "model", "version", "verdict", "confidence_bin"], name="tally_key"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.begins_at:%Y-%m-%d %H:%M} {self.version}: {self.count}"


class Feedback(models.Model):
    """What a caller said about a prediction later. It may arrive before the prediction does."""

    feedback_id = models.UUIDField(primary_key=True)
    prediction_id = models.UUIDField(_("prediction id"), db_index=True)
    happened_at = models.DateTimeField(_("time"))
    client_id = models.CharField(_("client"), max_length=64)
    kind = models.PositiveSmallIntegerField(_("kind"), choices=FeedbackKind)
    true_class = models.CharField(_("true class"), max_length=TEXT_MAX, blank=True)
    comment = models.TextField(_("comment"), blank=True)

    class Meta:
        verbose_name = _("feedback")
        verbose_name_plural = _("feedback")
        ordering: ClassVar = ["-happened_at"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.feedback_id)
