"""Drift for scripts: `drift/findings/`, `drift/findings/{id}/`, `drift/performance/`."""

from __future__ import annotations

from typing import Any

from django.urls import path, reverse
from django.utils.timezone import now
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.drift import expectations, figures, queries
from console.drift.advice import Way, cause_of, ways_on
from console.drift.course import DAYS
from console.drift.finding_page import Compared, compared
from console.drift.models import Finding
from console.drift.moved import Grown, Moved, Tail, moved
from console.drift.services import WINDOW
from console.predictions.api import ROUTES
from console.staff.permissions import may
from console.staff.rest import actor_of


class FindingSerializer(serializers.ModelSerializer[Finding]):
    class Meta:
        model = Finding
        fields: tuple[str, ...] = (
            "id",
            "model",
            "version",
            "client",
            "against",
            "measure",
            "outcome",
            "test",
            "statistic",
            "effect",
            "psi",
            "p",
            "q",
            "n_reference",
            "n_window",
            "error",
            "since",
            "looked_at",
        )


class GrewSerializer(serializers.Serializer[Tail | Grown]):
    """Of a number a side of a bound, of choices one; with its share before and now."""

    bound = serializers.FloatField(default=None, allow_null=True)
    is_low = serializers.BooleanField(
        default=None, allow_null=True, help_text="Whether the values up to the bound grew, or those above it."
    )
    choice = serializers.CharField(default=None, allow_null=True)
    before = serializers.FloatField()
    now = serializers.FloatField()


class MovedSerializer(serializers.Serializer[Any]):
    """A kept photograph in the part that grew."""

    prediction_id = serializers.UUIDField()
    happened_at = serializers.DateTimeField()
    class_id = serializers.CharField(source="top_class")
    value = serializers.FloatField(allow_null=True, help_text="Of the measure; null where it is a choice.")
    photograph = serializers.SerializerMethodField(help_text="Its address.")

    @extend_schema_field(serializers.URLField())
    def get_photograph(self, each: Moved) -> str:
        request: Request = self.context["request"]
        return request.build_absolute_uri(reverse(f"{ROUTES}_photograph", args=[each.prediction_id, 0]))


class CurvesSerializer(serializers.Serializer[figures.Curves]):
    """Of a number: the share of values at or below each value, 0 to 1."""

    values = serializers.ListField(child=serializers.FloatField(), help_text="At even steps; the middle 99% of both.")
    before = serializers.ListField(child=serializers.FloatField())
    now = serializers.ListField(child=serializers.FloatField())


class ChoiceShareSerializer(serializers.Serializer[Any]):
    """Of a choice: how often it was made, 0 to 1."""

    choice = serializers.CharField()
    before = serializers.FloatField()
    now = serializers.FloatField()


class MiddleSerializer(serializers.Serializer[figures.Middle]):
    """Of a number its tenth, half and nine tenths; of a choice its share within the 95% interval."""

    low = serializers.FloatField()
    middle = serializers.FloatField()
    high = serializers.FloatField()


class OfDaySerializer(serializers.Serializer[figures.OfDay]):
    """The same of one day."""

    begins_at = serializers.DateTimeField(help_text="Midnight, UTC.")
    n = serializers.IntegerField(help_text="Predictions.")
    low = serializers.FloatField(source="of.low")
    middle = serializers.FloatField(source="of.middle")
    high = serializers.FloatField(source="of.high")


class CourseSerializer(serializers.Serializer[Any]):
    """A measure day by day, and what the days are held against."""

    choice = serializers.CharField(
        allow_null=True, help_text="Whose share it is: the one that grew, else the most frequent; null: of a number."
    )
    before = MiddleSerializer(allow_null=True, help_text="Null: it is not at hand.")
    days = OfDaySerializer(many=True, help_text=f"Of the last {DAYS} those that know the measure.")


class WaySerializer(serializers.Serializer[Way]):
    """A page that tells more."""

    text = serializers.CharField()
    url = serializers.SerializerMethodField()

    @extend_schema_field(serializers.URLField())
    def get_url(self, way: Way) -> str:
        address: str = self.context["request"].build_absolute_uri(way.url)
        return address


class AdviceSerializer(serializers.Serializer[Any]):
    """What to do about a measure that drifts."""

    cause = serializers.CharField(help_text="What it mostly comes from, and whom to ask.")
    ways = WaySerializer(many=True)


class WholeFindingSerializer(FindingSerializer):
    advice = serializers.SerializerMethodField(help_text="Null: nothing drifts.")
    curves = serializers.SerializerMethodField(help_text="Null: the measure is a choice, or one side is not at hand.")
    choices = serializers.SerializerMethodField(help_text="The most frequent ones; empty: the measure is a number.")
    course = serializers.SerializerMethodField()
    grew = serializers.SerializerMethodField()
    moved = serializers.SerializerMethodField(
        help_text="Newest photographs of that part, of a number the furthest out first; for who may open them."
    )

    class Meta(FindingSerializer.Meta):
        fields = (*FindingSerializer.Meta.fields, "advice", "curves", "choices", "course", "grew", "moved")

    @extend_schema_field(AdviceSerializer(allow_null=True))
    def get_advice(self, row: Finding) -> dict[str, Any] | None:
        cause = cause_of(row)
        ways = ways_on(row, actor_of(self.context["request"]))
        return dict(AdviceSerializer({"cause": cause, "ways": ways}, context=self.context).data) if cause else None

    @extend_schema_field(CurvesSerializer(allow_null=True))
    def get_curves(self, row: Finding) -> Any:
        before, now = self._seen.before, self._seen.now
        found = None if before is None else figures.curves_of(row.measure, before, now)
        return None if found is None else CurvesSerializer(found).data

    @extend_schema_field(ChoiceShareSerializer(many=True))
    def get_choices(self, row: Finding) -> Any:
        before, now = self._seen.before, self._seen.now
        found = [] if before is None else figures.choices_of(row.measure, before, now)
        return ChoiceShareSerializer(found, many=True).data

    @extend_schema_field(CourseSerializer)
    def get_course(self, row: Finding) -> Any:
        seen = self._seen
        drawn = {
            "choice": seen.followed,
            "before": figures.before_of(row.measure, seen.followed, seen.before),
            "days": figures.days_of(row.measure, seen.followed, seen.days),
        }
        return CourseSerializer(drawn).data

    @extend_schema_field(GrewSerializer(allow_null=True))
    def get_grew(self, row: Finding) -> dict[str, Any] | None:
        grown = self._seen.grown
        return None if grown is None else dict(GrewSerializer(grown).data)

    @extend_schema_field(MovedSerializer(many=True))
    def get_moved(self, row: Finding) -> Any:
        grown, at, person = self._seen.grown, self.context["at"], actor_of(self.context["request"])
        found = [] if grown is None else moved(row, grown, person=person, since=at - WINDOW, at=at)
        return MovedSerializer(found, many=True, context=self.context).data

    @property
    def _seen(self) -> Compared:
        seen: Compared = self.context["compared"]
        return seen


class EstimateSerializer(serializers.Serializer[Any]):
    """A share with its 95% interval, 0 to 1, and how many reviews it stands on."""

    value = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    n = serializers.IntegerField()


class EstimateOfDaySerializer(EstimateSerializer):
    begins_at = serializers.DateTimeField()


class ExpectedSerializer(serializers.Serializer[Any]):
    """How often a version is right, as a share of all its answers that an expert would confirm."""

    model = serializers.CharField()
    version = serializers.CharField()
    answers = serializers.IntegerField()
    from_confidence = serializers.FloatField(allow_null=True, help_text="Without any label.")
    from_reviews = EstimateSerializer(allow_null=True, help_text="From what experts said alone.")
    corrected = EstimateSerializer(allow_null=True, help_text="From both together: the narrower interval.")
    factor = serializers.FloatField(help_text="How far confidence is believed, 0 to 1.")
    days = serializers.SerializerMethodField()

    @extend_schema_field(EstimateOfDaySerializer(many=True))
    def get_days(self, found: expectations.Expected) -> list[dict[str, Any]]:
        return [{"begins_at": day, **EstimateSerializer(share).data} for day, share in sorted(found.days.items())]


class FindingFilter(filters.FilterSet):
    class Meta:
        model = Finding
        fields = ("model", "version", "client", "against", "measure", "outcome")


class FindingList(generics.ListAPIView[Finding]):
    """The newest comparison of each measure. An empty client: all clients together."""

    permission_classes = (may("drift.view_finding"),)
    serializer_class = FindingSerializer
    page_order = ("pk",)  # an effect changes with every look; a row keeps its number as long as its version answers
    filterset_class = FindingFilter
    queryset = queries.findings()


class FindingDetail(generics.RetrieveAPIView[Finding]):
    """One comparison as its page draws it: both distributions, each day, which part grew, and photographs in it."""

    permission_classes = (may("drift.view_finding"),)
    serializer_class = WholeFindingSerializer
    queryset = queries.findings()

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row, at = self.get_object(), now()
        context = {"request": request, "compared": compared(row, at=at), "at": at}
        return Response(WholeFindingSerializer(row, context=context).data)


class Performance(APIView):
    permission_classes = (may("drift.view_finding"),)

    @extend_schema(responses=ExpectedSerializer(many=True))
    def get(self, request: Request) -> Response:
        """How often each version was right in the last thirty days and on each, the one with the most answers first."""
        found = expectations.expected_since(expectations.window_begins(now()))
        return Response(ExpectedSerializer(found, many=True).data)


urlpatterns = [
    path("drift/findings/", FindingList.as_view()),
    path("drift/findings/<int:pk>/", FindingDetail.as_view()),
    path("drift/performance/", Performance.as_view()),
]
