"""Where photographs are kept, if not in the stack's own folder: asked as the console will ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from cli.checks.finding import Finding, right, wrong
from protos.addresses import bucket
from protos.environment import PREFIX

if TYPE_CHECKING:
    from console.vault.storage import ObjectStore

_CHECK: Final = f"{PREFIX}STORAGE_URL"
_KEYS: Final = f"{PREFIX}STORAGE_KEY_FILE"
_AUTHORITIES: Final = f"{PREFIX}STORAGE_CA"
_VAULT: Final = f"{PREFIX}VAULT_KEY_FILE"


def storage(resolved: Mapping[str, str]) -> Iterator[Finding]:
    """Whether photographs could be kept there, and nobody else's are; nothing where what asking needs is not there."""
    text = resolved.get(_CHECK, "")
    if text.startswith("file:"):
        yield from _folder(Path(unquote(urlsplit(text).path)), resolved)
    elif text.startswith("s3:"):
        yield from _bucket(text, resolved)


def _folder(folder: Path, resolved: Mapping[str, str]) -> Iterator[Finding]:
    """Whether it can be written to is looked at with the other folders."""
    from console.vault.folder import Folder

    try:
        if _is_anothers(Folder(folder), resolved):
            yield _of_another(f"the folder {folder}", "name another folder")
    except OSError as error:
        yield wrong(_CHECK, f"{folder} cannot be read: {error.strerror}", f"look at {_CHECK} and at the folder")


def _bucket(text: str, resolved: Mapping[str, str]) -> Iterator[Finding]:
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
        store = Bucket(address, key_file=files.get(_KEYS), ca_file=files.get(_AUTHORITIES))
        store.look()
        anothers = _is_anothers(store, resolved)
    except OSError as error:
        yield wrong(_CHECK, f"{where} cannot be used: {error}", f"look at {_CHECK} and {_KEYS}, and at the server")
        return
    if anothers:
        below = f"{address.prefix}/another" if address.prefix else "another"
        yield _of_another(where, f"name another bucket, or another part of this one, as s3://{address.name}/{below}")
    else:
        yield right(_CHECK, f"{where} answers")


def _is_anothers(store: ObjectStore, resolved: Mapping[str, str]) -> bool:
    """Raises OSError where that cannot be told."""
    from console.vault.cipher import KeyUnreadable, load_master_keys
    from console.vault.ownership import is_anothers

    file = Path(resolved.get(_VAULT, ""))
    try:
        return is_anothers(store, load_master_keys(file) if file.is_file() else None)
    except KeyUnreadable:  # said among the files
        return False


def _of_another(where: str, mend: str) -> Finding:
    return wrong(
        _CHECK,
        f"{where} holds the photographs of another console, which has another vault.key, and each deletes there what "
        "its own database does not name",
        mend,
    )
