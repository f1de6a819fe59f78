"""What changes staff: people, roles, tokens; and the question whether a person may."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _
from django_otp import match_token
from django_otp.plugins.otp_totp.models import TOTPDevice

from console.audit.queries import staff_names
from console.audit.services import record
from console.errors import Conflict, Invalid, NotAllowed, NotFound, Outdated
from console.keys import STAFF_TOKEN, new_key
from console.staff.models import ApiToken, SpentCode, User
from console.staff.queries import access_reset, role_of, tokens_shown_to
from console.staff.scopes import Scope, exceeding
from console.staff.sign_ins import forget_attempts_of

PASSWORD_BYTES: Final = 15


# Of a code's 30 s each. What is less far ahead may be the clock of another machine: there no code opens twice.
_STEPS_AHEAD_MAX: Final = 10
_CODES_KEPT: Final = timedelta(days=7)  # further back no clock is set, or whoever may set it needs no code


@dataclass(frozen=True, slots=True)
class NewStaff:
    """A new member of staff, with the secrets that are shown this once."""

    user: User
    role: str
    password: str
    totp_seed: str  # base32
    otpauth_url: str
    token: str

    def __repr__(self) -> str:
        return f"NewStaff(user={self.user!r}, role={self.role!r})"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token with its text, which is shown this once."""

    token: ApiToken
    text: str

    def __repr__(self) -> str:
        return f"IssuedToken(key_id={self.token.key_id!r})"


@dataclass(frozen=True, slots=True)
class Revoked:
    """A token that opens nothing any more, and the key ids of those that ended with it."""

    token: ApiToken
    also: tuple[str, ...]


def require(actor: User, permission: str) -> None:
    """Raise NotAllowed unless one of the actor's roles carries the permission, `app.codename`."""
    if not actor.is_active or not actor.has_perm(permission):
        raise NotAllowed(
            _("{name} may not do this: it needs the permission {permission}.").format(
                name=actor.get_username(), permission=permission
            )
        )


@transaction.atomic
def create_user(*, name: str, role: str, actor: User | None = None) -> NewStaff:
    """Make a member of staff with one role, a password and a second factor.

    actor: who hires; None at a first set-up, by whoever has the machine. Only then there is a token for scripts too:
    one in another's hands would let them act as this person, and more than the token that they hired with may.
    Raises NotAllowed; Invalid for an unknown role or an unfit name; Conflict when the name is taken.
    """
    if actor is not None:
        require(actor, "staff.add_user")
    group = _role(role)
    _check_name(name)
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    try:
        with transaction.atomic():
            user = User.objects.create_user(username=name, password=password, is_staff=True)
    except IntegrityError:
        raise Conflict(_("{name} exists already.").format(name=name), reason="name_taken", field="name") from None
    user.groups.add(group)
    device = _new_second_factor(user)
    _record(actor, "staff.user_created", user, role=group.name)
    _record(actor, "staff.second_factor_added", user)
    token = "" if actor is not None else create_token(user=user, name="first", actor=None).text
    return NewStaff(user=user, role=group.name, password=password, **_shown(device), token=token)


@transaction.atomic
def set_role(*, actor: User, user_id: int, role: str, seen: str | None = None) -> User:
    """Give a member of staff another role. Every session and token from before it ends.

    A token lies in some script, handed out for what its person could do then: it must not come to open more.
    seen: the role that whoever asks saw them in. Another one by now: nothing is done. None: whichever it is.
    The role that somebody has already changes nothing. Raises NotAllowed, NotFound, Invalid, Conflict.
    """
    require(actor, "staff.change_user")
    group = _role(role)
    user = _other(actor, user_id)
    # Two who change one person's role do so one after the other; the second sees what the first one did.
    User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
    before = role_of(user)
    if before == group.name:
        return user
    if seen is not None and seen != before:
        raise Conflict(
            _("{user} has become {role} since you looked. Nothing was changed.").format(user=user, role=_(before)),
            reason="changed_meanwhile",
            field="role",
        )
    user.groups.set([group])
    _check_administrator_left()
    _end_sessions(user)
    _end_tokens(user)
    _record(actor, "staff.role_changed", user, before=before, after=group.name)
    return user


@transaction.atomic
def set_active(*, actor: User, user_id: int, active: bool) -> User:
    """Let a member of staff in, or out: sessions of a disabled one end for good, tokens open nothing meanwhile.

    Twice is as good as once. Raises NotAllowed, NotFound, Conflict for the last administrator.
    """
    require(actor, "staff.change_user")
    user = _other(actor, user_id)
    if not User.objects.filter(pk=user.pk, is_active=not active).update(is_active=active):
        return user
    user.is_active = active
    _check_administrator_left()
    if not active:
        _end_sessions(user)
    _record(actor, "staff.user_enabled" if active else "staff.user_disabled", user)
    return user


@transaction.atomic
def end_sessions(*, actor: User, user_id: int) -> User:
    """Sign somebody out wherever they are signed in; one's own sessions too, the one that asks included.

    Tokens stay. Raises NotAllowed, NotFound.
    """
    if user_id != actor.pk:
        require(actor, "staff.change_user")
    user = _user(user_id)
    _end_sessions(user)
    _record(actor, "staff.sessions_ended", user)
    return user


def reset_access(*, actor: User, user_id: int, seen: int | None = None) -> NewStaff:
    """A new password and second factor for somebody who lost theirs; the old ones, every session, every token and
    every lockout end.

    seen: number of the audit entry about the last reset that whoever asks knows of, 0 for none. Where there is a later
    one, what it showed may be in their hands, and nothing is done. None: whichever it is.
    Raises NotAllowed, NotFound, Outdated.
    """
    require(actor, "staff.change_user")
    user = _other(actor, user_id)
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    hashed = make_password(password)  # slow on purpose, and so before SQLite's only writer is held
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()  # two resets one after the other
        _check_reset_known(user, seen)
        user.password = hashed  # with it what every session carries
        user.save(update_fields=["password"])
        TOTPDevice.objects.filter(user=user).delete()
        _end_sessions(user)
        _end_tokens(user)
        forget_attempts_of(
            user
        )  # the page of a lockout says to ask for this, and guesses at the old password tell nothing
        device = _new_second_factor(user)
        _record(actor, "staff.access_reset", user)
        _record(actor, "staff.second_factor_reset", user)
    return NewStaff(user=user, role=role_of(user), password=password, **_shown(device), token="")


def _check_reset_known(user: User, seen: int | None) -> None:
    reset = access_reset(user)
    if seen is not None and reset is not None and reset.sequence > seen:
        raise Outdated(
            _("{who} reset this access on {when}, after you opened this page. Nothing was changed.").format(
                who=staff_names({reset.actor}).get(reset.actor, reset.actor),
                when=date_format(localtime(reset.recorded_at), "DATETIME_FORMAT"),
            )
        )


def change_password(*, user: User, password: str) -> None:
    """A new password of one's own, which whoever asks has checked; sessions other than the one that asks end with it.

    user: as they were when the request was let in. Raises NotAllowed where their access has changed since.
    """
    user.set_password(password)  # slow on purpose, as above
    with transaction.atomic():
        _hold_access(user)
        user.save(update_fields=["password"])
        _record(user, "staff.password_changed", user)


@transaction.atomic
def create_token(
    *,
    user: User,
    name: str,
    actor: User | None,
    scopes: Collection[str] = (Scope.ALL,),
    expires_at: datetime | None = None,
    asked_with: ApiToken | None = None,
) -> IssuedToken:
    """Make a token with which scripts act as this person, within its scopes. The text is returned this once.

    user: as they were when the request was let in. Whose sessions were ended since then gets none, nor who is disabled.
    asked_with: the token that asks for it, if one does: the new one may no more, and lasts no longer.
    Raises Invalid for no scope or one that there is not, and for an expiry in the past; NotAllowed beyond `asked_with`,
    and to who may not come in any more.
    """
    kept = _checked_scopes(scopes)
    if expires_at is not None and expires_at <= now():
        raise Invalid(_("A token must expire in the future."), field="expires_at")
    _hold_access(user)
    if asked_with is not None:
        _check_within(asked_with, kept, expires_at)
        _hold(asked_with)
    key = new_key(STAFF_TOKEN)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        key_id=key.key_id,
        digest=key.digest,
        scopes=kept,
        expires_at=expires_at,
        made_with=asked_with,
    )
    record(
        actor=actor,
        action="staff.token_created",
        subject_type="api_token",
        subject_id=key.key_id,
        details={
            "user": str(user.pseudonym),
            "name": name,
            "scopes": kept,
            "expires_at": expires_at.isoformat() if expires_at else None,
            "asked_with": asked_with.key_id if asked_with else None,
        },
    )
    return IssuedToken(token=token, text=key.text)


@transaction.atomic
def revoke_token(*, key_id: str, actor: User, keep_made: bool = False) -> Revoked:
    """End a token and those that were made with it, and with them; from the next call on they open nothing.

    keep_made: leave those others, for a script that has made its successor. Twice is as good as once; once more
    without it ends what was left. Raises NotFound, NotAllowed.
    """
    token = tokens_shown_to(actor).filter(key_id=key_id).first()
    if token is None:  # or it is another's, which is theirs to know
        raise NotFound(_("There is no token {key_id}.").format(key_id=key_id), field="key_id")
    if token.user_id != actor.pk:
        require(actor, "staff.change_apitoken")
    _revoke(token, actor)
    token.refresh_from_db(fields=["revoked_at"])
    # Each before those that it made are looked for: one that it makes meanwhile is there by then, or is not made.
    also, makers = [], [] if keep_made else [token]
    while makers:
        made = list(ApiToken.objects.filter(made_with__in=makers).order_by("pk"))
        also += [each.key_id for each in made if _revoke(each, actor, made_with=key_id)]
        makers = made
    return Revoked(token, tuple(also))


def _check_name(name: str) -> None:
    """Raise Invalid for a name that nobody can have. How long it is the database says too late, and SQLite never."""
    most = User._meta.get_field("username").max_length
    if most is not None and len(name) > most:
        raise Invalid(_("A name has at most {most} characters.").format(most=most), field="name")
    try:
        User.username_validator(name)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field="name") from None


def _hold_access(user: User) -> None:
    """Keep a person's access as it is until the caller's transaction ends. Raises NotAllowed where it is another since
    they were read: what ends all tokens is over by then, and would leave the one that is made now.
    """
    as_seen = User.objects.select_for_update(no_key=True).filter(
        pk=user.pk, is_active=True, sessions_round=user.sessions_round
    )
    if as_seen.first() is None:
        raise NotAllowed(_("Your access has changed meanwhile: sign in again."))


def _hold(token: ApiToken) -> None:
    """Keep a token from being revoked until the caller's transaction ends. Raises NotAllowed where it is already."""
    if ApiToken.objects.select_for_update().filter(pk=token.pk, revoked_at=None).first() is None:
        raise NotAllowed(_("This token is unknown, expired or revoked."))


def _revoke(token: ApiToken, actor: User, **details: str) -> bool:
    """Whether it was in force."""
    if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now()):
        return False
    record(
        actor=actor, action="staff.token_revoked", subject_type="api_token", subject_id=token.key_id, details=details
    )
    return True


def _checked_scopes(scopes: Collection[str]) -> list[str]:
    """In the order in which people read them."""
    if unknown := sorted(set(scopes) - set(Scope.values)):
        raise Invalid(
            _("{name} is no scope; the scopes are {names}.").format(name=unknown[0], names=", ".join(Scope.values)),
            field="scopes",
        )
    if not scopes:
        raise Invalid(_("Say what the token may be used for."), field="scopes")
    return [scope for scope in Scope.values if scope in scopes]


def _check_within(token: ApiToken, scopes: Collection[str], expires_at: datetime | None) -> None:
    if more := exceeding(token.scopes, scopes):
        raise NotAllowed(
            _("This token lacks the scope {scope}: it cannot hand it on.").format(scope=more[0]), field="scopes"
        )
    if token.expires_at is not None and (expires_at is None or expires_at > token.expires_at):
        raise NotAllowed(
            _("A token that is made with another one must expire no later: at {expires_at}.").format(
                expires_at=token.expires_at.isoformat()
            ),
            field="expires_at",
        )


def _role(name: str) -> Group:
    """The role of that name, spelled as the shell likes it too. Raises Invalid."""
    name = name.replace("-", " ").replace("_", " ")
    group = Group.objects.filter(name=name).first()
    if group is None:
        known = ", ".join(Group.objects.order_by("name").values_list("name", flat=True))
        raise Invalid(_("{role} is not a role; the roles are {known}.").format(role=name, known=known), field="role")
    return group


def _other(actor: User, user_id: int) -> User:
    if user_id == actor.pk:
        raise NotAllowed(_("This is for somebody else to do: nobody changes their own access."))
    return _user(user_id)


def _user(user_id: int) -> User:
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise NotFound(_("There is no such member of staff."), field="id")
    return user


def _check_administrator_left() -> None:
    """Raise Conflict when the change that was just written leaves no administrator.

    The lock is on what every such change shares: of two administrators who remove each other at one instant, the
    second looks after the first has committed. SQLite lets one write at a time anyway.
    """
    Group.objects.select_for_update().get(name="administrator")
    if not User.objects.filter(is_active=True, groups__name="administrator").exists():
        raise Conflict(_("Somebody has to be administrator."), reason="last_administrator")


def _end_sessions(user: User) -> None:
    User.objects.filter(pk=user.pk).update(sessions_round=F("sessions_round") + 1)


def _end_tokens(user: User) -> None:
    ApiToken.objects.filter(user=user, revoked_at=None).update(revoked_at=now())


def open_with_code(user: User, code: str) -> TOTPDevice | None:
    """The second factor that this code opens; None where it opens none, or has opened one before."""
    forget_times_ahead(user)
    device: TOTPDevice | None = match_token(user, code)
    if device is None:
        return None
    # What is further away is no replay that a clock which was set could make of it.
    kept = int(_CODES_KEPT.total_seconds()) // device.step
    SpentCode.objects.filter(device=device).exclude(step__range=(device.last_t - kept, device.last_t + kept)).delete()
    _code, is_new = SpentCode.objects.get_or_create(device=device, step=device.last_t)
    return device if is_new else None


def forget_times_ahead(user: User) -> None:
    """Let somebody in who came, or failed to, while the clock was ahead of where it was set back to.

    A device takes no code from before the last one that opened; and after one that was wrong there is a
    wait. Both count from the time at which that was, and would last for as long as the clock was ahead. That a code
    opens once all the same is `open_with_code`'s.
    """
    for device in TOTPDevice.objects.filter(user=user):
        step = (int(time.time()) - device.t0) // device.step
        if device.last_t > step + _STEPS_AHEAD_MAX:
            TOTPDevice.objects.filter(pk=device.pk, last_t=device.last_t).update(last_t=step - 1)
    moment = now()
    ahead = TOTPDevice.objects.filter(user=user, throttling_failure_timestamp__gt=moment)
    ahead.update(throttling_failure_timestamp=moment)


def _new_second_factor(user: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=user, name="authenticator", confirmed=True)


def _shown(device: TOTPDevice) -> dict[str, str]:
    return {"totp_seed": base64.b32encode(device.bin_key).decode(), "otpauth_url": device.config_url}


def _record(actor: User | None, action: str, user: User, **details: str) -> None:
    record(actor=actor, action=action, subject_type="user", subject_id=str(user.pseudonym), details=details)
