"""Whether something that must not be told stands somewhere: in each form in which programs write what they hold."""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from google.protobuf import text_encoding

BYTES_MIN: Final = 8  # of a canary: a shorter one may stand in any file by chance
_GZIP: Final = b"\x1f\x8b"


def forms(canary: bytes) -> frozenset[bytes]:
    """The canary as it is, and as base64 (wherever it begins in what was encoded), hexadecimal digits, part of an
    address, a string of JSON, of Python and of protobuf's text say it."""
    assert len(canary) >= BYTES_MIN, "too short to be sure of"
    found = {canary, canary.hex().encode(), canary.hex().upper().encode(), quote(canary, safe="").encode()}
    found |= {quote_plus(canary).encode(), repr(canary)[2:-1].encode()}
    found.add(str(text_encoding.CEscape(canary, as_utf8=False)).encode())
    with suppress(UnicodeDecodeError):
        found.add(json.dumps(canary.decode())[1:-1].encode())
    for before in range(3):
        whole = canary[: len(canary) - (before + len(canary)) % 3]
        for encode in (b64encode, urlsafe_b64encode):
            # The first characters hold bits of what stands before it, too.
            found.add(encode(bytes(before) + whole)[(0, 2, 3)[before] :])
    return frozenset(found)


def found_in(places: Mapping[str, bytes], canaries: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Which canary stands in which place, both by name."""
    wanted = {name: forms(canary) for name, canary in canaries.items()}
    return {
        (place, name)
        for place, content in places.items()
        for text in _unpacked(content)
        for name, each in wanted.items()
        if any(form in text for form in each)
    }


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file that is there, by its path from the folder; one that goes meanwhile is left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with suppress(FileNotFoundError):
                yield path.relative_to(folder).as_posix(), path.read_bytes()


def _unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    if content.startswith(_GZIP):
        with suppress(EOFError, gzip.BadGzipFile, zlib.error):
            yield gzip.decompress(content)
