"""The vault's cryptography, as pure functions on keys and bytes.

    master key (file) ─HKDF─► look-up key   pseudonym → 32 bytes that find the subject
                      └HKDF─► wrapping key ─AES-256-GCM─► key of each subject, stored wrapped
    subject's key + salt of the object's row ─HKDF─► key of one object ─ChaCha20-Poly1305─► its bytes

A lost row takes the salt with it, a lost subject the key, and either makes the bytes noise.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protos.blankness import BLANK, is_blank

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
_WRAP_FORM: Final = b"\x01"
_OBJECT_FORM: Final = b"\x01"
_PHOTO_INFO: Final = b"amulet photo v1"


class KeyUnreadable(ValueError):
    """A key file does not hold what it should, as one sentence."""


class Unopenable(ValueError):
    """Sealed bytes that this key does not open: changed, cut, or sealed for somebody else."""


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """What the master key is split into, so that no key has two uses."""

    look_up: bytes = field(repr=False)
    wrapping: bytes = field(repr=False)


def load_master_keys(path: Path) -> MasterKeys:
    """Raises KeyUnreadable unless the file holds exactly 32 bytes, and not one over and over; OSError."""
    master = path.read_bytes()
    if len(master) != KEY_BYTES:
        raise KeyUnreadable(f"{path} must hold exactly {KEY_BYTES} random bytes, and holds {len(master)}")
    if is_blank(master):
        raise KeyUnreadable(f"{path}, {BLANK}")
    return MasterKeys(
        look_up=_derived(master, info=b"amulet vault look-up v1"),
        wrapping=_derived(master, info=b"amulet vault wrap v1"),
    )


def find_by(keys: MasterKeys, pseudonym: str) -> bytes:
    """The keyed hash (HMAC-SHA256) under which a subject is found, 32 bytes."""
    hasher = HMAC(keys.look_up, SHA256())
    hasher.update(pseudonym.encode())
    return hasher.finalize()


def find_prediction_by(keys: MasterKeys, prediction_id: UUID) -> bytes:
    """The keyed hash under which an erased person's prediction is known, 32 bytes. No pseudonym has the same."""
    return find_by(keys, f"\0prediction\0{prediction_id}")  # a pseudonym is printable


def new_subject_key(keys: MasterKeys, subject_id: UUID) -> bytes:
    """A fresh key for a subject, wrapped for storage and bound to the subject's id."""
    nonce = os.urandom(NONCE_BYTES)
    return _WRAP_FORM + nonce + AESGCM(keys.wrapping).encrypt(nonce, os.urandom(KEY_BYTES), subject_id.bytes)


def unwrap(keys: MasterKeys, subject_id: UUID, wrapped: bytes) -> bytes:
    """The subject's key. Raises Unopenable."""
    form, nonce, sealed = wrapped[:1], wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    if form != _WRAP_FORM:
        raise Unopenable("the subject's key is wrapped in an unknown form")
    try:
        return AESGCM(keys.wrapping).decrypt(nonce, sealed, subject_id.bytes)
    except (InvalidTag, ValueError):
        raise Unopenable("the subject's key does not open under this master key") from None


def seal_object(subject_key: bytes, *, object_id: UUID, salt: bytes, content: bytes) -> bytes:
    """The bytes to store for an object."""
    nonce = os.urandom(NONCE_BYTES)
    cipher = ChaCha20Poly1305(_object_key(subject_key, salt))
    return _OBJECT_FORM + nonce + cipher.encrypt(nonce, content, object_id.bytes)


def open_object(subject_key: bytes, *, object_id: UUID, salt: bytes, sealed: bytes) -> bytes:
    """What was stored. Raises Unopenable when a bit of it, or its place, has changed."""
    form, nonce, rest = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    if form != _OBJECT_FORM:
        raise Unopenable("the object is stored in an unknown form")
    try:
        return ChaCha20Poly1305(_object_key(subject_key, salt)).decrypt(nonce, rest, object_id.bytes)
    except (InvalidTag, ValueError):
        raise Unopenable("the object does not open under its subject's key") from None


def load_photo_key(path: Path) -> X25519PrivateKey:
    """The key that opens what gateways sealed: 32 raw bytes. Raises KeyUnreadable, OSError."""
    content = path.read_bytes()
    if len(content) != KEY_BYTES:
        raise KeyUnreadable(f"{path} must hold exactly {KEY_BYTES} bytes, and holds {len(content)}")
    if is_blank(content):
        raise KeyUnreadable(f"{path}, {BLANK}")
    return X25519PrivateKey.from_private_bytes(content)


def open_photo(
    key: X25519PrivateKey, *, ephemeral_public_key: bytes, nonce: bytes, ciphertext: bytes, prediction_id: str
) -> bytes:
    """The photograph that a gateway sealed for this prediction. Raises Unopenable."""
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(ephemeral_public_key))
        salt = ephemeral_public_key + key.public_key().public_bytes_raw()
        cipher = ChaCha20Poly1305(_derived(shared, info=_PHOTO_INFO, salt=salt))
        return cipher.decrypt(nonce, ciphertext, prediction_id.encode("ascii"))
    except (InvalidTag, ValueError):
        raise Unopenable("the photograph was not sealed for this console and this prediction") from None


def _object_key(subject_key: bytes, salt: bytes) -> bytes:
    return _derived(subject_key, info=b"amulet object v1", salt=salt)


def _derived(secret: bytes, *, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
