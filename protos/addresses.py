"""Addresses among the settings, taken apart in words that repeat no part of them: one may hold a password.

Python's own complaints do: a password with a stroke in it ends the host early, and what is
left of it is "no port".
"""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

# What each kind of setting may begin with.
DATABASES: Final = ("sqlite", "postgresql")
BROKERS: Final = ("filesystem", "redis", "rediss", "amqp", "amqps")
CACHES: Final = ("memory", "redis", "rediss")

_FORM: Final = "wanted an address of the form SCHEME://USER:PASSWORD@HOST:PORT/NAME"
_PORT: Final = "the port is no number up to 65535; a / in a password is written %2F"
_STROKE: Final = "an @ stands behind the first /; a / in a password is written %2F, an @ in a name %40"


def address(value: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of an address that begins with one of these, its port among them. Raises ValueError with a sentence."""
    try:
        url = urlsplit(value)
    except ValueError:
        raise ValueError(_FORM) from None
    if url.scheme not in schemes:
        raise ValueError(f"wanted an address that begins with {', '.join(f'{name}://' for name in schemes)}")
    try:
        _ = url.port
    except ValueError:
        raise ValueError(_PORT) from None
    if url.netloc and "@" in url.path and "@" not in url.netloc:  # half of a password stands where host and port do
        raise ValueError(_STROKE)
    return url
