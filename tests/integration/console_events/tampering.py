"""What an owner of the database can do to the audit log, and the log as it was before.

with Owner.of(url) as owner:
    owner.do(edit(17))
    …
    owner.restore()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

from console.audit import chain

TABLES: Final = ("audit_entry", "audit_payload", "audit_checkpoint", "audit_head")
Act = Callable[[Any], None]  # is given a cursor
_FAR: Final = 1_000_000  # a number that no entry here has


class Owner:
    """A superuser whose statements fire no trigger."""

    def __init__(self, database: Any) -> None:
        self._database = database
        with database, database.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            for table in TABLES:
                cursor.execute(f"CREATE TABLE before_{table} AS TABLE {table}")

    @classmethod
    @contextmanager
    def of(cls, url: str) -> Iterator[Owner]:
        """Keep the log of this database as it is now; put it back at the end."""
        with closing(psycopg2.connect(url)) as database:
            owner = cls(database)
            try:
                yield owner
            finally:
                owner.restore()
                with database, database.cursor() as cursor:
                    cursor.execute(f"DROP TABLE {', '.join(f'before_{table}' for table in TABLES)}")

    def do(self, act: Act) -> None:
        with self._database, self._database.cursor() as cursor:
            act(cursor)

    def restore(self) -> None:
        with self._database, self._database.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"DELETE FROM {table}")
                cursor.execute(f"INSERT INTO {table} SELECT * FROM before_{table}")


# What spoils the chain where it stands.


def edit(column: str, place: int) -> Act:
    """Change one field of an entry: an owner may set it to anything, and this is the next thing."""
    text = f"{column} = {column} || 'x'"
    to = {
        "recorded_at": "recorded_at = recorded_at + interval '1 microsecond'",
        "type": text,
        "actor": text,
    }.get(column, f"{column} = set_byte({column}, 5, 255 - get_byte({column}, 5))")
    return lambda cursor: cursor.execute(f"UPDATE audit_entry SET {to} WHERE sequence = %s", [place])


def delete(place: int) -> Act:
    def act(cursor: Any) -> None:
        cursor.execute("DELETE FROM audit_entry WHERE sequence = %s", [place])
        cursor.execute("DELETE FROM audit_payload WHERE entry_id = %s", [place])

    return act


def insert(place: int) -> Act:
    """Put a copy of an entry behind it, and give all later ones the next number."""

    def act(cursor: Any) -> None:
        _shift(cursor, place, 1)
        cursor.execute(
            "INSERT INTO audit_entry SELECT sequence + 1, recorded_at, type, actor, previous_hash, commitment, "
            "entry_hash FROM audit_entry WHERE sequence = %s",
            [place],
        )

    return act


def swap(one: int, other: int) -> Act:
    def act(cursor: Any) -> None:
        _swap(cursor, "audit_entry", "sequence", one, other)
        _swap(cursor, "audit_payload", "entry_id", one, other)

    return act


def cut(left: int) -> Act:
    """Cut everything behind an entry, the signed checkpoints among it: an old state of the database is the same."""

    def act(cursor: Any) -> None:
        cursor.execute("DELETE FROM audit_entry WHERE sequence > %s", [left])
        cursor.execute("DELETE FROM audit_payload WHERE entry_id > %s", [left])
        cursor.execute("DELETE FROM audit_checkpoint WHERE size > %s", [left])
        cursor.execute(
            "UPDATE audit_head SET sequence = %s, entry_hash = "
            "(SELECT entry_hash FROM audit_entry WHERE sequence = %s)",
            [left, left],
        )

    return act


def say_old_checkpoint(size: int, older: int) -> Act:
    """Let a signed checkpoint say what an older one says."""
    return lambda cursor: cursor.execute(
        "UPDATE audit_checkpoint SET note = (SELECT note FROM audit_checkpoint WHERE size = %s) WHERE size = %s",
        [older, size],
    )


# What makes the hashes fit again afterwards.


def linked_again(act: Act, place: int) -> Act:
    """Compute every link and hash from `place` on, as an owner can; the roots that were signed are as they were."""

    def then(cursor: Any) -> None:
        act(cursor)
        cursor.execute(
            "SELECT sequence, recorded_at, type, actor, previous_hash, commitment, entry_hash FROM audit_entry "
            "WHERE sequence >= %s ORDER BY sequence",
            [place - 1],
        )
        rows = cursor.fetchall()
        previous = bytes(rows[0][6]) if place > 1 else bytes.fromhex(chain.GENESIS)
        for row in rows[1:] if place > 1 else rows:
            previous = _link(cursor, row, previous)
        cursor.execute("UPDATE audit_head SET sequence = (SELECT max(sequence) FROM audit_entry), entry_hash = %s",
                       [previous])  # fmt: skip

    return then


def close_up(place: int) -> Act:
    """Take an entry out and give all later ones the number before."""

    def act(cursor: Any) -> None:
        delete(place)(cursor)
        _shift(cursor, place, -1)

    return act


def _link(cursor: Any, row: Sequence[Any], previous: bytes) -> bytes:
    sequence, recorded_at, type_, actor, _previous, commitment, _hash = row
    entry_hash = chain.entry_hash(
        sequence=sequence,
        time=chain.time_text(recorded_at),
        type_=type_,
        actor=actor,
        previous=previous.hex(),
        commitment=bytes(commitment).hex(),
    )
    cursor.execute(
        "UPDATE audit_entry SET previous_hash = %s, entry_hash = %s WHERE sequence = %s",
        [previous, entry_hash, sequence],
    )
    return entry_hash


# What touches the payloads alone, which no link of the chain holds.


def say(text: str, place: int) -> Act:
    return lambda cursor: cursor.execute("UPDATE audit_payload SET text = %s WHERE entry_id = %s", [text, place])


def salt(place: int) -> Act:
    to = "salt = set_byte(salt, 31, 255 - get_byte(salt, 31))"
    return lambda cursor: cursor.execute(f"UPDATE audit_payload SET {to} WHERE entry_id = %s", [place])


def no_salt(place: int) -> Act:
    return lambda cursor: cursor.execute("UPDATE audit_payload SET salt = '' WHERE entry_id = %s", [place])


def swap_payloads(one: int, other: int) -> Act:
    return lambda cursor: _swap(cursor, "audit_payload", "entry_id", one, other)


def file_under(column: str, to: str, place: int) -> Act:
    """Let an entry be found by another type or id than it was written about."""
    return lambda cursor: cursor.execute(f"UPDATE audit_payload SET {column} = %s WHERE entry_id = %s", [to, place])


def swap_what_they_are_filed_under(one: int, other: int) -> Act:
    def act(cursor: Any) -> None:
        for column in ("subject_type", "subject_id"):
            cursor.execute(
                f"UPDATE audit_payload AS p SET {column} = o.{column} FROM audit_payload AS o "
                "WHERE (p.entry_id, o.entry_id) IN ((%s, %s), (%s, %s))",
                [one, other, other, one],
            )

    return act


def erase(place: int) -> Act:
    return lambda cursor: cursor.execute("DELETE FROM audit_payload WHERE entry_id = %s", [place])


def erase_and_forge(place: int) -> Act:
    """Erase what an entry says, and give it something else to say."""

    def act(cursor: Any) -> None:
        cursor.execute("DELETE FROM audit_payload WHERE entry_id = %s RETURNING subject_type, subject_id", [place])
        subject_type, subject_id = cursor.fetchone()
        text = chain.canonical({"about": [subject_type, subject_id], "forged": True})
        cursor.execute("INSERT INTO audit_payload (entry_id, salt, text, subject_type, subject_id) "
                       "VALUES (%s, %s, %s, %s, %s)", [place, bytes(32), text, subject_type, subject_id])  # fmt: skip

    return act


def _swap(cursor: Any, table: str, key: str, one: int, other: int) -> None:
    for before, after in ((one, _FAR), (other, one), (_FAR, other)):
        cursor.execute(f"UPDATE {table} SET {key} = %s WHERE {key} = %s", [after, before])


def _shift(cursor: Any, place: int, by: int) -> None:
    """Move the numbers of what comes behind `place`; two steps, since a primary key is looked at row by row."""
    for table, key in (("audit_entry", "sequence"), ("audit_payload", "entry_id")):
        cursor.execute(f"UPDATE {table} SET {key} = {key} + %s WHERE {key} > %s", [_FAR, place])
        cursor.execute(f"UPDATE {table} SET {key} = {key} - %s WHERE {key} > %s", [_FAR - by, _FAR])
