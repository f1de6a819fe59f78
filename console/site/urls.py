"""Every address of the console."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from django.views.i18n import JavaScriptCatalog
from drf_spectacular.views import SpectacularAPIView

from console.ingest import views as ingest
from console.rollout import views as rollout
from console.site import health
from console.tryit import views as tryit

# Every app's part of the REST interface.
API = (
    "console.staff.api",
    "console.clients.api",
    "console.registry.api",
    "console.rollout.api",
    "console.audit.api",
    "console.vault.api",
    "console.privacy.api",
    "console.predictions.api",
    "console.review.api",
    "console.datasets.api",
    "console.retraining.api",
    "console.sheets.api",
    "console.sheets.judging_api",
    "console.webhooks.api",
    "console.retention.api",
    "console.drift.api",
    "console.site.api",
)

handler400 = "console.site.problem.bad_request"
handler404 = "console.site.problem.no_such_address"
handler500 = "console.site.problem.own_fault"

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("try/", RedirectView.as_view(pattern_name="try_it", query_string=True)),
    path("admin/try/", tryit.try_it, name="try_it"),
    path("admin/try/<uuid:prediction_id>/", tryit.recorded, name="tried"),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("jsi18n/", JavaScriptCatalog.as_view(), name="javascript-catalog"),
    *(path("api/v1/", include(module)) for module in API),
    path("internal/policy", rollout.policy),
    path("internal/events", ingest.events),
    path("api/v1/schema", SpectacularAPIView.as_view(), name="schema"),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", health.metrics),
]
