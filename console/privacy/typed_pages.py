"""Two pages for free text: look for what names somebody, and erase one text wherever it stands."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import action
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from console.history import HistoryAdmin
from console.pages import ask, page
from console.privacy import by_hand
from console.privacy.by_hand import Copies, Ground
from console.staff.rest import actor_of

_FIND = "admin:privacy_privacyrequest_typed"


class FindForm(forms.Form):
    part = forms.CharField(
        label=gettext_lazy("Look for"),
        min_length=by_hand.PART_MIN,
        max_length=by_hand.PART_MAX,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("A name, or part of one. What you look for is kept nowhere."),
    )


class EraseForm(forms.Form):
    ground = forms.ChoiceField(
        label=gettext_lazy("Ground"),
        choices=Ground.choices,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Kept in the audit trail."),
    )
    request = forms.IntegerField(
        label=gettext_lazy("Privacy request"),
        required=False,
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("Number of the one that asked for it, if one did."),
    )


class TypedPages(HistoryAdmin):
    """What the pages of privacy requests have beside the requests themselves."""

    def get_urls(self) -> list[URLPattern]:
        erase = self.admin_site.admin_view(self.erase_typed)
        named = "privacy_privacyrequest_erase_typed"
        return [path("typed/<str:place>/<str:key>/erase/", erase, name=named), *super().get_urls()]

    def has_erasing_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm(by_hand.ERASE)

    @action(description=gettext_lazy("What was typed"), url_path="typed", icon="manage_search", permissions=["erasing"])
    def typed(self, request: HttpRequest) -> HttpResponse:
        """Asked by POST: a name that stood in an address would stay in the browser's history."""

        def act(given: dict[str, Any]) -> HttpResponse:
            found, more = by_hand.find(actor=actor_of(request), part=given["part"])
            return page(
                request,
                self,
                "privacy/typed.html",
                title=_("What was typed"),
                found=[(each, _erase_url(each.place, each.key)) for each in found],
                more=more,
                shown=by_hand.SHOWN,
                back=reverse(_FIND),
            )

        return ask(
            request,
            self,
            title=_("What was typed"),
            consequence=_(
                "Reasons, notes and comments that have this in them, in the audit trail and beside it. "
                "Nothing is changed yet."
            ),
            button=_("Look for it"),
            back=reverse("admin:privacy_privacyrequest_changelist"),
            form=FindForm,
            act=act,
        )

    def erase_typed(self, request: HttpRequest, place: str, key: str) -> HttpResponse:
        copies = by_hand.copies_of(actor=actor_of(request), place=place, key=key)

        def act(given: dict[str, Any]) -> str:
            done = by_hand.erase(
                actor=actor_of(request), place=place, key=key, ground=given["ground"], request_id=given["request"]
            )
            return _("Erased; the audit trail says of each place that it was ({number}).").format(
                number=len(done.entries) + len(done.rows)
            )

        return ask(
            request,
            self,
            title=_("Erase what was typed"),
            consequence=_consequence(copies),
            button=_("Erase for good"),
            back=reverse(_FIND),
            form=EraseForm,
            act=act,
            danger=True,
            template="privacy/erase_typed.html",
            more={"text": copies.text, "places": _places(copies)},
        )


def _erase_url(place: str, key: str) -> str:
    return reverse("admin:privacy_privacyrequest_erase_typed", args=[place, key])


def _places(copies: Copies) -> list[str]:
    entries = [f"{by_hand.place_text(by_hand.ENTRY)} · {typed.sequence}" for typed in copies.entries]
    return entries + [f"{by_hand.place_text(place)} · {key}" for place, key in copies.rows]


def _consequence(copies: Copies) -> str:
    said = _(
        "It is erased wherever exactly this stands. There is no way back. What was done, by whom and when stays proved."
    )
    if copies.whole:
        said += "\n" + ngettext(
            "Of {number} audit entry that says other things too, all of it goes; the entry itself stays.",
            "Of {number} audit entries that say other things too, all of it goes; the entries themselves stay.",
            copies.whole,
        ).format(number=copies.whole)
    return said
