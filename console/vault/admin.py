"""Pages for data subjects and their consents."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from console.errors import NotFound
from console.history import HistoryAdmin
from console.moments import MomentField
from console.pages import NUMBER_DIGITS_MAX, ask, page
from console.staff.rest import actor_of
from console.vault import queries, services
from console.vault.models import Consent, Purpose, Subject


class ConsentForm(forms.Form):
    subject = forms.CharField(
        label=gettext_lazy("Pseudonym of the person"),
        max_length=services.TEXT_MAX,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("As the calling program sends it. Only a keyed hash of it is stored."),
    )
    purpose = forms.ChoiceField(label=gettext_lazy("Purpose"), choices=Purpose.choices, widget=UnfoldAdminSelectWidget)
    text_version = forms.CharField(
        label=gettext_lazy("Version of the text"), max_length=40, widget=UnfoldAdminTextInputWidget
    )
    channel = forms.CharField(
        label=gettext_lazy("Channel"),
        max_length=40,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("How it was given: counter, web, LINE…"),
    )
    reference = forms.CharField(
        label=gettext_lazy("Reference"),
        max_length=128,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("What the calling program names it by. Empty: one is made up."),
    )
    expires_at = MomentField(
        label=gettext_lazy("Runs out"),
        required=False,
        help_text=gettext_lazy("Empty: never."),
    )


class WithdrawalForm(forms.Form):
    channel = forms.CharField(
        label=gettext_lazy("Channel"),
        max_length=40,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("How the person told us: telephone, counter, letter…"),
    )


_STATE_COLOURS: Final = {"valid": "success", "withdrawn": "danger", "run out": "warning"}


@admin.register(Consent)
class ConsentAdmin(HistoryAdmin):
    list_display = ("reference", "purpose_text", "state", "text_version", "channel", "given_at", "subject_text")
    when_empty = gettext_lazy("Consents come from calling programs, or are recorded here by a privacy officer.")
    list_filter = (("purpose", ChoicesDropdownFilter),)
    search_fields = ("reference",)
    search_help_text = gettext_lazy("Reference, or pseudonym of the person, in full")
    ordering = ("-recorded_at", "-pk")
    sortable_by = ()
    actions_list = ("give",)
    actions_detail = ("withdraw",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Consent]:
        return queries.consents_with_subjects()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        subject = queries.subject_of(term)
        return queryset.filter(Q(reference=term) | Q(subject=subject) if subject else Q(reference=term)), False

    @display(description=gettext_lazy("Purpose"))
    def purpose_text(self, consent: Consent) -> str:
        return str(Purpose(consent.purpose).label)

    @display(description=gettext_lazy("State"), label=_STATE_COLOURS)
    def state(self, consent: Consent) -> tuple[str, str]:
        if consent.withdrawn_at is not None:
            return "withdrawn", _("withdrawn")
        if consent.expires_at is not None and consent.expires_at <= now():
            return "run out", _("run out")
        return "valid", _("valid")

    def row_page(self, request: HttpRequest, consent: Consent) -> HttpResponse:
        code, text = self.state(consent)
        may_withdraw = code != "withdrawn" and self.has_withdrawing_permission(request)
        return page(
            request,
            self,
            "vault/consent.html",
            title=_("Consent {reference}").format(reference=consent.reference),
            consent=consent,
            state_text=text,
            state_colour=_STATE_COLOURS[code],
            said={
                "valid": _("The person agreed. It holds until it is withdrawn, or runs out."),
                "withdrawn": _("The person took it back: what was kept under it was deleted."),
                "run out": _("Its day has come: nothing more is kept under it, and what was is deleted."),
            }[code],
            purpose=Purpose(consent.purpose).label,
            never=_("never"),
            kept=_kept_text(queries.kept_under(consent)),
            withdraw=reverse("admin:vault_consent_withdraw", args=[consent.pk]) if may_withdraw else "",
        )

    @display(description=gettext_lazy("Person"))
    def subject_text(self, consent: Consent) -> str:
        return str(consent.subject_id)[:8]

    # Methods and not permission names: unfold's check looks names up in the database, and the
    # first migration runs the checks before there are tables.
    def has_giving_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("vault.add_consent")

    def has_withdrawing_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("vault.change_consent")

    @action(description=gettext_lazy("Record a consent"), icon="add", permissions=["giving"])
    def give(self, request: HttpRequest) -> HttpResponse:
        def act(given: dict[str, Any]) -> str:
            consent = services.give_consent(
                actor=actor_of(request),
                pseudonym=given["subject"],
                purpose=given["purpose"],
                text_version=given["text_version"],
                channel=given["channel"],
                reference=given["reference"],
                expires_at=given["expires_at"],
            )
            return _("The consent {reference} is recorded.").format(reference=consent.reference)

        return ask(
            request,
            self,
            title=_("Record a consent"),
            consequence=_("From now on photographs may be kept under it, until it is withdrawn."),
            button=_("Record"),
            back=reverse("admin:vault_consent_changelist"),
            form=ConsentForm,
            act=act,
        )

    @action(
        description=gettext_lazy("Withdraw"),
        url_path="withdraw",
        permissions=["withdrawing"],
        variant=ActionVariant.DANGER,
    )
    def withdraw(self, request: HttpRequest, object_id: str) -> HttpResponse:
        number = int(object_id) if object_id.isdecimal() and len(object_id) <= NUMBER_DIGITS_MAX else 0
        consent = queries.consents_with_subjects().filter(pk=number).first()
        if consent is None:
            raise NotFound(_("There is no such consent."))

        def act(given: dict[str, Any]) -> str:
            services.withdraw_consent(actor=actor_of(request), reference=consent.reference, channel=given["channel"])
            return _("The consent {reference} is withdrawn.").format(reference=consent.reference)

        return ask(
            request,
            self,
            title=_("Withdraw {reference}").format(reference=consent.reference),
            consequence=_("Everything that is kept under it is deleted at once, for good: {kept}.").format(
                kept=_kept_text(queries.kept_under(consent))
            ),
            button=_("Withdraw"),
            back=reverse("admin:vault_consent_change", args=[object_id]),
            form=WithdrawalForm,
            act=act,
            danger=True,
        )

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # `give` asks for the pseudonym, which no row holds


class SubjectList(HistoryAdmin):
    """The list of people; `console.privacy`, which knows all that holds something of one, gives each a page."""

    list_display = ("short", "created_at", "consents_valid", "photographs")
    search_fields = ("id",)
    search_help_text = gettext_lazy("Pseudonym of the person, in full")
    when_empty = gettext_lazy("People appear here with their first consent, or the first photograph kept of theirs.")
    ordering = ("-created_at",)
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subject]:
        return Subject.objects.order_by("-created_at")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        subject = queries.subject_of(term)
        return queryset.filter(pk=subject.pk) if subject else queryset.none(), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        counted = _counted([row.pk for row in rows])
        for row in rows:
            row.counts = counted.get(row.pk, (0, 0))

    @display(description=gettext_lazy("Person"))
    def short(self, subject: Subject) -> str:
        return str(subject.pk)[:8]

    @display(description=gettext_lazy("Consents in force"))
    def consents_valid(self, subject: Any) -> int:
        return int(subject.counts[0])

    @display(description=gettext_lazy("Objects kept"))
    def photographs(self, subject: Any) -> int:
        return int(subject.counts[1])


def _kept_text(objects: int) -> str:
    return (
        ngettext("{objects} photograph or heat map", "{objects} photographs and heat maps", objects).format(
            objects=objects
        )
        if objects
        else _("nothing")
    )


def _counted(subjects: list[Any]) -> dict[Any, tuple[int, int]]:
    """Consents in force and objects kept of each subject. One query."""
    in_force = Q(consents__withdrawn_at=None) & (Q(consents__expires_at=None) | Q(consents__expires_at__gt=now()))
    rows = (
        Subject.objects.filter(pk__in=subjects)
        .annotate(in_force=Count("consents", filter=in_force, distinct=True))
        .annotate(kept=Count("objects_kept", distinct=True))
        .order_by()
    )
    return {key: (consents, objects) for key, consents, objects in rows.values_list("pk", "in_force", "kept")}
