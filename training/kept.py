"""Files of results that are found again whole or not at all: each begins with the digest of the rest.

They spare time and hold nothing that cannot be made again, so that whatever is wrong with one only costs that time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from model_store import leftovers

_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def read(file: Path) -> bytes | None:
    """None where it is not there or not whole."""
    try:
        found = file.read_bytes()
    except OSError:
        return None
    content = found[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == found[:_DIGEST_BYTES] else None


def write(file: Path, content: bytes) -> None:
    """Its folder is made, for this user alone. Raises OSError, and then the file is as it was."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=leftovers.NEW, dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(hashlib.sha256(content).digest() + content)
        Path(scratch).replace(file)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
