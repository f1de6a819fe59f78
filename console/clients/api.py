"""Clients and keys for scripts: `clients/`, `clients/{id}/keys/`, `keys/{key_id}/revoke/`."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.clients import queries, services
from console.clients.models import CALLS_PER_MINUTE_DEFAULT, CALLS_PER_MINUTE_MAX, ApiKey, Client
from console.staff.permissions import may
from console.staff.rest import actor_of, read


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = ("key_id", "created_at", "expires_at", "revoked_at")


class ClientSerializer(serializers.ModelSerializer[Client]):
    models = serializers.ListField(child=serializers.CharField(), source="model_names", read_only=True)
    keys = ApiKeySerializer(many=True, read_only=True)

    class Meta:
        model = Client
        fields = ("id", "client_id", "name", "calls_per_minute", "models", "created_at", "keys")


class NewClientSerializer(serializers.Serializer[Client]):
    name = serializers.CharField(max_length=100)
    calls_per_minute = serializers.IntegerField(
        min_value=1, max_value=CALLS_PER_MINUTE_MAX, default=CALLS_PER_MINUTE_DEFAULT
    )
    models = serializers.ListField(child=serializers.CharField(max_length=100), default=list)


class ChangedClientSerializer(serializers.Serializer[Client]):
    calls_per_minute = serializers.IntegerField(min_value=1, max_value=CALLS_PER_MINUTE_MAX)
    models = serializers.ListField(child=serializers.CharField(max_length=100))


class NewKeySerializer(serializers.Serializer[ApiKey]):
    expires_at = serializers.DateTimeField(default=None, allow_null=True)


class IssuedKeySerializer(serializers.Serializer[services.IssuedKey]):
    key = serializers.CharField(source="text", help_text="The whole key; shown this once.")
    key_id = serializers.CharField(source="key.key_id")
    expires_at = serializers.DateTimeField(source="key.expires_at", allow_null=True)


class ClientList(generics.ListAPIView[Client]):
    """Clients with their keys, by name."""

    permission_classes = (may("clients.view_client"),)
    serializer_class = ClientSerializer
    page_order = ("name",)
    queryset = queries.clients_with_keys()

    @extend_schema(request=NewClientSerializer, responses={201: ClientSerializer})
    def post(self, request: Request) -> Response:
        wanted = read(NewClientSerializer, request)
        client = services.create_client(
            actor=actor_of(request),
            name=wanted["name"],
            calls_per_minute=wanted["calls_per_minute"],
            models=wanted["models"],
        )
        return Response(ClientSerializer(client).data, status=status.HTTP_201_CREATED)


class ClientDetail(generics.RetrieveAPIView[Client]):
    permission_classes = (may("clients.view_client"),)
    serializer_class = ClientSerializer
    queryset = queries.clients_with_keys()

    @extend_schema(request=ChangedClientSerializer, responses=ClientSerializer)
    def put(self, request: Request, pk: int) -> Response:
        wanted = read(ChangedClientSerializer, request)
        client = services.change_client(
            actor=actor_of(request),
            client_id=pk,
            calls_per_minute=wanted["calls_per_minute"],
            models=wanted["models"],
        )
        return Response(ClientSerializer(client).data)


class KeyList(APIView):
    @extend_schema(request=NewKeySerializer, responses={201: IssuedKeySerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Make a key. Its text is in this answer and nowhere else."""
        wanted = read(NewKeySerializer, request)
        issued = services.create_key(actor=actor_of(request), client_id=pk, expires_at=wanted["expires_at"])
        return Response(IssuedKeySerializer(issued).data, status=status.HTTP_201_CREATED)


class KeyRevocation(APIView):
    @extend_schema(request=None, responses=ApiKeySerializer)
    def post(self, request: Request, key_id: str) -> Response:
        """Revoke a key; the gateway refuses it within five seconds."""
        return Response(ApiKeySerializer(services.revoke_key(actor=actor_of(request), key_id=key_id)).data)


urlpatterns = [
    path("clients/", ClientList.as_view()),
    path("clients/<int:pk>/", ClientDetail.as_view()),
    path("clients/<int:pk>/keys/", KeyList.as_view()),
    path("keys/<str:key_id>/revoke/", KeyRevocation.as_view()),
]
