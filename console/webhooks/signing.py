"""Signatures of Standard Webhooks 1.0 (standardwebhooks.com): a message is ours, whole and fresh.

    webhook-signature: v1,base64(HMAC-SHA256(secret, id ‖ "." ‖ timestamp ‖ "." ‖ body))

An address's secret is HMAC-SHA256 of its random nonce under the console's key secret: it is not
stored, so a stolen database signs nothing. A new nonce is a new secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from django.conf import settings

NONCE_BYTES: Final = 16
_PREFIX: Final = "whsec_"
_PURPOSE: Final = b"amulet webhook\0"


def secret_of(nonce: bytes) -> bytes:
    """32 bytes. Raises OSError."""
    return hmac.digest(settings.AMULET.key_secret_file.read_bytes(), _PURPOSE + nonce, hashlib.sha256)


def secret_text(nonce: bytes) -> str:
    """The secret as libraries of Standard Webhooks take it. Raises OSError."""
    return _PREFIX + base64.b64encode(secret_of(nonce)).decode()


def headers_of(secret: bytes, *, message_id: str, sent_at_s: int, body: bytes) -> Mapping[str, str]:
    """What goes with a message that leaves at this second."""
    signed = f"{message_id}.{sent_at_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at_s),
        "webhook-signature": f"v1,{signature}",
        "content-type": "application/json",
    }
