"""Pages for predictions: the list along time, one prediction, its pictures."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from console.history import DistinctFilter, HistoryAdmin
from console.moments import MomentRangeFilter
from console.pages import page
from console.predictions import queries
from console.predictions.models import Prediction, Verdict
from console.predictions.names import class_names, client_names
from console.predictions.page import DISCLAIMERS, VERDICT_COLOURS, prediction_context
from console.predictions.pictures import heat_map_response, photograph_response
from console.staff.rest import actor_of


class ClassFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("class"), "class", "top_class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = class_names()
        return [(value, names.get(value, value)) for value, _text in super().lookups(request, model_admin)]


class VersionFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("version"), "version", "version"


class ClientFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("client"), "client", "client_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = client_names()
        return [(value, names.get(value, value)) for value, _text in super().lookups(request, model_admin)]


@admin.register(Prediction)
class PredictionAdmin(HistoryAdmin):
    list_display = ("happened_at", "class_name", "verdict_badge", "percent", "client_name", "version")
    list_filter = (
        ("verdict", ChoicesDropdownFilter),
        ClassFilter,
        VersionFilter,
        ClientFilter,
        ("happened_at", MomentRangeFilter),
    )
    list_before_template = "predictions/disclaimer.html"
    search_fields = ("prediction_id",)
    search_help_text = gettext_lazy("Prediction id, or the caller's own id, in full")
    ordering = ("-happened_at", "-prediction_id")
    sortable_by = ()
    when_empty = gettext_lazy("Predictions appear here within seconds of a client's first call to the gateway.")

    class Media:
        css: ClassVar = {"all": ("predictions/pictures.css",)}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "disclaimers": DISCLAIMERS}
        listed: HttpResponse = super().changelist_view(request, context)
        return listed

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prediction]:
        return queries.shown_to(actor_of(request), queries.newest_first().defer("detail_document"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(prediction_id=UUID(term)), False
        except ValueError:
            return queryset.filter(request_id=term), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        classes, clients = class_names(), client_names()
        for row in rows:
            row.class_text = classes.get(row.top_class, row.top_class)
            row.client_text = clients.get(row.client_id, row.client_id)

    @display(description=gettext_lazy("Class"))
    def class_name(self, prediction: Any) -> str:
        return str(prediction.class_text)

    @display(description=gettext_lazy("Client"))
    def client_name(self, prediction: Any) -> str:
        return str(prediction.client_text)

    @display(description=gettext_lazy("Verdict"), label=VERDICT_COLOURS)
    def verdict_badge(self, prediction: Prediction) -> tuple[int, str]:
        return prediction.verdict, str(Verdict(prediction.verdict).label)

    @display(description=gettext_lazy("Confidence"))
    def percent(self, prediction: Prediction) -> str:
        return f"{prediction.confidence:.1%}"

    def row_page(self, request: HttpRequest, prediction: Prediction) -> HttpResponse:
        return page(
            request,
            self,
            "predictions/prediction.html",
            title=_("Prediction"),
            subtitle=str(prediction.pk),
            **prediction_context(prediction, actor_of(request)),
        )

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path(
                "<uuid:prediction_id>/photograph/<int:part>.png",
                wrap(self.photograph),
                name="predictions_prediction_photograph",
            ),
            path(
                "<uuid:prediction_id>/heat-map/<int:part>.png",
                wrap(self.heat_map),
                name="predictions_prediction_heat_map",
            ),
            *super().get_urls(),
        ]

    def photograph(self, request: HttpRequest, prediction_id: UUID, part: int) -> HttpResponse:
        return photograph_response(actor=actor_of(request), prediction_id=prediction_id, part=part)

    def heat_map(self, request: HttpRequest, prediction_id: UUID, part: int) -> HttpResponse:
        return heat_map_response(actor=actor_of(request), prediction_id=prediction_id, part=part)
