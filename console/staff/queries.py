"""What is known about staff."""

from __future__ import annotations

import hmac

from django.db.models import Q
from django.utils.timezone import now

from console.keys import STAFF_TOKEN, digest_of, key_id_of
from console.staff.models import ApiToken


def token_in_force(text: str) -> ApiToken | None:
    """The token with this text and its user; None when unknown, revoked, expired or its user disabled."""
    key_id = key_id_of(text, STAFF_TOKEN)
    if key_id is None:
        return None
    token = (
        ApiToken.objects.select_related("user")
        .filter(key_id=key_id, revoked_at=None, user__is_active=True)
        .filter(Q(expires_at=None) | Q(expires_at__gt=now()))
        .first()
    )
    if token is None or not hmac.compare_digest(bytes(token.digest), digest_of(text)):
        return None
    return token
