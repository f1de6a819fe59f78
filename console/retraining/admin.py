"""Pages for training jobs: all of them, one with how far it is, and the click that starts one."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from console.datasets.services import NOTE_MAX
from console.history import HistoryAdmin
from console.pages import ask, page, row_action
from console.registry.forms import models_to_choose
from console.retraining import queries, services
from console.retraining.models import SEED_MAX, Failure, Recipe, Stage, State, TrainingJob
from console.retraining.sentences import for_reader
from console.staff.rest import actor_of

_COLOURS: Final = {
    State.QUEUED: "info",
    State.RUNNING: "warning",
    State.UPLOADED: "success",
    State.FAILED: "danger",
    State.CANCELLED: "default",
}


class JobForm(forms.Form):
    model = forms.ChoiceField(label=gettext_lazy("Model"), widget=UnfoldAdminSelectWidget)
    recipe = forms.ChoiceField(
        label=gettext_lazy("Recipe"), choices=Recipe.choices, initial=Recipe.STANDARD, widget=UnfoldAdminSelectWidget
    )
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"),
        min_value=0,
        max_value=SEED_MAX,
        initial=0,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("The same photographs, recipe and seed give the same version."),
    )
    note = forms.CharField(
        label=gettext_lazy("Note"), max_length=NOTE_MAX, required=False, widget=UnfoldAdminTextInputWidget
    )

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.fields["model"].choices = models_to_choose()  # type: ignore[attr-defined]


@admin.register(TrainingJob)
class TrainingJobAdmin(HistoryAdmin):
    list_display = ("asked_at", "model", "state_badge", "recipe", "asked_by", "version", "note")
    list_filter = (("state", ChoicesDropdownFilter),)
    sortable_by = ()
    when_empty = gettext_lazy(
        "A job takes what experts labelled, trains, and hands in a version that waits for approval."
    )
    list_before_template = "retraining/plans.html"
    actions_list = ("start",)
    actions_detail = ("cancel",)

    class Media:
        js: ClassVar = ("retraining/progress.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingJob]:
        return queries.jobs()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        standing = {"plans": queries.plans(), "at": now(), "may_train": self.has_training_permission(request)}
        listed: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **standing})
        return listed

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("datasets.view_dataset")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_training_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return all(request.user.has_perm(permission) for permission in services.NEEDED)

    @display(description=gettext_lazy("State"), label=_COLOURS)
    def state_badge(self, job: TrainingJob) -> tuple[str, str]:
        return job.state, str(State(job.state).label)

    @action(
        description=gettext_lazy("Train anew"),
        icon="model_training",
        url_path="start",
        permissions=["training"],
        variant=ActionVariant.PRIMARY,
    )
    def start(self, request: HttpRequest) -> HttpResponse:
        back = reverse("admin:retraining_trainingjob_changelist")

        def act(given: dict[str, Any]) -> str:
            job = services.start_job(actor=actor_of(request), **given)
            return _("Job {number} waits for the worker that trains.").format(number=job.pk)

        return ask(
            request,
            self,
            title=_("Train a model on what experts labelled"),
            consequence=_(
                "Every photograph whose label is settled and whose person agreed to training is taken out, each with "
                "an entry of the audit trail, and deleted when the job ends. The version counts as your upload: "
                "somebody else must approve it."
            ),
            button=_("Train"),
            back=back,
            form=JobForm,
            initial={"model": request.GET.get("model", "")},
            act=act,
        )

    @row_action(description=gettext_lazy("Cancel the job"), url_path="cancel", permissions=["training"])
    def cancel(self, request: HttpRequest, object_id: int) -> HttpResponse:
        get_object_or_404(TrainingJob, pk=object_id)

        def act(given: dict[str, Any]) -> str:
            services.cancel_job(actor=actor_of(request), job_id=object_id)
            return _("The job is cancelled.")

        return ask(
            request,
            self,
            title=_("Cancel training job {number}").format(number=object_id),
            consequence=_("It stops within seconds, and what it made so far is deleted with the photographs."),
            button=_("Cancel the job"),
            back=reverse("admin:retraining_trainingjob_change", args=[object_id]),
            form=forms.Form,
            act=act,
            danger=True,
        )

    def row_page(self, request: HttpRequest, job: TrainingJob) -> HttpResponse:
        return page(
            request,
            self,
            "retraining/job.html",
            title=_("Training job {number}: {model}").format(number=job.pk, model=job.model),
            media=self.media,
            job=job,
            state=State(job.state).label,
            colour=_COLOURS[State(job.state)],
            stage=Stage(job.stage).label if job.stage else "",
            failure=Failure(job.failure).label if job.failure else "",
            said=for_reader(job.said),
            recipe=Recipe(job.recipe).label,
            nobody_came=queries.nobody_came(job, now()),
            may_cancel=job.is_open and self.has_training_permission(request),
        )
