"""The vault's cryptography, as pure functions on keys and bytes.

    master key (file) ─HKDF─► look-up key   pseudonym → 32 bytes that find the subject
                      └HKDF─► wrapping key ─AES-256-GCM─► key of each subject, stored wrapped
    subject's key + salt of the object's row ─HKDF─► key of one object ─ChaCha20-Poly1305─► its bytes

A lost row takes the salt with it, a lost subject the key, and either makes the bytes noise.

The file of a vault whose master key was never rotated holds 32 random bytes. Otherwise it is text, a key a line
(decision 0273). The first of the last two kinds wraps, the others only open:

    amulet vault keys 1
    look-up 64 hexadecimal digits
    wrap 64 hexadecimal digits
    open 64 hexadecimal digits

A subject's key is stored as 0x01, nonce, sealed by a vault of the first kind, and as 0x02, id of the wrapping key
(3 bytes), nonce, sealed by one of the second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
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
KEY_ID_BYTES: Final = 3
UNNAMED: Final = b"\x01"  # form of what is wrapped under the key of a vault that was never rotated
NAMED: Final = b"\x02"  # form of what says under which key it is wrapped
_FILE_BYTES_MAX: Final = 4096
_FIRST_LINE: Final = "amulet vault keys 1"
_LINE: Final = re.compile(r"(look-up|wrap|open) ([0-9a-f]{64})")
_OBJECT_FORM: Final = b"\x01"
_PHOTO_INFO: Final = b"amulet photo v1"


class KeyUnreadable(ValueError):
    """A key file does not hold what it should, as one sentence."""


class Unopenable(ValueError):
    """Sealed bytes that this key does not open: changed, cut, or sealed for somebody else."""


class KeyMissing(Unopenable):
    """Wrapped under a key that this key file does not hold: nothing is wrong with the bytes."""


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """What the master key is split into, so that no key has two uses."""

    look_up: bytes = field(repr=False)
    wrapping: bytes = field(repr=False)
    opening: tuple[bytes, ...] = field(repr=False, default=())  # wrapping keys of before or to come: they open alone
    rotated: bool = False  # the file names its keys, and so does what is wrapped

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the wrapping keys, the one that wraps first. They tell nothing of the keys."""
        return tuple(key_id(key) for key in (self.wrapping, *self.opening))


def key_id(wrapping: bytes) -> str:
    """What a wrapping key is called: 6 hexadecimal digits."""
    return sha256(b"amulet vault key id v1" + wrapping).digest()[:KEY_ID_BYTES].hex()


def load_master_keys(path: Path) -> MasterKeys:
    """Raises KeyUnreadable unless the file holds exactly 32 bytes, and not one over and over, or keys line by line;
    OSError.
    """
    return master_keys(path.read_bytes(), path)


def master_keys(content: bytes, path: Path) -> MasterKeys:
    """Those of a key file of this content. Raises KeyUnreadable."""
    if content.startswith(_FIRST_LINE.encode()):
        return _from_lines(content, path)
    if len(content) != KEY_BYTES:
        raise KeyUnreadable(f"{path} must hold exactly {KEY_BYTES} random bytes, and holds {len(content)}")
    if is_blank(content):
        raise KeyUnreadable(f"{path}, {BLANK}")
    return MasterKeys(
        look_up=_derived(content, info=b"amulet vault look-up v1"),
        wrapping=_derived(content, info=b"amulet vault wrap v1"),
    )


def as_file(keys: MasterKeys) -> bytes:
    """The content of a key file that names its keys."""
    lines = [("look-up", keys.look_up), ("wrap", keys.wrapping), *(("open", key) for key in keys.opening)]
    return "".join([f"{_FIRST_LINE}\n", *(f"{use} {key.hex()}\n" for use, key in lines)]).encode()


def _from_lines(content: bytes, path: Path) -> MasterKeys:
    try:
        first, *lines = content[:_FILE_BYTES_MAX].decode("ascii").removesuffix("\n").split("\n")
        found = [match.groups() for line in lines if (match := _LINE.fullmatch(line)) is not None]
        if first != _FIRST_LINE or len(found) != len(lines) or len(content) > _FILE_BYTES_MAX:
            raise ValueError
        (look_up, *more), (wrapping, *others) = (_of_use(found, "look-up"), _of_use(found, "wrap"))
        keys = (look_up, wrapping, *_of_use(found, "open"))
        ids = [key_id(key) for key in keys[1:]]
        if more or others or len(set(ids)) != len(ids) or any(is_blank(key) for key in keys):
            raise ValueError
    except ValueError:
        raise KeyUnreadable(
            f"{path} must hold `{_FIRST_LINE}`, one line `look-up`, one `wrap` and perhaps some `open`, each with "
            "another key: put it back as `amulet vault` wrote it"
        ) from None
    return MasterKeys(look_up=look_up, wrapping=wrapping, opening=keys[2:], rotated=True)


def _of_use(found: Sequence[Sequence[str]], use: str) -> list[bytes]:
    return [bytes.fromhex(key) for of, key in found if of == use]


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
    return wrap(keys, subject_id, os.urandom(KEY_BYTES))


def wrap(keys: MasterKeys, subject_id: UUID, subject_key: bytes) -> bytes:
    """A subject's key under the master key that wraps now."""
    nonce, head = os.urandom(NONCE_BYTES), wrapped_head(keys)
    bound = subject_id.bytes if head == UNNAMED else head + subject_id.bytes
    return head + nonce + AESGCM(keys.wrapping).encrypt(nonce, subject_key, bound)


def wrapped_head(keys: MasterKeys) -> bytes:
    """How all begins that is wrapped under the master key that wraps now."""
    return NAMED + bytes.fromhex(key_id(keys.wrapping)) if keys.rotated else UNNAMED


def wrapped_under(wrapped: bytes) -> str:
    """The id of the key under which it is wrapped; "" where it does not say: the vault's first key."""
    return wrapped[1 : 1 + KEY_ID_BYTES].hex() if wrapped[:1] == NAMED else ""


def unwrap(keys: MasterKeys, subject_id: UUID, wrapped: bytes) -> bytes:
    """The subject's key. Raises Unopenable; KeyMissing where another key file has the key."""
    if wrapped[:1] == NAMED:
        head, named = wrapped[: 1 + KEY_ID_BYTES], wrapped_under(wrapped)
        candidates = [key for key in (keys.wrapping, *keys.opening) if key_id(key) == named]
        if not candidates:
            raise KeyMissing(f"the subject's key is wrapped under the master key {named}, which this process has not")
        bound = head + subject_id.bytes
    elif wrapped[:1] == UNNAMED:
        head, bound, candidates = UNNAMED, subject_id.bytes, [keys.wrapping, *keys.opening]
    else:
        raise Unopenable("the subject's key is wrapped in an unknown form")
    nonce, sealed = wrapped[len(head) : len(head) + NONCE_BYTES], wrapped[len(head) + NONCE_BYTES :]
    for key in candidates:
        try:
            return AESGCM(key).decrypt(nonce, sealed, bound)
        except (InvalidTag, ValueError):
            continue
    raise Unopenable("the subject's key does not open under this master key")


def opens(keys: MasterKeys, subject_id: UUID, wrapped: bytes) -> bool:
    """Whether the subject's key can be unwrapped."""
    try:
        unwrap(keys, subject_id, wrapped)
    except Unopenable:
        return False
    return True


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
