"""What the admin pages of all apps share: read-only lists, and a question before anything changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from console.errors import Refusal


class ReasonForm(forms.Form):
    """Every decision is kept with its reason."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_("Kept in the audit trail."),
    )


class ReadOnlyAdmin(ModelAdmin):
    """A list and a page of each row. What may be changed is changed by actions that call a service."""

    actions = None
    list_fullwidth = True
    when_empty: str | Promise = ""  # what to do about it, shown where a list has no rows at all

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


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
) -> HttpResponse:
    """Say what will happen and ask for what it needs; do it when the answer comes back.

    act: takes the form's values and calls one service; answers with a sentence for the person,
    who is then sent `back`, or with a whole page or a file. A refusal is shown beside its field.
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
        "title": title,
        "consequence": consequence,
        "button": button,
        "back": back,
        "form": answer,
        "danger": danger,
        "multipart": answer.is_multipart(),
    }
    return TemplateResponse(request, "console/ask.html", context)


def page(request: HttpRequest, admin: ModelAdmin, template: str, *, title: str, **context: Any) -> HttpResponse:
    """A page of our own inside the admin's frame."""
    return TemplateResponse(request, template, {**admin.admin_site.each_context(request), "title": title, **context})
