"""Four numbers of an embedding, for drift: what a photograph shows without saying what it shows.

Directions of signs (Achlioptas 2003), which anybody can work out: signs are the bits of
SHA-256("amulet projection D B"), lowest bit of the first byte first, of direction D and block B = 0, 1, ... of 256.
A version is compared only with its own photographs, so that one set of directions does for every network. The
handler has the same in its own file, since it imports nothing of ours; a test compares the two.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.reference import EMBEDDING

DIRECTIONS: Final = len(EMBEDDING)
_BLOCK: Final = 256  # signs a digest


def projected(embedding: NDArray[np.floating]) -> NDArray[np.float16]:
    """embedding [n, size] -> [n, DIRECTIONS], as events carry them. Of an embedding of length 1 about -3 to 3."""
    return (embedding.astype(np.float32) @ directions(embedding.shape[1])).astype(np.float16)


@cache
def directions(size: int) -> NDArray[np.float32]:
    """[size, DIRECTIONS] of -1 and 1."""
    blocks = range(-(-size // _BLOCK))
    digests = [
        b"".join(hashlib.sha256(f"amulet projection {direction} {block}".encode()).digest() for block in blocks)
        for direction in range(DIRECTIONS)
    ]
    bits = np.stack(
        [np.unpackbits(np.frombuffer(each, np.uint8), bitorder="little")[:size] for each in digests], axis=1
    )
    return bits.astype(np.float32) * 2 - 1
