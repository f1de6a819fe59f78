"""Who works here, and with which tokens, for scripts: `staff/`, `staff/tokens/`. Access is given on the pages alone."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import generics, serializers

from console.staff import queries
from console.staff.models import ApiToken, User
from console.staff.permissions import may
from console.staff.rest import actor_of
from console.staff.scopes import Scope


class StaffSerializer(serializers.ModelSerializer[User]):
    name = serializers.CharField(source="username", read_only=True)
    roles = serializers.SerializerMethodField()
    active = serializers.BooleanField(source="is_active", read_only=True)

    class Meta:
        model = User
        fields = ("id", "name", "roles", "active", "last_login", "date_joined")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_roles(self, user: User) -> list[str]:
        return sorted(group.name for group in user.groups.all())


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """A token by what it is known by; its text was shown once and is kept nowhere."""

    of = serializers.CharField(source="user.username", read_only=True)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices), read_only=True)

    class Meta:
        model = ApiToken
        fields = ("key_id", "name", "of", "scopes", "created_at", "expires_at", "revoked_at")
        read_only_fields = fields


class StaffFilter(filters.FilterSet):
    name = filters.CharFilter(field_name="username")
    role = filters.CharFilter(field_name="groups__name")
    active = filters.BooleanFilter(field_name="is_active")

    class Meta:
        model = User
        fields = ("name", "role", "active")


class StaffList(generics.ListAPIView[User]):
    """Members of staff, by name."""

    permission_classes = (may("staff.view_user"),)
    serializer_class = StaffSerializer
    page_order = ("username",)
    filterset_class = StaffFilter
    queryset = queries.staff()


class TokenList(generics.ListAPIView[ApiToken]):
    """Your own tokens, newest first; those of everybody for who may see them."""

    serializer_class = TokenSerializer
    queryset = queries.tokens()

    def get_queryset(self) -> QuerySet[ApiToken]:
        rows = super().get_queryset()
        # The schema is drawn without a person.
        return rows if getattr(self, "swagger_fake_view", False) else queries.tokens_shown_to(actor_of(self.request))


urlpatterns: list[Any] = [
    path("staff/", StaffList.as_view()),
    path("staff/tokens/", TokenList.as_view()),
]
