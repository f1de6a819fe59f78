"""A receipt: one entry of the log, and the proof that a signed checkpoint covers it.

No Django, no database, no network. A receipt is a JSON object:

    {"amulet_receipt": 1, "size": 1234, "path": ["…", …], "checkpoint": "amulet/audit/…\\n1234\\n…",
     "entry": {"sequence": 7, "time": "…", "type": "…", "actor": "…", "previous": "…",
               "commitment": "…", "salt": "…", "payload": "{…}"}}

The payload opens the entry's commitment, the entry's hash is a leaf, `path` leads from it to
the root that the checkpoint signs. Whoever holds the log's public key, and a checkpoint that
they kept themselves, needs nothing else of ours to believe what the payload says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from console.audit.chain import canonical, entry_hash
from console.audit.merkle import root_by_path
from console.audit.notes import NoteInvalid, read_checkpoint

RECEIPT_FORM: Final = 1


class ReceiptInvalid(ValueError):
    """Not a receipt of this log, or one that does not prove what it says; one sentence."""


def statement_digest(statement: Any) -> str:
    """What an entry commits to when it vouches for a longer statement: SHA-256 of its canonical JSON, in hex."""
    try:
        return hashlib.sha256(canonical(statement).encode()).hexdigest()
    except (TypeError, ValueError) as error:
        raise ReceiptInvalid(f"the statement is not plain JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Proved:
    """What a receipt proves."""

    sequence: int
    time: str
    type: str
    payload: Mapping[str, Any]
    signed_entries: int  # how many entries the checkpoint covers


def check(document: Any, key: Ed25519PublicKey, *, kept: Sequence[str] = ()) -> Proved:
    """What a receipt proves under the log's public key. Raises ReceiptInvalid.

    kept: checkpoints from elsewhere; one of the same size must state the same root.
    """
    if not isinstance(document, dict):
        raise ReceiptInvalid("a receipt is a JSON object, as the page of its entry gives it")
    try:
        if document["amulet_receipt"] != RECEIPT_FORM:
            raise ReceiptInvalid(f"the receipt has form {document['amulet_receipt']}, and {RECEIPT_FORM} is understood")
        entry = document["entry"]
        payload, salt = str(entry["payload"]), bytes.fromhex(entry["salt"])
        if hashlib.sha256(salt + payload.encode()).hexdigest() != entry["commitment"]:
            raise ReceiptInvalid("what the entry says is not what it was written with")
        leaf = entry_hash(
            sequence=int(entry["sequence"]),
            time=str(entry["time"]),
            type_=str(entry["type"]),
            actor=str(entry["actor"]),
            previous=str(entry["previous"]),
            commitment=str(entry["commitment"]),
        )
        path = [bytes.fromhex(step) for step in document["path"]]
        checkpoint = read_checkpoint(key, str(document["checkpoint"]))
        root = root_by_path(leaf, index=int(entry["sequence"]) - 1, size=checkpoint.size, path=path)
        told = json.loads(payload)
    except NoteInvalid as error:
        raise ReceiptInvalid(f"its checkpoint does not count: {error}") from None
    except ReceiptInvalid:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        raise ReceiptInvalid(f"it is not of the form of a receipt: {error}") from None
    if root != checkpoint.root:
        raise ReceiptInvalid(f"entry {entry['sequence']} is not in the log that the checkpoint was signed over")
    for note in kept:
        try:
            other = read_checkpoint(key, note)
        except NoteInvalid as error:
            raise ReceiptInvalid(f"a checkpoint that you kept does not count: {error}") from None
        if other.size == checkpoint.size and other.root != checkpoint.root:
            raise ReceiptInvalid(f"a fork: your checkpoint of {other.size} entries states another root")
    return Proved(int(entry["sequence"]), str(entry["time"]), str(entry["type"]), told, checkpoint.size)
