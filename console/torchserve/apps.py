from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TorchserveConfig(AppConfig):
    name = "console.torchserve"
    label = "torchserve"
    verbose_name = _("TorchServe")
