"""Pages for whoever leads the reviewers: what is held to be known, and how far people say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import UnfoldBooleanWidget

from console.history import HistoryAdmin
from console.pages import ReasonForm, ask, row_action
from console.predictions.names import class_names
from console.review import gold, gold_figures
from console.review.agreement import Share
from console.review.models import Decided, GoldAnswer, GoldItem
from console.staff.rest import actor_of


def known_context(own: gold_figures.Own) -> dict[str, Any] | None:
    """What a person's own page shows of their answers to what is known; None where there are none."""
    if not own.right.n:
        return None
    names = class_names()
    return {
        "share": _share(own.right),
        "missed": [
            {
                "number": missed.gold.item_id,
                "said": answer_text(missed, names),
                "known": answer_text(missed.gold, names),
                "at": missed.answered_at,
            }
            for missed in own.missed
        ],
    }


def people_context(people: Sequence[gold_figures.Person]) -> list[dict[str, Any]]:
    """The table of whoever leads the reviewers."""
    return [{"name": person.name, "share": _share(person.right)} for person in people]


def _share(share: Share) -> dict[str, Any]:
    return {
        "n": share.n,
        "count": round(share.value * share.n),
        "value": f"{share.value:.0%}",
        "low": f"{share.low:.0%}",
        "high": f"{share.high:.0%}",
    }


class RetireForm(ReasonForm):
    wrong = forms.BooleanField(
        label=gettext_lazy("It was wrong"),
        required=False,
        widget=UnfoldBooleanWidget,
        help_text=gettext_lazy("What was answered to it counts no more, for nobody."),
    )


def answer_text(said: GoldItem | GoldAnswer, names: Mapping[str, str]) -> str:
    """An answer for people: the class by its name, or what it is instead of one."""
    return names.get(said.class_id, said.class_id) or str(Decided(said.decided).label)


@admin.register(GoldItem)
class GoldItemAdmin(HistoryAdmin):
    list_display = ("made_at", "answer", "agreement", "state_text", "made_by", "photograph")
    list_display_links = None
    sortable_by = ()
    when_empty = gettext_lazy(
        "Open a decided photograph whose answer you would stand for, and choose: use as a known answer."
    )
    actions_row = ("retire",)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(gold.LEAD)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(gold.LEAD)

    def has_lead_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm(gold.LEAD)

    def get_queryset(self, request: HttpRequest) -> QuerySet[GoldItem]:
        return gold_figures.known_answers()

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        names = class_names()
        for row in rows:
            row.answer_text = answer_text(row, names)

    @display(description=gettext_lazy("Known answer"))
    def answer(self, row: Any) -> str:
        return str(row.answer_text)

    @display(description=gettext_lazy("Answered the same"))
    def agreement(self, row: Any) -> str:
        return f"{row.agreed} / {row.answered}"

    @display(
        description=gettext_lazy("State"),
        label={"asked": "success", "doubtful": "danger", "retired": "info"},
    )
    def state_text(self, row: GoldItem) -> tuple[str, str]:
        if row.retired_at is not None:
            return "retired", _("was wrong") if row.wrong else _("retired")
        if gold_figures.is_doubtful(row):
            return "doubtful", _("most say something else")
        return "asked", _("asked")

    @display(description=gettext_lazy("Photograph"))
    def photograph(self, row: GoldItem) -> str:
        url = reverse("admin:review_reviewitem_change", args=[row.item_id])
        return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, _("Look at it"))

    @row_action(description=gettext_lazy("Retire"), url_path="retire", permissions=["lead"])
    def retire(self, request: HttpRequest, object_id: int) -> HttpResponse:
        row = get_object_or_404(GoldItem, pk=object_id)

        def act(given: dict[str, Any]) -> str:
            gold.retire_gold(actor=actor_of(request), gold_id=object_id, wrong=given["wrong"], reason=given["reason"])
            return _("Nobody is asked about it any more.")

        return ask(
            request,
            self,
            title=_("Retire the known answer “{answer}”").format(answer=answer_text(row, class_names())),
            consequence=_("Nobody is asked about it any more. What was answered stays counted, unless it was wrong."),
            form=RetireForm,
            button=_("Retire"),
            back=reverse("admin:review_golditem_changelist"),
            act=act,
        )

    def row_page(self, request: HttpRequest, row: GoldItem) -> HttpResponse:
        return redirect("admin:review_reviewitem_change", row.item_id)
