"""Privacy requests for scripts: `privacy/requests/`, an address for each arrow of a request's life; and `subjects/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse, HttpResponse
from django.urls import path
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.errors import NotFound
from console.pages import NUMBER_DIGITS_MAX
from console.privacy import clocks, queries, services
from console.privacy.access import export_person
from console.privacy.certificate import certificate_of
from console.privacy.models import Erasure, Kind, Laws, PrivacyRequest, Step
from console.privacy.subject_api import PredictionsOfSubject, SubjectDetail, SubjectList
from console.privacy.typed_api import EraseTyped, FindTyped
from console.staff.permissions import may
from console.staff.rest import actor_of, read
from console.vault.services import TEXT_MAX


class PrivacyRequestSerializer(serializers.ModelSerializer[PrivacyRequest]):
    due_on = serializers.SerializerMethodField(help_text="The last day under each law, and the one that binds.")
    days_left = serializers.SerializerMethodField(
        help_text="0 on the last day that binds, negative after it; of a closed one, on the day on which it was closed."
    )
    erasure = serializers.SerializerMethodField(help_text="How far an erasure is, and what it waits for.")
    restricted = serializers.SerializerMethodField(help_text="Whether what is kept of this person is left alone now.")
    known = serializers.SerializerMethodField(help_text="Whether anything is known of this person.")

    class Meta:
        model = PrivacyRequest
        fields = (
            "id",
            "kind",
            "laws",
            "state",
            "known",
            "restricted",
            "channel",
            "received_at",
            "due_on",
            "days_left",
            "extended_at",
            "extension_reason",
            "identity_method",
            "identity_checked_at",
            "reason",
            "duplicate_of",
            "closed_at",
            "erasure",
        )

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_due_on(self, request: PrivacyRequest) -> dict[str, str]:
        limits = request.limits()
        days = {law.value: day.isoformat() for law, day in limits.by_law.items()}
        return {**days, "binding": limits.binding.isoformat()}

    def get_days_left(self, request: PrivacyRequest) -> int:
        return request.days_left(clocks.day_of(now()))

    @extend_schema_field({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_erasure(self, request: PrivacyRequest) -> dict[str, Any] | None:
        erasure: Erasure | None = getattr(request, "erasure", None)
        if erasure is None:
            return None
        return {"step": Step(erasure.step).name.lower(), "before": erasure.before, "remaining": erasure.remaining}

    def get_restricted(self, request: PrivacyRequest) -> bool:
        return request.subject is not None and request.subject.restricted_at is not None

    def get_known(self, request: PrivacyRequest) -> bool:
        return request.subject_id is not None


class NewPrivacyRequestSerializer(serializers.Serializer[PrivacyRequest]):
    subject = serializers.CharField(
        max_length=TEXT_MAX, help_text="The pseudonym that callers send; only a keyed hash of it is stored."
    )
    kind = serializers.ChoiceField(choices=Kind.choices)
    laws = serializers.ChoiceField(choices=Laws.choices, default=Laws.BOTH.value)
    channel = serializers.CharField(max_length=40, help_text="How it came in: counter, letter, e-mail…")
    received_at = serializers.DateTimeField(default=None, allow_null=True, help_text="Empty: now.")


class IdentityMethodSerializer(serializers.Serializer[PrivacyRequest]):
    method = serializers.CharField(
        max_length=200, help_text="By what kind of proof it was made sure who asks; no names, no numbers of documents."
    )


class WhyPrivacySerializer(serializers.Serializer[PrivacyRequest]):
    reason = serializers.CharField(
        max_length=services.REASON_MAX, help_text="Kept in the audit trail; nothing that names the person."
    )


class PrivacyOutcomeSerializer(serializers.Serializer[PrivacyRequest]):
    outcome = serializers.CharField(
        max_length=services.REASON_MAX, help_text="What was done; nothing that names the person."
    )


class RequestFilter(filters.FilterSet):
    subject = filters.CharFilter(method="of_person", help_text="Pseudonym of the person, whole.")

    class Meta:
        model = PrivacyRequest
        fields = ("kind", "state", "laws")

    def of_person(self, rows: QuerySet[PrivacyRequest], name: str, value: str) -> QuerySet[PrivacyRequest]:
        return queries.of_person(rows, value.strip())


class RequestList(generics.ListAPIView[PrivacyRequest]):
    """Requests, the most urgent first."""

    permission_classes = (may("privacy.view_privacyrequest"),)
    serializer_class = PrivacyRequestSerializer
    filterset_class = RequestFilter
    page_order = queries.PAGE_ORDER
    queryset = queries.with_end(queries.requests())

    @extend_schema(request=NewPrivacyRequestSerializer, responses={201: PrivacyRequestSerializer})
    def post(self, request: Request) -> Response:
        """Enter what a person asks for."""
        wanted = read(NewPrivacyRequestSerializer, request)
        entered = services.receive(
            actor=actor_of(request),
            pseudonym=wanted["subject"],
            kind=wanted["kind"],
            laws=wanted["laws"],
            channel=wanted["channel"],
            received_at=wanted["received_at"],
        )
        return _answer(entered.pk, status.HTTP_201_CREATED)


class RequestDetail(generics.RetrieveAPIView[PrivacyRequest]):
    permission_classes = (may("privacy.view_privacyrequest"),)
    serializer_class = PrivacyRequestSerializer
    queryset = queries.requests()


class _Arrow(APIView):
    """One arrow of a request's life."""

    permission_classes = (may(services.HANDLE),)


class Identity(_Arrow):
    @extend_schema(request=IdentityMethodSerializer, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Note how the person's identity was checked."""
        given = read(IdentityMethodSerializer, request)
        return _answer(services.check_identity(actor=actor_of(request), request_id=pk, method=given["method"]).pk)


class Start(_Arrow):
    @extend_schema(request=None, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Begin; an erasure is carried out by a worker and proves itself."""
        return _answer(services.start(actor=actor_of(request), request_id=pk).pk)


class Pause(_Arrow):
    @extend_schema(request=WhyPrivacySerializer, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Let it wait; the clock of the law runs on."""
        given = read(WhyPrivacySerializer, request)
        return _answer(services.pause(actor=actor_of(request), request_id=pk, reason=given["reason"]).pk)


class Resume(_Arrow):
    @extend_schema(request=None, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Go on where it was."""
        return _answer(services.resume(actor=actor_of(request), request_id=pk).pk)


class Extend(_Arrow):
    @extend_schema(request=WhyPrivacySerializer, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Take GDPR's two further months."""
        given = read(WhyPrivacySerializer, request)
        return _answer(services.extend(actor=actor_of(request), request_id=pk, reason=given["reason"]).pk)


class Refuse(_Arrow):
    @extend_schema(request=WhyPrivacySerializer, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Close it without doing what it asks."""
        given = read(WhyPrivacySerializer, request)
        return _answer(services.refuse(actor=actor_of(request), request_id=pk, reason=given["reason"]).pk)


class Finish(_Arrow):
    @extend_schema(request=PrivacyOutcomeSerializer, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Close it as done."""
        given = read(PrivacyOutcomeSerializer, request)
        return _answer(services.finish(actor=actor_of(request), request_id=pk, outcome=given["outcome"]).pk)


class LiftRestriction(_Arrow):
    @extend_schema(request=WhyPrivacySerializer, responses=PrivacyRequestSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Let what was restricted under this request be worked with again."""
        given = read(WhyPrivacySerializer, request)
        return _answer(services.lift_restriction(actor=actor_of(request), request_id=pk, reason=given["reason"]).pk)


class Export(APIView):
    permission_classes = (may("privacy.export_privacyrequest"),)

    @extend_schema(request=None, responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def post(self, request: Request, pk: int) -> FileResponse:
        """What is known of the person, as a ZIP; made now and kept nowhere."""
        return export_response(actor_of(request), pk)


class Certificate(APIView):
    permission_classes = (may("privacy.view_privacyrequest"),)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pk: int) -> Response:
        """The certificate of a finished erasure, for `amulet audit receipt`."""
        return Response(certificate_of(_number(pk)))


class CertificatePdf(APIView):
    permission_classes = (may("privacy.view_privacyrequest"),)

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int) -> HttpResponse:
        """The same certificate for the person who asked, in Thai and English."""
        return pdf_response(_number(pk))


def _number(pk: int) -> int:
    """Of a request, of which there may be none. Raises NotFound for more than a database counts to."""
    if pk >= 10**NUMBER_DIGITS_MAX:
        raise NotFound(_("There is no request {number}.").format(number=pk))
    return pk


def pdf_response(request_id: int) -> HttpResponse:
    """Raises what `certificate_of` does."""
    from console.privacy.paper import certificate_pdf  # few ask, and drawing letters takes 30 MB

    content = certificate_pdf(certificate_of(request_id))
    named = {"Content-Disposition": f'attachment; filename="erasure-{request_id}.pdf"', "Cache-Control": "no-store"}
    return HttpResponse(content, content_type="application/pdf", headers=named)


def export_response(actor: Any, request_id: int) -> FileResponse:
    return FileResponse(
        export_person(actor=actor, request_id=request_id),
        as_attachment=True,
        filename=f"person-{request_id}.zip",
        content_type="application/zip",
        headers={"Cache-Control": "no-store"},
    )


def _answer(request_id: int, code: int = status.HTTP_200_OK) -> Response:
    request = queries.requests().filter(pk=request_id).first()
    if request is None:
        raise NotFound(_("There is no such request."))
    return Response(PrivacyRequestSerializer(request).data, status=code)


_ARROWS: Mapping[str, type[APIView]] = {
    "identity": Identity,
    "start": Start,
    "pause": Pause,
    "resume": Resume,
    "extend": Extend,
    "refuse": Refuse,
    "finish": Finish,
    "lift": LiftRestriction,
    "export": Export,
    "certificate": Certificate,
    "certificate/pdf": CertificatePdf,
}
urlpatterns = [
    path("subjects/", SubjectList.as_view()),
    path("subjects/<uuid:pk>/", SubjectDetail.as_view()),
    path("subjects/<uuid:pk>/predictions/", PredictionsOfSubject.as_view()),
    path("privacy/typed/find/", FindTyped.as_view()),
    path("privacy/typed/erase/", EraseTyped.as_view()),
    path("privacy/requests/", RequestList.as_view()),
    path("privacy/requests/<int:pk>/", RequestDetail.as_view()),
    *(path(f"privacy/requests/<int:pk>/{name}/", view.as_view()) for name, view in _ARROWS.items()),
]
