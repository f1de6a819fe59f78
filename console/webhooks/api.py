"""Webhooks for scripts: `webhooks/`, `webhooks/{id}/` with `secret/`, `test/`, `deliveries/`; `again/`, `now/`."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console import preconditions
from console.preconditions import ETAG, IF_MATCH
from console.staff.permissions import may
from console.staff.rest import actor_of, read
from console.webhooks import queries, services
from console.webhooks.events import EVENTS
from console.webhooks.models import Delivery, Endpoint


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    events = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Endpoint
        fields = ("id", "url", "events", "active", "created_at")


class NewEndpointSerializer(serializers.Serializer[Endpoint]):
    url = serializers.CharField(max_length=services.URL_MAX, help_text="https://… or mailto:…")
    events = serializers.ListField(child=serializers.ChoiceField(choices=sorted(EVENTS)), allow_empty=False)


class ChangedEndpointSerializer(serializers.Serializer[Endpoint]):
    active = serializers.BooleanField()
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(EVENTS)),
        allow_empty=False,
        required=False,
        help_text="Without: it hears of what it heard of. What waits already is still sent.",
    )


class IssuedEndpointSerializer(serializers.Serializer[services.Issued]):
    id = serializers.IntegerField(source="endpoint.pk")
    secret = serializers.CharField(help_text="What messages are signed with; shown this once.")


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    message_id = serializers.CharField()
    message = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = (
            "id",
            "message_id",
            "type",
            "state",
            "tries",
            "tried_at",
            "next_try_at",
            "answer",
            "created_at",
            "settled_at",
            "message",
        )

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_message(self, delivery: Delivery) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(delivery.body)
        return message


class EndpointList(generics.ListAPIView[Endpoint]):
    permission_classes = (may("webhooks.view_endpoint"),)
    serializer_class = EndpointSerializer
    page_order = ("pk",)
    queryset = Endpoint.objects.all()

    @extend_schema(request=NewEndpointSerializer, responses={201: IssuedEndpointSerializer})
    def post(self, request: Request) -> Response:
        """Let an address hear of events. The secret is in this answer and nowhere else."""
        wanted = read(NewEndpointSerializer, request)
        issued = services.create_endpoint(actor=actor_of(request), url=wanted["url"], events=wanted["events"])
        return Response(IssuedEndpointSerializer(issued).data, status=status.HTTP_201_CREATED)


class EndpointDetail(generics.RetrieveAPIView[Endpoint]):
    permission_classes = (may("webhooks.view_endpoint"),)
    serializer_class = EndpointSerializer
    queryset = Endpoint.objects.all()

    @extend_schema(parameters=[ETAG])
    def get(self, request: Request, pk: int) -> Response:
        """A webhook, and what it hears of."""
        return self._answer()

    @extend_schema(parameters=[IF_MATCH, ETAG], request=ChangedEndpointSerializer, responses=EndpointSerializer)
    def put(self, request: Request, pk: int) -> Response:
        """Switch it on or off, and say anew what it hears of; with `If-Match`, where nobody changed it meanwhile."""
        wanted = read(ChangedEndpointSerializer, request)
        services.change_endpoint(
            actor=actor_of(request),
            endpoint_id=pk,
            active=wanted["active"],
            events=wanted.get("events"),
            seen=preconditions.seen(request, current=lambda: queries.revision(self.get_object())),
        )
        return self._answer()

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        services.remove_endpoint(actor=actor_of(request), endpoint_id=pk)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _answer(self) -> Response:
        # Read anew after its revision, as a client is (`clients/api.py`).
        headers = {"ETag": preconditions.etag(queries.revision(self.get_object()))}
        return Response(EndpointSerializer(self.get_object()).data, headers=headers)


class EndpointSecret(APIView):
    @extend_schema(request=None, responses=IssuedEndpointSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Make a new secret; the old one signs nothing from now on."""
        return Response(IssuedEndpointSerializer(services.renew_secret(actor=actor_of(request), endpoint_id=pk)).data)


class EndpointTest(APIView):
    @extend_schema(request=None, responses={201: DeliverySerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Send a message that says no more than that it is a test. It is tried once."""
        sent = services.send_test(actor=actor_of(request), endpoint_id=pk)
        return Response(DeliverySerializer(sent).data, status=status.HTTP_201_CREATED)


class DeliveryAgain(APIView):
    @extend_schema(request=None, responses=DeliverySerializer)
    def post(self, request: Request, pk: int, number: int) -> Response:
        """Send what arrived, or was given up, once more under the same id."""
        again = services.deliver_again(actor=actor_of(request), endpoint_id=pk, delivery_id=number)
        return Response(DeliverySerializer(again).data)


class DeliveryNow(APIView):
    @extend_schema(request=None, responses=DeliverySerializer)
    def post(self, request: Request, pk: int, number: int) -> Response:
        """Try what waits after a try that failed at once. It is one of its tries."""
        hastened = services.try_now(actor=actor_of(request), endpoint_id=pk, delivery_id=number)
        return Response(DeliverySerializer(hastened).data)


class DeliveryList(generics.ListAPIView[Delivery]):
    """What became of each message of the last month, newest first."""

    permission_classes = (may("webhooks.view_endpoint"),)
    serializer_class = DeliverySerializer
    filterset_fields = ("state",)
    queryset = Delivery.objects.none()  # for the schema

    def get_queryset(self) -> QuerySet[Delivery]:
        return Delivery.objects.filter(endpoint=services.find_endpoint(self.kwargs["pk"]))


urlpatterns = [
    path("webhooks/", EndpointList.as_view()),
    path("webhooks/<int:pk>/", EndpointDetail.as_view()),
    path("webhooks/<int:pk>/secret/", EndpointSecret.as_view()),
    path("webhooks/<int:pk>/test/", EndpointTest.as_view()),
    path("webhooks/<int:pk>/deliveries/", DeliveryList.as_view()),
    path("webhooks/<int:pk>/deliveries/<int:number>/again/", DeliveryAgain.as_view()),
    path("webhooks/<int:pk>/deliveries/<int:number>/now/", DeliveryNow.as_view()),
]
