"""Checkpoints: signed statements "the log had this many entries, and this root over them".

The text form is C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint) in a signed note
(https://c2sp.org/signed-note) with Ed25519:

    amulet/audit/0f115db062b7c0dd
    1234
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — amulet/audit/0f115db062b7c0dd Az3grlgtzPIC…

The first line names the log after its key, so that no two logs share a name. A witness that
speaks this form can add its own signature line; lines of unknown keys are ignored.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protos.blankness import is_blank

NOTE_BYTES_MAX: Final = 64 * 1024
_ED25519: Final = b"\x01"
_DASH: Final = "— "
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteInvalid(ValueError):
    """Not a checkpoint of this log, or not signed by its key, as one sentence."""


class KeyUnreadable(ValueError):
    """A file does not hold the Ed25519 key that it should, as one sentence."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a signed note states."""

    origin: str
    size: int
    root: bytes


def origin_of(key: Ed25519PublicKey) -> str:
    """The name of the log that this key signs for."""
    return f"amulet/audit/{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]}"


def sign_checkpoint(key: Ed25519PrivateKey, *, size: int, root: bytes) -> str:
    """The signed text of a checkpoint."""
    origin = origin_of(key.public_key())
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    return sign_note(key, origin, text)


def read_checkpoint(key: Ed25519PublicKey, note: str) -> Checkpoint:
    """The checkpoint in a signed note. Raises NoteInvalid when it is not one of the log of this key."""
    origin = origin_of(key)
    lines = verified_text(key, origin, note).split("\n")
    if len(lines) < 4 or not all(lines[:-1]):
        raise NoteInvalid("the checkpoint is not of the form origin, size, root")
    if lines[0] != origin:
        raise NoteInvalid(f"the checkpoint is of the log {lines[0]}, not of {origin}")
    if not _DECIMAL.fullmatch(lines[1]):
        raise NoteInvalid("the checkpoint's size is not a number")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError:
        root = b""
    if len(root) != 32:
        raise NoteInvalid("the checkpoint's root is not a hash")
    return Checkpoint(origin=origin, size=int(lines[1]), root=root)


def sign_note(key: Ed25519PrivateKey, name: str, text: str) -> str:
    """The text with a signature line of this key under this name. The text ends with a newline."""
    signature = base64.b64encode(_key_id(name, key.public_key()) + key.sign(text.encode())).decode()
    return f"{text}\n{_DASH}{name} {signature}\n"


def verified_text(key: Ed25519PublicKey, name: str, note: str) -> str:
    """The text of a note that this key signed under this name. Raises NoteInvalid."""
    try:
        whole = len(note.encode()) <= NOTE_BYTES_MAX
    except UnicodeEncodeError:  # half a character, which JSON can say
        whole = False
    if not whole or any(character < " " and character != "\n" for character in note):
        raise NoteInvalid("this is not a signed note")
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise NoteInvalid("this is not a signed note: a blank line and a signature line are missing")
    text += "\n"
    ours = 0
    for line in signatures[:-1].split("\n"):
        words = line.removeprefix(_DASH).split(" ")
        if not line.startswith(_DASH) or len(words) != 2:
            raise NoteInvalid("this is not a signed note: a signature line is malformed")
        signer, signature = words[0], _decoded(words[1])
        if signer != name or signature[:4] != _key_id(name, key):
            continue
        ours += 1
        try:
            key.verify(signature[4:], text.encode())
        except InvalidSignature:
            raise NoteInvalid("the signature is not right for this text") from None
    if not ours:
        raise NoteInvalid("it is not signed by the given key")
    return text


def split_notes(content: str) -> Iterator[str]:
    """The notes of a file in which they stand one after another."""
    lines: list[str] = []
    signed = False
    for line in content.split("\n"):
        if signed and not line.startswith(_DASH):
            yield "\n".join(lines) + "\n"
            lines, signed = [], False
        if not lines and not line:
            continue
        lines.append(line)
        signed = line.startswith(_DASH)
    if lines:
        yield "\n".join(lines) + "\n"


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """The signing key: PEM, or its 32 bytes. Raises KeyUnreadable, OSError."""
    content = path.read_bytes()
    try:
        if len(content) == 32 and not is_blank(content):
            return Ed25519PrivateKey.from_private_bytes(content)
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnreadable(f"{path} is not an Ed25519 private key (PEM, or 32 bytes)")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The key that verifies: PEM. Raises KeyUnreadable, OSError."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnreadable(f"{path} is not an Ed25519 public key (PEM)")
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + key.public_bytes_raw()).digest()[:4]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise NoteInvalid("this is not a signed note: a signature is not base64") from None
