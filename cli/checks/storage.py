"""The bucket that the settings name instead of a folder: asked as the console will ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cli.checks.finding import Finding, right, wrong
from protos.addresses import bucket
from protos.environment import PREFIX

_CHECK: Final = f"{PREFIX}STORAGE_URL"


def storage(resolved: Mapping[str, str]) -> Iterator[Finding]:
    """Whether photographs could be kept there; nothing where they lie in a folder or what asking needs is not there."""
    text = resolved.get(_CHECK, "")
    if not text.startswith("s3:"):
        return
    try:
        address = bucket(text)
    except ValueError:
        return
    from console.vault.bucket import Bucket

    where = f"the bucket {address.name}" + (f" at {address.endpoint}" if address.endpoint else "")
    files = {name: Path(resolved[name]) for name in (_KEYS, _AUTHORITIES) if resolved.get(name)}
    if not all(file.is_file() for file in files.values()):  # said among the files
        return
    try:
        Bucket(address, key_file=files.get(_KEYS), ca_file=files.get(_AUTHORITIES)).look()
    except OSError as error:
        yield wrong(_CHECK, f"{where} cannot be used: {error}", f"look at {_CHECK} and {_KEYS}, and at the server")
    else:
        yield right(_CHECK, f"{where} answers")


_KEYS: Final = f"{PREFIX}STORAGE_KEY_FILE"
_AUTHORITIES: Final = f"{PREFIX}STORAGE_CA"
