from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class StaffConfig(AppConfig):
    name = "console.staff"
    label = "staff"
    verbose_name = _("Access")

    def ready(self) -> None:
        from console.staff import sign_ins

        sign_ins.watch()
