"""A weighted choice that stays: rendezvous hashing with weights.

Each route draws a number from a hash of (who, route) and the best draw wins. A caller
keeps its version as long as that version keeps its weight, and when a weight changes only
the share that has to move does. (Thaler & Ravishankar 1998; the weighted form with
-w / ln(u): Schindelhauer & Schomaker 2005.)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from gateway.snapshot import Route


def choose(routes: Sequence[Route], sticky_key: str) -> Route:
    """The route of this key. Raises ValueError without routes."""
    return max(routes, key=lambda route: _draw(sticky_key, route))


def _draw(sticky_key: str, route: Route) -> float:
    content = f"{len(sticky_key)}:{sticky_key}:{route.version.version}".encode()
    return -route.weight_ratio / math.log(uniform_of(hashlib.blake2b(content, digest_size=8).digest()))


def uniform_of(digest: bytes) -> float:
    """A number of 8 bytes, strictly between 0 and 1."""
    # A float has room for 52 bits and a half; with more the largest numbers would be rounded to 1.
    return ((int.from_bytes(digest) >> 12) + 0.5) / 2**52
