"""Pages for webhooks and the log of their deliveries."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from console.audit.names import type_name
from console.audit.queries import entries_about
from console.history import HistoryAdmin
from console.pages import SeenForm, ask, is_number, page, row_action
from console.row_page import acts_of
from console.staff.rest import actor_of
from console.webhooks import delivery_page, endpoint_page, queries, sentences, services
from console.webhooks.events import EVENTS
from console.webhooks.models import Delivery, Endpoint, State
from console.webhooks.queries import standings

_ON: Final = "on"
_OFF: Final = "off"


class EventsField(forms.MultipleChoiceField):
    """Which events are told of: some twenty boxes, of which mostly all are ticked or few."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget
    offers_all = True  # `unfold/helpers/field.html`

    def __init__(self, **named: Any) -> None:
        super().__init__(**named, choices=lambda: [(name, type_name(name)) for name in EVENTS])


class EndpointForm(forms.Form):
    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=services.URL_MAX,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("https://… for a program, mailto:… for people."),
    )
    events = EventsField(label=gettext_lazy("Events"))


class ChangedEventsForm(SeenForm):
    """What it hears of from now on, in the place of what the page showed."""

    events = EventsField(label=gettext_lazy("Events"))


class _HookAdmin(HistoryAdmin):
    """Whoever may see listeners sees what was sent to them, and whoever may change them has it sent again."""

    def has_changing_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm(services.CHANGE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("webhooks.view_endpoint")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)


@admin.register(Endpoint)
class EndpointAdmin(_HookAdmin):
    list_display = ("url", "hears", "state", "last_said", "waiting", "next_try")
    sortable_by = ()
    in_order = gettext_lazy("By their addresses.")
    when_empty = gettext_lazy("Programs and people can hear of drift, guardrails, versions and privacy limits.")
    actions_list = ("new_endpoint",)
    actions_detail = ("send_test", "change_events", "renew_secret", "switch", "remove")

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        found = standings(rows)
        for row in rows:
            row.standing = found[row.pk]

    def row_page(self, request: HttpRequest, endpoint: Endpoint) -> HttpResponse:
        return page(
            request,
            self,
            "webhooks/endpoint.html",
            title=_("Webhook {address}").format(address=endpoint),
            **endpoint_page.endpoint_context(endpoint),
            acts=acts_of(request, entries_about("webhook", str(endpoint.pk))),
            buttons=endpoint_page.buttons(endpoint, may_change=self.has_changing_permission(request)),
        )

    @display(description=gettext_lazy("Hears of"))
    def hears(self, endpoint: Endpoint) -> str:
        return endpoint_page.hears(endpoint)

    @display(description=gettext_lazy("State"), label=endpoint_page.HEALTH_COLOURS)
    def state(self, endpoint: Any) -> tuple[str, str]:
        health = endpoint.standing.health
        return health.value, endpoint_page.health_text(health)

    @display(description=gettext_lazy("Last message"))
    def last_said(self, endpoint: Any) -> str:
        last = endpoint.standing.last
        return endpoint_page.outcome(last) if last is not None else self.get_empty_value_display()

    @display(description=gettext_lazy("Waiting"))
    def waiting(self, endpoint: Any) -> int:
        count: int = endpoint.standing.waiting
        return count

    @display(description=gettext_lazy("Next try"))
    def next_try(self, endpoint: Any) -> Any:
        return endpoint_page.next_try_of(endpoint, endpoint.standing)

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

    @row_action(description=gettext_lazy("Send a test"), icon="send", url_path="test", permissions=["changing"])
    def send_test(self, request: HttpRequest, object_id: int) -> HttpResponse:
        def act(given: dict[str, Any]) -> str:
            services.send_test(actor=actor_of(request), endpoint_id=object_id)
            return _("The test leaves within seconds. What came of it stands first among the newest messages.")

        text = _("A message that says no more than that it is a test is sent as every other, and tried once.")
        return self._ask(request, object_id, _("Send a test"), text, act)

    @row_action(
        description=gettext_lazy("Change events"), icon="checklist", url_path="events", permissions=["changing"]
    )
    def change_events(self, request: HttpRequest, object_id: int) -> HttpResponse:
        endpoint = get_object_or_404(Endpoint, pk=object_id)

        def act(given: dict[str, Any]) -> str:
            seen = int(given["seen"]) if is_number(given["seen"]) else None
            hearing = services.change_endpoint(
                actor=actor_of(request), endpoint_id=object_id, events=given["events"], seen=seen
            )
            return _("It hears from now on of: {names}.").format(names=endpoint_page.hears(hearing))

        return ask(
            request,
            self,
            title=f"{_('Change events')}: {endpoint}",
            consequence=_("It hears of these events from now on, and of no others. What waits already is still sent."),
            button=_("Change events"),
            back=reverse("admin:webhooks_endpoint_change", args=[object_id]),
            form=ChangedEventsForm,
            initial={"events": endpoint.events},
            act=act,
            seen=str(queries.revision(endpoint)),
        )

    @row_action(description=gettext_lazy("New secret"), icon="key", url_path="secret", permissions=["changing"])
    def renew_secret(self, request: HttpRequest, object_id: int) -> HttpResponse:
        def act(given: dict[str, Any]) -> HttpResponse:
            seen = int(given["seen"]) if is_number(given["seen"]) else None
            issued = services.renew_secret(actor=actor_of(request), endpoint_id=object_id, seen=seen)
            return self._shown_once(request, issued)

        text = _("The old secret signs nothing from now on.")
        made = queries.secret_made(get_object_or_404(Endpoint, pk=object_id))
        seen = str(0 if made is None else made.sequence)
        return self._ask(request, object_id, _("New secret"), text, act, danger=True, seen=seen)

    @row_action(description=gettext_lazy("Switch on or off"), url_path="switch", permissions=["changing"])
    def switch(self, request: HttpRequest, object_id: int) -> HttpResponse:
        was_on = get_object_or_404(Endpoint, pk=object_id).active

        def act(given: dict[str, Any]) -> str:
            # What the button said, and not the opposite of what somebody else has made of it since.
            active = not was_on if not given["seen"] else given["seen"] == _OFF
            services.change_endpoint(actor=actor_of(request), endpoint_id=object_id, active=active)
            return _("It hears of events.") if active else _("It hears of nothing any more.")

        return self._ask(
            request,
            object_id,
            _("Switch off") if was_on else _("Switch on"),
            _("What happens while it is off is not told later."),
            act,
            seen=_ON if was_on else _OFF,
        )

    @row_action(description=gettext_lazy("Remove"), url_path="remove", permissions=["changing"])
    def remove(self, request: HttpRequest, object_id: int) -> HttpResponse:
        def act(given: dict[str, Any]) -> str:
            services.remove_endpoint(actor=actor_of(request), endpoint_id=object_id)
            return _("The webhook is removed.")

        text = _("The address hears of nothing any more, and its deliveries are forgotten.")
        back = reverse("admin:webhooks_endpoint_changelist")
        return self._ask(request, object_id, _("Remove"), text, act, danger=True, back=back)

    def _ask(
        self,
        request: HttpRequest,
        object_id: int,
        button: str,
        consequence: str,
        act: Any,
        danger: bool = False,
        back: str = "",
        seen: str = "",
    ) -> HttpResponse:
        """back: where it leads afterwards; "": to the page of the webhook. seen: what the act is meant for."""
        return ask(
            request,
            self,
            title=f"{button}: {get_object_or_404(Endpoint, pk=object_id)}",
            consequence=consequence,
            button=button,
            back=back or reverse("admin:webhooks_endpoint_change", args=[object_id]),
            form=SeenForm,
            act=act,
            danger=danger,
            seen=seen,
        )

    def _shown_once(self, request: HttpRequest, issued: services.Issued) -> HttpResponse:
        back = reverse("admin:webhooks_endpoint_change", args=[issued.endpoint.pk])
        return page(
            request,
            self,
            "console/secret.html",
            title=_("Webhook {address}").format(address=issued.endpoint),
            key=issued.secret,
            back=back,
        )


@admin.register(Delivery)
class DeliveryAdmin(_HookAdmin):
    list_display = ("created_at", "endpoint", "event_name", "state_badge", "tries_said", "answer_said", "next_try")
    list_select_related = ("endpoint",)
    list_filter = (("endpoint", RelatedDropdownFilter), ("state", ChoicesDropdownFilter))
    ordering = ("-pk",)
    sortable_by = ()
    when_empty = gettext_lazy("Messages appear here within seconds of what they tell of.")
    actions_detail = ("deliver_again", "try_now")

    def row_page(self, request: HttpRequest, delivery: Delivery) -> HttpResponse:
        may_see_entries = request.user.has_perm("audit.view_entry")
        may_change = self.has_changing_permission(request)
        return page(
            request,
            self,
            "webhooks/delivery.html",
            title=self._title_of(delivery),
            **delivery_page.delivery_context(delivery, may_see_entries=may_see_entries, may_change=may_change),
        )

    @row_action(description=gettext_lazy("Deliver again"), icon="replay", url_path="again", permissions=["changing"])
    def deliver_again(self, request: HttpRequest, object_id: int) -> HttpResponse:
        delivery = get_object_or_404(Delivery.objects.select_related("endpoint"), pk=object_id)

        def act(given: dict[str, Any]) -> str:
            services.deliver_again(actor=actor_of(request), endpoint_id=delivery.endpoint_id, delivery_id=delivery.pk)
            return _("It leaves within seconds.")

        arrived = delivery.state == State.DELIVERED
        return ask(
            request,
            self,
            title=f"{_('Deliver again')}: {self._title_of(delivery)}",
            consequence=_("It arrived already, and comes again under the same number: who remembers numbers knows it.")
            if arrived
            else _("It is sent under the same number, and tried as often as a new one."),
            button=_("Deliver again"),
            back=reverse("admin:webhooks_delivery_change", args=[delivery.pk]),
            form=forms.Form,
            act=act,
        )

    @row_action(description=gettext_lazy("Try now"), icon="bolt", url_path="now", permissions=["changing"])
    def try_now(self, request: HttpRequest, object_id: int) -> HttpResponse:
        delivery = get_object_or_404(Delivery.objects.select_related("endpoint"), pk=object_id)

        def act(given: dict[str, Any]) -> str:
            services.try_now(actor=actor_of(request), endpoint_id=delivery.endpoint_id, delivery_id=delivery.pk)
            return _("It leaves within seconds.")

        return ask(
            request,
            self,
            title=f"{_('Try now')}: {self._title_of(delivery)}",
            consequence=_("It does not wait for the time of its next try. It is one of its tries, {tries}.").format(
                tries=endpoint_page.tries_text(delivery)
            ),
            button=_("Try now"),
            back=reverse("admin:webhooks_delivery_change", args=[delivery.pk]),
            form=forms.Form,
            act=act,
        )

    def _title_of(self, delivery: Delivery) -> str:
        return _("{event} to {endpoint}").format(event=type_name(delivery.type), endpoint=delivery.endpoint)

    @display(description=gettext_lazy("Event"))
    def event_name(self, delivery: Delivery) -> str:
        return type_name(delivery.type)

    @display(description=gettext_lazy("State"), label=endpoint_page.STATE_COLOURS)
    def state_badge(self, delivery: Delivery) -> tuple[str, str]:
        return delivery.state, str(State(delivery.state).label)

    @display(description=gettext_lazy("last answer"))
    def answer_said(self, delivery: Delivery) -> str:
        return sentences.for_reader(delivery.answer) or self.get_empty_value_display()

    @display(description=gettext_lazy("Tries"))
    def tries_said(self, delivery: Delivery) -> str:
        return endpoint_page.tries_text(delivery)

    @display(description=gettext_lazy("Next try"))
    def next_try(self, delivery: Delivery) -> Any:
        return delivery_page.next_try_of(delivery)
