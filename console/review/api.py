"""The review queue for scripts: `reviews/`, `reviews/{id}/`, `…/decisions/`, `reviews/next/`, `reviews/{id}/take/`,
`…/give-back/`, `…/decide/`, `…/take-back/`; a disagreement: `reviews/settle/`; what is known beforehand: `…/gold/`,
`reviews/gold/`, `reviews/gold/{id}/retire/`.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.predictions.api import ROUTES, PictureSerializer, PredictionSerializer, SimilarSerializer, similar_to
from console.review import desk, gold, gold_figures, queries, services
from console.review.figures_api import AccuracyReport, Numbers, OwnFigures, People
from console.review.models import Decided, ExpertDecision, GoldItem, ReviewItem, State, Why
from console.staff.models import User
from console.staff.permissions import may
from console.staff.rest import actor_of, read


class ReviewItemSerializer(serializers.ModelSerializer[ReviewItem]):
    prediction = serializers.SerializerMethodField()
    prediction_id = serializers.UUIDField(read_only=True)
    why = serializers.SerializerMethodField()
    sampling_ratio = serializers.SerializerMethodField()
    held_by = serializers.CharField(source="held_by.username", read_only=True, default=None, allow_null=True)

    class Meta:
        model = ReviewItem
        fields: tuple[str, ...] = (
            "id",
            "state",
            "why",
            "sampling_ratio",
            "with_photograph",
            "created_at",
            "held_by",
            "held_until",
            "blind",
            "prediction_id",
            "prediction",
        )

    @extend_schema_field(serializers.ChoiceField(choices=[why.name for why in Why], allow_null=True))
    def get_why(self, item: ReviewItem) -> str | None:
        return None if self._withheld(item) else Why(item.why).name

    @extend_schema_field(serializers.FloatField(allow_null=True))
    def get_sampling_ratio(self, item: ReviewItem) -> float | None:
        return None if self._withheld(item) else item.sampling_ratio

    @extend_schema_field(PredictionSerializer(allow_null=True))
    def get_prediction(self, item: ReviewItem) -> dict[str, Any] | None:
        return None if self._withheld(item) else dict(PredictionSerializer(item.prediction).data)

    def _withheld(self, item: ReviewItem) -> bool:
        """Null while the model must not be heard: the answer comes first. To a person without a say, it is shown."""
        return queries.withholds(item) and not self.context.get("sees_all", False)


class DecisionSerializer(serializers.ModelSerializer[ExpertDecision]):
    expert = serializers.SerializerMethodField()
    agrees = serializers.SerializerMethodField(
        help_text="With the model; null: there is nothing to compare, or it can still be taken back and was blind."
    )

    class Meta:
        model = ExpertDecision
        fields: tuple[str, ...] = (
            "id", "item", "round", "expert", "decided", "class_id", "agrees", "note", "took_s", "decided_at",
        )  # fmt: skip

    def get_expert(self, decision: ExpertDecision) -> str:
        return decision.expert.get_username()

    @extend_schema_field(serializers.BooleanField(allow_null=True))
    def get_agrees(self, decision: ExpertDecision) -> bool | None:
        return None if self._withheld(decision) else decision.agrees

    def _withheld(self, decision: ExpertDecision) -> bool:
        """Whoever made it may take it back and decide anew: until then it must not say what the model said."""
        return queries.withholds(decision.item)


class SaidSerializer(DecisionSerializer):
    """What was decided before; how long somebody took is for that person alone."""

    expert = serializers.SerializerMethodField(help_text='"" while experts disagree: who settles it is not told.')

    class Meta(DecisionSerializer.Meta):
        fields = ("id", "round", "part", "expert", "decided", "class_id", "agrees", "note", "decided_at")

    def get_expert(self, decision: ExpertDecision) -> str:
        at: desk.Seat = self.context["at"]
        return "" if at.item.state == State.DISPUTED else super().get_expert(decision)

    def _withheld(self, decision: ExpertDecision) -> bool:
        return desk.withheld_from(actor_of(self.context["request"]), self.context["at"])


class CandidateSerializer(serializers.Serializer[Any]):
    class_id = serializers.CharField()
    probability = serializers.FloatField(help_text="Calibrated, 0 to 1.")


class ChoiceSerializer(serializers.Serializer[Any]):
    class_id = serializers.CharField()
    name = serializers.CharField(help_text="In the language of the call.")


class WholeReviewItemSerializer(ReviewItemSerializer):
    """An item as its page treats it for the caller: what the page withholds is null or left out."""

    candidates = serializers.SerializerMethodField(help_text="Every class, the model's best first; null: withheld.")
    choices = serializers.SerializerMethodField(help_text="What can be decided for; by id where the model is withheld.")
    pictures = serializers.SerializerMethodField()
    similar = serializers.SerializerMethodField(
        help_text="What the model's answer was given beside, nearest first; null: withheld."
    )
    decisions = serializers.SerializerMethodField(help_text="The one in force first.")

    class Meta(ReviewItemSerializer.Meta):
        fields = (*ReviewItemSerializer.Meta.fields, "candidates", "choices", "pictures", "similar", "decisions")

    @extend_schema_field(CandidateSerializer(many=True, allow_null=True))
    def get_candidates(self, item: ReviewItem) -> Any:
        candidates = item.prediction.detail().candidates
        return None if self._withheld(item) else CandidateSerializer(candidates, many=True).data

    @extend_schema_field(ChoiceSerializer(many=True))
    def get_choices(self, item: ReviewItem) -> Any:
        return ChoiceSerializer(desk.choices_for(self._person, self._at), many=True).data

    @extend_schema_field(PictureSerializer(many=True))
    def get_pictures(self, item: ReviewItem) -> Any:
        seen = desk.pictures_for(self._person, self._at, routes=ROUTES)
        return PictureSerializer(seen, many=True, context=self.context).data

    @extend_schema_field(SimilarSerializer(many=True, allow_null=True))
    def get_similar(self, item: ReviewItem) -> Any:
        return None if self._withheld(item) else similar_to(item.prediction, self.context)

    @extend_schema_field(SaidSerializer(many=True))
    def get_decisions(self, item: ReviewItem) -> Any:
        return SaidSerializer(desk.said(self._person, self._at), many=True, context=self.context).data

    @property
    def _at(self) -> desk.Seat:
        at: desk.Seat = self.context["at"]
        return at

    @property
    def _person(self) -> User:
        return actor_of(self.context["request"])

    def _withheld(self, item: ReviewItem) -> bool:
        return desk.withheld_from(self._person, self._at)


class NewDecisionSerializer(serializers.Serializer[ExpertDecision]):
    decided = serializers.ChoiceField(choices=Decided.choices)
    class_id = serializers.CharField(max_length=128, default="", allow_blank=True, help_text="With `class` only.")
    note = serializers.CharField(max_length=services.NOTE_MAX, default="", allow_blank=True)


class ReviewFilter(filters.FilterSet):
    why = filters.ChoiceFilter(choices=[(why.name, why.label) for why in Why], method="for_reason")
    prediction_id = filters.UUIDFilter(field_name="prediction")

    class Meta:
        model = ReviewItem
        fields = ("state", "with_photograph")

    def for_reason(self, rows: object, name: str, value: str) -> object:
        return rows.filter(why=Why[value])  # type: ignore[attr-defined]  # a queryset, which django-filter does not say


class ReviewList(generics.ListAPIView[ReviewItem]):
    """Review items, newest first."""

    permission_classes = (may("review.view_reviewitem"),)
    serializer_class = ReviewItemSerializer
    page_order = ("-created_at", "-pk")
    filterset_class = ReviewFilter
    queryset = queries.items()

    def get_queryset(self) -> QuerySet[ReviewItem]:
        rows = super().get_queryset()
        return rows if getattr(self, "swagger_fake_view", False) else queries.shown_to(actor_of(self.request), rows)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "sees_all": True}  # what is withheld is not in the list


class ReviewDetail(generics.RetrieveAPIView[ReviewItem]):
    """One item with what was decided of it. To look at it holds nothing: take it before you decide."""

    permission_classes = (may("review.view_reviewitem"),)
    serializer_class = WholeReviewItemSerializer
    queryset = queries.items()

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        at = desk.seat(actor_of(request), self.get_object())
        return Response(WholeReviewItemSerializer(at.item, context={"request": request, "at": at}).data)


class DecisionsOfItem(generics.ListAPIView[ExpertDecision]):
    """What was decided of one item, the one in force first; nothing while it would sway whoever is asked next."""

    permission_classes = (may("review.view_reviewitem"),)
    serializer_class = SaidSerializer
    page_order = ("-round",)
    queryset = ExpertDecision.objects.none()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        at = desk.seat(actor_of(request), generics.get_object_or_404(queries.items(), pk=kwargs["pk"]))
        rows = self.paginate_queryset(self.filter_queryset(desk.said(actor_of(request), at))) or []
        return self.get_paginated_response(SaidSerializer(rows, many=True, context={"request": request, "at": at}).data)


class Next(APIView):
    @extend_schema(request=None, responses={200: ReviewItemSerializer, 204: None})
    def post(self, request: Request) -> Response:
        """Take the most urgent item that nobody holds; 204 when nothing waits."""
        item = services.take_next(actor=actor_of(request))
        if item is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(ReviewItemSerializer(item).data)


class OpinionSerializer(serializers.ModelSerializer[ExpertDecision]):
    """What was said; who said it is told to nobody who settles."""

    class Meta:
        model = ExpertDecision
        fields = ("decided", "class_id", "note")


class DisputedItemSerializer(ReviewItemSerializer):
    opinions = serializers.SerializerMethodField()

    class Meta(ReviewItemSerializer.Meta):
        fields = (*ReviewItemSerializer.Meta.fields, "opinions")

    @extend_schema_field(OpinionSerializer(many=True))
    def get_opinions(self, item: ReviewItem) -> list[dict[str, Any]]:
        return list(OpinionSerializer(queries.decisions_on(item.prediction_id), many=True).data)


class Settle(APIView):
    @extend_schema(request=None, responses={200: DisputedItemSerializer, 204: None})
    def post(self, request: Request) -> Response:
        """Take the most urgent disagreement in which you have no part: what you decide counts. 204 without one."""
        item = services.take_next(actor=actor_of(request), state=State.DISPUTED)
        if item is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(DisputedItemSerializer(item).data)


class Take(APIView):
    @extend_schema(request=None, responses=ReviewItemSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Hold an item for ten minutes, so that nobody else reviews it unknowingly."""
        return Response(ReviewItemSerializer(desk.take(actor=actor_of(request), item_id=pk)).data)


class GiveBack(APIView):
    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request, pk: int) -> Response:
        """Let go of an item."""
        desk.give_back(actor=actor_of(request), item_id=pk)
        return Response(status=status.HTTP_204_NO_CONTENT)


class TakeBack(APIView):
    @extend_schema(request=None, responses=ReviewItemSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Undo your own newest decision on an item, within ten minutes; you hold the item again."""
        return Response(ReviewItemSerializer(desk.take_back(actor=actor_of(request), item_id=pk)).data)


class Decide(APIView):
    @extend_schema(request=NewDecisionSerializer, responses={201: DecisionSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Say what an item that you hold shows."""
        wanted = read(NewDecisionSerializer, request)
        decision = services.Decision(Decided(wanted["decided"]), wanted["class_id"], wanted["note"])
        actor = actor_of(request)
        made = desk.decide(actor=actor, at=desk.seat_at(actor, pk), decision=decision)
        return Response(DecisionSerializer(made).data, status=status.HTTP_201_CREATED)


class GoldSerializer(serializers.ModelSerializer[GoldItem]):
    item = serializers.IntegerField(source="item_id", read_only=True)
    prediction_id = serializers.UUIDField(source="item.prediction_id", read_only=True)
    made_by = serializers.CharField(source="made_by.username", read_only=True)
    answered = serializers.IntegerField(read_only=True, help_text="How many experts answered.")
    agreed = serializers.IntegerField(read_only=True, help_text="How many of these said what is known.")

    class Meta:
        model = GoldItem
        fields = (
            "id", "item", "prediction_id", "decided", "class_id", "made_by", "made_at", "retired_at", "wrong",
            "answered", "agreed",
        )  # fmt: skip


class NewGoldSerializer(serializers.Serializer[GoldItem]):
    reason = serializers.CharField(max_length=2000, help_text="How it is known.")


class RetireGoldSerializer(serializers.Serializer[GoldItem]):
    wrong = serializers.BooleanField(default=False, help_text="What was answered to it counts no more.")
    reason = serializers.CharField(max_length=2000)


class GoldList(generics.ListAPIView[GoldItem]):
    """Known answers, newest first, with how many experts said the same. They are mixed in on the pages alone."""

    permission_classes = (may(gold.LEAD),)
    serializer_class = GoldSerializer
    queryset = gold_figures.known_answers()


class MakeGold(APIView):
    @extend_schema(request=NewGoldSerializer, responses={201: GoldSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Hold what was decided of an item to be known."""
        wanted = read(NewGoldSerializer, request)
        made = gold.make_gold(actor=actor_of(request), item_id=pk, reason=wanted["reason"])
        shown = gold_figures.known_answers().get(pk=made.pk)
        return Response(GoldSerializer(shown).data, status=status.HTTP_201_CREATED)


class RetireGold(APIView):
    @extend_schema(request=RetireGoldSerializer, responses={204: None})
    def post(self, request: Request, pk: int) -> Response:
        """Ask nobody about it any more."""
        wanted = read(RetireGoldSerializer, request)
        gold.retire_gold(actor=actor_of(request), gold_id=pk, wrong=wanted["wrong"], reason=wanted["reason"])
        return Response(status=status.HTTP_204_NO_CONTENT)


urlpatterns = [
    path("reviews/", ReviewList.as_view()),
    path("reviews/accuracy/", AccuracyReport.as_view()),
    path("reviews/agreement/", Numbers.as_view()),
    path("reviews/figures/", OwnFigures.as_view()),
    path("reviews/people/", People.as_view()),
    path("reviews/next/", Next.as_view()),
    path("reviews/settle/", Settle.as_view()),
    path("reviews/<int:pk>/", ReviewDetail.as_view()),
    path("reviews/<int:pk>/decisions/", DecisionsOfItem.as_view()),
    path("reviews/<int:pk>/take/", Take.as_view()),
    path("reviews/<int:pk>/give-back/", GiveBack.as_view()),
    path("reviews/<int:pk>/decide/", Decide.as_view()),
    path("reviews/<int:pk>/take-back/", TakeBack.as_view()),
    path("reviews/<int:pk>/gold/", MakeGold.as_view()),
    path("reviews/gold/", GoldList.as_view()),
    path("reviews/gold/<int:pk>/retire/", RetireGold.as_view()),
]
