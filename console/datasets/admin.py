"""Pages for data sets: every export, one export with its lineage, and the export itself."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from console.datasets import queries, services
from console.datasets.api import export_response
from console.datasets.models import Dataset, Proposal
from console.history import DistinctFilter, HistoryAdmin
from console.pages import ask, page
from console.predictions.names import names_of_model
from console.registry.forms import models_to_choose
from console.staff.rest import actor_of


class ModelFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("model"), "model", "model"


class ExportForm(forms.Form):
    model = forms.ChoiceField(label=gettext_lazy("Model"), widget=UnfoldAdminSelectWidget)
    note = forms.CharField(
        label=gettext_lazy("Note"),
        max_length=services.NOTE_MAX,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("What it is for."),
    )

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.fields["model"].choices = models_to_choose()  # type: ignore[attr-defined]


@admin.register(Dataset)
class DatasetAdmin(HistoryAdmin):
    list_display = ("made_at", "model", "photographs", "left_out_text", "made_by", "note")
    list_filter = (ModelFilter,)
    search_fields = ("fingerprint",)
    search_help_text = gettext_lazy("Fingerprint, as a version's card has it, in full")
    sortable_by = ()
    when_empty = gettext_lazy("What experts decided leaves from here as a folder that training takes.")
    actions_list = ("export",)
    list_before_template = "datasets/proposals.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        return queries.datasets()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        standing = {
            "proposals": Proposal.objects.all(),
            "labels_wanted": settings.AMULET.retrain_labels,
            "may_train": self.has_export_permission(request) and request.user.has_perm("registry.upload_modelversion"),
        }
        listed: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **standing})
        return listed

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (queryset.filter(fingerprint=search_term.strip()) if search_term else queryset), False

    def has_export_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("vault.train_storedobject")

    @display(description=gettext_lazy("Left out"))
    def left_out_text(self, row: Dataset) -> int:
        return row.left_out

    @action(
        description=gettext_lazy("Export labels"),
        icon="download",
        url_path="export",
        permissions=["export"],
        variant=ActionVariant.PRIMARY,
    )
    def export(self, request: HttpRequest) -> HttpResponse:
        return ask(
            request,
            self,
            title=_("Export labelled photographs"),
            consequence=_(
                "You get a ZIP that amulet train takes, with every photograph whose label is settled and whose person "
                "agreed to training. Each photograph in it is an entry of the audit trail. Delete the file when you "
                "are done: whoever is erased later is erased here, and not in your copy."
            ),
            button=_("Export"),
            back=reverse("admin:datasets_dataset_changelist"),
            form=ExportForm,
            act=lambda given: export_response(actor_of(request), given["model"], given["note"]),
        )

    def row_page(self, request: HttpRequest, row: Dataset) -> HttpResponse:
        names = names_of_model(row.model)
        return page(
            request,
            self,
            "datasets/dataset.html",
            title=_("Data set {number}: {model}").format(number=row.pk, model=row.model),
            row=row,
            erased=queries.erased_since(row),
            versions=queries.versions_of(row),
            experts=queries.experts_of(row),
            classes=[
                (class_id, names.get(class_id, {}).get("en", ""), names.get(class_id, {}).get("th", ""), count)
                for class_id, count in row.per_class.items()
            ],
        )
