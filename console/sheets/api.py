"""Review sheets for scripts: `sheets/`, `sheets/{id}/`, `sheets/{id}/answers/`. How they are judged: `judging_api`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.review.figures_api import JudgedShareSerializer, PairSerializer
from console.sheets import queries, services
from console.sheets.models import Sheet
from console.staff.long_calls import while_let_in
from console.staff.permissions import may
from console.staff.rest import actor_of, read

PIECE_BYTES: Final = 256 * 1024


class SheetSerializer(serializers.ModelSerializer[Sheet]):
    imported_by = serializers.CharField(source="imported_by.username", read_only=True)

    class Meta:
        model = Sheet
        fields: tuple[str, ...] = ("id", "kind", "model", "size", "sha256", "imported_by", "imported_at")
        read_only_fields = fields


class ImportedSheetSerializer(SheetSerializer):
    left_out = serializers.IntegerField(
        read_only=True,
        help_text="Photographs that were not imported: the console does not know their predictions any more, or their "
        "person has restricted what is done.",
    )

    class Meta(SheetSerializer.Meta):
        fields = (*SheetSerializer.Meta.fields, "left_out")
        read_only_fields = fields


class SheetPartSerializer(serializers.Serializer[Any]):
    """How often items of one part of a sheet were found good."""

    name = serializers.CharField(help_text='"synthetic", "real" or a class; "" for all.')
    answers = serializers.IntegerField()
    share = JudgedShareSerializer(help_text="Each item once, by the share of its answers that found it good.")


class SheetFiguresSerializer(serializers.Serializer[Any]):
    """What the answers say together so far."""

    all = SheetPartSerializer()
    origins = SheetPartSerializer(
        many=True, help_text="Of synthetic photographs: what was made, and the real yardstick."
    )
    classes = SheetPartSerializer(many=True, help_text="Without real ones.")
    problems = serializers.DictField(child=serializers.IntegerField(), help_text="Problem -> how many answers name it.")
    pairs = PairSerializer(many=True, help_text="How far each two people agree on what both judged.")


class JudgedSheetSerializer(SheetSerializer):
    shown = serializers.SerializerMethodField(
        help_text="How many of its items may be looked at: of `size`, without those whose people agree no longer."
    )
    judged = serializers.SerializerMethodField(help_text="How many of these you have judged.")
    progress = serializers.SerializerMethodField(
        help_text="How many each person who began has judged, the most first; null: you import no sheets."
    )
    figures = serializers.SerializerMethodField(
        help_text="Null: you import no sheets, or may judge this one and have not judged all of it."
    )

    class Meta(SheetSerializer.Meta):
        fields = (*SheetSerializer.Meta.fields, "shown", "judged", "progress", "figures")

    def get_shown(self, sheet: Sheet) -> int:
        return self._far.shown

    def get_judged(self, sheet: Sheet) -> int:
        return self._far.judged

    @property
    def _far(self) -> queries.Far:
        far: queries.Far = self.context["far"]
        return far

    @extend_schema_field(serializers.ListField(child=serializers.IntegerField(), allow_null=True))
    def get_progress(self, sheet: Sheet) -> list[int] | None:
        return queries.progress(sheet) if self.context["person"].has_perm("sheets.import_sheet") else None

    @extend_schema_field(SheetFiguresSerializer(allow_null=True))
    def get_figures(self, sheet: Sheet) -> Any:
        if not queries.sees_results(self.context["person"], sheet):
            return None
        return SheetFiguresSerializer(queries.results(sheet)).data


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)


class ZipParser(BaseParser):
    """Leaves the bytes where they are: the sheet is streamed to a file."""

    media_type = "application/zip"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        return {}


class SheetList(generics.ListAPIView[Sheet]):
    """Review sheets, newest first."""

    permission_classes = (may("sheets.view_sheet"),)
    parser_classes = (ZipParser,)
    serializer_class = SheetSerializer
    filterset_fields = ("kind",)
    queryset = queries.sheets()

    @extend_schema(request={"application/zip": OpenApiTypes.BINARY}, responses={201: ImportedSheetSerializer})
    def post(self, request: Request) -> Response:
        """Import a sheet that `amulet explain --review-sheet` or `amulet synth sheet` wrote."""
        sheet = services.import_sheet(actor=actor_of(request), pieces=_pieces(request))
        return Response(ImportedSheetSerializer(sheet).data, status=status.HTTP_201_CREATED)


class SheetDetail(APIView):
    @extend_schema(responses=JudgedSheetSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """One sheet, how far you are with it and, for who imports sheets, what was said."""
        person = actor_of(request)
        sheet = services.find(actor=person, sheet_id=pk)
        context = {"person": person, "far": queries.how_far(person, sheet)}
        return Response(JudgedSheetSerializer(sheet, context=context).data)

    @extend_schema(request=ReasonSerializer, responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete a sheet with its pictures and answers."""
        services.remove_sheet(actor=actor_of(request), sheet_id=pk, reason=read(ReasonSerializer, request)["reason"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class SheetAnswers(APIView):
    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pk: int) -> Response:
        """What everybody said, as `amulet synth reviewed` takes it; each export is in the audit trail."""
        answers = services.export_answers(actor=actor_of(request), sheet_id=pk)
        return Response(answers, headers={"Cache-Control": "no-store"})


def _pieces(request: Request) -> Iterator[bytes]:
    return while_let_in(request._request, iter(partial(request._request.read, PIECE_BYTES), b""))


urlpatterns = [
    path("sheets/", SheetList.as_view()),
    path("sheets/<int:pk>/", SheetDetail.as_view()),
    path("sheets/<int:pk>/answers/", SheetAnswers.as_view()),
]
