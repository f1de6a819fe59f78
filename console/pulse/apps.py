from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PulseConfig(AppConfig):
    name = "console.pulse"
    label = "pulse"
    verbose_name = _("Services")
