"""How a REST call proves who makes it: a staff token, or a session that passed the second factor."""

from __future__ import annotations

from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from console.staff import queries, scopes
from console.staff.models import ApiToken, User


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token amt_…`."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"token":
            return None
        if len(words) != 2:
            raise AuthenticationFailed(_("Authorization must read: Token, a space, and the token."))
        token = queries.token_in_force(words[1].decode("latin-1"))
        if token is None:
            raise AuthenticationFailed(_("This token is unknown, expired or revoked."))
        _check_scope(request, token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Token"


def _check_scope(request: Request, token: ApiToken) -> None:
    """Here and not with the permissions, which every view says for itself: no address can forget it."""
    found = request.resolver_match
    route = found.route.removeprefix(scopes.PREFIX) if found else ""  # needs all, as what nobody declared does
    wanted = scopes.needed(request.method or "", route)
    if not scopes.covers(token.scopes, wanted):
        raise PermissionDenied(_("This token lacks the scope {scope}.").format(scope=wanted), code="insufficient_scope")


class VerifiedSessionAuthentication(SessionAuthentication):
    """The session of a person who has shown the second factor."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        found = super().authenticate(request)
        return found if found and found[0].is_verified() else None


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # drf-spectacular has no annotations here
    """How OpenAPI names the token."""

    target_class = "console.staff.authentication.TokenAuthentication"
    name = "staffToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        named = "\n".join(f"* `{scope.value}` - {scope.label}" for scope in scopes.Scope)
        description = f"Token amt_…, within its scopes; each operation says in `x-scope` which it needs.\n\n{named}"
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": description}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # as above
    """How OpenAPI names the session."""

    target_class = "console.staff.authentication.VerifiedSessionAuthentication"
    name = "staffSession"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        from django.conf import settings

        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
