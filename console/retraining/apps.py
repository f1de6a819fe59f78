from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RetrainingConfig(AppConfig):
    name = "console.retraining"
    label = "retraining"
    verbose_name = _("Training jobs")
