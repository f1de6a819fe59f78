"""The Merkle tree of RFC 6962 over the entries, grown at its right edge.

A log of n entries needs only the roots of its complete subtrees, at most one for each bit
of n. They are enough to go on appending and to compute the root, so neither the signer nor
the verifier ever holds the log. That one leaf is in a signed tree is proved by the few
subtrees beside its way to the root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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


def inclusion_path(before: Frontier, after: Sequence[bytes]) -> list[bytes]:
    """The proof that a leaf is in a tree (RFC 6962, section 2.1.1), leaf to root.

    before: the tree of all leaves in front of it.  after: the hashes of all leaves behind it.
    """
    index, size = before.size, before.size + 1 + len(after)
    left, path = list(before.roots), []
    start = 0
    while size > 1:
        half = 1 << (size - 1).bit_length() - 1
        if index < half:
            first = start + half - before.size - 1
            path.append(_root_of(after[first : first + size - half]))
            size = half
        else:
            path.append(left.pop(0))
            start, index, size = start + half, index - half, size - half
    return path[::-1]


def root_by_path(leaf_hash: bytes, *, index: int, size: int, path: Iterable[bytes]) -> bytes:
    """The root that a proof leads to (RFC 9162, section 2.1.3.2). Raises ValueError when it has not the right length.

    index: place of the leaf, from 0.  size: leaves of the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has none at {index}")
    place, last, root = index, size - 1, leaf_hash
    for other in path:
        if last == 0:
            raise ValueError("the proof is too long")
        if place & 1 or place == last:
            root = hashlib.sha256(b"\1" + other + root).digest()
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            root = hashlib.sha256(b"\1" + root + other).digest()
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ValueError("the proof is too short")
    return root


def _root_of(leaves: Sequence[bytes]) -> bytes:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()
