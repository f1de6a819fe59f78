"""Versions and what becomes of them, for scripts: `versions/…`, `models/{name}/rollback/`, `routes/…`."""

from __future__ import annotations

from typing import Any

import django_filters
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.registry import services as registry_services
from console.registry.api import VersionSerializer
from console.registry.models import ModelVersion, State
from console.rollout import queries, services
from console.rollout.models import Mode, Route
from console.staff.permissions import may
from console.staff.rest import actor_of, read
from console.torchserve import connections


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(
        max_length=registry_services.REASON_CHARACTERS_MAX, help_text="Kept in the audit trail."
    )


class RolloutSerializer(ReasonSerializer):
    mode = serializers.ChoiceField(choices=Mode.choices)
    weight_ratio = serializers.FloatField(
        min_value=0.0, max_value=1.0, default=1.0, help_text="A canary's share of the calls; 1 for production."
    )


class RouteSerializer(serializers.ModelSerializer[Route]):
    version = serializers.CharField(source="version.version", read_only=True)
    version_id = serializers.IntegerField(read_only=True)
    weight_ratio = serializers.SerializerMethodField()
    started_by = serializers.CharField(source="started_by.username", read_only=True)

    class Meta:
        model = Route
        fields = (
            "id",
            "model",
            "version",
            "version_id",
            "mode",
            "weight_ratio",
            "started_at",
            "started_by",
            "reason",
            "ended_at",
            "end_reason",
        )

    def get_weight_ratio(self, route: Route) -> float:
        if route.ended_at is not None:
            return 0.0
        served = self.context.get("served") or queries.served_model(route.model)
        return served.weight_ratio(route)


class VersionFilter(django_filters.FilterSet):
    state = django_filters.ChoiceFilter(choices=State.choices)

    class Meta:
        model = ModelVersion
        fields = ("model", "version", "state")


class VersionList(generics.ListAPIView[ModelVersion]):
    """Versions, newest first; `?version=NAME`, `?model=NAME`, `?state=approved`."""

    permission_classes = (may("registry.view_modelversion"),)
    serializer_class = VersionSerializer
    queryset = queries.versions_with_routes()
    filterset_class = VersionFilter


class VersionDetail(generics.RetrieveAPIView[ModelVersion]):
    permission_classes = (may("registry.view_modelversion"),)
    serializer_class = VersionSerializer
    queryset = queries.versions_with_routes()


class VersionApproval(APIView):
    @extend_schema(request=ReasonSerializer, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Approve a smoke-tested version. Whoever uploaded it may not."""
        wanted = read(ReasonSerializer, request)
        registry_services.approve_version(actor=actor_of(request), version_id=pk, reason=wanted["reason"])
        return _version(pk)


class VersionRollout(APIView):
    @extend_schema(request=RolloutSerializer, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Give an approved version its part; the answer comes when the version is ready and the route in force."""
        wanted = read(RolloutSerializer, request)
        services.roll_out(
            actor=actor_of(request),
            version_id=pk,
            mode=Mode(wanted["mode"]),
            weight_ratio=wanted["weight_ratio"],
            reason=wanted["reason"],
            backend=connections.management,
        )
        return _version(pk)


class VersionRetry(APIView):
    @extend_schema(request=None, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Smoke-test a failed version once more."""
        registry_services.retry_smoke_test(actor=actor_of(request), version_id=pk)
        return _version(pk)


class VersionRetirement(APIView):
    @extend_schema(request=ReasonSerializer, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Retire an approved version that has no route."""
        services.retire(actor=actor_of(request), version_id=pk, reason=read(ReasonSerializer, request)["reason"])
        return _version(pk)


class ModelRollback(APIView):
    @extend_schema(request=ReasonSerializer, responses=VersionSerializer)
    def post(self, request: Request, model: str) -> Response:
        """End the canary, or bring the production version before this one back. Answers with what is in production."""
        wanted = read(ReasonSerializer, request)
        route = services.roll_back(actor=actor_of(request), model=model, reason=wanted["reason"])
        return _version(route.version_id)


class RouteList(generics.ListAPIView[Route]):
    """Routes that are in force."""

    permission_classes = (may("rollout.view_route"),)
    serializer_class = RouteSerializer
    queryset = queries.routes_in_force().order_by("model", "pk")
    filterset_fields = ("model", "mode")


class RouteEnd(APIView):
    @extend_schema(request=ReasonSerializer, responses=RouteSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """End a canary or a shadow."""
        wanted = read(ReasonSerializer, request)
        route = services.end_route(actor=actor_of(request), route_id=pk, reason=wanted["reason"])
        route.refresh_from_db()
        return Response(RouteSerializer(route).data)


def _version(pk: int) -> Response:
    return Response(VersionSerializer(queries.versions_with_routes().get(pk=pk)).data)


urlpatterns = [
    path("versions/", VersionList.as_view()),
    path("versions/<int:pk>/", VersionDetail.as_view()),
    path("versions/<int:pk>/approve/", VersionApproval.as_view()),
    path("versions/<int:pk>/rollout/", VersionRollout.as_view()),
    path("versions/<int:pk>/retry/", VersionRetry.as_view()),
    path("versions/<int:pk>/retire/", VersionRetirement.as_view()),
    path("models/<str:model>/rollback/", ModelRollback.as_view()),
    path("routes/", RouteList.as_view()),
    path("routes/<int:pk>/end/", RouteEnd.as_view()),
]
