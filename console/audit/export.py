"""The export of the log as `verifier` reads it, streamed: memory does not grow with the log."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from console.audit import chain, queries
from console.audit.merkle import Frontier
from console.audit.models import Checkpoint, Entry
from console.audit.notes import origin_of
from console.audit.verifier import EXPORT_FORM

CHECKPOINTS_MAX: Final = 1000  # evenly thinned: each costs the verifier a signature, and the last one covers all
_LINES_AT_ONCE: Final = 500


def export(
    key: Ed25519PublicKey,
    *,
    after: Checkpoint | None = None,
    last: int | None = None,
    without: Collection[str] = (),
) -> Iterator[bytes]:
    """The lines of the log as it stands, in chunks.

    after: begin behind this checkpoint instead of at the beginning.  last: end with this entry.
    without: ids of predictions whose payloads are left out; the log verifies all the same.
    """
    last = queries.last_sequence() if last is None else last
    first = 1 if after is None else after.size + 1
    notes = _notes(first, last)
    yield _line(_header(key, first, after))
    chunk: list[bytes] = []
    for row in queries.rows(first, last, without=without):
        chunk.append(_line(_entry(row)))
        if note := notes.get(row.sequence):
            chunk.append(_line({"checkpoint": note}))
        if len(chunk) >= _LINES_AT_ONCE:
            yield b"".join(chunk)
            chunk.clear()
    yield b"".join(chunk)


def _header(key: Ed25519PublicKey, first: int, after: Checkpoint | None) -> dict[str, Any]:
    previous, frontier = chain.GENESIS, Frontier()
    if after is not None:
        previous = bytes(Entry.objects.values_list("entry_hash", flat=True).get(sequence=after.size)).hex()
        frontier = Frontier.from_bytes(after.size, bytes(after.frontier))
    return {
        "amulet_audit": EXPORT_FORM,
        "origin": origin_of(key),
        "first": first,
        "previous": previous,
        "frontier": [root.hex() for root in frontier.roots],
    }


def _notes(first: int, last: int) -> dict[int, str]:
    """Size -> text of the checkpoints between, at most CHECKPOINTS_MAX, the newest always among them."""
    sizes = list(Checkpoint.objects.filter(size__range=(first, last)).order_by("-size").values_list("size", flat=True))
    step = -(-len(sizes) // CHECKPOINTS_MAX) or 1
    wanted = sizes[::step]
    notes: dict[int, str] = {}
    for start in range(0, len(wanted), 500):
        some = Checkpoint.objects.filter(size__in=wanted[start : start + 500])
        notes.update(some.values_list("size", "note"))
    return notes


def _entry(row: queries.Row) -> dict[str, Any]:
    return {
        "sequence": row.sequence,
        "time": chain.time_text(row.recorded_at),
        "type": row.type,
        "actor": row.actor,
        "previous": row.previous_hash.hex(),
        "commitment": row.commitment.hex(),
        "hash": row.entry_hash.hex(),
        "salt": None if row.salt is None else row.salt.hex(),
        "payload": row.text,
        "about": row.about,
    }


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
