"""Logs made in memory, written as an export writes them: what the verifier's tests tamper with."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.audit import chain
from console.audit.merkle import Frontier
from console.audit.notes import origin_of, sign_checkpoint

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@dataclass
class Log:
    """Entries as an export shows them, and the notes that were signed on the way, by size."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)

    def lines(self) -> list[bytes]:
        """The export: each note after the last entry that it covers."""
        header = {
            "amulet_audit": 1,
            "origin": origin_of(KEY.public_key()),
            "first": 1,
            "previous": chain.GENESIS,
            "frontier": [],
        }
        lines = [header]
        for entry in self.entries:
            lines.append(entry)
            if note := self.notes.get(entry["sequence"]):
                lines.append({"checkpoint": note})
        return [json.dumps(line).encode() for line in lines]

    def copy(self) -> Log:
        return Log([dict(entry) for entry in self.entries], dict(self.notes))


def make_log(length: int, *, signed_at: Collection[int], tag: str = "", key: Ed25519PrivateKey = KEY) -> Log:
    """`length` entries, with a checkpoint at each size of `signed_at`."""
    log, frontier = Log(), Frontier()
    for sequence in range(1, length + 1):
        about = ["prediction", f"p{sequence}{tag}"]
        payload = chain.canonical({"about": about, "confidence": 0.9})
        salt = sequence.to_bytes(32, "big")
        entry: dict[str, Any] = {
            "sequence": sequence,
            "time": f"2026-11-23T14:04:30.{sequence:06d}Z",
            "type": "prediction.made",
            "actor": "gateway:1",
            "commitment": chain.commitment_of(salt, payload).hex(),
            "salt": salt.hex(),
            "payload": payload,
            "about": about,
        }
        log.entries.append(entry)
        link(log, sequence)
        frontier.append(bytes.fromhex(entry["hash"]))
        if sequence in signed_at:
            log.notes[sequence] = sign_checkpoint(key, size=sequence, root=frontier.root())
    return log


def link(log: Log, first: int) -> None:
    """Compute links and hashes from entry `first` on, as whoever owns the database could."""
    for index in range(first - 1, len(log.entries)):
        entry = log.entries[index]
        entry["sequence"] = index + 1
        entry["previous"] = log.entries[index - 1]["hash"] if index else chain.GENESIS
        entry["hash"] = chain.entry_hash(
            sequence=entry["sequence"],
            time=entry["time"],
            type_=entry["type"],
            actor=entry["actor"],
            previous=entry["previous"],
            commitment=entry["commitment"],
        ).hex()
