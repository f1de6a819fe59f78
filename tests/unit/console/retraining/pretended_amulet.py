"""Stands where `amulet` is another process: `train` writes the tiny run within a second, `package` packs it really.

As a training would, it names files in what it says, reports stages, and puts the fingerprint of its photographs
into the card. argv: the command line of `amulet`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from tests import tiny_archive


def main() -> None:
    verb, source, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    given = dict(pairwise(options))
    out = Path(given["--out"])
    if verb == "package":
        tiny_archive.archive.build(
            source, out, handler=tiny_archive.HANDLER, stub=tiny_archive.STUB, sign_key=Path(given["--sign"])
        )
        return
    photographs = sorted(file for file in source.rglob("*.png") if "ood" not in file.relative_to(source).parts)
    version = f"v{datetime.now(UTC):%Y%m%d}_tiny_1.000"
    if "--suffix" in given:
        version += f"-{given['--suffix']}"
    tiny_archive.write_run(out, name=given["--name"], version=version)
    card = json.loads((out / "model.json").read_text())
    lines = [f"{file.relative_to(source)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in photographs]
    card["data"]["fingerprint"] = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    (out / "model.json").write_text(json.dumps(card))
    sys.stderr.write("Cross-validating\t1\t5\n")
    sys.stdout.write(f"{len(photographs)} photographs, the first is {photographs[0].resolve()}\n")
    sys.stdout.write(f"recipe {given['--recipe']}, seed {given['--seed']}\n")


if __name__ == "__main__":
    main()
