"""Django's hooks of the top floor."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate


class ConsoleAdminConfig(admin_apps.SimpleAdminConfig):
    """Django's admin, at which a password alone opens nothing.

    Its pages are found by `urls`, so that only the processes that show pages carry them.
    """

    default = False
    default_site = "console.site.admin_site.ConsoleAdminSite"


class SiteConfig(AppConfig):
    default = True
    name = "console.site"
    label = "console_site"

    def ready(self) -> None:
        from console.site import buddhist_era
        from console.site.roles import write_roles

        buddhist_era.install()
        post_migrate.connect(write_roles, dispatch_uid="console.site.roles")
