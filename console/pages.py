"""What the admin pages of all apps share: read-only lists, and a question before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AllValuesCheckboxFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from console.errors import Refusal
from console.moments import MomentField

NUMBER_DIGITS_MAX: Final = 18  # what a database counts to
BOXES_MAX: Final = 100  # of one filter
# What filters, Django's and unfold's, put after the name of their column in an address.
_ASKED_OF_A_COLUMN: Final = frozenset(
    [
        *("", "__exact", "__id__exact", "__isnull", "__gte", "__lt", "__year", "__month", "__day"),
        *(f"_{end}{part}" for end in ("from", "to") for part in ("", "_0", "_1")),
    ]
)


class Colours(dict[Any, str]):
    """Code -> colour of its label in a list. What has none is named all the same: the theme would show its code."""

    def __missing__(self, code: object) -> str:
        return ""


class ReasonForm(forms.Form):
    """Every decision is kept with its reason."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_("Kept in the audit trail."),
    )


class ExpiryForm(forms.Form):
    """Of what lets a script in: until when."""

    expires_at = MomentField(
        label=_("Expires"),
        required=False,
        help_text=_("Empty: never."),
    )


class SeenForm(forms.Form):
    """Asks for nothing but a yes, which is meant for what the page showed."""

    seen = forms.CharField(required=False, widget=forms.HiddenInput)


class RowsAdmin(ModelAdmin):
    """What all lists of ours share."""

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """Django leads home from a row that is not there, which a program that looks takes for a page. It is none."""
        raise Http404


class ReadOnlyAdmin(RowsAdmin):
    """A list and a page of each row. What may be changed is changed by actions that call a service."""

    actions = None
    list_fullwidth = True
    # How its rows are sorted before anybody clicks on a heading. A page may say another by its context.
    in_order: str | Promise = ""
    when_empty: str | Promise = ""  # what to do about it, shown where a list has no rows at all
    everything = "?"  # the address, from the list, at which no filter is set

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the filters of this page ask, and never part of a value.

        Django lets an address narrow a list by any column: whoever sees the list can so read what it does not show,
        a password's hash letter by letter.
        """
        filters = self.list_filter if request is None else self.get_list_filter(request)
        names = [_name_of(each) for each in filters] + ([self.date_hierarchy] if self.date_hierarchy else [])
        return any(lookup.startswith(name) and lookup.removeprefix(name) in _ASKED_OF_A_COLUMN for name in names)

    def row_page(self, request: HttpRequest, row: Any) -> HttpResponse | None:
        """The page of one row, for somebody who may see it; None: the admin's own list of its fields."""
        return None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        shown = self.row_page(request, row) if row is not None and self.has_view_permission(request, row) else None
        return super().change_view(request, object_id, form_url, extra_context) if shown is None else shown


class FewValuesFilter(AllValuesCheckboxFilter):
    """A box for each value of a column that is in the list, while they are few.

    The theme's offers what is in the table, also to whoever is shown a part of it, and of 10,000 clients 10 MB.
    Of many it offers those that were asked for; the list's search finds the others.
    """

    def __init__(
        self, field: Any, request: HttpRequest, params: Any, model: Any, model_admin: Any, field_path: str
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        listed = model_admin.get_queryset(request).order_by(field_path).values_list(field_path, flat=True)
        found = list(listed.distinct()[: BOXES_MAX + 1])
        self.lookup_choices = sorted({*(found if len(found) <= BOXES_MAX else ()), *(self.lookup_val or ())})

    def has_output(self) -> bool:
        return bool(self.lookup_choices)


def _name_of(list_filter: Any) -> str:
    """What stands for one of a page's filters in an address."""
    if isinstance(list_filter, tuple):
        return str(list_filter[0])
    return list_filter if isinstance(list_filter, str) else str(list_filter.parameter_name)


def is_number(text: str) -> bool:
    """Whether this is a number that a database counts to."""
    return text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX


def row_action(**options: Any) -> Callable[[Callable[..., HttpResponse]], Any]:
    """unfold's `action` for one row, whose number the method gets as a number; unfold hands on a piece of the address.

    An address without a number leads to no page.
    """

    def decorated(method: Callable[..., HttpResponse]) -> Any:
        @wraps(method)
        def numbered(self: ModelAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
            if not is_number(object_id):
                raise Http404
            return method(self, request, int(object_id))

        return action(**options)(numbered)

    return decorated


def ask(
    request: HttpRequest,
    admin: ModelAdmin,
    *,
    title: str,
    consequence: str,
    button: str,
    back: str,
    act: Callable[[dict[str, Any]], str | HttpResponseBase],
    form: type[forms.Form] = ReasonForm,
    initial: dict[str, Any] | None = None,
    danger: bool = False,
    seen: str = "",
    template: str = "console/ask.html",
    more: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Say what will happen and ask for what it needs; do it when the answer comes back.

    act: takes the form's values and calls one service; answers with a sentence for the person,
    who is then sent `back`, or with a whole page or a file. A refusal is shown beside its field.
    seen: what the page shows and the act is meant for; it comes back as the form's field of this name.
    more: what a template that extends `console/ask.html` shows beside the form.
    """
    answer = form(request.POST, request.FILES) if request.method == "POST" else form(initial=initial)
    if request.method == "POST" and answer.is_valid():
        try:
            done = act(answer.cleaned_data)
        except Refusal as refusal:
            answer.add_error(refusal.field if refusal.field in answer.fields else None, refusal.message)
        else:
            if isinstance(done, HttpResponseBase):
                return done  # type: ignore[return-value]  # a stream is a response all the same
            messages.success(request, done)
            return redirect(back)
    context = {
        **admin.admin_site.each_context(request),
        **(more or {}),
        "title": title,
        "consequence": consequence,
        "button": button,
        "back": back,
        "form": answer,
        "danger": danger,
        "seen": seen,
        "multipart": answer.is_multipart(),
    }
    return TemplateResponse(request, template, context)


def page(request: HttpRequest, admin: ModelAdmin, template: str, *, title: str, **context: Any) -> HttpResponse:
    """A page of our own inside the admin's frame."""
    return TemplateResponse(request, template, {**admin.admin_site.each_context(request), "title": title, **context})
