"""Pages for privacy officers: the list of requests, and one request with its clocks and its proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from console.errors import NotFound
from console.moments import MomentField
from console.pages import ask, page
from console.privacy import clocks, queries, request_page, services
from console.privacy import subject_admin as subject_admin  # Django looks for pages in this file alone
from console.privacy.api import export_response, pdf_response
from console.privacy.certificate import certificate_of
from console.privacy.clocks import Escalation, Law
from console.privacy.models import RESTRICTS, Erasure, Kind, Laws, PrivacyRequest, State, Step
from console.privacy.typed_pages import TypedPages
from console.staff.models import User
from console.staff.rest import actor_of
from console.vault.services import TEXT_MAX

_BACK: Final = "admin:privacy_privacyrequest_changelist"


class RequestForm(forms.Form):
    subject = forms.CharField(
        label=gettext_lazy("Pseudonym of the person"),
        max_length=TEXT_MAX,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("As the calling program sends it. Only a keyed hash of it is stored."),
    )
    kind = forms.ChoiceField(label=gettext_lazy("Asks for"), choices=Kind.choices, widget=UnfoldAdminSelectWidget)
    laws = forms.ChoiceField(
        label=gettext_lazy("Law"),
        choices=Laws.choices,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Whose clock binds. In doubt both: then the earlier day does."),
    )
    channel = forms.CharField(
        label=gettext_lazy("Channel"),
        max_length=40,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("How it came in: counter, letter, e-mail…"),
    )
    received_at = MomentField(
        label=gettext_lazy("Received"),
        required=False,
        help_text=gettext_lazy("Empty: now."),
    )


class MethodForm(forms.Form):
    method = forms.CharField(
        label=gettext_lazy("How it was checked"),
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("By what kind of proof; no names, no numbers of documents."),
    )


class WhyForm(forms.Form):
    """What is typed here is in the audit trail until the person is erased, or the request's time is over."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=services.REASON_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Kept in the audit trail; nothing that names the person."),
    )


class OutcomeForm(forms.Form):
    outcome = forms.CharField(
        label=gettext_lazy("What was done"),
        max_length=services.REASON_MAX,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Kept in the audit trail; nothing that names the person."),
    )


@admin.register(PrivacyRequest)
class PrivacyRequestAdmin(TypedPages):
    list_display = ("number", "kind_text", "state_badge", "left_badge", "due_gdpr", "due_pdpa", "person", "received")
    in_order = gettext_lazy("The most urgent first.")
    when_empty = gettext_lazy("Enter a request here when a person asks; its clock starts then.")
    list_filter = (("state", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter), ("laws", ChoicesDropdownFilter))
    search_fields = ("pk",)
    search_help_text = gettext_lazy("Number of a request, or pseudonym of the person, in full")
    sortable_by = ()
    actions_list = ("enter", "typed")
    actions_detail = (
        "identity",
        "start",
        "finish",
        "export",
        "pause",
        "resume",
        "extend",
        "refuse",
        "lift",
        "certificate",
        "pdf",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[PrivacyRequest]:
        return queries.requests()

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return queries.URGENT_FIRST

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isdecimal() and len(term) < 10:
            return queryset.filter(pk=int(term)), False
        return queries.of_person(queryset, term), False

    @display(description=gettext_lazy("Number"))
    def number(self, row: PrivacyRequest) -> int:
        return row.pk

    @display(description=gettext_lazy("Asks for"))
    def kind_text(self, row: PrivacyRequest) -> str:
        return str(Kind(row.kind).label)

    @display(description=gettext_lazy("State"), label=request_page.COLOURS)
    def state_badge(self, row: PrivacyRequest) -> tuple[str, str]:
        return row.state, str(State(row.state).label)

    @display(description=gettext_lazy("Days left"), label=request_page.URGENCY)
    def left_badge(self, row: PrivacyRequest) -> tuple[str, str]:
        left = row.days_left(clocks.day_of(now()))
        if not row.is_open and left >= 0:
            return Escalation.NONE, "–"
        return clocks.escalation(left), request_page.left_text(left)

    @display(description="GDPR")
    def due_gdpr(self, row: PrivacyRequest) -> str:
        return request_page.due_text(row, Law.GDPR)

    @display(description="PDPA")
    def due_pdpa(self, row: PrivacyRequest) -> str:
        return request_page.due_text(row, Law.PDPA)

    @display(description=gettext_lazy("Person"))
    def person(self, row: PrivacyRequest) -> str:
        return str(row.subject_id)[:8] if row.subject_id else "–"

    @display(description=gettext_lazy("Received"))
    def received(self, row: PrivacyRequest) -> str:
        return request_page.legal_date(clocks.day_of(row.received_at))

    def row_page(self, request: HttpRequest, row: PrivacyRequest) -> HttpResponse:
        return page(
            request,
            self,
            "privacy/request.html",
            title=_("Request {number}: {kind}").format(number=row.pk, kind=Kind(row.kind).label),
            **request_page.shown(row),
            may_see_person=request.user.has_perm("vault.view_subject"),
            may_see_entries=request.user.has_perm("audit.view_entry"),
            buttons=self._buttons(request, row),
        )

    def _buttons(self, request: HttpRequest, row: PrivacyRequest) -> list[tuple[str, str, str]]:
        """What may be done now: text, address, variant."""
        if not request.user.has_perm(services.HANDLE) or row.duplicate_of_id is not None:
            return []
        erasure: Erasure | None = getattr(row, "erasure", None)
        found: list[tuple[str, str, str]] = []

        def offer(name: str, text: str, variant: str = "default") -> None:
            found.append((text, reverse(f"admin:privacy_privacyrequest_{name}", args=[row.pk]), variant))

        if row.state == State.RECEIVED:
            offer("identity", _("Identity is checked"), "primary")
        if row.state == State.IDENTITY_CHECKED:
            offer("start", _begin_text(row), "danger" if row.kind == Kind.ERASURE else "primary")
        if row.state == State.IN_PROGRESS and erasure is None:
            if row.kind in (Kind.ACCESS, Kind.PORTABILITY):
                offer("export", _("Hand out the data"), "primary")
            offer("finish", _("Close as done"))
        if row.state == State.PAUSED:
            offer("resume", _("Resume"), "primary")
        elif row.is_open:
            offer("pause", _("Pause"))
        if row.is_open and row.extended_at is None and row.laws != Laws.PDPA:
            offer("extend", _("Extend"))
        if row.is_open and row.state != State.PAUSED and (erasure is None or erasure.step == Step.SHUT):
            offer("refuse", _("Refuse"))
        if row.kind in RESTRICTS and row.subject is not None and row.subject.restricted_at is not None:
            offer("lift", _("Lift the restriction"), "danger")
        return found

    # Methods and not permission names: unfold's check looks names up in the database, and the
    # first migration runs the checks before there are tables.
    def has_entering_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("privacy.add_privacyrequest")

    def has_handling_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm(services.HANDLE)

    @action(description=gettext_lazy("Enter a request"), icon="add", permissions=["entering"])
    def enter(self, request: HttpRequest) -> HttpResponse:
        def act(given: dict[str, Any]) -> HttpResponse:
            entered = services.receive(
                actor=actor_of(request),
                pseudonym=given["subject"],
                kind=given["kind"],
                laws=given["laws"],
                channel=given["channel"],
                received_at=given["received_at"],
            )
            said = (
                _("Request {number} is entered.")
                if entered.duplicate_of_id is None
                else _("Request {number} is entered; it joins request {first}, which is open.")
            )
            messages.success(request, said.format(number=entered.pk, first=entered.duplicate_of_id))
            # Not to the list, whose first row is the most urgent request: somebody else's.
            return redirect("admin:privacy_privacyrequest_change", entered.pk)

        return ask(
            request,
            self,
            title=_("Enter a request"),
            consequence=_("The clock of the law runs from the day on which it came in."),
            button=_("Enter the request"),
            back=reverse(_BACK),
            form=RequestForm,
            act=act,
        )

    @action(description=gettext_lazy("Identity is checked"), url_path="identity", permissions=["handling"])
    def identity(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._arrow(
            request,
            object_id,
            title=_("Identity is checked"),
            consequence=_("From here on the work can begin."),
            form=MethodForm,
            work=lambda actor, key, given: services.check_identity(actor=actor, request_id=key, method=given["method"]),
        )

    @action(description=gettext_lazy("Begin"), url_path="start", permissions=["handling"])
    def start(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._row(request, object_id)
        erases = row.kind == Kind.ERASURE
        return self._arrow(
            request,
            object_id,
            title=_begin_text(row),
            consequence=_(
                "The key is destroyed, and everything that is known of this person is deleted: photographs, heat maps, "
                "predictions, what experts said of them, and consents. There is no way back."
            )
            if erases
            else _("From now on what is kept of this person is left alone: not opened, not learnt from, nothing added.")
            if row.kind in RESTRICTS
            else _("The request is yours from here on."),
            form=forms.Form,
            danger=erases,
            work=lambda actor, key, _given: services.start(actor=actor, request_id=key),
        )

    @action(description=gettext_lazy("Close as done"), url_path="finish", permissions=["handling"])
    def finish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._arrow(
            request,
            object_id,
            title=_("Close as done"),
            consequence=_("The request is closed, and its duplicates with it."),
            form=OutcomeForm,
            work=lambda actor, key, given: services.finish(actor=actor, request_id=key, outcome=given["outcome"]),
        )

    @action(description=gettext_lazy("Pause"), url_path="pause", permissions=["handling"])
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._arrow(
            request,
            object_id,
            title=_("Pause"),
            consequence=_("Nothing is done until somebody goes on. The clock of the law runs on."),
            work=lambda actor, key, given: services.pause(actor=actor, request_id=key, reason=given["reason"]),
        )

    @action(description=gettext_lazy("Resume"), url_path="resume", permissions=["handling"])
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._arrow(
            request,
            object_id,
            title=_("Resume"),
            consequence=_("The request goes on where it was."),
            form=forms.Form,
            work=lambda actor, key, _given: services.resume(actor=actor, request_id=key),
        )

    @action(description=gettext_lazy("Extend"), url_path="extend", permissions=["handling"])
    def extend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._arrow(
            request,
            object_id,
            title=_("Extend"),
            consequence=_(
                "GDPR grants two further months for a complex request; tell the person why. The PDPA grants none."
            ),
            work=lambda actor, key, given: services.extend(actor=actor, request_id=key, reason=given["reason"]),
        )

    @action(
        description=gettext_lazy("Refuse"), url_path="refuse", permissions=["handling"], variant=ActionVariant.DANGER
    )
    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._arrow(
            request,
            object_id,
            title=_("Refuse"),
            consequence=_("The request is closed without being done. The person may complain to the authority."),
            danger=True,
            work=lambda actor, key, given: services.refuse(actor=actor, request_id=key, reason=given["reason"]),
        )

    @action(
        description=gettext_lazy("Lift the restriction"),
        url_path="lift",
        permissions=["handling"],
        variant=ActionVariant.DANGER,
    )
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._row(request, object_id)

        def act(given: dict[str, Any]) -> str:
            services.lift_restriction(actor=actor_of(request), request_id=row.pk, reason=given["reason"])
            return _("The restriction under request {number} is lifted.").format(number=row.pk)

        return ask(
            request,
            self,
            title=_titled(_("Lift the restriction"), row),
            consequence=_(
                "What is kept of this person is kept, opened and learnt from as before. "
                "The law wants the person told first."
            ),
            button=_("Lift the restriction"),
            back=reverse("admin:privacy_privacyrequest_change", args=[row.pk]),
            form=WhyForm,
            act=act,
            danger=True,
        )

    @action(description=gettext_lazy("Hand out the data"), url_path="export", permissions=["handling"])
    def export(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._row(request, object_id)
        return ask(
            request,
            self,
            title=_titled(_("Hand out the data"), row),
            consequence=_("A ZIP with everything that is known of this person. It is kept nowhere here."),
            button=_("Download"),
            back=reverse("admin:privacy_privacyrequest_change", args=[row.pk]),
            form=forms.Form,
            act=lambda _given: export_response(actor_of(request), row.pk),
        )

    @action(description=gettext_lazy("Certificate (JSON)"), url_path="certificate", permissions=["view"])
    def certificate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._row(request, object_id)
        name = f"erasure-{row.pk}.json"
        return JsonResponse(
            certificate_of(row.pk),
            json_dumps_params={"ensure_ascii": False, "indent": 1},
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @action(description=gettext_lazy("Certificate (PDF)"), url_path="certificate/pdf", permissions=["view"])
    def pdf(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """For the person who asked, in Thai and English."""
        return pdf_response(self._row(request, object_id).pk)

    def _row(self, request: HttpRequest, object_id: str) -> PrivacyRequest:
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            raise NotFound(_("There is no such request."))
        found: PrivacyRequest = row
        return found

    def _arrow(
        self,
        request: HttpRequest,
        object_id: str,
        *,
        title: str,
        consequence: str,
        work: Callable[[User, int, dict[str, Any]], PrivacyRequest],
        form: type[forms.Form] = WhyForm,
        danger: bool = False,
    ) -> HttpResponse:
        row = self._row(request, object_id)

        def act(given: dict[str, Any]) -> str:
            moved = work(actor_of(request), row.pk, given)
            return _("Request {number} is {state}.").format(number=moved.pk, state=State(moved.state).label)

        return ask(
            request,
            self,
            title=_titled(title, row),
            consequence=consequence,
            button=title,
            back=reverse("admin:privacy_privacyrequest_change", args=[row.pk]),
            form=form,
            act=act,
            danger=danger,
        )


def _begin_text(row: PrivacyRequest) -> str:
    return _("Erase for good") if row.kind == Kind.ERASURE else _("Begin")


def _titled(what: str, row: PrivacyRequest) -> str:
    """A page that changes something says of which request: they look alike, and there may be no way back."""
    return _("{what}: request {number} ({kind})").format(what=what, number=row.pk, kind=Kind(row.kind).label)
