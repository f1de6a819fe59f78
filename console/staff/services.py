"""What changes staff: people, roles, tokens; and the question whether a person may."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.timezone import now
from django_otp.plugins.otp_totp.models import TOTPDevice

from console.audit.services import record
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.keys import STAFF_TOKEN, new_key
from console.staff.models import ApiToken, User


@dataclass(frozen=True, slots=True)
class NewStaff:
    """A new member of staff, with the secrets that are shown this once."""

    user: User
    role: str
    password: str
    totp_seed: str  # base32
    otpauth_url: str
    token: str


def require(actor: User, permission: str) -> None:
    """Raise NotAllowed unless one of the actor's roles carries the permission, `app.codename`."""
    if not actor.is_active or not actor.has_perm(permission):
        raise NotAllowed(f"{actor.get_username()} may not do this: it needs the permission {permission}")


@transaction.atomic
def create_user(*, name: str, role: str, actor: User | None = None) -> NewStaff:
    """Make a member of staff with one role, a password, a second factor and a token for scripts.

    Raises Invalid for an unknown role or an unfit name, Conflict when the name is taken.
    """
    if actor is not None:
        require(actor, "staff.add_user")
    role = role.replace("-", " ").replace("_", " ")
    group = Group.objects.filter(name=role).first()
    if group is None:
        known = ", ".join(Group.objects.order_by("name").values_list("name", flat=True))
        raise Invalid(f"{role} is not a role; the roles are {known}", field="role")
    try:
        User.username_validator(name)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field="name") from None
    password = secrets.token_urlsafe(15)
    try:
        with transaction.atomic():
            user = User.objects.create_user(username=name, password=password, is_staff=True)
    except IntegrityError:
        raise Conflict(f"{name} exists already", reason="name_taken", field="name") from None
    user.groups.add(group)
    device = TOTPDevice.objects.create(user=user, name="authenticator", confirmed=True)
    record(
        actor=actor,
        action="staff.user_created",
        subject_type="user",
        subject_id=str(user.pseudonym),
        details={"role": role},
    )
    token = create_token(user=user, name="first", actor=actor)
    return NewStaff(
        user=user,
        role=role,
        password=password,
        totp_seed=base64.b32encode(device.bin_key).decode(),
        otpauth_url=device.config_url,
        token=token,
    )


@transaction.atomic
def create_token(*, user: User, name: str, actor: User | None, expires_at: datetime | None = None) -> str:
    """Make a token with which scripts act as this person. The text is returned this once."""
    key = new_key(STAFF_TOKEN)
    ApiToken.objects.create(user=user, name=name, key_id=key.key_id, digest=key.digest, expires_at=expires_at)
    record(
        actor=actor,
        action="staff.token_created",
        subject_type="api_token",
        subject_id=key.key_id,
        details={"user": str(user.pseudonym), "name": name},
    )
    return key.text


@transaction.atomic
def revoke_token(*, key_id: str, actor: User) -> None:
    """End a token; from the next call on it opens nothing. Raises NotFound, NotAllowed."""
    token = ApiToken.objects.filter(key_id=key_id).first()
    if token is None:
        raise NotFound(f"there is no token {key_id}", field="key_id")
    if token.user_id != actor.pk:
        require(actor, "staff.change_apitoken")
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now()):
        record(actor=actor, action="staff.token_revoked", subject_type="api_token", subject_id=key_id, details={})
