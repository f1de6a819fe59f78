"""How reviewing goes, for scripts: `reviews/accuracy/`, `reviews/agreement/`, `reviews/figures/`, `reviews/people/`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.review import figures, gold, gold_figures, queries
from console.review.agreement import CASES_MIN
from console.review.models import Decided, GoldAnswer
from console.staff.permissions import may
from console.staff.rest import actor_of


class JudgedShareSerializer(serializers.Serializer[Any]):
    """A share with its 95% interval, 0 to 1, and how many reviews it stands on."""

    value = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    n = serializers.IntegerField()


class AccuracySerializer(serializers.Serializer[Any]):
    """How often a version is right in production, as a share of all its answers that an expert would confirm."""

    model = serializers.CharField()
    version = serializers.CharField()
    answers = serializers.IntegerField()
    accuracy = JudgedShareSerializer(help_text="Each sampled answer stands for those like it that were not drawn.")
    in_queue = JudgedShareSerializer(help_text="Of what was reviewed alone: mostly hard cases, so not the accuracy.")


class AccuracyReport(APIView):
    permission_classes = (may("review.view_reviewitem"),)

    @extend_schema(responses=AccuracySerializer(many=True))
    def get(self, request: Request) -> Response:
        """How often each version was right in the last thirty days, most traffic first; without those nobody judged."""
        return Response(AccuracySerializer(queries.accuracy_lately(), many=True).data)


class AgreementSerializer(serializers.Serializer[queries.Agreement]):
    decisions = serializers.IntegerField()
    compared = serializers.IntegerField(help_text="Of these, agree or disagree with the model.")
    agreed = serializers.IntegerField()
    took_s = serializers.FloatField(allow_null=True, help_text="Mean.")


class SwaySerializer(serializers.Serializer[Any]):
    """What hearing the model adds to agreement with it, -1 to 1, with its 95% interval."""

    blind = JudgedShareSerializer(help_text="Agreement of who answered before the model was heard.")
    seen = JudgedShareSerializer()
    difference = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class ConcordSerializer(serializers.Serializer[Any]):
    """A kappa with its 95% interval; null where it is not defined."""

    cases = serializers.IntegerField()
    agreed = serializers.IntegerField(help_text="Cases in which all said the same.")
    kappa = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    too_few = serializers.BooleanField(help_text=f"Fewer than {CASES_MIN} cases: the kappa says nothing.")


class WaitingSerializer(serializers.Serializer[Any]):
    by_why = serializers.DictField(child=serializers.IntegerField(), help_text="Why -> open items that lists show you.")
    withheld = serializers.IntegerField(help_text="Open items that are answered before the model is heard.")
    disputed = serializers.IntegerField(help_text="Disagreements that a third person settles.")


class NumbersSerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    waiting = WaitingSerializer(help_text="Now.")
    with_model = AgreementSerializer()
    sway = SwaySerializer(help_text="How much hearing the model sways.")
    among_experts = ConcordSerializer(help_text="Fleiss' kappa of photographs that several experts judged.")


class Numbers(APIView):
    permission_classes = (may("review.view_reviewitem"),)

    @extend_schema(responses=NumbersSerializer)
    def get(self, request: Request) -> Response:
        """What waits, and how experts agreed with the model and with each other in the last 30 days."""
        since = now() - queries.LATELY
        waiting = queries.waiting(actor_of(request))
        found = {
            "since": since,
            "waiting": {**asdict(waiting), "by_why": {why.name: count for why, count in waiting.by_why.items()}},
            "with_model": queries.agreement_since(since),
            "sway": queries.sway_since(since),
            "among_experts": queries.concord_since(since),
        }
        return Response(NumbersSerializer(found).data)


class PairSerializer(serializers.Serializer[figures.Pair]):
    first = serializers.CharField()
    second = serializers.CharField()
    concord = ConcordSerializer(help_text="Cohen's kappa.")


class PersonSerializer(serializers.Serializer[gold_figures.Person]):
    name = serializers.CharField()
    right = JudgedShareSerializer(help_text="Of answers that were known, how many this person said.")


class PeopleSerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    pairs = PairSerializer(many=True, help_text=f"Who judged {figures.PAIR_MIN} photographs both, by name.")
    people = PersonSerializer(many=True, help_text=f"Who met {gold_figures.PERSON_MIN} known answers, by name.")


class People(APIView):
    permission_classes = (may(gold.LEAD),)

    @extend_schema(responses=PeopleSerializer)
    def get(self, request: Request) -> Response:
        """How far each two people agree, and each says what is known, in the last 90 days. Nobody is ranked."""
        since = now() - figures.SPAN
        found = {"since": since, "pairs": figures.pairs_since(since), "people": gold_figures.people_since(since)}
        return Response(PeopleSerializer(found).data, headers={"Cache-Control": "no-store"})


class MissedSerializer(serializers.ModelSerializer[GoldAnswer]):
    item = serializers.IntegerField(source="gold.item_id", read_only=True)
    prediction_id = serializers.UUIDField(source="gold.item.prediction_id", read_only=True)
    known_decided = serializers.ChoiceField(source="gold.decided", choices=Decided.choices, read_only=True)
    known_class_id = serializers.CharField(source="gold.class_id", read_only=True)

    class Meta:
        model = GoldAnswer
        fields = ("item", "prediction_id", "decided", "class_id", "known_decided", "known_class_id", "answered_at")
        read_only_fields = fields


class OwnFiguresSerializer(serializers.Serializer[Any]):
    """How the caller's own reviews went, since a time. Nobody else's, and no rank."""

    since = serializers.DateTimeField()
    decisions = serializers.IntegerField()
    took_s = serializers.FloatField(allow_null=True, help_text="Mean.")
    blind = serializers.IntegerField(help_text="Decided before the model was heard.")
    shared = serializers.IntegerField(help_text="Photographs that others judged too.")
    alike = serializers.IntegerField(help_text="Of these, all said the same.")
    settled = serializers.IntegerField(help_text="Of the others, a third person has settled them.")
    stood = serializers.IntegerField(help_text="Of these, your answer was the one that counts.")
    known = JudgedShareSerializer(allow_null=True, help_text="Of answers that were known, how many you said; or null.")
    missed = MissedSerializer(many=True, help_text="The newest of those of which you said something else.")


class OwnFigures(APIView):
    permission_classes = (may("review.decide_reviewitem"),)

    @extend_schema(responses=OwnFiguresSerializer)
    def get(self, request: Request) -> Response:
        """How your own reviews of the last 90 days went; nobody sees another's here."""
        since, person = now() - figures.SPAN, actor_of(request)
        known = gold_figures.own_since(since, expert=person)
        found = {
            "since": since,
            **asdict(figures.own_since(since, expert=person)),
            "known": known.right if known.right.n else None,
            "missed": known.missed,
        }
        return Response(OwnFiguresSerializer(found).data, headers={"Cache-Control": "no-store"})
