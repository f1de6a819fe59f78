"""A receipt: one entry of the log, and the proof that a signed checkpoint covers it.

No Django, no database, no network. A receipt is a JSON object:

    {"amulet_receipt": 1, "size": 1234, "path": ["…", …], "checkpoint": "amulet/audit/…\\n1234\\n…",
     "entry": {"sequence": 7, "time": "…", "type": "…", "actor": "…", "previous": "…",
               "commitment": "…", "salt": "…", "payload": "{…}"}}

The payload opens the entry's commitment, the entry's hash is a leaf, `path` leads from it to
the root that the checkpoint signs. Whoever holds the log's public key, and a checkpoint that
they kept themselves, needs nothing else of ours to believe what the payload says. Nothing may stand beside these
words: no hash covers it, and whoever reads the file would take it for proved.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from console.audit.chain import canonical, entry_hash
from console.audit.merkle import root_by_path
from console.audit.notes import NoteInvalid, read_checkpoint

RECEIPT_FORM: Final = 1
CERTIFICATE_FORM: Final = 1
_TEXTS: Final = ("time", "type", "actor", "previous", "commitment", "salt", "payload")  # of an entry
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


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
        require_form(document["amulet_receipt"], RECEIPT_FORM, "receipt")
        entry = document["entry"]
        require_only(document, ("amulet_receipt", "size", "path", "checkpoint", "entry"))
        require_only(entry, ("sequence", *_TEXTS))
        _check_types(document, entry)
        payload, salt = entry["payload"], bytes.fromhex(entry["salt"])
        if hashlib.sha256(salt + payload.encode()).hexdigest() != entry["commitment"]:
            raise ReceiptInvalid("what the entry says is not what it was written with")
        leaf = entry_hash(
            sequence=entry["sequence"],
            time=entry["time"],
            type_=entry["type"],
            actor=entry["actor"],
            previous=entry["previous"],
            commitment=entry["commitment"],
        )
        path = [bytes.fromhex(step) for step in document["path"]]
        checkpoint = read_checkpoint(key, document["checkpoint"])
        if document["size"] != checkpoint.size:
            raise ReceiptInvalid(f"it says {document['size']} entries, and its checkpoint covers {checkpoint.size}")
        root = root_by_path(leaf, index=entry["sequence"] - 1, size=checkpoint.size, path=path)
        told = json.loads(payload)
        if not isinstance(told, dict):
            raise ReceiptInvalid("what the entry says is no object")
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
    return Proved(entry["sequence"], entry["time"], entry["type"], told, checkpoint.size)


def require_form(stated: Any, known: int, name: str) -> None:
    """Raises ReceiptInvalid for another form. To Python true and 1.0 are 1, to other readers they are not."""
    if type(stated) is not int or stated != known:
        raise ReceiptInvalid(f"the {name} has form {stated!r}, and {known} is understood")


def require_only(document: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises ReceiptInvalid where a document says more than is proved."""
    if added := sorted(document.keys() - set(known)):
        raise ReceiptInvalid(f"it says something that nothing proves: {', '.join(map(ascii, added))}")


def _check_types(document: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    """That each value is written in the one way: a number that is a text, or in other digits, reads as another here and
    there. Raises ValueError, KeyError, TypeError.
    """
    for number in (document["size"], entry["sequence"]):
        if type(number) is not int:
            raise ValueError(f"{number!r} is no number of entries")
    for name in _TEXTS:
        if not isinstance(entry[name], str):
            raise ValueError(f"its {name} is no text")
    for word in (*document["path"], entry["previous"], entry["commitment"], entry["salt"]):
        if not isinstance(word, str) or not _HASH.fullmatch(word):
            raise ValueError(f"{word!r} is no hash of 64 digits")
    if not isinstance(document["checkpoint"], str):
        raise ValueError("its checkpoint is no text")
