"""Clients and keys for scripts: `clients/`, `clients/{id}/keys/`, `keys/`, `keys/{key_id}/revoke/`."""

from __future__ import annotations

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console import preconditions
from console.clients import queries, services
from console.clients.models import CALLS_PER_MINUTE_DEFAULT, CALLS_PER_MINUTE_MAX, ApiKey, Client
from console.filtering import PartOf
from console.preconditions import ETAG, IF_MATCH
from console.staff.permissions import may
from console.staff.rest import actor_of, read


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = ("key_id", "created_at", "expires_at", "revoked_at")


class ListedKeySerializer(ApiKeySerializer):
    """A key by what it is known by; its text was shown once and is kept nowhere."""

    client = serializers.CharField(source="client.name", read_only=True)
    client_id = serializers.CharField(source="client.client_id", read_only=True)
    created_by = serializers.CharField(source="created_by.username", read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = ("key_id", "client", "client_id", "created_at", "created_by", "expires_at", "revoked_at")


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


class ClientFilter(filters.FilterSet):
    search = PartOf("name", "client_id")

    class Meta:
        model = Client
        fields = ("name", "client_id")


class ClientList(generics.ListAPIView[Client]):
    """Clients with their keys, by name."""

    permission_classes = (may("clients.view_client"),)
    serializer_class = ClientSerializer
    page_order = ("name",)
    filterset_class = ClientFilter
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

    @extend_schema(parameters=[ETAG])
    def get(self, request: Request, pk: int) -> Response:
        """A client with its keys."""
        return self._answer()

    @extend_schema(parameters=[IF_MATCH, ETAG], request=ChangedClientSerializer, responses=ClientSerializer)
    def put(self, request: Request, pk: int) -> Response:
        """Say anew what a client may do; with `If-Match`, where nobody changed it meanwhile."""
        wanted = read(ChangedClientSerializer, request)
        services.change_client(
            actor=actor_of(request),
            client_id=pk,
            calls_per_minute=wanted["calls_per_minute"],
            models=wanted["models"],
            seen=preconditions.seen(request, current=lambda: queries.revision(self.get_object())),
        )
        return self._answer()

    def _answer(self) -> Response:
        # Read anew after its revision: a change between the two is shown under the number before it, and who sends that
        # back is refused for nothing. The other way round they would overwrite what they never saw.
        headers = {"ETag": preconditions.etag(queries.revision(self.get_object()))}
        return Response(ClientSerializer(self.get_object()).data, headers=headers)


class KeyFilter(filters.FilterSet):
    client = filters.CharFilter(field_name="client__name", help_text="Its name.")
    client_id = filters.UUIDFilter(field_name="client__client_id")
    search = PartOf("key_id", "client__name")

    class Meta:
        model = ApiKey
        fields = ("key_id",)


class KeyList(generics.ListAPIView[ApiKey]):
    """Keys of all clients, newest first, those that are revoked among them."""

    permission_classes = (may("clients.view_client"),)
    serializer_class = ListedKeySerializer
    page_order = ("-created_at", "-pk")
    filterset_class = KeyFilter
    queryset = queries.keys()


class NewKey(APIView):
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
    path("clients/<int:pk>/keys/", NewKey.as_view()),
    path("keys/", KeyList.as_view()),
    path("keys/<str:key_id>/revoke/", KeyRevocation.as_view()),
]
