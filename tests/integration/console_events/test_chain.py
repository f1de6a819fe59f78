"""The audit chain under writers that come at once, die, or own the database."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.console_events.processes import ROOT, Crew

SEED = 20261123


def exported(crew: Crew, folder: Path) -> Path:
    """The whole log as a file, by the console's own exporter."""
    file = folder / "audit.jsonl"
    crew.shell(
        "from console.audit.export import export\nfrom console.audit.queries import public_key\n"
        f"open({str(file)!r}, 'wb').writelines(export(public_key()))\nanswer = None"
    )
    return file


def verified(crew: Crew, file: Path) -> tuple[int, dict[str, object]]:
    """What `amulet audit verify` says, against the checkpoints in their folder."""
    folder = crew.layout.checkpoints
    command = [sys.executable, "-m", "cli.main", "audit", "verify", str(file), "--json"]
    options = ["--key", str(folder / "audit_public.pem"), "--checkpoints", str(folder)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def entries(crew: Crew) -> int:
    return crew.count("audit_entry")


def test_writers_at_the_same_moment_leave_one_chain_without_gaps(crew: Crew, tmp_path: Path) -> None:
    before = entries(crew)
    writers = [("append", {"seed": SEED + n, "transactions": 60, "undone_ratio": 0.3}) for n in range(5)]
    stayed = sum(told["stayed"] for told in crew.run(writers))
    assert entries(crew) == before + stayed
    crew.manage("checkpoint")
    status, report = verified(crew, exported(crew, tmp_path))
    assert (status, report["problems"]) == (0, [])
    assert report["last"] == report["signed_through"] == before + stayed


def test_checkpoints_signed_meanwhile_all_fit(crew: Crew, tmp_path: Path) -> None:
    checkpoints = crew.count("audit_checkpoint") + 3
    writer = {"transactions": 50, "undone_ratio": 0.0, "checkpoints": checkpoints}
    crew.run([("sign", {"times": 3}), *(("append", {**writer, "seed": n}) for n in range(2))])
    crew.manage("checkpoint")
    status, report = verified(crew, exported(crew, tmp_path))
    assert (status, report["problems"]) == (0, [])
    assert int(str(report["checkpoints"])) >= checkpoints > 2


def test_writers_that_are_killed_leave_whole_transactions(crew: Crew, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    for seed in range(3):
        writer = {"transactions": 10_000, "undone_ratio": 0.1}
        grown = entries(crew) + chance.randint(1, 60)
        writers = crew.begin([("append", {**writer, "seed": seed * 10 + n}) for n in range(2)])
        deadline_s = time.monotonic() + 60
        while entries(crew) < grown:
            assert time.monotonic() < deadline_s, "nobody writes"
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
        assert crew.results() == [None, None]
    crew.manage("checkpoint")
    status, report = verified(crew, exported(crew, tmp_path))
    assert (status, report["problems"]) == (0, [])


def test_an_entry_outside_a_transaction_is_refused(crew: Crew) -> None:
    (told,) = crew.run([("append_outside", {})])
    assert "belongs into the transaction" in told["refused"]


def test_the_database_refuses_to_rewrite_whoever_asks(crew: Crew) -> None:
    crew.run([("append", {"seed": 3, "transactions": 1, "undone_ratio": 0.0})])
    crew.manage("checkpoint")
    columns = {"audit_entry": "actor", "audit_payload": "text", "audit_checkpoint": "note"}
    statements = [f"UPDATE {table} SET {column} = 'x'" for table, column in columns.items()]
    statements += ["DELETE FROM audit_entry", "DELETE FROM audit_checkpoint", "DELETE FROM audit_head"]
    if "AMULET_DATABASE_URL" in crew.environment:
        statements += [f"TRUNCATE {table} CASCADE" for table in (*columns, "audit_head")]
    said = crew.shell(
        "from django.db import connection, DatabaseError\n"
        "answer = []\n"
        f"for statement in {statements!r}:\n"
        "    try:\n"
        "        connection.cursor().execute(statement)\n"
        "        answer.append('done')\n"
        "    except DatabaseError as error:\n"
        "        answer.append(str(error))"
    )
    for statement, words in zip(statements, said, strict=True):
        assert "only ever added to" in words, statement


def test_an_owner_who_rewrites_the_past_is_found_by_signer_and_verifier(crew: Crew, tmp_path: Path) -> None:
    """Last in this module: the log is spoilt for good."""
    crew.run([("append", {"seed": 1, "transactions": 20, "undone_ratio": 0.0})])
    crew.manage("checkpoint")
    last = entries(crew)
    victim = random.Random(SEED).randint(2, last - 1)
    crew.shell(
        "from django.db import connection, transaction\n"
        "from console.audit import chain, guards\n"
        "from console.audit.models import Entry, Head, Payload\n"
        "with transaction.atomic():\n"
        "    guards.remove(connection)\n"
        "    previous = None\n"
        f"    for entry in Entry.objects.filter(sequence__gte={victim}).order_by('sequence'):\n"
        "        if previous is None:\n"
        "            entry.actor = 'somebody-else'\n"
        "        else:\n"
        "            entry.previous_hash = previous\n"
        "        entry.entry_hash = previous = chain.entry_hash(sequence=entry.sequence,\n"
        "            time=chain.time_text(entry.recorded_at), type_=entry.type, actor=entry.actor,\n"
        "            previous=bytes(entry.previous_hash).hex(), commitment=bytes(entry.commitment).hex())\n"
        "        entry.save()\n"
        "    Head.objects.update(entry_hash=previous)\n"
        "    guards.install(connection)\n"
        "answer = None"
    )
    status, report = verified(crew, exported(crew, tmp_path))
    assert status == 1
    (problem, *_) = report["problems"]  # type: ignore[misc]  # a list, which JSON does not say
    assert problem["first"] <= victim <= problem["last"]
    crew.run([("append", {"seed": 2, "transactions": 1, "undone_ratio": 0.0})])
    assert "does not continue the log" in crew.attempt("checkpoint")["error"]
