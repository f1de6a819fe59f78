"""`amulet-client`, and `python -m amulet_client`."""

from __future__ import annotations

import os
import sys


def main() -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines about what we say in one; read when it is imported
    try:
        from amulet_client.command import main as run
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{error.name} is missing: pip install 'amulet-client[cli]'\n")
        return 2
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
