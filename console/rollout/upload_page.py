"""An archive comes in through a page: in pieces by the page's script, which calls REST, or as one form without it."""

from __future__ import annotations

import hashlib
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from console.registry import services as registry_services
from console.registry import uploads
from console.registry.queries import uploads_of
from console.staff.models import User


class UploadForm(forms.Form):
    archive = forms.FileField(
        label=gettext_lazy("Archive (.mar)"),
        widget=UnfoldAdminFileFieldWidget,
        error_messages={"empty": uploads.NO_BYTES},
    )
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Why this version: shown to whoever approves it."),
    )


def upload_context(person: User) -> dict[str, Any]:
    """What `rollout/upload.html` shows beside the form. One query."""
    return {
        "unfinished": list(uploads_of(person.pk)),
        "api": "/api/v1/uploads/",
        # The script puts the number of the version that it made.
        "version_url": reverse("admin:registry_modelversion_change", args=[0]),
    }


def upload(person: User, given: dict[str, Any]) -> HttpResponse:
    """The whole archive in one request; what an earlier try left is not written again."""
    file = given["archive"]
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    file.seek(0)
    upload = uploads.start_upload(
        actor=person, filename=file.name, size_bytes=file.size, sha256=digest.hexdigest(), note=given["note"]
    )
    if upload.offset_bytes < file.size:
        file.seek(upload.offset_bytes)
        pieces = iter(lambda: file.read(2**20), b"")
        uploads.append(actor=person, upload_id=upload.pk, offset_bytes=upload.offset_bytes, pieces=pieces)
    version = registry_services.finish_upload(actor=person, upload_id=upload.pk)
    return redirect(reverse("admin:registry_modelversion_change", args=[version.pk]))
