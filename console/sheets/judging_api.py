"""A review sheet judged by a script, as on its page: `sheets/{id}/next/`, `…/items/{number}/photograph/`,
`…/items/{number}/heat-map/`, `…/items/{number}/judge/`, `…/take-back/`.
"""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.errors import Invalid
from console.sheets import services
from console.sheets.models import Kind, SheetAnswer, SheetItem, Verdict
from console.sheets.services import NOTE_MAX, Picture
from console.staff.permissions import may
from console.staff.rest import actor_of, checked, read
from model_store.review_sheet import PROBLEMS

CONTENT_TYPE: Final = "image/jpeg"
NUMBER_MAX: Final = 2**31 - 1


class AfterSerializer(serializers.Serializer[Any]):
    after = serializers.IntegerField(
        min_value=0, max_value=NUMBER_MAX, default=0, help_text="Begin behind this number: what is before comes later."
    )


class ItemToJudgeSerializer(serializers.Serializer[SheetItem]):
    """One photograph of a sheet as its page shows it: never its name, nor whether it is real."""

    number = serializers.IntegerField(help_text="From 1.")
    photograph = serializers.SerializerMethodField(help_text="Its address.")
    heat_map = serializers.SerializerMethodField(help_text="The photograph under its heat map; null: not asked about.")
    label = serializers.CharField(  # type: ignore[assignment]  # DRF has an attribute of this name, and leaves it to us
        help_text="Class that it is labelled as, or should show."
    )
    predicted = serializers.CharField(help_text='What the model says; "": not asked about.')
    confidence = serializers.SerializerMethodField(help_text="How sure it is, 0 to 1; null: not asked about.")
    verdicts = serializers.SerializerMethodField(help_text="What can be said of it.")
    problems = serializers.SerializerMethodField(help_text="What can be wrong with it.")

    @extend_schema_field(serializers.URLField())
    def get_photograph(self, item: SheetItem) -> str:
        return self._address("sheets_photograph", item)

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_heat_map(self, item: SheetItem) -> str | None:
        return self._address("sheets_heat_map", item) if item.overlay else None

    @extend_schema_field(serializers.FloatField(allow_null=True))
    def get_confidence(self, item: SheetItem) -> float | None:
        return item.confidence if item.overlay else None

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(choices=Verdict.choices)))
    def get_verdicts(self, item: SheetItem) -> list[str]:
        return [verdict.value for verdict in services.VERDICTS_OF[Kind(item.sheet.kind)]]

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(choices=PROBLEMS)))
    def get_problems(self, item: SheetItem) -> list[str]:
        return list(PROBLEMS) if item.sheet.kind == Kind.SYNTHETIC else []

    def _address(self, route: str, item: SheetItem) -> str:
        request: Request = self.context["request"]
        return request.build_absolute_uri(reverse(route, args=[item.sheet_id, item.number]))


class JudgementSerializer(serializers.Serializer[SheetAnswer]):
    verdict = serializers.ChoiceField(choices=Verdict.choices, help_text="One of the item's `verdicts`.")
    problems = serializers.ListField(child=serializers.ChoiceField(choices=PROBLEMS), default=list)
    note = serializers.CharField(max_length=NOTE_MAX, default="", allow_blank=True)


class MadeJudgementSerializer(serializers.ModelSerializer[SheetAnswer]):
    number = serializers.IntegerField(source="item.number")
    problems = serializers.ListField(child=serializers.ChoiceField(choices=PROBLEMS))

    class Meta:
        model = SheetAnswer
        fields = ("number", "verdict", "problems", "note", "answered_at")


class NumberSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(help_text="Of the item that is to be judged again.")


class NextToJudge(APIView):
    permission_classes = (may("sheets.answer_sheet"),)

    @extend_schema(parameters=[AfterSerializer], responses={200: ItemToJudgeSerializer, 204: None})
    def get(self, request: Request, pk: int) -> Response:
        """The first item that you have not judged; 204 when you have judged all."""
        if unknown := request.query_params.keys() - AfterSerializer().fields.keys():
            raise Invalid(_("There is no such parameter; there is: after."), field=min(unknown)[:100])
        wanted = checked(AfterSerializer(data=request.query_params))
        item = services.next_to_judge(actor=actor_of(request), sheet_id=pk, after=wanted["after"])
        if item is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(ItemToJudgeSerializer(item, context={"request": request}).data)


class SheetPhotograph(APIView):
    permission_classes = (may("sheets.answer_sheet"),)

    @extend_schema(responses={(200, CONTENT_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, number: int) -> HttpResponse:
        """One photograph of a sheet; each look is in the audit trail."""
        return _picture(request, pk, number, Picture.PHOTOGRAPH)


class SheetHeatMap(APIView):
    permission_classes = (may("sheets.answer_sheet"),)

    @extend_schema(responses={(200, CONTENT_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, number: int) -> HttpResponse:
        """The photograph under its heat map, of a sheet of heat maps; each look is in the audit trail."""
        return _picture(request, pk, number, Picture.HEAT_MAP)


class Judge(APIView):
    @extend_schema(request=JudgementSerializer, responses={201: MadeJudgementSerializer})
    def post(self, request: Request, pk: int, number: int) -> Response:
        """Judge one item, once; nobody hears what you said before they have judged all."""
        wanted = read(JudgementSerializer, request)
        given = services.Answer(wanted["verdict"], wanted["problems"], wanted["note"])
        made = services.answer(actor=actor_of(request), sheet_id=pk, number=number, given=given)
        return Response(MadeJudgementSerializer(made).data, status=status.HTTP_201_CREATED)


class TakeJudgementBack(APIView):
    @extend_schema(request=None, responses=NumberSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Undo your newest judgement, while you have not judged everything."""
        return Response({"number": services.take_back(actor=actor_of(request), sheet_id=pk)})


def _picture(request: Request, sheet_id: int, number: int, kind: Picture) -> HttpResponse:
    content = services.picture(actor=actor_of(request), sheet_id=sheet_id, number=number, kind=kind)
    headers = {"Cache-Control": "no-store, private", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type=CONTENT_TYPE, headers=headers)


_ITEM: Final = "sheets/<int:pk>/items/<int:number>/"
urlpatterns = [
    path("sheets/<int:pk>/next/", NextToJudge.as_view()),
    path(f"{_ITEM}photograph/", SheetPhotograph.as_view(), name="sheets_photograph"),
    path(f"{_ITEM}heat-map/", SheetHeatMap.as_view(), name="sheets_heat_map"),
    path(f"{_ITEM}judge/", Judge.as_view()),
    path("sheets/<int:pk>/take-back/", TakeJudgementBack.as_view()),
]
