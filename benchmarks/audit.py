"""How many entries of the audit log are verified in a second: an export of N entries, its public key, nothing else.

    python -m benchmarks.audit [--json FILE] [--entries N] [--rounds N]

The export is written as `amulet audit export` writes it, with a checkpoint every
thousand entries, and read back from its file line by line, as `amulet audit verify` does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.audit import chain
from console.audit.merkle import Frontier
from console.audit.notes import origin_of, sign_checkpoint
from console.audit.verifier import EXPORT_FORM, verify

WANTED_PER_S: Final = 50_000
_CHECKPOINT_EVERY: Final = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    entries_per_s: float
    entries_per_cpu_s: float
    cpu_s: float
    rss_mib: float  # of the whole process, at its largest so far


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the result there")
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    document = measure(arguments.entries, rounds=arguments.rounds)
    median = document["systems"]["amulet"]["audit_verify"]
    sys.stdout.write(
        f"{arguments.entries:,} entries: {median['entries_per_s']:,.0f} a second, "
        f"{median['entries_per_cpu_s']:,.0f} a second of CPU (wanted: {WANTED_PER_S:,}), "
        f"{median['rss_mib']:.0f} MiB\n"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def measure(entries: int, *, rounds: int) -> dict[str, Any]:
    """Verify the same export `rounds` times; medians, and each round beside them."""
    key = Ed25519PrivateKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "audit.jsonl")
        write_export(file, entries, key)
        kept = [_round(file, entries, key) for _ in range(rounds)]
    median = {name: statistics.median(asdict(each)[name] for each in kept) for name in asdict(kept[0])}
    return {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        "settings": {"entries": entries, "rounds": rounds},
        "systems": {"amulet": {"audit_verify": median}},
        "ratios": {"wanted": median["entries_per_s"] / WANTED_PER_S},
        "rounds": {"amulet": {"audit_verify": [asdict(each) for each in kept]}},
    }


def write_export(file: Path, entries: int, key: Ed25519PrivateKey) -> None:
    """An export whose payloads are as long as those of predictions."""
    frontier, previous = Frontier(), chain.GENESIS
    header = {"amulet_audit": EXPORT_FORM, "origin": origin_of(key.public_key()), "first": 1, "previous": previous}
    with file.open("w", encoding="utf-8") as out:
        out.write(json.dumps({**header, "frontier": []}) + "\n")
        for sequence in range(1, entries + 1):
            salt = sequence.to_bytes(32, "big")
            about = ["prediction", f"018f0000-0000-7000-8000-{sequence:012x}"]
            payload = chain.canonical(
                {
                    "about": about,
                    "class": "somdej",
                    "client": "5f3c1f0e-0000-4000-8000-00000000c11e",
                    "confidence": 0.93,
                    "inputs": [f"{sequence:064x}"],
                    "policy": f"{sequence:064x}",
                    "verdict": "IN_DOMAIN",
                    "version": "v20261123_tf_efficientnet_lite0_0.900",
                }
            )
            entry: dict[str, Any] = {
                "sequence": sequence,
                "time": f"2026-11-23T14:04:30.{sequence % 1_000_000:06d}Z",
                "type": "prediction.made",
                "actor": "gateway",
                "previous": previous,
                "commitment": chain.commitment_of(salt, payload).hex(),
            }
            leaf = chain.entry_hash(**{name.replace("type", "type_"): value for name, value in entry.items()})
            frontier.append(leaf)
            previous = leaf.hex()
            entry |= {"hash": previous, "salt": salt.hex(), "payload": payload, "about": about}
            out.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
            if sequence % _CHECKPOINT_EVERY == 0 or sequence == entries:
                out.write(json.dumps({"checkpoint": sign_checkpoint(key, size=sequence, root=frontier.root())}) + "\n")


def _round(file: Path, entries: int, key: Ed25519PrivateKey) -> Measured:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    with file.open("rb") as lines:
        report = verify(lines, key.public_key())
    seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    if not report.whole or report.entries != entries:
        raise SystemExit(f"the export does not verify: {report.problems[:1]}")
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(entries / seconds, entries / cpu_s, cpu_s, rss_mib)


if __name__ == "__main__":
    main()
