"""Whether the vault's key file holds the master keys that the database's rows need: without one no process starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from cli import supervision
from cli.checks.database import Unasked, read
from cli.checks.finding import Finding, right, wrong
from cli.layout import Layout
from protos.environment import PREFIX

_HEADS: Final = "SELECT substr(wrapped_key, 1, 4), count(*) FROM vault_subject WHERE length(wrapped_key) > 0 GROUP BY 1"
# Of those that name no key (a form, a nonce, a key with its tag: 61 bytes) the newest: a vault had one before its first
# rotation.
_UNNAMED: Final = (
    "SELECT id, wrapped_key FROM vault_subject WHERE length(wrapped_key) = 61 ORDER BY created_at DESC LIMIT 1"
)
_UNSEEN: Final = "cannot be looked at: its key file or the database cannot be read, or has no tables yet"
_BACK: Final = "take it from the vault.key that was kept with this database's backup: `amulet vault add --from FILE`"


def vault(layout: Layout, outer: Mapping[str, str]) -> Finding:
    """By the ids that rows name; of those from before a vault's first rotation, which name none, by opening one. Reads
    the table of people.
    """
    from console.vault.cipher import NAMED, UNNAMED, KeyUnreadable, load_master_keys, opens

    resolved = supervision.environment(layout, outer)
    file, url = Path(resolved[f"{PREFIX}VAULT_KEY_FILE"]), resolved.get(f"{PREFIX}DATABASE_URL", "")
    try:
        rows = read(layout, url, _HEADS)
        keys = load_master_keys(file)
        unnamed = read(layout, url, _UNNAMED)
    except FileNotFoundError:
        return _without(file, sum(people for _head, people in rows))
    except (Unasked, KeyUnreadable, OSError):  # said by the checks of files, folder, database and server
        return right("vault", _UNSEEN)
    heads = [(bytes(head), people) for head, people in rows]
    named = {head[1:].hex(): people for head, people in heads if head[:1] == NAMED}
    missing = [(id_, people) for id_, people in sorted(named.items()) if id_ not in keys.ids]
    if unnamed and not opens(keys, UUID(str(unnamed[0][0])), bytes(unnamed[0][1])):
        if not keys.rotated and not missing:
            return wrong(
                "vault",
                f"{file} is not the key under which this database knows its people: nothing starts",
                f"name the one it was made with in {PREFIX}VAULT_KEY_FILE, or put it back from a backup",
            )
        missing.append(("from before the first rotation", sum(n for head, n in heads if head[:1] == UNNAMED)))
    if missing:
        lacking = " and ".join(f"{id_}, under which {people:,} people's keys are" for id_, people in missing)
        return wrong("vault", f"{file} lacks the master key {lacking} wrapped in this database: nothing starts", _BACK)
    if not keys.rotated:
        return right("vault", "one master key, never rotated")
    left = sum(people for _head, people in heads) - named.get(keys.ids[0], 0)
    others = f"; {left:,} people's keys are wrapped under another, `amulet vault rewrap` brings them over"
    return right("vault", f"the master key {keys.ids[0]} wraps{others if left else ''}")


def _without(file: Path, people: int) -> Finding:
    """A start would make another one, with which it knows nobody of these."""
    if not people:
        return right("vault", "will be made")
    return wrong(
        "vault",
        f"{file} is not there, and this database knows {people:,} people by one: nothing starts",
        f"put it back from a backup, or name it in {PREFIX}VAULT_KEY_FILE",
    )
