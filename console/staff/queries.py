"""What is known about staff."""

from __future__ import annotations

import hmac

from django.db.models import Q, QuerySet
from django.utils.timezone import now

from console.audit.models import Entry
from console.audit.queries import entries_about, newest_of
from console.keys import STAFF_TOKEN, digest_of, key_id_of
from console.staff.models import ApiToken, User


def staff() -> QuerySet[User]:
    """Members of staff with their roles, by name. Two queries."""
    return User.objects.prefetch_related("groups").order_by("username")


def role_of(user: User) -> str:
    """The name of somebody's role; of several, which the database allows, all of them. One query."""
    return ", ".join(user.groups.order_by("name").values_list("name", flat=True))


def access_reset(user: User) -> Entry | None:
    """The entry of the audit trail about the last time that somebody's access was reset; None: never."""
    return newest_of("user", str(user.pseudonym), ["staff.access_reset"])


def tokens() -> QuerySet[ApiToken]:
    """Everybody's tokens, newest first; joins whose they are and what they were made with."""
    return ApiToken.objects.select_related("user", "made_with").order_by("-created_at")


def made_with(token: ApiToken) -> list[ApiToken]:
    """The tokens in force that were made with this one, and with them. A query for each time that one made another."""
    found, makers = [], [token]
    while makers:
        makers = list(ApiToken.objects.filter(made_with__in=makers).order_by("pk"))
        found += [each for each in makers if each.revoked_at is None]
    return found


def told_of(token: ApiToken) -> QuerySet[Entry]:
    """What the audit trail says of a token, oldest first. Joins what the entries say."""
    return entries_about("api_token", token.key_id)


def tokens_shown_to(person: User) -> QuerySet[ApiToken]:
    """A person's own; those of everybody for who may see them."""
    return tokens() if person.has_perm("staff.view_apitoken") else tokens().filter(user=person)


def in_force() -> QuerySet[ApiToken]:
    """Tokens that open something now: neither revoked nor expired, nor of somebody disabled."""
    unexpired = Q(expires_at=None) | Q(expires_at__gt=now())
    return ApiToken.objects.filter(unexpired, revoked_at=None, user__is_active=True)


def token_in_force(text: str) -> ApiToken | None:
    """The token with this text and its user; None when unknown, revoked, expired or its user disabled."""
    key_id = key_id_of(text, STAFF_TOKEN)
    if key_id is None:
        return None
    token = in_force().select_related("user").filter(key_id=key_id).first()
    if token is None or not hmac.compare_digest(bytes(token.digest), digest_of(text)):
        return None
    return token
