"""Photographs that only the console can open.

X25519 with an ephemeral key, HKDF-SHA256 (info "amulet photo v1", salt = ephemeral public
key followed by the recipient's), ChaCha20-Poly1305 with the prediction id as additional
data. The gateway holds no key that opens what it sealed: a stolen journal shows nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

INFO: Final = b"amulet photo v1"
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Sealed:
    ephemeral_public_key: bytes  # 32 bytes
    nonce: bytes  # 12 bytes
    ciphertext: bytes


def can_seal_for(recipient_public_key: bytes) -> bool:
    """Whether it is a key that photographs can be sealed for: not with zeros, nor any other point of low order."""
    try:
        seal(b"", recipient_public_key=recipient_public_key, prediction_id="")
    except ValueError:
        return False
    return True


def seal(content: bytes, *, recipient_public_key: bytes, prediction_id: str) -> Sealed:
    """recipient_public_key: X25519, 32 raw bytes. Raises ValueError for one that is not."""
    ephemeral = X25519PrivateKey.generate()
    ephemeral_public_key = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient_public_key))
    key = HKDF(SHA256(), length=32, salt=ephemeral_public_key + recipient_public_key, info=INFO).derive(shared)
    nonce = os.urandom(_NONCE_BYTES)
    return Sealed(
        ephemeral_public_key, nonce, ChaCha20Poly1305(key).encrypt(nonce, content, prediction_id.encode("ascii"))
    )
