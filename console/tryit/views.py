"""The page, and the way from an answer to its record."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadhandler import MemoryFileUploadHandler, SkipFile
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods

from console.errors import Refusal
from console.predictions.models import Prediction
from console.predictions.page import DISCLAIMERS
from console.rollout.queries import served_models
from console.tryit.asking import ask
from console.tryit.page import Answer, answered, refused

MAY: Final = "predictions.view_prediction"
PHOTOGRAPHS_MAX: Final = 8  # of one question, as the contract has it
# In all, since they are held in memory. What a single one may have is the gateway's to say.
BYTES_MAX: Final = 64 * 2**20


class InMemory(MemoryFileUploadHandler):
    """Never writes to disk, and keeps nothing of a request that is larger than BYTES_MAX."""

    def handle_raw_input(self, input_data: Any, META: Any, content_length: int, *args: Any, **kwargs: Any) -> None:  # noqa: N803
        self.activated = True
        self._skips = content_length > BYTES_MAX

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        if self._skips:
            raise SkipFile
        super().new_file(*args, **kwargs)


# Exempt only until the handlers are set, which must come before the form is read: `admin_view` checks the token.
@csrf_exempt
@require_http_methods(["GET", "POST"])
def try_it(request: HttpRequest) -> HttpResponseBase:
    """GET: the page. POST: photographs (files `photographs`); the page with what the gateway says of them."""
    request.upload_handlers = [InMemory(request)]
    return admin.site.admin_view(_page)(request)


@require_GET
def recorded(request: HttpRequest, prediction_id: UUID) -> HttpResponseBase:
    """To the page of a prediction, which is there some seconds after its answer."""
    return admin.site.admin_view(_recorded)(request, prediction_id)


def _page(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm(MAY):
        raise PermissionDenied
    models = [served.model for served in served_models() if served.production is not None]
    answers = _answers(request, models) if request.method == "POST" else []
    context = {
        **admin.site.each_context(request),
        "title": _("Try it"),
        "answers": answers,
        "asked": request.method == "POST",
        "models": models if len(models) > 1 else [],
        "photographs_max": PHOTOGRAPHS_MAX,
        "megabytes_max": BYTES_MAX // 2**20,
        "disclaimers": DISCLAIMERS,
    }
    return TemplateResponse(request, "tryit/try.html", context, headers={"Cache-Control": "no-store, private"})


def _answers(request: HttpRequest, models: list[str]) -> list[Answer]:
    """One answer for all photographs, or one for each; a refusal for none."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > BYTES_MAX:
        return [refused((), _too_large())]
    photographs = [file.read() for file in request.FILES.getlist("photographs")]
    if not 1 <= len(photographs) <= PHOTOGRAPHS_MAX:
        return [refused((), _("Choose 1 to {most} photographs.").format(most=PHOTOGRAPHS_MAX))]
    numbers = range(1, len(photographs) + 1)
    questions = [tuple(numbers)] if request.POST.get("apart") is None else [(number,) for number in numbers]
    wished = request.POST.get("model", "")
    model = wished if wished in models else models[0] if models else ""
    return [_answer(photographs, question, model) for question in questions]


def _answer(photographs: list[bytes], numbers: tuple[int, ...], model: str) -> Answer:
    try:
        prediction = ask(
            settings.AMULET,
            [photographs[number - 1] for number in numbers],
            model=model,
            language=(get_language() or "en").split("-")[0],
        )
    except Refusal as refusal:
        return refused(numbers, refusal.message)
    return answered(numbers, prediction)


def _recorded(request: HttpRequest, prediction_id: UUID) -> HttpResponse:
    if not request.user.has_perm(MAY):
        raise PermissionDenied
    if Prediction.objects.filter(pk=prediction_id).exists():
        return redirect("admin:predictions_prediction_change", prediction_id)
    messages.info(request, _("This prediction is on its way from the gateway: load the page again in some seconds."))
    return redirect(f"{reverse('admin:predictions_prediction_changelist')}?q={prediction_id}")


def _too_large() -> str:
    return _("Together the photographs are too large: {most} MB at most.").format(most=BYTES_MAX // 2**20)
