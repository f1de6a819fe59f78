from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ClientsConfig(AppConfig):
    name = "console.clients"
    label = "clients"
    verbose_name = _("Access")
