"""Pages for model versions and routes."""

from __future__ import annotations

import hashlib
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import AllValuesCheckboxFilter, ChoicesCheckboxFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from console.pages import ReadOnlyAdmin, ReasonForm, ask, page
from console.registry import services as registry_services
from console.registry import uploads
from console.registry.models import ModelVersion, State
from console.rollout import experiments, queries, services
from console.rollout.compare_page import compare_context
from console.rollout.experiment_page import OUTCOME_COLOURS, experiment_context
from console.rollout.experiments import Plan
from console.rollout.models import Experiment, Firing, Measure, Mode, Outcome, Route, Rule
from console.rollout.route_page import route_context
from console.rollout.then_page import then_context
from console.rollout.version_page import MODE_COLOURS, STATE_COLOURS, route_label, version_context
from console.staff.models import User
from console.staff.rest import actor_of
from console.torchserve import connections


class RolloutForm(ReasonForm):
    mode = forms.ChoiceField(label=gettext_lazy("Mode"), choices=Mode.choices, widget=UnfoldAdminSelectWidget)
    share_percent = forms.FloatField(
        label=gettext_lazy("Share of the calls, per cent"),
        min_value=0.1,
        max_value=99.9,
        required=False,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text=gettext_lazy("For a canary only."),
    )
    unguarded = forms.MultipleChoiceField(
        label=gettext_lazy("Switch off these guardrails"),
        choices=[(rule.value, rule.label) for rule in Rule],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy(
            "What you expect to change and accept. Only guardrails that watch the mode can be named."
        ),
    )
    field_order = ("mode", "share_percent", "unguarded", "reason")


class ExperimentForm(ReasonForm):
    hypothesis = forms.CharField(
        label=gettext_lazy("What you expect"),
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=gettext_lazy("In a sentence, before the first answer."),
    )
    measure = forms.ChoiceField(
        label=gettext_lazy("Share of answers that are"), choices=Measure.choices, widget=UnfoldAdminSelectWidget
    )
    baseline_percent = forms.FloatField(
        label=gettext_lazy("Expected of production, per cent"), widget=UnfoldAdminDecimalFieldWidget
    )
    effect_points = forms.FloatField(
        label=gettext_lazy("Smallest improvement that matters, points"), widget=UnfoldAdminDecimalFieldWidget
    )
    share_percent = forms.FloatField(
        label=gettext_lazy("Share of the calls, per cent"),
        min_value=0.1,
        max_value=99.9,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    answers_max = forms.IntegerField(
        label=gettext_lazy("At most so many answers of the new version"),
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("If the question takes more, nothing is started and you are told how many it takes."),
    )
    field_order = (
        "hypothesis",
        "measure",
        "baseline_percent",
        "effect_points",
        "share_percent",
        "answers_max",
        "reason",
    )


class UploadForm(forms.Form):
    archive = forms.FileField(label=gettext_lazy("Archive (.mar)"), widget=UnfoldAdminFileFieldWidget)
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Why this version: shown to whoever approves it."),
    )


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("named", "state_badge", "traffic", "macro_f1", "note_short", "uploaded_by", "uploaded_at")
    list_filter = (("state", ChoicesCheckboxFilter), ("model", AllValuesCheckboxFilter))
    list_filter_submit = True
    search_fields = ("model", "version", "note", "sha256", "filename")
    ordering = ("-pk",)
    list_per_page = 50
    when_empty = gettext_lazy("Upload an archive here, or with: amulet models push FILE.mar")
    actions_list = ("upload", "compare")
    actions_detail = ("approve", "roll_out", "experiment", "roll_back", "retry", "retire")

    def has_upload_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("registry.upload_modelversion")

    def has_approve_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("registry.approve_modelversion")

    def has_routing_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("rollout.change_route")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        return queries.versions_with_routes()

    @display(description=gettext_lazy("Version"), header=True)
    def named(self, version: ModelVersion) -> tuple[str, str]:
        return version.version or version.filename, version.model

    @display(description=gettext_lazy("State"), label=STATE_COLOURS)
    def state_badge(self, version: ModelVersion) -> tuple[str, str]:
        return version.state, str(State(version.state).label)

    @display(description=gettext_lazy("Calls"), label=MODE_COLOURS)
    def traffic(self, version: Any) -> tuple[str, str] | None:
        if not version.route_mode:
            return None
        mode = Mode(version.route_mode)
        share = "" if mode is Mode.SHADOW else f" {version.weight_ratio:.0%}"
        return mode, f"{mode.label}{share}"

    @display(description=gettext_lazy("Macro F1"))
    def macro_f1(self, version: ModelVersion) -> str:
        metrics = (version.card_document or {}).get("metrics", [])
        found = next((metric for metric in metrics if metric["name"] in ("macro_f1", "macro_f1_cv")), None)
        if found is None:
            return "–"
        value, low, high = (number_format(found[name], 3) for name in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    @display(description=gettext_lazy("Note"))
    def note_short(self, version: ModelVersion) -> str:
        return version.note if len(version.note) <= 60 else f"{version.note[:59]}…"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        version = self.get_object(request, object_id)
        if version is None or not self.has_view_permission(request, version):
            missing: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return missing
        return page(
            request,
            self,
            "rollout/version.html",
            title=_("Version {version}").format(version=version.version or version.filename),
            subtitle=version.model,
            **version_context(version, actor_of(request)),
        )

    @action(description=gettext_lazy("Upload an archive"), icon="upload", permissions=["upload"])
    def upload(self, request: HttpRequest) -> HttpResponse:
        return ask(
            request,
            self,
            title=_("Upload an archive"),
            consequence=_("The archive is verified at once, and its golden photographs are tried in TorchServe."),
            button=_("Upload"),
            back=reverse("admin:registry_modelversion_changelist"),
            form=UploadForm,
            act=lambda given: _upload(actor_of(request), given),
        )

    @action(description=gettext_lazy("Compare"), icon="compare_arrows", url_path="compare", permissions=["view"])
    def compare(self, request: HttpRequest) -> HttpResponse:
        asked = {name: request.GET.get(name, "") for name in ("model", "metric", "a", "b")}
        return page(request, self, "rollout/compare.html", title=_("Compare versions"), **compare_context(**asked))

    @action(description=gettext_lazy("Approve"), url_path="approve", permissions=["approve"])
    def approve(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        return self._ask(
            request,
            version,
            title=_("Approve {version}").format(version=version),
            consequence=_("After that the version may be rolled out. It answers nobody yet."),
            button=_("Approve"),
            act=lambda given: _said(
                registry_services.approve_version(
                    actor=actor_of(request), version_id=object_id, reason=given["reason"]
                ),
                _("{version} is approved."),
            ),
        )

    @action(description=gettext_lazy("Roll out"), url_path="roll-out", permissions=["routing"])
    def roll_out(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        production = queries.served_model(version.model).production
        consequence = (
            _("Production takes over from {current}, which stays ready for a rollback.").format(
                current=production.version.version
            )
            if production
            else _("It becomes the first production version of {model}.").format(model=version.model)
        )
        more = _("A canary answers a share of the calls; a shadow gets copies and answers nobody.")
        return self._ask(
            request,
            version,
            title=_("Roll out {version}").format(version=version),
            consequence=f"{consequence}\n{more}",
            button=_("Roll out"),
            form=RolloutForm,
            act=lambda given: _roll_out(actor_of(request), object_id, given),
        )

    @action(description=gettext_lazy("Experiment"), url_path="experiment", permissions=["routing"])
    def experiment(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        return self._ask(
            request,
            version,
            title=_("Experiment with {version}").format(version=version),
            consequence=_(
                "It becomes a canary with a question. The number of answers that it takes follows from what you state."
            ),
            button=_("Start"),
            form=ExperimentForm,
            act=lambda given: _experiment(actor_of(request), object_id, given),
        )

    @action(
        description=gettext_lazy("Roll back"),
        url_path="roll-back",
        permissions=["routing"],
        variant=ActionVariant.DANGER,
    )
    def roll_back(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        return self._ask(
            request,
            version,
            title=_("Roll {model} back").format(model=version.model),
            consequence=_rollback_consequence(version.model),
            button=_("Roll back"),
            danger=True,
            act=lambda given: _said(
                services.roll_back(actor=actor_of(request), model=version.model, reason=given["reason"]).version,
                _("{version} is in production."),
            ),
        )

    @action(description=gettext_lazy("Smoke-test again"), url_path="retry", permissions=["upload"])
    def retry(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        return self._ask(
            request,
            version,
            title=_("Smoke-test {version} again").format(version=version),
            consequence=_("Its golden photographs are tried in TorchServe once more."),
            button=_("Try again"),
            form=forms.Form,
            act=lambda _given: _said(
                registry_services.retry_smoke_test(actor=actor_of(request), version_id=object_id),
                _("{version} is being tested."),
            ),
        )

    @action(
        description=gettext_lazy("Retire"),
        url_path="retire",
        permissions=["approve"],
        variant=ActionVariant.DANGER,
    )
    def retire(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        return self._ask(
            request,
            version,
            title=_("Retire {version}").format(version=version),
            consequence=_("A retired version is never rolled out again, and no rollback leads to it."),
            button=_("Retire"),
            danger=True,
            act=lambda given: _said(
                services.retire(actor=actor_of(request), version_id=object_id, reason=given["reason"]),
                _("{version} is retired."),
            ),
        )

    def _ask(self, request: HttpRequest, version: ModelVersion, **options: Any) -> HttpResponse:
        return ask(request, self, back=reverse("admin:registry_modelversion_change", args=[version.pk]), **options)


@admin.register(Route)
class RouteAdmin(ReadOnlyAdmin):
    """Who answers now, and what answered when."""

    list_display = ("model", "version", "mode_badge", "started_at", "started_by", "reason", "ended_at", "what")
    list_filter = (("model", AllValuesCheckboxFilter), ("mode", ChoicesCheckboxFilter), "ended_at")
    list_filter_submit = True
    list_select_related = ("version", "started_by")
    ordering = ("-pk",)
    list_display_links = ("version",)
    when_empty = gettext_lazy("No version has answered anybody yet: have one approved and roll it out.")
    actions_list = ("then",)
    actions_detail = ("end", "see")

    def has_routing_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("rollout.change_route")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        route = self.get_object(request, object_id)
        if route is None or not self.has_view_permission(request, route):
            missing: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return missing
        return page(
            request,
            self,
            "rollout/route.html",
            title=_("{mode} of {version}").format(mode=route_label(route), version=route.version.version),
            subtitle=route.model,
            **route_context(route, actor_of(request)),
        )

    @display(description=gettext_lazy("Mode"), label=MODE_COLOURS)
    def mode_badge(self, route: Route) -> tuple[str, str] | str:
        return (str(route.mode), route_label(route)) if route.ended_at is None else route_label(route)

    @display(description="")
    def what(self, route: Route) -> str:
        if route.ended_at is not None:
            return ""
        if route.mode == Mode.PRODUCTION:
            url, text = reverse("admin:registry_modelversion_roll_back", args=[route.version_id]), _("Roll back")
        else:
            url, text = reverse("admin:rollout_route_end", args=[route.pk]), _("End")
        return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)

    @action(description=gettext_lazy("What answered when"), icon="history", url_path="then", permissions=["view"])
    def then(self, request: HttpRequest) -> HttpResponse:
        asked = {name: request.GET.get(name, "") for name in ("client", "at", "model")}
        return page(request, self, "rollout/then.html", title=_("What answered when"), **then_context(**asked))

    @action(description=gettext_lazy("End"), url_path="end", permissions=["routing"])
    def end(self, request: HttpRequest, object_id: int) -> HttpResponse:
        route = Route.objects.select_related("version").get(pk=object_id)
        return ask(
            request,
            self,
            title=_("End {route}").format(route=route),
            consequence=_("The version no longer gets calls or copies. It stays approved."),
            button=_("End"),
            back=reverse("admin:rollout_route_changelist"),
            danger=True,
            act=lambda given: _said(
                services.end_route(actor=actor_of(request), route_id=object_id, reason=given["reason"]).version,
                _("The route of {version} has ended."),
            ),
        )

    @action(description=gettext_lazy("Take note"), url_path="see", permissions=["routing"])
    def see(self, request: HttpRequest, object_id: int) -> HttpResponse:
        firing = Firing.objects.filter(route=object_id).values_list("pk", flat=True).first()
        return ask(
            request,
            self,
            title=_("Take note of the guardrail"),
            consequence=_("It leaves the home page of everybody; the audit trail keeps who took note."),
            button=_("Take note"),
            back=reverse("admin:rollout_route_change", args=[object_id]),
            form=forms.Form,
            act=lambda _given: _said(
                services.see_firing(actor=actor_of(request), firing_id=firing or 0).route.version,
                _("You took note of the guardrail that ended {version}."),
            ),
        )


@admin.register(Experiment)
class ExperimentAdmin(ReadOnlyAdmin):
    list_display = ("hypothesis", "version_name", "measure_text", "outcome_badge", "size", "settled_at")
    list_filter = (("outcome", ChoicesCheckboxFilter), ("measure", ChoicesCheckboxFilter))
    list_filter_submit = True
    list_select_related = ("route__version",)
    ordering = ("-pk",)
    when_empty = gettext_lazy("Start one from the page of an approved version.")

    @display(description=gettext_lazy("Version"))
    def version_name(self, experiment: Experiment) -> str:
        return experiment.route.version.version

    @display(description=gettext_lazy("Measure"))
    def measure_text(self, experiment: Experiment) -> str:
        return str(Measure(experiment.measure).label)

    @display(description=gettext_lazy("Outcome"), label=OUTCOME_COLOURS)
    def outcome_badge(self, experiment: Experiment) -> tuple[str, str]:
        return experiment.outcome, str(Outcome(experiment.outcome).label)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        experiment = self.get_object(request, object_id)
        if experiment is None or not self.has_view_permission(request, experiment):
            missing: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return missing
        return page(
            request,
            self,
            "rollout/experiment.html",
            title=_("Experiment with {version}").format(version=experiment.route.version),
            **experiment_context(experiment),
        )


def _said(version: ModelVersion, sentence: str) -> str:
    return sentence.format(version=version)


def _rollback_consequence(model: str) -> str:
    served = queries.served_model(model)
    if served.canary is not None:
        return _("The canary {version} ends; production stays as it is.").format(version=served.canary.version.version)
    target = queries.rollback_target(served)
    if served.production is None or target is None:
        return _("There is no earlier production version to return to.")
    return _("{target} takes over from {current} within seconds: TorchServe still holds it.").format(
        target=target.version.version, current=served.production.version.version
    )


def _roll_out(person: User, version_id: int, given: dict[str, Any]) -> str:
    mode = Mode(given["mode"])
    share = given["share_percent"]
    route = services.roll_out(
        actor=person,
        version_id=version_id,
        mode=mode,
        weight_ratio=None if share is None else share / 100,
        unguarded=[Rule(rule) for rule in given["unguarded"]],
        reason=given["reason"],
        backend=connections.management,
    )
    return _("{version} is rolled out as {mode}.").format(version=route.version, mode=mode.label)


def _experiment(person: User, version_id: int, given: dict[str, Any]) -> HttpResponse:
    plan = Plan(
        hypothesis=given["hypothesis"],
        measure=Measure(given["measure"]),
        baseline_ratio=given["baseline_percent"] / 100,
        effect_ratio=given["effect_points"] / 100,
        share_ratio=given["share_percent"] / 100,
        answers_max=given["answers_max"],
    )
    started = experiments.start(
        actor=person, version_id=version_id, plan=plan, reason=given["reason"], backend=connections.management
    )
    return redirect(reverse("admin:rollout_experiment_change", args=[started.pk]))


def _upload(person: User, given: dict[str, Any]) -> HttpResponse:
    file = given["archive"]
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    file.seek(0)
    upload = uploads.start_upload(
        actor=person, filename=file.name, size_bytes=file.size, sha256=digest.hexdigest(), note=given["note"]
    )
    if upload.offset_bytes < file.size:
        file.seek(upload.offset_bytes)
        pieces = iter(lambda: file.read(2**20), b"")
        uploads.append(actor=person, upload_id=upload.pk, offset_bytes=upload.offset_bytes, pieces=pieces)
    version = registry_services.finish_upload(actor=person, upload_id=upload.pk)
    return redirect(reverse("admin:registry_modelversion_change", args=[version.pk]))
