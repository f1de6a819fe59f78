"""What tests draw by chance: the same at each run, and something new where `make properties` asks for it.

Two runs of one commit must not differ, or the one that fails says nothing of the commit; and what is drawn once is
looked for once. So the suite draws what it always drew, and whoever wants to know more lets it look elsewhere.
"""

from __future__ import annotations

import os
from random import SystemRandom
from typing import Final

_EXAMPLES: Final = os.environ.get("PROPERTY_EXAMPLES")
NEW: Final = _EXAMPLES is not None
EXAMPLES: Final = int(_EXAMPLES or 100)  # a property is tried with
ORDER: Final = os.environ.get("TEST_ORDER", "")  # that files of tests come in; processes side by side need the same


def seed() -> int:
    """Printed; PROPERTY_SEED replays one that failed."""
    found = int(os.environ.get("PROPERTY_SEED", "0")) or (SystemRandom().randrange(1, 2**31) if NEW else 1)
    print(f"PROPERTY_SEED={found} replays this")
    return found
