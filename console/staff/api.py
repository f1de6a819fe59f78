"""Who works here, and with which tokens, for scripts: `staff/`, `staff/{id}/`, `…/role/`, `…/disable/`, `…/enable/`,
`…/end-sessions/`, `…/reset-access/`, `staff/tokens/`, `staff/tokens/{key_id}/revoke/`.
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

from console.filtering import PartOf
from console.staff import queries, services
from console.staff.models import ApiToken, User
from console.staff.permissions import may
from console.staff.rest import actor_of, read
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
    made_with = serializers.CharField(
        source="made_with.key_id",
        read_only=True,
        default=None,
        allow_null=True,
        help_text="The token that made it.",
    )

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = (
            "key_id", "name", "of", "scopes", "made_with", "created_at", "expires_at", "revoked_at",
        )  # fmt: skip
        read_only_fields = fields


class RevocationSerializer(serializers.Serializer[Any]):
    keep_made = serializers.BooleanField(
        default=False, help_text="Leave the tokens that were made with it: for a script that has made its successor."
    )


class RevokedTokenSerializer(TokenSerializer):
    also_revoked = serializers.SerializerMethodField(help_text="Key ids of those that ended with it.")

    class Meta(TokenSerializer.Meta):
        fields = (*TokenSerializer.Meta.fields, "also_revoked")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_also_revoked(self, token: ApiToken) -> list[str]:
        return list(self.context["also"])


class RoleSerializer(serializers.Serializer[Any]):
    role = serializers.CharField(max_length=150, help_text="One of the roles, such as `model engineer`.")


class AnotherRoleSerializer(RoleSerializer):
    seen = serializers.CharField(
        max_length=150,
        default=None,
        allow_null=True,
        help_text="The role that you saw them in. If it is another one by now, nothing is done.",
    )


class NewStaffSerializer(RoleSerializer):
    name = serializers.CharField(max_length=150)


class AccessSerializer(serializers.Serializer[services.NewStaff]):
    """What somebody signs in with, shown this once. The page asks for password and second factor together."""

    id = serializers.IntegerField(source="user.pk")
    name = serializers.CharField(source="user.username")
    role = serializers.CharField()
    password = serializers.CharField()
    totp_seed = serializers.CharField(help_text="The second factor, in base32.")
    otpauth_url = serializers.CharField(help_text="The same for an authenticator, as a QR code has it.")


class NewTokenSerializer(serializers.Serializer[ApiToken]):
    name = serializers.CharField(max_length=100, help_text="What this token is for.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices), allow_empty=False)
    expires_at = serializers.DateTimeField(default=None, allow_null=True)


class IssuedTokenSerializer(serializers.Serializer[services.IssuedToken]):
    token = serializers.CharField(source="text", help_text="The whole token; shown this once.")
    key_id = serializers.CharField(source="token.key_id")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices), source="token.scopes")
    expires_at = serializers.DateTimeField(source="token.expires_at", allow_null=True)


class StaffFilter(filters.FilterSet):
    name = filters.CharFilter(field_name="username")
    role = filters.CharFilter(field_name="groups__name")
    active = filters.BooleanFilter(field_name="is_active")
    search = PartOf("username", "first_name", "last_name")

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

    @extend_schema(request=NewStaffSerializer, responses={201: AccessSerializer})
    def post(self, request: Request) -> Response:
        """Make somebody a member of staff. What they sign in with is in this answer and nowhere else."""
        wanted = read(NewStaffSerializer, request)
        made = services.create_user(actor=actor_of(request), name=wanted["name"], role=wanted["role"])
        return Response(AccessSerializer(made).data, status=status.HTTP_201_CREATED)


class StaffDetail(generics.RetrieveAPIView[User]):
    permission_classes = (may("staff.view_user"),)
    serializer_class = StaffSerializer
    queryset = queries.staff()


class StaffRole(APIView):
    @extend_schema(request=AnotherRoleSerializer, responses=StaffSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Give somebody else another role; their sessions and tokens end."""
        wanted = read(AnotherRoleSerializer, request)
        return _member(services.set_role(actor=actor_of(request), user_id=pk, role=wanted["role"], seen=wanted["seen"]))


class StaffDisabling(APIView):
    @extend_schema(request=None, responses=StaffSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Keep somebody else out: their sessions end, their tokens open nothing meanwhile."""
        return _member(services.set_active(actor=actor_of(request), user_id=pk, active=False))


class StaffEnabling(APIView):
    @extend_schema(request=None, responses=StaffSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Let somebody in again, with the password, second factor and tokens from before."""
        return _member(services.set_active(actor=actor_of(request), user_id=pk, active=True))


class StaffSessions(APIView):
    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request, pk: int) -> Response:
        """Sign somebody out everywhere, yourself too. Tokens stay."""
        services.end_sessions(actor=actor_of(request), user_id=pk)
        return Response(status=status.HTTP_204_NO_CONTENT)


class StaffReset(APIView):
    @extend_schema(request=None, responses=AccessSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """A new password and second factor for somebody else; the old ones, sessions and tokens end."""
        return Response(AccessSerializer(services.reset_access(actor=actor_of(request), user_id=pk)).data)


class TokenFilter(filters.FilterSet):
    of = filters.CharFilter(field_name="user__username", help_text="Whose they are, by name.")
    search = PartOf("name", "key_id", "user__username")

    class Meta:
        model = ApiToken
        fields = ("of",)


class TokenList(generics.ListAPIView[ApiToken]):
    """Your own tokens, newest first; those of everybody for who may see them."""

    serializer_class = TokenSerializer
    filterset_class = TokenFilter
    queryset = queries.tokens()

    def get_queryset(self) -> QuerySet[ApiToken]:
        rows = super().get_queryset()
        # The schema is drawn without a person.
        return rows if getattr(self, "swagger_fake_view", False) else queries.tokens_shown_to(actor_of(self.request))

    @extend_schema(request=NewTokenSerializer, responses={201: IssuedTokenSerializer})
    def post(self, request: Request) -> Response:
        """Make a token of your own. One that is made with another may no more, and lasts no longer."""
        wanted, person = read(NewTokenSerializer, request), actor_of(request)
        made = services.create_token(
            user=person,
            actor=person,
            name=wanted["name"],
            scopes=wanted["scopes"],
            expires_at=wanted["expires_at"],
            asked_with=request.auth if isinstance(request.auth, ApiToken) else None,
        )
        return Response(IssuedTokenSerializer(made).data, status=status.HTTP_201_CREATED)


class TokenRevocation(APIView):
    @extend_schema(request=RevocationSerializer, responses=RevokedTokenSerializer)
    def post(self, request: Request, key_id: str) -> Response:
        """Revoke a token, your own or as administrator anybody's, and what was made with it, from the next call on."""
        keep_made = read(RevocationSerializer, request)["keep_made"]
        done = services.revoke_token(key_id=key_id, actor=actor_of(request), keep_made=keep_made)
        return Response(RevokedTokenSerializer(done.token, context={"also": done.also}).data)


def _member(user: User) -> Response:
    return Response(StaffSerializer(queries.staff().get(pk=user.pk)).data)


urlpatterns: list[Any] = [
    path("staff/", StaffList.as_view()),
    path("staff/<int:pk>/", StaffDetail.as_view()),
    path("staff/<int:pk>/role/", StaffRole.as_view()),
    path("staff/<int:pk>/disable/", StaffDisabling.as_view()),
    path("staff/<int:pk>/enable/", StaffEnabling.as_view()),
    path("staff/<int:pk>/end-sessions/", StaffSessions.as_view()),
    path("staff/<int:pk>/reset-access/", StaffReset.as_view()),
    path("staff/tokens/", TokenList.as_view()),
    path("staff/tokens/<str:key_id>/revoke/", TokenRevocation.as_view()),
]
