"""What can be shown as a token: gateway and console ask it of the same file, each at its start."""

from __future__ import annotations

from typing import Final

WANTED: Final = "wanted one line of printable ASCII, as `openssl rand -hex 32` prints"


def is_token(content: bytes) -> bool:
    """Whether this can stand behind `Bearer` in a header and come out of it as it went in."""
    return content.isascii() and content.decode("ascii").isprintable() and content == content.strip() != b""
