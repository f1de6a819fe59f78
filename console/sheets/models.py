"""Sheets, their items and the answers. A sheet's pictures go with it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from console.predictions.models import Prediction


class Kind(models.TextChoices):
    """As `model_store.review_sheet.Kind`."""

    HEAT_MAPS = "heat_maps", _("heat maps")
    SYNTHETIC = "synthetic", _("synthetic photographs")


class Verdict(models.TextChoices):
    """The first two are of heat maps, the next two of synthetic photographs."""

    YES = "yes", _("yes, at the right place")
    NO = "no", _("no, at a wrong place")
    PLAUSIBLE = "plausible", _("plausible")
    NOT = "not", _("not plausible")
    UNSURE = "unsure", _("cannot tell")


class Sheet(models.Model):
    """One file that was imported."""

    kind = models.CharField(_("kind"), max_length=12, choices=Kind)
    model = models.CharField(_("version"), max_length=300, blank=True)
    sha256 = models.CharField(max_length=64, unique=True)
    size = models.PositiveIntegerField(_("items"))
    imported_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("imported by")
    )
    imported_at = models.DateTimeField(_("time"), default=now)
    left_out = 0  # items of the file that were not imported, for whoever imports it; kept in the audit trail

    class Meta:
        verbose_name = _("review sheet")
        verbose_name_plural = _("review sheets")
        ordering: ClassVar = ["-pk"]
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("answer_sheet", "Can judge what is on a review sheet"),
            ("import_sheet", "Can import review sheets and see what was said"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"


class SheetItem(models.Model):
    """One photograph of a sheet."""

    sheet = models.ForeignKey(Sheet, on_delete=models.CASCADE, related_name="items")
    number = models.PositiveIntegerField()  # from 1
    name = models.CharField(max_length=300)
    # A photograph that the console exported is named by its prediction: it is erased with its person.
    prediction = models.ForeignKey(Prediction, on_delete=models.CASCADE, null=True, related_name="+")
    photo = models.BinaryField()
    overlay = models.BinaryField(default=b"")
    label = models.CharField(max_length=300, blank=True)
    predicted = models.CharField(max_length=300, blank=True)
    confidence = models.FloatField(default=0.0)
    origin = models.CharField(max_length=10, blank=True)  # never told to whoever answers

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["sheet", "number"], name="one_item_per_number")]

    def __str__(self) -> str:
        return f"{self.sheet_id} {self.number}"


class SheetAnswer(models.Model):
    """What one person said of one item."""

    item = models.ForeignKey(SheetItem, on_delete=models.CASCADE, related_name="answers")
    expert = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=10, choices=Verdict)
    problems = models.JSONField(default=list)
    note = models.CharField(max_length=500, blank=True)
    answered_at = models.DateTimeField(default=now)

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["item", "expert"], name="one_answer_per_expert")]

    def __str__(self) -> str:
        return f"{self.item} {self.verdict}"
