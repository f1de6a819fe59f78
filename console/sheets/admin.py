"""Pages for review sheets: the list, one sheet with its progress and results, and one photograph at a time."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminFileFieldWidget

from console.errors import Refusal
from console.history import HistoryAdmin
from console.pages import ask, page, row_action
from console.predictions.names import class_names
from console.predictions.page import DISCLAIMERS
from console.review.agreement import CASES_MIN
from console.sheets import queries, services
from console.sheets.models import Kind, Sheet, SheetItem, Verdict
from console.sheets.services import Picture
from console.staff.rest import actor_of

# The same keys for the same thought, whatever a sheet shows.
_KEYS: Final = {
    Verdict.YES: "1",
    Verdict.PLAUSIBLE: "1",
    Verdict.NO: "2",
    Verdict.NOT: "2",
    Verdict.UNSURE: "u",
}
_PROBLEMS: Final = (
    ("f", "shape", gettext_lazy("Shape")),
    ("t", "texture", gettext_lazy("Texture")),
    ("a", "artefacts", gettext_lazy("Artefacts")),
)
_ORIGINS: Final = {"synthetic": gettext_lazy("synthetic"), "real": gettext_lazy("real")}


class SheetForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("File"),
        widget=UnfoldAdminFileFieldWidget,
        error_messages={"empty": gettext_lazy("This file is empty, and no review sheet.")},
        help_text=gettext_lazy("What amulet explain --review-sheet or amulet synth sheet wrote."),
    )


@admin.register(Sheet)
class SheetAdmin(HistoryAdmin):
    list_display = ("imported_at", "kind_text", "model", "size", "imported_by")
    list_filter = (("kind", ChoicesDropdownFilter),)
    sortable_by = ()
    when_empty = gettext_lazy("Heat maps and synthetic photographs that training wrote for experts are imported here.")
    actions_list = ("take_in",)
    actions_detail = ("judge", "export", "remove")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sheet]:
        return queries.sheets()

    def has_take_in_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("sheets.import_sheet")

    def has_judge_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("sheets.answer_sheet")

    @display(description=gettext_lazy("Kind"))
    def kind_text(self, row: Sheet) -> str:
        return str(Kind(row.kind).label)

    @action(
        description=gettext_lazy("Import a sheet"),
        icon="upload",
        url_path="import",
        permissions=["take_in"],
        variant=ActionVariant.PRIMARY,
    )
    def take_in(self, request: HttpRequest) -> HttpResponse:
        def act(given: dict[str, Any]) -> str:
            sheet = services.import_sheet(actor=actor_of(request), pieces=given["file"].chunks())
            said = _("{count} photographs wait for experts.").format(count=sheet.size)
            if not sheet.left_out:
                return said
            why = _(
                "{count} were left out: they are of predictions that the console does not know any more, or their "
                "person has restricted what is done."
            )
            return f"{said} {why.format(count=sheet.left_out)}"

        return ask(
            request,
            self,
            title=_("Import a sheet"),
            consequence=_(
                "Its pictures are kept until somebody removes the sheet. Each expert judges all of it alone."
            ),
            button=_("Import"),
            back=reverse("admin:sheets_sheet_changelist"),
            form=SheetForm,
            act=act,
        )

    @row_action(description=gettext_lazy("Judge"), icon="play_arrow", url_path="judge", permissions=["judge"])
    def judge(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """GET: the next photograph of this person. POST: an answer, or back to the last one."""
        actor = actor_of(request)
        if request.method == "POST":
            return _answered(request, services.find(actor=actor, sheet_id=object_id))
        item = services.next_to_judge(actor=actor, sheet_id=object_id, after=_number(request.GET.get("after", "0")))
        if item is None:
            sheet = services.find(actor=actor, sheet_id=object_id)
            if queries.how_far(actor, sheet).shown:
                messages.success(request, _("You have judged everything on this sheet."))
            else:
                messages.info(request, _("Nothing on this sheet may be shown any more."))
            return redirect("admin:sheets_sheet_change", object_id)
        return page(request, self, "sheets/item.html", title=str(item.sheet), **_context(request, item.sheet, item))

    @row_action(
        description=gettext_lazy("Export the answers"), icon="download", url_path="answers", permissions=["take_in"]
    )
    def export(self, request: HttpRequest, object_id: int) -> HttpResponse:
        answers = services.export_answers(actor=actor_of(request), sheet_id=object_id)
        headers = {
            "Content-Disposition": f'attachment; filename="answers-{object_id}.json"',
            "Cache-Control": "no-store",
        }
        return HttpResponse(
            json.dumps(answers, ensure_ascii=False, indent=1), content_type="application/json", headers=headers
        )

    @row_action(description=gettext_lazy("Remove"), icon="delete", url_path="remove", permissions=["take_in"])
    def remove(self, request: HttpRequest, object_id: int) -> HttpResponse:
        def act(given: dict[str, Any]) -> str:
            services.remove_sheet(actor=actor_of(request), sheet_id=object_id, reason=given["reason"])
            return _("The sheet is removed.")

        sheet = services.find(actor=actor_of(request), sheet_id=object_id)
        return ask(
            request,
            self,
            title=_("Remove {sheet}").format(sheet=sheet),
            consequence=_("Its pictures and all answers to it are deleted. Export the answers first."),
            button=_("Remove"),
            back=reverse("admin:sheets_sheet_changelist"),
            act=act,
            danger=True,
        )

    def row_page(self, request: HttpRequest, sheet: Sheet) -> HttpResponse:
        actor = actor_of(request)
        manages = self.has_take_in_permission(request)
        seen, far = queries.sees_results(actor, sheet), queries.how_far(actor, sheet)
        names = class_names()
        return page(
            request,
            self,
            "sheets/sheet.html",
            title=str(sheet),
            sheet=sheet,
            size=far.shown,
            gone=sheet.size - far.shown,
            answers=self.has_judge_permission(request),
            mine=far.judged,
            manages=manages,
            progress=queries.progress(sheet) if manages else [],
            seen=seen,
            results=_told(queries.results(sheet), names) if seen else None,
            least_cases=CASES_MIN,
        )


def _told(found: queries.Results, names: Any) -> dict[str, Any]:
    """Results with names for people."""
    problems = {key: text for _key, key, text in _PROBLEMS}
    return {
        "all": found.all,
        "parts": [
            *((_ORIGINS[part.name], part) for part in found.origins),
            *((names.get(part.name, part.name) or _("no class"), part) for part in found.classes),
        ],
        "problems": [(problems[name], count) for name, count in found.problems.items()],
        "pairs": found.pairs,
    }


def _answered(request: HttpRequest, sheet: Sheet) -> HttpResponse:
    actor, here = actor_of(request), reverse("admin:sheets_sheet_judge", args=[sheet.pk])
    number = _number(request.POST.get("number", "0"))
    if "skip" in request.POST:
        return redirect(f"{here}?after={number}")
    try:
        if "take-back" in request.POST:
            number = services.take_back(actor=actor, sheet_id=sheet.pk) - 1
        else:
            given = services.Answer(
                request.POST.get("answer", ""), request.POST.getlist("problems"), request.POST.get("note", "").strip()
            )
            services.answer(actor=actor, sheet_id=sheet.pk, number=number, given=given)
    except Refusal as refusal:
        messages.error(request, refusal.message)
        return redirect(here)
    return redirect(f"{here}?after={number}")


def _context(request: HttpRequest, sheet: Sheet, item: SheetItem) -> dict[str, Any]:
    """What the page of one photograph shows: never its name or its origin."""
    names, far = class_names(), queries.how_far(actor_of(request), sheet)
    pictures = services.pictures_of(actor=actor_of(request), item=item)
    return {
        "size": far.shown,
        "item": item,
        "photo": _address(pictures[Picture.PHOTOGRAPH]),
        "overlay": _address(pictures[Picture.HEAT_MAP]) if Picture.HEAT_MAP in pictures else "",
        "label": names.get(item.label, item.label),
        "predicted": names.get(item.predicted, item.predicted),
        "percent": f"{item.confidence:.0%}",
        "choices": [
            (_KEYS[verdict], verdict.value, verdict.label) for verdict in services.VERDICTS_OF[Kind(sheet.kind)]
        ],
        "problems": _PROBLEMS if sheet.kind == Kind.SYNTHETIC else (),
        "note_max": services.NOTE_MAX,
        "mine": far.judged,
        "disclaimers": DISCLAIMERS,
    }


def _address(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0
