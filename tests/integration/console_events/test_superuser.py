"""What a superuser does to the audit log in PostgreSQL is found from an export, the public key and kept checkpoints.

Each manipulation is done with every trigger off, at places by chance, exported by the console and read by the
verifier that needs no console. What it finds first names the place.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from console.audit.commands import PUBLIC_KEY_NAME, notes_in
from console.audit.notes import load_public_key
from console.audit.verifier import Report, verify
from tests.integration.console.running import postgresql
from tests.integration.console_events import tampering as by
from tests.integration.console_events.processes import Crew

SEED: Final = 20261128
ROUNDS: Final = 20 if os.environ.get("FAULT_LONG") == "1" else 2
Range = tuple[int, int]  # of entries, both included


@dataclass(frozen=True, slots=True)
class Log:
    """A console's log that is signed through its last entry, and who owns the database."""

    crew: Crew
    folder: Path
    owner: by.Owner
    sizes: tuple[int, ...]  # that were signed, the last entry's number at the end

    @property
    def last(self) -> int:
        return self.sizes[-1]

    def around(self, place: int) -> Range:
        """From the entry behind the last root before `place` to that of the first root that covers it."""
        return max((size for size in self.sizes if size < place), default=0) + 1, self.next(place)

    def next(self, place: int) -> int:
        return min(size for size in self.sizes if size >= place)

    def checked(self) -> Report:
        """What an auditor finds who has this export, the public key and the checkpoints that were published."""
        file, published = self.folder / "audit.jsonl", self.crew.layout.checkpoints
        self.crew.shell(
            "from console.audit.export import export\nfrom console.audit.queries import public_key\n"
            f"open({str(file)!r}, 'wb').writelines(export(public_key()))\nanswer = None"
        )
        with file.open("rb") as lines:
            return verify(lines, load_public_key(published / PUBLIC_KEY_NAME), list(notes_in(published)))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    folder = tmp_path_factory.mktemp("superuser")
    with postgresql() as variables, Crew.on(folder / "state", variables) as crew:
        for seed in range(4):
            crew.run([("append", {"seed": seed, "transactions": 6, "undone_ratio": 0.0})])
            crew.manage("checkpoint")
        sizes = tuple(size for (size,) in crew.query("SELECT size FROM audit_checkpoint ORDER BY size"))
        with by.Owner.of(crew.environment["AMULET_DATABASE_URL"]) as owner:
            yield Log(crew, folder, owner, sizes)


@pytest.fixture(autouse=True)
def put_back(log: Log) -> Iterator[None]:
    yield
    log.owner.restore()


# Manipulation -> what is done at a place that chance picks, and the entries that the first problem names.
_Case = Callable[[Log, random.Random], tuple[by.Act, Range]]


def inside(log: Log, chance: random.Random) -> int:
    """A place that is neither the first entry nor one that a root ends with, so that a link behind it says more."""
    return chance.choice([place for place in range(2, log.last) if place not in log.sizes])


def anywhere(log: Log, chance: random.Random) -> int:
    return chance.randint(1, log.last)


def _edited(column: str) -> _Case:
    def case(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
        place = anywhere(log, chance)
        return by.edit(column, place), (place, place)

    return case


def _at(act: Callable[[int], by.Act]) -> _Case:
    """Of what concerns one entry and is found at it."""

    def case(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
        place = anywhere(log, chance)
        return act(place), (place, place)

    return case


def _deleted(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    place = chance.randint(1, log.last)
    return by.delete(place), (place, place)


def _inserted(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    place = inside(log, chance)
    return by.insert(place), (place + 1, place + 1)


def _swapped(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    one, other = sorted(chance.sample(range(1, log.last + 1), 2))
    return by.swap(one, other), (one, one)


def _cut(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    left = chance.randint(1, log.last - 1)
    return by.cut(left), (left + 1, log.last)


def _old_checkpoint(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    older, size = sorted(chance.sample(log.sizes, 2))
    return by.say_old_checkpoint(size, older), (older, older)


def _rehashed(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    place = anywhere(log, chance)
    return by.linked_again(by.edit("actor", place), place), log.around(place)


def _deleted_and_rehashed(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    place = inside(log, chance)
    first, last = log.around(place)
    # Behind the last root but one nothing is left that the last one fits to: the log is shorter than was signed.
    return by.linked_again(by.close_up(place), place), (last, last) if last == log.last else (first, last)


def _inserted_and_rehashed(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    place = inside(log, chance)
    return by.linked_again(by.insert(place), place + 1), log.around(place + 1)


def _payloads_swapped(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    one, other = sorted(chance.sample(range(1, log.last + 1), 2))
    return by.swap_payloads(one, other), (one, one)


def _filed_under_each_other(log: Log, chance: random.Random) -> tuple[by.Act, Range]:
    one, other = sorted(chance.sample(range(1, log.last + 1), 2))
    return by.swap_what_they_are_filed_under(one, other), (one, one)


CASES: Final[dict[str, _Case]] = {
    **{
        f"the {column} of an entry": _edited(column)
        for column in ("recorded_at", "type", "actor", "previous_hash", "commitment", "entry_hash")
    },
    "an entry deleted": _deleted,
    "an entry inserted": _inserted,
    "two entries swapped": _swapped,
    "the tail cut": _cut,
    "an old checkpoint in place of a newer": _old_checkpoint,
    "everything hashed again": _rehashed,
    "an entry deleted and everything hashed again": _deleted_and_rehashed,
    "an entry inserted and everything hashed again": _inserted_and_rehashed,
    "another payload": _at(lambda place: by.say('{"about":["test","another"]}', place)),
    "another salt": _at(by.salt),
    "no salt": _at(by.no_salt),
    "two payloads swapped": _payloads_swapped,
    "another type that it is filed under": _at(lambda place: by.file_under("subject_type", "another", place)),
    "another id that it is filed under": _at(lambda place: by.file_under("subject_id", "another", place)),
    "nothing that it is filed under": _at(lambda place: by.file_under("subject_id", "", place)),
    "what two are filed under swapped": _filed_under_each_other,
    "a payload erased and another put there": _at(by.erase_and_forge),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_superuser_does_is_found_and_its_place_is_named(log: Log, name: str) -> None:
    for round_ in range(ROUNDS):
        seed = f"{SEED} {name} {round_}"
        act, place = CASES[name](log, random.Random(seed))
        log.owner.do(act)
        report = log.checked()
        assert not report.whole, seed
        assert (report.problems[0].first, report.problems[0].last) == place, f"{seed}: {report.problems}"
        log.owner.restore()
    assert log.checked().problems == ()  # what was found was what was done


def test_an_untouched_log_is_whole_and_an_erased_payload_leaves_it_so(log: Log) -> None:
    before = log.checked()
    assert (before.problems, before.last, before.signed_through) == ((), log.last, log.last)
    chance = random.Random(SEED)
    for place in chance.sample(range(1, log.last + 1), ROUNDS):
        log.owner.do(by.erase(place))
    after = log.checked()
    assert (after.problems, after.erased, before.erased) == ((), ROUNDS, 0)


def test_two_histories_under_one_key_are_a_fork_of_the_size_that_both_signed(log: Log) -> None:
    """Whoever has the key, too, signs the rewritten log: anybody who kept a checkpoint of the first one finds it."""
    place = random.Random(SEED).randint(1, log.last)
    log.owner.do(by.linked_again(by.edit("actor", place), place))
    log.owner.do(lambda cursor: cursor.execute("DELETE FROM audit_checkpoint"))
    log.crew.shell(
        "from pathlib import Path\nfrom django.conf import settings\nfrom django.utils.timezone import now\n"
        "from console.audit.signer import Signer\n"
        f"Signer(settings.AMULET.audit_key_file, Path({str(log.folder / 'fork')!r})).sign(now())\nanswer = None"
    )
    report = log.checked()
    assert not report.whole
    forks = [problem for problem in report.problems if "fork" in problem.what]
    assert [(fork.first, fork.last) for fork in forks] == [(log.last, log.last)]


def test_a_role_that_owns_the_tables_is_refused_what_a_superuser_is_not(log: Log) -> None:
    """As the application's role does: it made the tables, and is no superuser."""
    role = "amulet_test_application"
    statements = [
        *(f"UPDATE {table} SET {column} = {column}" for table, column in _COLUMNS.items()),
        *(f"DELETE FROM {table}" for table in by.TABLES if table != "audit_payload"),  # which is how one is erased
        *(f"TRUNCATE {table} CASCADE" for table in by.TABLES),
    ]
    with closing(psycopg2.connect(log.crew.environment["AMULET_DATABASE_URL"])) as database:
        cursor = database.cursor()  # one transaction, never committed: neither the role nor what it owns stays
        cursor.execute(f"CREATE ROLE {role} NOSUPERUSER")
        cursor.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        for table in by.TABLES:
            cursor.execute(f"ALTER TABLE {table} OWNER TO {role}")
        cursor.execute("SAVEPOINT begun")
        for statement in statements:
            cursor.execute(f"SET LOCAL ROLE {role}")
            with pytest.raises(psycopg2.Error, match="the audit log is only ever added to"):
                cursor.execute(statement)
            cursor.execute("ROLLBACK TO SAVEPOINT begun")
        cursor.execute(f"SET LOCAL ROLE {role}")
        with pytest.raises(psycopg2.Error, match="permission denied"):
            cursor.execute("SET session_replication_role = replica")
        cursor.execute("ROLLBACK TO SAVEPOINT begun")
        cursor.execute("SET LOCAL session_replication_role = replica")  # what was refused was refused by the triggers
        for statement in statements:
            cursor.execute(statement)
        database.rollback()


_COLUMNS: Final = {"audit_entry": "actor", "audit_payload": "text", "audit_checkpoint": "note"}
