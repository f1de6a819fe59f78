from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PredictionsConfig(AppConfig):
    name = "console.predictions"
    label = "predictions"
    verbose_name = _("Predictions")
