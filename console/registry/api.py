"""Archives in, for scripts: `uploads/…`. What became of them is under `versions/` (`console.rollout.api`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.errors import Invalid
from console.registry import services, uploads
from console.registry.models import ModelVersion, Upload
from console.staff.long_calls import while_let_in
from console.staff.rest import actor_of, read

OFFSET_HEADER: Final = "Upload-Offset"
PIECE_BYTES: Final = 256 * 1024


class RuleSerializer(serializers.Serializer[Any]):
    rule = serializers.CharField()
    state = serializers.CharField()
    passed = serializers.BooleanField()
    reason = serializers.CharField(allow_null=True)
    message = serializers.CharField()


class MetricSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    value = serializers.FloatField()
    low = serializers.FloatField(help_text="Lower end of the 95% interval.")
    high = serializers.FloatField(help_text="Upper end of the 95% interval.")
    data = serializers.CharField()  # type: ignore[assignment]  # DRF takes declared fields out of the class


class VersionSerializer(serializers.ModelSerializer[ModelVersion]):
    uploaded_by = serializers.CharField(source="uploaded_by.username", read_only=True)
    approved_by = serializers.CharField(source="approved_by.username", read_only=True, default=None, allow_null=True)
    rules = RuleSerializer(many=True, read_only=True)
    metrics = serializers.SerializerMethodField()
    weight_ratio = serializers.SerializerMethodField(help_text="Share of the model's calls that it answers.")
    shadow = serializers.SerializerMethodField(help_text="Whether it gets copies and answers nobody.")
    size = serializers.IntegerField(source="size_bytes", read_only=True)

    class Meta:
        model = ModelVersion
        fields: tuple[str, ...] = (
            "id",
            "model",
            "version",
            "state",
            "note",
            "filename",
            "size",
            "sha256",
            "signer",
            "uploaded_by",
            "uploaded_at",
            "approved_by",
            "approved_at",
            "approval_reason",
            "retired_at",
            "rules",
            "smoke_report",
            "metrics",
            "weight_ratio",
            "shadow",
        )

    @extend_schema_field(MetricSerializer(many=True))
    def get_metrics(self, version: ModelVersion) -> list[dict[str, Any]]:
        document = version.card_document or {}
        metrics: list[dict[str, Any]] = document.get("metrics", [])
        return metrics

    def get_weight_ratio(self, version: ModelVersion) -> float:
        return getattr(version, "weight_ratio", 0.0)

    def get_shadow(self, version: ModelVersion) -> bool:
        return getattr(version, "shadow", False)


class UploadSerializer(serializers.ModelSerializer[Upload]):
    offset = serializers.IntegerField(source="offset_bytes", read_only=True)
    size = serializers.IntegerField(source="size_bytes", read_only=True)

    class Meta:
        model = Upload
        fields = ("id", "offset", "size", "filename", "sha256", "note")


class NewUploadSerializer(serializers.Serializer[Upload]):
    filename = serializers.CharField(max_length=200)
    size = serializers.IntegerField(min_value=1, error_messages={"min_value": uploads.NO_BYTES})
    sha256 = serializers.RegexField(
        "^[0-9a-f]{64}$", help_text="In lower case.", error_messages={"invalid": uploads.NO_SHA256}
    )
    note = serializers.CharField(max_length=2000, default="", allow_blank=True)


class RawParser(BaseParser):
    """Leaves the bytes where they are: a piece of an archive is streamed to its file, never held."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        return {}


class UploadList(APIView):
    @extend_schema(request=NewUploadSerializer, responses={201: UploadSerializer})
    def post(self, request: Request) -> Response:
        """Announce an archive; announcing the same bytes again resumes where the last attempt broke off."""
        wanted = read(NewUploadSerializer, request)
        upload = uploads.start_upload(
            actor=actor_of(request),
            filename=wanted["filename"],
            size_bytes=wanted["size"],
            sha256=wanted["sha256"],
            note=wanted["note"],
        )
        return _answer(upload, status.HTTP_201_CREATED)


class UploadDetail(APIView):
    parser_classes = (RawParser, JSONParser)

    @extend_schema(responses=UploadSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """How much has arrived."""
        return _answer(uploads.find_upload(actor=actor_of(request), upload_id=pk))

    @extend_schema(
        request={"application/offset+octet-stream": OpenApiTypes.BINARY},
        parameters=[OpenApiParameter(OFFSET_HEADER, int, OpenApiParameter.HEADER, required=True)],
        responses={204: OpenApiResponse(description="Counted; the header Upload-Offset says how much has arrived.")},
    )
    def patch(self, request: Request, pk: UUID) -> Response:
        """Send the next bytes."""
        text = request.headers.get(OFFSET_HEADER, "")
        if not text.isdecimal() or len(text) > 15:
            raise Invalid(_("Upload-Offset must be the number of the first byte sent."), field=OFFSET_HEADER)
        upload = uploads.append(actor=actor_of(request), upload_id=pk, offset_bytes=int(text), pieces=_pieces(request))
        return Response(status=status.HTTP_204_NO_CONTENT, headers={OFFSET_HEADER: str(upload.offset_bytes)})

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: UUID) -> Response:
        """Give it up."""
        uploads.delete_upload(actor=actor_of(request), upload_id=pk)
        return Response(status=status.HTTP_204_NO_CONTENT)


class UploadFinish(APIView):
    @extend_schema(request=None, responses={201: VersionSerializer})
    def post(self, request: Request, pk: UUID) -> Response:
        """All bytes are there: verify them. The answer holds the verdict of every rule."""
        version = services.finish_upload(actor=actor_of(request), upload_id=pk)
        return Response(VersionSerializer(version).data, status=status.HTTP_201_CREATED)


def _answer(upload: Upload, code: int = status.HTTP_200_OK) -> Response:
    headers = {OFFSET_HEADER: str(upload.offset_bytes), "Cache-Control": "no-store"}
    return Response(UploadSerializer(upload).data, status=code, headers=headers)


def _pieces(request: Request) -> Iterator[bytes]:
    return while_let_in(request._request, iter(partial(request._request.read, PIECE_BYTES), b""))


urlpatterns = [
    path("uploads/", UploadList.as_view()),
    path("uploads/<uuid:pk>/", UploadDetail.as_view()),
    path("uploads/<uuid:pk>/finish/", UploadFinish.as_view()),
]
