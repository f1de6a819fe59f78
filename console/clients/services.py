"""What changes clients and keys. The gateway hears of it with its next look at the policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import record
from console.clients.meanwhile import check_unchanged
from console.clients.models import CALLS_PER_MINUTE_DEFAULT, ApiKey, Client
from console.errors import Conflict, Invalid, NotFound
from console.keys import API_KEY, new_key
from console.staff.models import User
from console.staff.services import require


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its text, which is shown this once."""

    key: ApiKey
    text: str

    def __repr__(self) -> str:
        return f"IssuedKey(key_id={self.key.key_id!r})"


@transaction.atomic
def create_client(
    *,
    actor: User,
    name: str,
    calls_per_minute: int = CALLS_PER_MINUTE_DEFAULT,
    models: Sequence[str] = (),
) -> Client:
    """Make a client. Raises NotAllowed; Invalid for an unfit value; Conflict when the name is taken."""
    require(actor, "clients.add_client")
    client = Client(name=name, calls_per_minute=calls_per_minute, model_names=list(models))
    _check(client)
    try:
        with transaction.atomic():
            client.save(force_insert=True)
    except IntegrityError:
        raise Conflict(
            _("There is a client named {name} already.").format(name=name), reason="name_taken", field="name"
        ) from None
    _record(actor, "clients.client_created", client, name=name, calls_per_minute=calls_per_minute, models=list(models))
    return client


@transaction.atomic
def change_client(
    *, actor: User, client_id: int, calls_per_minute: int, models: Sequence[str], seen: int | None = None
) -> Client:
    """Change what a client may do.

    seen: the revision (`queries.revision`) that whoever asks has seen. Another one by now: nothing is done, since
    it would undo what a colleague did. None: whatever it is.
    Raises NotAllowed, NotFound, Invalid, Outdated.
    """
    require(actor, "clients.change_client")
    client = hold(client_id)
    if seen is not None:
        check_unchanged(client, seen=seen)
    before = {"calls_per_minute": client.calls_per_minute, "models": list(client.model_names)}
    client.calls_per_minute, client.model_names = calls_per_minute, list(models)
    _check(client)
    client.save(update_fields=["calls_per_minute", "model_names"])
    after = {"calls_per_minute": calls_per_minute, "models": list(models)}
    if after != before:
        _record(actor, "clients.client_changed", client, before=before, after=after)
    return client


@transaction.atomic
def create_key(*, actor: User, client_id: int, expires_at: datetime | None = None) -> IssuedKey:
    """Make a key for a client. Raises NotAllowed, NotFound; Invalid for an expiry in the past."""
    require(actor, "clients.change_client")
    client = _client(client_id)
    if expires_at is not None and expires_at <= now():
        raise Invalid(_("A key must expire in the future."), field="expires_at")
    fresh = new_key(API_KEY)
    key = ApiKey.objects.create(
        client=client, key_id=fresh.key_id, digest=fresh.digest, created_by=actor, expires_at=expires_at
    )
    _record(
        actor,
        "clients.key_created",
        client,
        key_id=key.key_id,
        expires_at=expires_at.isoformat() if expires_at else None,
    )
    return IssuedKey(key=key, text=fresh.text)


@transaction.atomic
def revoke_key(*, actor: User, key_id: str) -> ApiKey:
    """End a key for good; the gateway refuses it within five seconds. Twice is as good as once.

    Raises NotAllowed, NotFound.
    """
    require(actor, "clients.change_client")
    moved = ApiKey.objects.filter(key_id=key_id, revoked_at=None).update(revoked_at=now())
    key = ApiKey.objects.select_related("client").filter(key_id=key_id).first()
    if key is None:
        raise NotFound(_("There is no key {key_id}.").format(key_id=key_id), field="key_id")
    if moved:
        _record(actor, "clients.key_revoked", key.client, key_id=key_id)
    return key


def hold(client_id: int) -> Client:
    """A client that nobody else changes until the caller's transaction ends. Raises NotFound."""
    return _client(client_id, Client.objects.select_for_update(no_key=True))


def _client(client_id: int, clients: QuerySet[Client] | None = None) -> Client:
    client = (Client.objects.all() if clients is None else clients).filter(pk=client_id).first()
    if client is None:
        raise NotFound(_("There is no client {client}.").format(client=client_id), field="id")
    return client


def _check(client: Client) -> None:
    if not all(isinstance(name, str) and name for name in client.model_names):
        raise Invalid(_("Models are named by their names."), field="models")
    try:
        client.clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise Invalid(" ".join(messages), field=field) from None


def _record(actor: User, action: str, client: Client, **details: object) -> None:
    record(actor=actor, action=action, subject_type="client", subject_id=str(client.client_id), details=details)
