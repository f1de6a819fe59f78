"""Addresses among the settings, taken apart in words that repeat no part of them: one may hold a password.

Python's own complaints do: a password with a stroke in it ends the host early, and what is
left of it is "no port".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

# What each kind of setting may begin with.
DATABASES: Final = ("sqlite", "postgresql")
BROKERS: Final = ("filesystem", "redis", "rediss", "amqp", "amqps")
CACHES: Final = ("memory", "redis", "rediss")

PORT_MAX: Final = 65_535

_FORM: Final = "wanted an address of the form SCHEME://USER:PASSWORD@HOST:PORT/NAME"
_PORT: Final = "the port is no number up to 65535; a / in a password is written %2F"
_STROKE: Final = "an @ stands behind the first /; a / in a password is written %2F, an @ in a name %40"
_BRACKETS: Final = "wanted HOST:PORT with an IPv6 address in brackets, as in [::1]:7443"
_BUCKET_FORM: Final = (
    "wanted s3://BUCKET/PREFIX, with ?endpoint=https://HOST:PORT and &region=REGION behind it where needed"
)
# As S3 allows them everywhere: "Bucket naming rules", and the characters that need no care in "Naming objects".
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()-]+(?:/[A-Za-z0-9!_.*'()-]+)*")


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A part of a bucket of S3, or of a server that speaks as it does. Who may enter is said elsewhere."""

    name: str
    prefix: str  # of every key, without a stroke at its ends; "": the whole bucket
    endpoint: str  # http:// or https:// and HOST:PORT; "": Amazon's own
    region: str  # "": as the machine's own settings say


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


def host_and_port(value: str, *, port_min: int = 0) -> tuple[str, int]:
    """The parts of HOST:PORT to listen on, IPv6 without its brackets. Raises ValueError with a sentence.

    Without brackets the end of an IPv6 address is no port to gRPC, and one to whoever looks for the last colon.
    """
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not port_min <= int(port) <= PORT_MAX:
        raise ValueError(f"wanted HOST:PORT, with a port of {port_min} to {PORT_MAX}")
    bare = host.removeprefix("[").removesuffix("]")
    if (":" in bare) != (host == f"[{bare}]"):
        raise ValueError(_BRACKETS)
    return bare, int(port)


def bucket(value: str) -> BucketAddress:
    """What s3://BUCKET/PREFIX?endpoint=…&region=… names. Raises ValueError with a sentence."""
    url = address(value, ("s3",))
    prefix, further = url.path.strip("/"), dict(parse_qsl(url.query, keep_blank_values=True))
    if not _BUCKET.fullmatch(url.netloc) or (prefix and not _PREFIX.fullmatch(prefix)) or url.fragment:
        raise ValueError(_BUCKET_FORM)
    if further.keys() - {"endpoint", "region"} or not all(further.values()):
        raise ValueError(_BUCKET_FORM)
    endpoint = further.get("endpoint", "").rstrip("/")
    if endpoint:
        server = address(endpoint, ("http", "https"))
        if not server.hostname or server.username is not None or server.path or server.query or server.fragment:
            raise ValueError(_BUCKET_FORM)
    return BucketAddress(url.netloc, prefix, endpoint, further.get("region", ""))
