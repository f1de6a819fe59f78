"""The files and folders that the settings name: there, open to whoever starts, and holding what a process takes."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cli import supervision
from cli.checks.finding import Finding, right, wrong
from cli.layout import Layout
from console.site.database_file import is_read_only
from protos.blankness import BLANK, is_blank
from protos.environment import PREFIX

_RAW_KEY_BYTES: Final = 32
_JOURNAL_FREE_MIB_MIN: Final = 256  # the gateway's default


def files(layout: Layout, outer: Mapping[str, str]) -> Iterator[Finding]:
    """What a process would end over, or wait for without end; one finding that nothing is. Changes nothing.

    layout: as it would be started. What is the stack's own and is not there yet will be made.
    """
    resolved = supervision.environment(layout, outer)
    own = layout.environment()
    found = [
        *_secrets(resolved, own),
        *_named(resolved, Layout(layout.state, layout.ports).environment()),
        *_folders(resolved),
        *_model_store(Path(resolved[f"{PREFIX}MODEL_STORE"])),
        *_room(resolved),
    ]
    yield from found
    if not found:
        yield right("files", "what the settings name is there, or will be made")


def loose(layout: Layout, outer: Mapping[str, str]) -> Iterator[Finding]:
    """Secrets that a setting names elsewhere and that anybody on this machine can read; the stack's own are looked at
    with its folder. For the doctor alone: a start goes on, as on a mount that knows no owners.
    """
    resolved = supervision.environment(layout, outer)
    for name in _HOLDS.keys() - _PUBLIC:
        variable = f"{PREFIX}{name}"
        path = Path(resolved.get(variable, ""))
        if path.is_file() and layout.secrets not in path.parents and path.stat().st_mode & stat.S_IROTH:
            mend = f"`chmod o-rwx {path}`; whoever could read it may have copied it"
            yield wrong("files", f"{variable} names {path}, which can be read by others", mend)


def _secrets(resolved: Mapping[str, str], own: Mapping[str, str]) -> Iterator[Finding]:
    for name, complaint in _HOLDS.items():
        variable = f"{PREFIX}{name}"
        text = resolved.get(variable, "")
        if not text or (text == own.get(variable) and not Path(text).exists()):
            continue
        mend = "name the file that you keep, or put it back from a backup"
        if text != own.get(variable):
            instead = " for the stack's own" if variable in own else ""
            mend = f"name the file that you keep, or unset {variable}{instead}"
        try:
            said = complaint(Path(text).read_bytes())
        except OSError as error:
            said = f"which cannot be read ({error.strerror})"
        if said:
            yield wrong("files", f"{variable} names {text}, {said}", mend)


def _named(resolved: Mapping[str, str], own: Mapping[str, str]) -> Iterator[Finding]:
    """What is first looked for when it is needed: a push, a training or a page then fails over it.

    own: where they are if nobody chooses another place, and may be made later.
    """
    for name, is_one, wanted in _THERE:
        variable = f"{PREFIX}{name}"
        text = resolved.get(variable, "")
        if text and text != own.get(variable) and not is_one(Path(text)):
            yield wrong("files", f"{variable} names {text}, which is no {wanted}", f"name one, or unset {variable}")


def _folders(resolved: Mapping[str, str]) -> Iterator[Finding]:
    """A folder, or the nearest one above it in which it would be made, that cannot be written to."""
    wanted = {f"{PREFIX}{name}": Path(resolved.get(f"{PREFIX}{name}", "")) for name in _FOLDERS}
    wanted |= {f"{PREFIX}{name}": Path(resolved.get(f"{PREFIX}{name}", "")).parent for name in _IN_FOLDERS}
    storage = urlsplit(resolved.get(f"{PREFIX}STORAGE_URL", ""))
    if storage.scheme == "file":  # whether a bucket answers is looked at with the other servers
        wanted[f"{PREFIX}STORAGE_URL"] = Path(unquote(storage.path))
    for variable, folder in wanted.items():
        if not resolved.get(variable):
            continue
        there = next(path for path in (folder, *folder.parents) if path.exists())
        mend = f"make it a folder of user {os.getuid()}, or name another in {variable}"
        if not there.is_dir():
            yield wrong("files", f"{variable} names {folder}, and {there} is no folder", mend)
        elif is_read_only(there):
            mend = f"mount it writable again (the kernel's log says why it is not), or name another in {variable}"
            yield wrong("files", f"{variable} names {folder}, which lies on a disk that is mounted read-only", mend)
        elif not os.access(there, os.R_OK | os.W_OK | os.X_OK):
            yield wrong("files", f"{variable} names {folder}, and {there} cannot be written to", mend)


def _model_store(folder: Path) -> Iterator[Finding]:
    if folder.is_dir() and folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield wrong(
            "files",
            f"others may write to the model store {folder}, from which TorchServe then takes nothing",
            f"`chmod go-w {folder}`; look first at what lies in it",
        )


def _room(resolved: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the gateway would refuse every prediction for want of room on its journal's disk."""
    folder = Path(resolved[f"{PREFIX}JOURNAL_DIR"])
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_mib = shutil.disk_usage(there).free / 2**20
    least = int(resolved.get(f"{PREFIX}JOURNAL_FREE_MIB_MIN") or _JOURNAL_FREE_MIB_MIN)
    if free_mib < least:
        yield wrong(
            "files",
            f"{free_mib:.0f} MiB are free for the journal in {folder}, and the gateway answers from {least} MiB on",
            f"make room, name another disk's folder in {PREFIX}JOURNAL_DIR, or lower {PREFIX}JOURNAL_FREE_MIB_MIN",
        )


def _something(content: bytes) -> str:
    return "" if content.strip() else "which is empty"


def _secret(content: bytes) -> str:
    return _something(content) or (BLANK if is_blank(content.strip()) else "")


def _raw_key(content: bytes) -> str:
    if len(content) != _RAW_KEY_BYTES:
        return f"which must hold {_RAW_KEY_BYTES} bytes, and holds {len(content)}"
    return BLANK if is_blank(content) else ""


def _vault_key(content: bytes) -> str:
    if not content.startswith(b"amulet"):
        return _raw_key(content)
    from console.vault.cipher import KeyUnreadable, master_keys

    try:
        master_keys(content, Path())
    except KeyUnreadable:
        return "which does not hold its keys line by line, as `amulet vault` wrote them"
    return ""


def _private_key(content: bytes) -> str:
    if len(content) == _RAW_KEY_BYTES:
        return BLANK if is_blank(content) else ""
    try:
        load_pem_private_key(content, None)
    except (ValueError, TypeError):
        return "which holds no private key"
    return ""


# What each holds: a sentence about a content that no process takes, empty for a good one.
_HOLDS: Final[Mapping[str, Callable[[bytes], str]]] = MappingProxyType(
    {
        "CONTROL_TOKEN_FILE": _secret,
        "KEY_SECRET_FILE": _secret,
        "INPUT_HASH_SECRET_FILE": _secret,
        "SECRET_KEY_FILE": _secret,
        "VAULT_KEY_FILE": _vault_key,
        "PHOTO_SEAL_KEY_FILE": _raw_key,
        "AUDIT_KEY_FILE": _private_key,
        "WEBHOOK_CA": _something,
        "STORAGE_KEY_FILE": _something,
        "STORAGE_CA": _something,
    }
)
_PUBLIC: Final = frozenset({"WEBHOOK_CA", "STORAGE_CA"})
_THERE: Final[tuple[tuple[str, Callable[[Path], bool], str], ...]] = (
    ("TRUSTED_KEYS", Path.is_dir, "folder"),
    ("TLS_CA", Path.is_file, "file"),
    ("TRAINING_COMMAND", lambda path: path.is_file() and os.access(path, os.X_OK), "program"),
)
_FOLDERS: Final = ("MODEL_STORE", "JOURNAL_DIR", "STAGING_DIR", "CHECKPOINT_DIR")
_IN_FOLDERS: Final = ("ERASURE_LEDGER", "TRAINING_WANTED_FILE")
