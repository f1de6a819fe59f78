"""What was exported, when, by whom. Written once; labels go with the people whose photographs they name."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from console.predictions.models import TEXT_MAX, Prediction
from console.review.models import ExpertDecision


class Dataset(models.Model):
    """One export of labelled photographs."""

    model = models.CharField(_("model"), max_length=100)
    note = models.CharField(_("note"), max_length=200, blank=True)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("exported by")
    )
    made_at = models.DateTimeField(_("time"), default=now)
    # As `amulet train` computes it over the folder; a version's card carries it.
    fingerprint = models.CharField(_("fingerprint"), max_length=64, db_index=True)
    photographs = models.PositiveIntegerField(_("photographs"))  # when it was made, those of other things included
    per_class = models.JSONField()  # class id -> photographs
    outside = models.PositiveIntegerField()  # photographs of none of the classes
    left_out = models.PositiveIntegerField()  # labels whose photograph may not be used, or is not kept

    class Meta:
        verbose_name = _("data set")
        verbose_name_plural = _("data sets")
        ordering: ClassVar = ["-pk"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.model} {self.pk}"


class Proposal(models.Model):
    """That a model should learn anew, and why. It goes by itself when neither reason holds any more."""

    model = models.CharField(_("model"), max_length=100, unique=True)
    since = models.DateTimeField(_("since"), default=now)
    labels = models.PositiveIntegerField(_("new labels"))  # since the newest export, up to the setting
    alerts = models.PositiveIntegerField(_("drift alerts"))

    class Meta:
        verbose_name = _("proposal to train anew")
        verbose_name_plural = _("proposals to train anew")
        ordering: ClassVar = ["model"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.model


class Label(models.Model):
    """One photograph of a data set. It goes when its prediction is erased; the data set's count stays."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="labels")
    prediction = models.ForeignKey(Prediction, on_delete=models.CASCADE, related_name="+")
    decision = models.ForeignKey(ExpertDecision, on_delete=models.CASCADE, related_name="+")
    part = models.PositiveSmallIntegerField()  # which view
    class_id = models.CharField(max_length=TEXT_MAX, blank=True)  # empty: none of the classes
    sha256 = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dataset", "prediction", "part"], name="one_label_per_photograph")
        ]

    def __str__(self) -> str:
        return f"{self.class_id or '-'} {self.prediction_id} {self.part}"
