"""A backup of a running stack, as the operators' page prints it, is brought back beside the stack and proves itself.

The lines are the page's own. With the first two the other way round the same backup signs nothing any more.
`make fault-long` runs it: it starts three stacks, which takes minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from cli.layout import Layout
from model_store import signing
from protos.amulet.v1 import prediction_pb2 as pb
from tests import tiny_archive
from tests.fault.load import Load, Outcome
from tests.fault.results import keep
from tests.fault.truth import check_every_answer_is_audited_once
from tests.pages import ROOT, blocks
from tests.stack import Stack, until

pytestmark = [
    pytest.mark.fault,
    pytest.mark.stack,
    pytest.mark.skipif("FAULT_LONG" not in os.environ, reason="three stacks: FAULT_LONG=1 runs it"),
]
WAIT_S: Final = 60.0
PERSON: Final = "shop-7/somebody"
REWRITTEN: Final = "the audit log was rewritten"


def printed() -> list[str]:
    """The lines of the page for a stack that runs: checkpoints, database, files."""
    (block,) = [each for each in blocks(ROOT / "docs/operators/upkeep.md", "sh") if "VACUUM INTO" in each.text]
    lines = block.text.splitlines()
    assert len(lines) == 3
    return lines


def ok(outcome: Outcome) -> bool:
    return outcome.ok


@dataclass(frozen=True, slots=True)
class Stopped:
    """A stack that was stopped after two backups of it were taken under load, and somebody was erased."""

    stack: Stack
    right: Path  # a folder with a backup in the order of the page
    wrong: Path  # with the database first
    answered_before: list[str]  # what clients held when the first one was begun
    answered: list[str]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("backup")
    stack = Stack.start(folder / ".amulet")
    try:
        return _backed_up(stack, folder)
    finally:
        stack.stop()


def _backed_up(stack: Stack, folder: Path) -> Stopped:
    signing.generate_key(folder / "release.key")
    (folder / "release.pem").write_bytes(signing.public_pem(folder / "release.key"))
    stack.trust(folder / "release.pem")
    tiny_archive.write_archive(folder / "run", folder / "tiny.mar", key=folder / "release.key")
    stack.serve(folder / "tiny.mar")
    for role in ("auditor", "privacy-officer"):  # in the backup, too
        stack.token(role)
    stack.predict(tiny_archive.photo_of("red"), subject=pb.Subject(pseudonym=PERSON))
    until(lambda: known(stack, PERSON))
    checkpoints, database, files = printed()
    right, wrong = folder / "right", folder / "wrong"
    with Load(stack) as load:
        assert load.wait_for(ok, count=20, within_s=WAIT_S)
        before = load.ok_ids()
        typed(stack, load, right, (checkpoints, database, files))
        typed(stack, load, wrong, (database,))
        # Else both were copied between two checkpoints, and the order made no difference.
        until(lambda: signed(stack.layout) > entries(wrong / "backup.sqlite3"))
        typed(stack, load, wrong, (checkpoints, files))
    erased(stack, PERSON)
    return Stopped(stack, right, wrong, before, load.ok_ids())


def typed(stack: Stack, load: Load, folder: Path, lines: Sequence[str]) -> None:
    """Type these lines beside the state folder while callers go on."""
    folder.mkdir(exist_ok=True)
    if not (folder / ".amulet").exists():
        (folder / ".amulet").symlink_to(stack.layout.state)
    for line in lines:
        done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr  # 1: a folder changed meanwhile, as the page says
        assert load.wait_for(ok, count=5, within_s=WAIT_S)


@contextmanager
def restored(
    stopped: Stopped, backup: Path, place: Path, *, of_now: Sequence[str] = ("ledger", "gateway/journal")
) -> Iterator[Stack]:
    """As the page says: both archives, the database, and ledger and journal of now."""
    place.mkdir()
    for archive in ("amulet-checkpoints.tar.gz", "amulet-files.tar.gz"):
        subprocess.run(["tar", "-xzf", backup / archive], cwd=place, check=True)
    stack = Stack(Layout(place / ".amulet", stopped.stack.layout.ports), {}, tokens=dict(stopped.stack.tokens))
    shutil.copy(backup / "backup.sqlite3", stack.layout.console / "db.sqlite3")
    for name in of_now:
        shutil.copytree(stopped.stack.layout.state / name, stack.layout.state / name)
    try:
        stack.up()
        yield stack
    finally:
        stack.stop()


def entries(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connected:
        return int(connected.execute("SELECT max(sequence) FROM audit_entry").fetchone()[0])


def signed(layout: Layout) -> int:
    """How many entries the newest checkpoint covers."""
    return int(json.loads((layout.checkpoints / "signed.json").read_text())["size"])


def erased(stack: Stack, pseudonym: str) -> None:
    """Return when the ledger names them."""
    desk = stack.console("privacy-officer")
    number = desk.call(
        "POST", "privacy/requests/", json={"subject": pseudonym, "kind": "erasure", "channel": "letter"}
    )["id"]
    desk.call("POST", f"privacy/requests/{number}/identity/", json={"method": "at the counter"})
    desk.call("POST", f"privacy/requests/{number}/start/")
    late = ("files", "search", "finish", "done")
    until(lambda: desk.call("GET", f"privacy/requests/{number}/")["erasure"]["step"] in late)


def known(stack: Stack, pseudonym: str) -> bool:
    asked = {"subject": pseudonym, "kind": "access", "channel": "letter"}
    return bool(stack.console("privacy-officer").call("POST", "privacy/requests/", json=asked)["known"])


def test_a_backup_in_the_order_of_the_page_comes_back_whole(stopped: Stopped, tmp_path: Path) -> None:
    with restored(stopped, stopped.right, tmp_path / "restored") as stack:
        # Those that are not in the copy of the database come from the journal.
        check_every_answer_is_audited_once(stack, stopped.answered, tmp_path)
        file = tmp_path / "audit.jsonl"
        stack.amulet("audit", "verify", str(file), "--checkpoints", str(stack.layout.checkpoints))
        until(lambda: signed(stack.layout) > entries(stopped.right / "backup.sqlite3"))  # it goes on signing
        assert REWRITTEN not in said_by_the_keeper(stack)
        assert '"erasure.replayed"' in file.read_text()
        assert not known(stack, PERSON)
    counted = {"answered_before": len(stopped.answered_before), "answered": len(stopped.answered)}
    keep("backup-of-a-running-stack", counted)


def test_with_the_database_copied_first_nothing_is_signed_and_without_the_ledger_somebody_is_back(
    stopped: Stopped, tmp_path: Path
) -> None:
    """The controls."""
    with restored(stopped, stopped.wrong, tmp_path / "restored", of_now=["gateway/journal"]) as stack:
        until(lambda: REWRITTEN in said_by_the_keeper(stack))
        assert known(stack, PERSON)


def said_by_the_keeper(stack: Stack) -> str:
    return (stack.layout.logs / "keeper.log").read_text()
