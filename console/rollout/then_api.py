"""The time machine for scripts: `routes/then/`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.errors import Invalid
from console.rollout.models import Mode
from console.rollout.then_page import instant
from console.rollout.time_machine import Then, look
from console.staff.permissions import may


class DetectorSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    unsure_at = serializers.FloatField()
    out_at = serializers.FloatField()


class PartSerializer(serializers.Serializer[Any]):
    version_id = serializers.IntegerField()
    version = serializers.CharField()
    mode = serializers.ChoiceField(choices=Mode.choices)
    share_ratio = serializers.FloatField()
    sha256 = serializers.CharField()
    temperature = serializers.FloatField()
    confidence_min = serializers.FloatField(source="limits.confidence_min")
    margin_min = serializers.FloatField(source="limits.margin_min")
    detectors = DetectorSerializer(source="limits.detectors", many=True)
    approved_by = serializers.CharField()
    approved_at = serializers.DateTimeField(allow_null=True)
    approval_reason = serializers.CharField()
    route_id = serializers.IntegerField()
    since = serializers.DateTimeField()
    started_by = serializers.CharField(help_text="Empty: a guardrail brought it back.")
    reason = serializers.CharField()


class AnsweredSerializer(serializers.Serializer[Any]):
    prediction_id = serializers.UUIDField()
    happened_at = serializers.DateTimeField()
    model = serializers.CharField()
    version = serializers.CharField()
    policy = serializers.IntegerField(allow_null=True)


class ThenSerializer(serializers.Serializer[Any]):
    client = serializers.CharField()
    at = serializers.DateTimeField()
    model = serializers.CharField()
    permitted = serializers.BooleanField(allow_null=True)
    policy_revision = serializers.SerializerMethodField()
    policy_digest = serializers.SerializerMethodField()
    parts = PartSerializer(many=True)
    answers = AnsweredSerializer(many=True, help_text="The client's last answers up to that instant.")

    def get_policy_revision(self, then: Then) -> int | None:
        return then.policy[0] if then.policy else None

    def get_policy_digest(self, then: Then) -> str | None:
        return then.policy[1] if then.policy else None


class RoutesThen(APIView):
    permission_classes = (may("rollout.view_route"),)

    @extend_schema(
        parameters=[
            OpenApiParameter("client", str, required=True, description="Name or id."),
            OpenApiParameter("at", datetime, required=True, description="Without an offset: the console's own time."),
            OpenApiParameter("model", str, description="Needed where the client might ask several."),
        ],
        responses=ThenSerializer,
    )
    def get(self, request: Request) -> Response:
        """What answered a client at an instant, with which thresholds, and who had approved it."""
        asked = request.query_params
        at = instant(asked.get("at", ""))
        if at is None:
            raise Invalid(_("The parameter at is a day and a time, as 2026-01-31T09:30:00+07:00."), field="at")
        found = look(client=asked.get("client", ""), at=at, model=asked.get("model", ""))
        return Response(ThenSerializer(found).data)
