"""The page of one person: what is known, where it lies, and which versions learnt from it."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from console.pages import page
from console.privacy.subject_page import subject_context
from console.staff.rest import actor_of
from console.vault.admin import SubjectList
from console.vault.models import Subject


@admin.register(Subject)
class SubjectAdmin(SubjectList):
    """The vault's list of people, with a page of each that reaches into every app."""

    def row_page(self, request: HttpRequest, row: Subject) -> HttpResponse:
        return page(
            request,
            self,
            "privacy/subject.html",
            title=_("Person {number}").format(number=str(row.pk)[:8]),
            **subject_context(row, actor_of(request), place=request.GET.get("before", "")),
        )
