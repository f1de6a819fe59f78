"""Pages of model versions."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from console.pages import NUMBER_DIGITS_MAX, FewValuesFilter, ReadOnlyAdmin, ask, page, row_action
from console.registry import services as registry_services
from console.registry.models import ModelVersion, State
from console.rollout import experiments, queries, rollback_page, services
from console.rollout.compare_page import compare_context
from console.rollout.experiments import Plan
from console.rollout.glance import parts_of
from console.rollout.models import Measure, Mode, Rule
from console.rollout.upload_page import UploadForm, upload, upload_context
from console.rollout.version_forms import ExperimentForm, RolloutForm
from console.rollout.version_page import MODE_COLOURS, STATE_COLOURS, version_context
from console.staff.models import User
from console.staff.rest import actor_of
from console.torchserve import connections


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("named", "state_badge", "traffic", "macro_f1", "note_short", "uploaded_by", "uploaded_at")
    list_filter = (("state", ChoicesCheckboxFilter), ("model", FewValuesFilter))
    list_filter_submit = True
    search_fields = ("model", "version", "note", "sha256", "filename")
    search_help_text = gettext_lazy("Part of a version, model, note, file or SHA-256")
    ordering = ("-pk",)
    in_order = gettext_lazy("The newest first.")
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

    def row_page(self, request: HttpRequest, version: ModelVersion) -> HttpResponse:
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
            act=lambda given: upload(actor_of(request), given),
            template="rollout/upload.html",
            more=upload_context(actor_of(request)),
        )

    @action(description=gettext_lazy("Compare"), icon="compare_arrows", url_path="compare", permissions=["view"])
    def compare(self, request: HttpRequest) -> HttpResponse:
        asked = {name: request.GET.get(name, "") for name in ("model", "metric", "a", "b")}
        return page(request, self, "rollout/compare.html", title=_("Compare versions"), **compare_context(**asked))

    @row_action(description=gettext_lazy("Approve"), url_path="approve", permissions=["approve"])
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

    @row_action(description=gettext_lazy("Roll out"), url_path="roll-out", permissions=["routing"])
    def roll_out(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        served = queries.served_model(version.model)
        production = served.production
        consequence = (
            _("Production takes over from {current}, which stays ready for a rollback.").format(
                current=production.version.version
            )
            if production
            else _("It becomes the first production version of {model}.").format(model=version.model)
        )
        more = _("A canary answers a share of the calls; a shadow gets copies and answers nobody.")
        if served.canary is not None and served.canary.version_id != version.pk:
            ends = _("Another canary would end the one of {version}.").format(version=served.canary.version.version)
            more = f"{more} {ends}"
        return self._ask(
            request,
            version,
            title=_("Roll out {version}").format(version=version),
            consequence=f"{consequence}\n{more}",
            button=_("Roll out"),
            form=RolloutForm,
            act=lambda given: _roll_out(actor_of(request), object_id, given),
            template="rollout/roll_out.html",
            seen=",".join(map(str, services.exclusive(served))) or "none",
            more={"parts": parts_of(served)},
        )

    @row_action(description=gettext_lazy("Experiment"), url_path="experiment", permissions=["routing"])
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

    @row_action(
        description=gettext_lazy("Roll back"),
        url_path="roll-back",
        permissions=["routing"],
        variant=ActionVariant.DANGER,
    )
    def roll_back(self, request: HttpRequest, object_id: int) -> HttpResponse:
        version = registry_services.find_version(object_id)
        served = queries.served_model(version.model)
        back = rollback_page.BACK_TO.get(request.GET.get("back", ""))
        return ask(
            request,
            self,
            title=_("Roll {model} back").format(model=version.model),
            consequence=rollback_page.consequence(served),
            button=_("Roll back"),
            back=reverse(back) if back else reverse("admin:registry_modelversion_change", args=[version.pk]),
            danger=True,
            form=rollback_page.RollbackForm,
            initial=rollback_page.initial(),
            act=lambda given: rollback_page.roll_back(actor_of(request), version.model, given),
            template="rollout/roll_back.html",
            more=rollback_page.rollback_context(served),
        )

    @row_action(description=gettext_lazy("Smoke-test again"), url_path="retry", permissions=["upload"])
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

    @row_action(
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


def _said(version: ModelVersion, sentence: str) -> str:
    return sentence.format(version=version)


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
        seen=_numbers(given["seen"]) if given["seen"] else None,
        backend=connections.management,
    )
    return _("{version} is rolled out as {mode}.").format(version=route.version, mode=mode.label)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number.isdecimal() and len(number) <= NUMBER_DIGITS_MAX]


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
