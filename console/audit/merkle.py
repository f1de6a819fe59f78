"""The Merkle tree of RFC 6962 over the entries, grown at its right edge.

A log of n entries needs only the roots of its complete subtrees, at most one for each bit
of n. They are enough to go on appending and to compute the root, so neither the signer nor
the verifier ever holds the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


class Frontier:
    """The right edge of a tree: its size and the roots of its complete subtrees, largest first."""

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        """Raises ValueError when the number of roots does not fit the size."""
        if len(roots) != size.bit_count() or any(len(root) != HASH_BYTES for root in roots):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees")
        self.size = size
        self._roots = list(roots)

    @property
    def roots(self) -> tuple[bytes, ...]:
        return tuple(self._roots)

    def append(self, leaf_hash: bytes) -> None:
        """Add a leaf on the right. Amortised over many leaves: one hash each."""
        roots, bits = self._roots, self.size
        while bits & 1:
            leaf_hash = hashlib.sha256(b"\1" + roots.pop() + leaf_hash).digest()
            bits >>= 1
        roots.append(leaf_hash)
        self.size += 1

    def root(self) -> bytes:
        """The root hash of the tree at its present size (RFC 6962, section 2.1)."""
        if not self._roots:
            return EMPTY_ROOT
        *others, root = self._roots
        for left in reversed(others):
            root = hashlib.sha256(b"\1" + left + root).digest()
        return root

    def to_bytes(self) -> bytes:
        return b"".join(self._roots)

    @classmethod
    def from_bytes(cls, size: int, content: bytes) -> Frontier:
        """Raises ValueError when the content is not the frontier of a tree of that size."""
        return cls(size, [content[start : start + HASH_BYTES] for start in range(0, len(content), HASH_BYTES)])
