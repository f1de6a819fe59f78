"""Where free text lies that may name somebody whom nothing leads to: rows of every app, field by field.

A test fails for a field of which `inventory` says that it is free text and that is not here. What things are called
by (names of clients and tokens, names of files) is no text about anybody, and is not here: it is changed where the
thing is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from console.datasets.models import Dataset
from console.predictions.models import Feedback
from console.privacy.models import PrivacyRequest
from console.privacy.typed import ERASED
from console.registry.models import ModelVersion, Upload
from console.retraining.models import TrainingJob
from console.review.models import ExpertDecision, GoldAnswer
from console.rollout.models import Experiment, Route
from console.sheets.models import SheetAnswer

_ALL: Final = Q()


@dataclass(frozen=True, slots=True)
class Place:
    """One field of one table."""

    model: type[Model]
    field: str
    text: Promise
    typed: Q = _ALL  # the rows in which a person wrote it, and none of our processes

    @property
    def name(self) -> str:
        return f"{self.model._meta.model_name}.{self.field}"

    def rows(self) -> QuerySet[Any]:
        """Those in which something is left."""
        return self.model._default_manager.filter(self.typed).exclude(**{f"{self.field}__in": ("", ERASED)})

    def text_of(self, key: str) -> str:
        """What stands in the row of this number or id; "" where there is none, or nothing in it."""
        try:
            found = self.rows().filter(pk=key).values_list(self.field, flat=True).first()
        except (ValueError, ValidationError, OverflowError):  # no number or id of such a row
            return ""
        return str(found or "")

    def that_say(self, part: str) -> Iterator[tuple[str, str]]:
        """Row and text of those that have this in them, whatever the case of its letters, newest first."""
        found = self.rows().filter(**{f"{self.field}__icontains": part}).order_by("-pk")
        return ((str(key), text) for key, text in found.values_list("pk", self.field).iterator(chunk_size=200))

    def with_text(self, text: str) -> list[str]:
        """The rows that say exactly this."""
        return [
            str(key) for key in self.rows().filter(**{self.field: text}).order_by("pk").values_list("pk", flat=True)
        ]

    def erase(self, text: str) -> None:
        """Put a word in the place of exactly this text: some rows have to say something."""
        self.rows().filter(**{self.field: text}).update(**{self.field: ERASED})


PLACES: Final = {
    place.name: place
    for place in (
        Place(PrivacyRequest, "reason", _("reason or outcome of a privacy request")),
        Place(PrivacyRequest, "extension_reason", _("why a privacy request was extended")),
        Place(PrivacyRequest, "identity_method", _("how an identity was checked")),
        Place(Feedback, "comment", _("comment of a caller")),
        Place(ExpertDecision, "note", _("note of an expert's decision")),
        Place(GoldAnswer, "note", _("note of an answer to a test")),
        Place(SheetAnswer, "note", _("note on a review sheet")),
        Place(Dataset, "note", _("note of a data set")),
        Place(TrainingJob, "note", _("note of a training job")),
        Place(Upload, "note", _("note of an upload")),
        Place(ModelVersion, "note", _("note of a version")),
        Place(ModelVersion, "approval_reason", _("why a version was approved")),
        Place(Route, "reason", _("why a version was rolled out"), Q(started_by__isnull=False)),
        Place(Route, "end_reason", _("why a route was ended"), Q(ended_by__isnull=False)),
        Place(Experiment, "hypothesis", _("what an experiment was to show")),
    )
}
