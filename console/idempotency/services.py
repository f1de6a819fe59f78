"""Claiming a key, keeping the answer, giving it again."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from console.errors import Conflict, Invalid
from console.idempotency.models import Call
from console.staff.models import User
from console.steady import earliest

KEY_MIN: Final = 16  # characters: a UUID, or as much chance in another form
KEY_MAX: Final = 128
KEPT: Final = timedelta(hours=24)
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


def begin(*, caller: User, key: str, path: str, body: bytes) -> Call | Answer:
    """Claim a key for this call, or find the answer that the call had.

    Raises Invalid for an unfit key; Conflict when the key named another call or one of other access (`sessions_round`),
    or when the first call was not answered: it goes on still, or died and nobody knows what it did.
    """
    if not KEY_MIN <= len(key) <= KEY_MAX or not key.isascii() or not key.isprintable():
        raise Invalid(
            _("An Idempotency-Key has {least} to {most} printable ASCII characters; a UUID is one.").format(
                least=KEY_MIN, most=KEY_MAX
            ),
            field="Idempotency-Key",
        )
    key_digest = _derived(b"id", key)
    # Keyed: a body may name a person, and what is kept of it would tell whoever tries all names.
    # With the round of their access: who has another role now is not told again what they might do then.
    call = b"\0".join((str(caller.sessions_round).encode(), path.encode(), body))
    call_digest = hmac.digest(_derived(b"call", key), call, "sha256")
    try:
        with transaction.atomic():
            return Call.objects.create(caller=caller, key_digest=key_digest, call_digest=call_digest)
    except IntegrityError:
        known = Call.objects.get(caller=caller, key_digest=key_digest)
    if bytes(known.call_digest) != call_digest:
        raise Conflict(
            _("This Idempotency-Key named another call, or your access has changed since."),
            reason="key_reused",
            field="Idempotency-Key",
        )
    if known.status is None:
        raise Conflict(
            _("The first call with this key is not answered. If it began minutes ago, look whether it was done."),
            reason="not_answered",
            field="Idempotency-Key",
        )
    sealed = bytes(known.sealed)
    body = ChaCha20Poly1305(_derived(b"seal", key)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
    return Answer(known.status, known.content_type, body)


def keep(call: Call, *, key: str, answer: Answer) -> None:
    """Keep what the call was answered, readable for nobody but who knows the key."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = nonce + ChaCha20Poly1305(_derived(b"seal", key)).encrypt(nonce, answer.body, None)
    Call.objects.filter(pk=call.pk).update(status=answer.status, content_type=answer.content_type, sealed=sealed)


def release(call: Call) -> None:
    """Let the key be used again: the call did nothing, or its answer is a file that is not kept."""
    Call.objects.filter(pk=call.pk).delete()


def old(*, at: datetime) -> QuerySet[Call]:
    """Calls that nobody makes again. By the earlier of two clocks: one that is sent again is done again afterwards."""
    return Call.objects.filter(begun_at__lt=earliest(at) - KEPT)


def tidy(*, at: datetime) -> int:
    """Forget old calls. Returns how many."""
    return old(at=at).delete()[0]


def _derived(purpose: bytes, key: str) -> bytes:
    """32 bytes that nobody finds without the caller's key, of which they tell nothing; others for each purpose."""
    return hashlib.sha256(purpose + b"\0" + key.encode()).digest()
