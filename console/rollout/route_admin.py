"""Pages of routes: who answers now, and what answered when."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import action, display

from console.pages import FewValuesFilter, ReadOnlyAdmin, ask, page, row_action
from console.rollout import services
from console.rollout.models import Firing, Mode, Route, Rule
from console.rollout.rollback_page import rollback_url
from console.rollout.route_page import route_context
from console.rollout.then_page import then_context
from console.rollout.version_page import MODE_COLOURS, route_label
from console.staff.rest import actor_of


@admin.register(Route)
class RouteAdmin(ReadOnlyAdmin):
    """Who answers now, and what answered when."""

    list_display = ("model", "version", "mode_badge", "started_at", "started_by", "why", "ended_at", "what")
    list_filter = (("model", FewValuesFilter), ("mode", ChoicesCheckboxFilter), "ended_at")
    list_filter_submit = True
    list_select_related = ("version", "started_by")
    ordering = ("-pk",)
    in_order = gettext_lazy("The newest first.")
    list_display_links = ("version",)
    when_empty = gettext_lazy("No version has answered anybody yet: have one approved and roll it out.")
    actions_list = ("then",)
    actions_detail = ("end", "see")

    def has_routing_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("rollout.change_route")

    def row_page(self, request: HttpRequest, route: Route) -> HttpResponse:
        return page(
            request,
            self,
            "rollout/route.html",
            title=_("{mode} of {version}").format(mode=route_label(route), version=route.version.version),
            subtitle=route.model,
            **route_context(route, actor_of(request)),
        )

    @display(description=gettext_lazy("Mode"), label=MODE_COLOURS)
    def mode_badge(self, route: Route) -> tuple[str, str]:
        """In its colour while it answers. A text alone would be looked up as a colour's name: in English it is one."""
        return (str(route.mode) if route.ended_at is None else "", route_label(route))

    @display(description=gettext_lazy("Reason"))
    def why(self, route: Route) -> str:
        return route.reason_text

    @display(description="")
    def what(self, route: Route) -> str:
        if route.ended_at is not None:
            return ""
        if route.mode == Mode.PRODUCTION:
            url, text = rollback_url(route.version_id, back_to="routes"), _("Roll back")
        else:
            url, text = reverse("admin:rollout_route_end", args=[route.pk]), _("End the route")
        return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)

    @action(description=gettext_lazy("What answered when"), icon="history", url_path="then", permissions=["view"])
    def then(self, request: HttpRequest) -> HttpResponse:
        asked = {name: request.GET.get(name, "") for name in ("client", "at", "model")}
        return page(request, self, "rollout/then.html", title=_("What answered when"), **then_context(**asked))

    @row_action(description=gettext_lazy("End the route"), url_path="end", permissions=["routing"])
    def end(self, request: HttpRequest, object_id: int) -> HttpResponse:
        route = get_object_or_404(Route.objects.select_related("version"), pk=object_id)
        return ask(
            request,
            self,
            title=_("End {route}").format(route=route),
            consequence=_("The version no longer gets calls or copies. It stays approved."),
            button=_("End the route"),
            back=reverse("admin:rollout_route_changelist"),
            danger=True,
            act=lambda given: _("The route of {version} has ended.").format(
                version=services.end_route(actor=actor_of(request), route_id=object_id, reason=given["reason"]).version
            ),
        )

    @row_action(description=gettext_lazy("Take note"), url_path="see", permissions=["routing"])
    def see(self, request: HttpRequest, object_id: int) -> HttpResponse:
        firing = get_object_or_404(Firing.objects.select_related("route__version"), route=object_id)
        return ask(
            request,
            self,
            title=_("Take note: “{rule}” ended {route}").format(rule=Rule(firing.rule).label, route=firing.route),
            consequence=_("It leaves the home page of everybody; the audit trail keeps who took note."),
            button=_("Take note"),
            back=reverse("admin:rollout_route_change", args=[object_id]),
            form=forms.Form,
            act=lambda _given: _("You took note of the guardrail that ended {version}.").format(
                version=services.see_firing(actor=actor_of(request), firing_id=firing.pk).route.version
            ),
        )
