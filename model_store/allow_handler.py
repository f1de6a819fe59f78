"""Put the handler as it stands in this working tree on the list of accepted ones.

    python -m model_store.allow_handler [--only] [--note TEXT]

adds `handlers/amulet_handler.py` and `graph_pb2.py` beside the older versions or, with
--only, in their place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from model_store.contents import STUB
from model_store.handler_list import LIST_FILE
from model_store.manifest import HANDLER

_ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = {
    HANDLER: _ROOT / "handlers" / HANDLER,
    STUB: _ROOT / "protos" / "amulet" / "graph" / "v1" / STUB,
}


def current() -> Mapping[str, str]:
    """SHA-256 of the code as it stands in this working tree."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in SOURCES.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m model_store.allow_handler", description=__doc__)
    parser.add_argument("--only", action="store_true", help="drop all older versions from the list")
    parser.add_argument("--note", default="reviewed", help="why this version is accepted")
    options = parser.parse_args(arguments)
    path = Path(__file__).with_name(LIST_FILE)
    known: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name, digest in current().items():
        note = known.get(name, {}).get(digest, options.note)
        known[name] = {**({} if options.only else known.get(name, {})), digest: note}
    path.write_text(json.dumps(known, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
