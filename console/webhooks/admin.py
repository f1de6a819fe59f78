"""Pages for webhooks and the log of their deliveries."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from console.audit.names import type_name
from console.history import HistoryAdmin
from console.pages import ReadOnlyAdmin, ask, page, row_action
from console.staff.rest import actor_of
from console.webhooks import sentences, services
from console.webhooks.events import EVENTS
from console.webhooks.models import Delivery, Endpoint, State


class EndpointForm(forms.Form):
    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=services.URL_MAX,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("https://… for a program, mailto:… for people."),
    )
    events = forms.MultipleChoiceField(label=gettext_lazy("Events"), widget=UnfoldAdminCheckboxSelectMultipleWidget)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.fields["events"].choices = [(name, type_name(name)) for name in EVENTS]  # type: ignore[attr-defined]


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    list_display = ("url", "event_names", "state", "created_by", "created_at")
    list_select_related = ("created_by",)
    fields = ("url", "event_names", "active", "created_by", "created_at")
    readonly_fields = ("event_names",)
    when_empty = gettext_lazy("Programs and people can hear of drift, guardrails, versions and privacy limits.")
    actions_list = ("new_endpoint",)
    actions_detail = ("renew_secret", "switch", "remove")

    def has_changing_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm(services.CHANGE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("webhooks.view_endpoint")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @display(description=gettext_lazy("Events"))
    def event_names(self, endpoint: Endpoint) -> str:
        return ", ".join(map(type_name, endpoint.events))

    @display(description=gettext_lazy("State"), label={"active": "success", "off": "warning"})
    def state(self, endpoint: Endpoint) -> tuple[str, str]:
        return ("active", _("active")) if endpoint.active else ("off", _("off"))

    @action(description=gettext_lazy("New webhook"), icon="add", url_path="new", permissions=["changing"])
    def new_endpoint(self, request: HttpRequest) -> HttpResponse:
        back = reverse("admin:webhooks_endpoint_changelist")

        def act(given: dict[str, Any]) -> str | HttpResponse:
            issued = services.create_endpoint(actor=actor_of(request), url=given["url"], events=given["events"])
            if issued.endpoint.url.startswith("mailto:"):
                return _("{endpoint} hears of it from now on.").format(endpoint=issued.endpoint)
            return self._shown_once(request, issued)

        return ask(
            request,
            self,
            title=_("A new webhook"),
            consequence=_("The address hears of these events from now on. No personal data is sent."),
            button=_("Create the webhook"),
            back=back,
            form=EndpointForm,
            act=act,
        )

    @row_action(description=gettext_lazy("New secret"), icon="key", url_path="secret", permissions=["changing"])
    def renew_secret(self, request: HttpRequest, object_id: int) -> HttpResponse:
        def act(given: dict[str, Any]) -> HttpResponse:
            return self._shown_once(request, services.renew_secret(actor=actor_of(request), endpoint_id=object_id))

        return self._ask(
            request, object_id, _("New secret"), _("The old secret signs nothing from now on."), act, danger=True
        )

    @row_action(description=gettext_lazy("Switch on or off"), url_path="switch", permissions=["changing"])
    def switch(self, request: HttpRequest, object_id: int) -> HttpResponse:
        active = not get_object_or_404(Endpoint, pk=object_id).active

        def act(given: dict[str, Any]) -> str:
            services.set_active(actor=actor_of(request), endpoint_id=object_id, active=active)
            return _("It hears of events.") if active else _("It hears of nothing any more.")

        return self._ask(
            request,
            object_id,
            _("Switch on") if active else _("Switch off"),
            _("What happens while it is off is not told later."),
            act,
        )

    @row_action(description=gettext_lazy("Remove"), url_path="remove", permissions=["changing"])
    def remove(self, request: HttpRequest, object_id: int) -> HttpResponse:
        def act(given: dict[str, Any]) -> str:
            services.remove_endpoint(actor=actor_of(request), endpoint_id=object_id)
            return _("The webhook is removed.")

        text = _("The address hears of nothing any more, and its deliveries are forgotten.")
        return self._ask(request, object_id, _("Remove"), text, act, danger=True)

    def _ask(
        self, request: HttpRequest, object_id: int, button: str, consequence: str, act: Any, danger: bool = False
    ) -> HttpResponse:
        return ask(
            request,
            self,
            title=f"{button}: {get_object_or_404(Endpoint, pk=object_id)}",
            consequence=consequence,
            button=button,
            back=reverse("admin:webhooks_endpoint_changelist"),
            form=forms.Form,
            act=act,
            danger=danger,
        )

    def _shown_once(self, request: HttpRequest, issued: services.Issued) -> HttpResponse:
        back = reverse("admin:webhooks_endpoint_changelist")
        return page(request, self, "console/secret.html", title=str(issued.endpoint), key=issued.secret, back=back)


@admin.register(Delivery)
class DeliveryAdmin(HistoryAdmin):
    list_display = ("created_at", "endpoint", "event_name", "state_badge", "tries", "answer_said")
    list_select_related = ("endpoint",)
    list_filter = (("endpoint", RelatedDropdownFilter), ("state", ChoicesDropdownFilter))
    fields = ("endpoint", "event_name", "state", "tries", "next_try_at", "answer_said", "settled_at", "message")
    readonly_fields = ("event_name", "answer_said", "message")
    ordering = ("-pk",)
    sortable_by = ()
    when_empty = gettext_lazy("Messages appear here within seconds of what they tell of.")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("webhooks.view_endpoint")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @display(description=gettext_lazy("Event"))
    def event_name(self, delivery: Delivery) -> str:
        return type_name(delivery.type)

    @display(
        description=gettext_lazy("State"),
        label={State.DELIVERED: "success", State.WAITING: "warning", State.GIVEN_UP: "danger"},
    )
    def state_badge(self, delivery: Delivery) -> tuple[str, str]:
        return delivery.state, str(State(delivery.state).label)

    @display(description=gettext_lazy("last answer"))
    def answer_said(self, delivery: Delivery) -> str:
        return sentences.for_reader(delivery.answer) or self.get_empty_value_display()

    @display(description=gettext_lazy("Message"))
    def message(self, delivery: Delivery) -> str:
        """As it is sent, set out in lines."""
        return format_html(
            '<pre class="c-code">{}</pre>', json.dumps(json.loads(delivery.body), indent=2, ensure_ascii=False)
        )
