"""What a file of a secret holds when its content was lost: one byte over and over.

A disk that lost its power gives back zeros of the right length, and so does a file that was made to be filled later.
Everything that is signed or closed under such a key is open to everybody, and nothing would say so.
"""

from __future__ import annotations

from typing import Final

BLANK: Final = "which holds one byte over and over, and no secret"


def is_blank(content: bytes) -> bool:
    """Whether it is one byte over and over, or nothing."""
    return len(set(content)) <= 1
