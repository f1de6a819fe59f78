"""Exports of a real log that somebody tampered with, given to `amulet audit verify`: each is named, and none passes.

What no file can show without a checkpoint kept elsewhere (a tail that is missing, entries that are not signed yet) is
said by the command as such; those are in `test_verifier`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.audit.commands import verify
from console.audit.merkle import Frontier
from console.audit.notes import public_pem, sign_checkpoint
from tests.unit.console.audit.logs import KEY, link, make_log

LOG = make_log(12, signed_at=(5, 12))
LINES = LOG.lines()  # the header, entries 1 to 5, a checkpoint, entries 6 to 12, a checkpoint
Change = Callable[[list[bytes]], list[bytes]]


def line_of(entry: int) -> int:
    return entry + (entry > 5)


def edited(entry: int, **values: Any) -> Change:
    """Fields of one entry set to something else."""

    def change(lines: list[bytes]) -> list[bytes]:
        document = {**json.loads(lines[line_of(entry)]), **values}
        lines[line_of(entry)] = json.dumps(document).encode()
        return lines

    return change


def written(entry: int, old: bytes, new: bytes) -> Change:
    """One entry's line written otherwise."""

    def change(lines: list[bytes]) -> list[bytes]:
        assert lines[line_of(entry)].count(old) == 1
        lines[line_of(entry)] = lines[line_of(entry)].replace(old, new)
        return lines

    return change


def headed(**values: Any) -> Change:
    return lambda lines: [json.dumps({**json.loads(lines[0]), **values}).encode(), *lines[1:]]


def with_note(index: int, note: object) -> Change:
    return lambda lines: [*lines[:index], json.dumps({"checkpoint": note}).encode(), *lines[index + 1 :]]


def rehashed(lines: list[bytes]) -> list[bytes]:
    """Changed by whoever has the database: all hashes behind it fit again."""
    log = LOG.copy()
    log.entries[7]["actor"] = "somebody:else"
    link(log, 8)
    return log.lines()


def of_another_key(lines: list[bytes]) -> list[bytes]:
    return make_log(12, signed_at=(5, 12), key=Ed25519PrivateKey.from_private_bytes(b"k" * 32)).lines()


SALT, PAYLOAD, TIME = (str(LOG.entries[2][name]) for name in ("salt", "payload", "time"))
# What was done, and what is said of it first.
TAMPERED: dict[str, tuple[Change, str]] = {
    "a payload changed": (edited(3, payload=PAYLOAD.replace("0.9", "0.1")), "entry 3: its payload is not the one"),
    "a payload written otherwise": (
        edited(3, payload=json.dumps(json.loads(PAYLOAD))), "entry 3: its payload is not the one",
    ),
    "a time changed": (edited(3, time=TIME.replace("14:", "15:")), "entry 3: it was changed"),
    "a time written otherwise": (edited(3, time=TIME.replace("Z", "+00:00")), "entry 3: it was changed"),
    "an actor changed, and all hashes with it": (rehashed, "entries 6 to 12: they are not those that the checkpoint"),
    "a row dropped": (lambda lines: lines[:4] + lines[5:], "entry 4: missing"),
    "two rows swapped": (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "entry 3: missing"),
    "a row appended": (lambda lines: [*lines, lines[3]], "entry 3: it stands again"),
    "a header appended": (lambda lines: [*lines, lines[0]], "line 16 is neither"),
    "another key": (of_another_key, "a checkpoint does not count: it is not signed by the given key"),
    "cut within a row": (lambda lines: [*lines[:9], lines[9][:60]], "entry 8: this line is not JSON"),
    "the checkpoint of another log": (
        with_note(6, make_log(5, signed_at=(5,), tag="x").notes[5]), "entries 1 to 5: they are not those",
    ),
    "the size of a checkpoint changed": (
        with_note(14, LOG.notes[12].replace("\n12\n", "\n11\n")), "a checkpoint does not count: the signature is not",
    ),
    "an older checkpoint in the place of a newer": (
        with_note(14, LOG.notes[5]), "entry 5: a checkpoint of 5 entries stands after entry 12",
    ),
    "a checkpoint that is a number": (with_note(14, 12), "a checkpoint does not count"),
    "in UTF-16": (
        lambda lines: b"\n".join(lines).decode().encode("utf-16").split(b"\n"), "entry 1: this line is not UTF-8",
    ),
    "a byte order mark before it": (
        lambda lines: [b"\xef\xbb\xbf" + lines[0], *lines[1:]], "entry 1: a byte order mark stands before this line",
    ),
    "a name twice": (written(3, b'"sequence": 3', b'"sequence": 3, "sequence": 3'), "entry 3: a name stands twice"),
    "a name twice, once escaped": (
        written(3, b'"payload"', b'"\\u0070ayload": null, "payload"'), "entry 3: a name stands twice",
    ),
    "a number of 400 digits": (written(3, b'"sequence": 3', b'"sequence": ' + b"9" * 400), "entry 3: this is no entry"),
    "a number of 5,000 digits": (written(3, b'"sequence": 3', b'"sequence": ' + b"9" * 5000), "entry 3: this line is"),
    "a number without an end": (written(3, b'"sequence": 3', b'"sequence": 1e999'), "entry 3: this is no entry"),
    "a number with a fraction": (written(3, b'"sequence": 3', b'"sequence": 3.0'), "entry 3: this is no entry"),
    "another number": (edited(3, sequence=9), "entry 3: its number was changed to 9"),
    "a number below": (edited(3, sequence=1), "entry 3: its number was changed to 1"),
    "a salt in capitals": (edited(10, salt=str(LOG.entries[9]["salt"]).upper()), "entry 10: its salt is not written"),
    "a salt with a line break": (edited(3, salt=f"{SALT[:10]}\n{SALT[10:]}"), "entry 3: its salt is not written as 64"),
    "an erased entry filed under somebody": (
        edited(3, payload=None, salt=None, about=["subject", "somebody"]), "entry 3: what it says was erased, and what",
    ),
    "an entry filed under nothing": (edited(3, about=None), "entry 3: it is filed under nothing"),
    "something beside an entry": (edited(3, seen=True), "entry 3: it says something that no entry says"),
    "where it begins, as a fraction": (headed(first=1.9), "the file's first line does not say where the log begins"),
    "where it begins, as true": (headed(first=True), "the file's first line does not say where the log begins"),
    "where it begins, as a text": (headed(first=" 1 "), "the file's first line does not say where the log begins"),
    "its form, as true": (headed(amulet_audit=True), "this export has form True"),
    "its form, with a fraction": (headed(amulet_audit=1.0), "this export has form 1.0"),
}  # fmt: skip


@pytest.fixture
def told(tmp_path: Path) -> Callable[[list[bytes]], tuple[int, list[str]]]:
    """What the command says of a file of these lines, as an auditor types it."""
    key, file = tmp_path / "audit_public.pem", tmp_path / "audit.jsonl"
    key.write_bytes(public_pem(KEY.public_key()))

    def run(lines: list[bytes]) -> tuple[int, list[str]]:
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        done = CliRunner().invoke(verify, [str(file), "--key", str(key)], standalone_mode=False)
        assert done.exception is None, done.output
        return done.return_value, done.output.splitlines()

    return run


def test_the_file_itself_passes(told: Callable[[list[bytes]], tuple[int, list[str]]]) -> None:
    code, said = told(list(LINES))
    assert code == 0
    assert "whole. 12 entries" in said[0]


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_tampered_with_is_named_first(name: str, told: Callable[[list[bytes]], tuple[int, list[str]]]) -> None:
    change, wanted = TAMPERED[name]
    code, said = told(change(list(LINES)))
    assert code == 1
    assert "NOT WHOLE" in said[0]
    assert said[1].strip().startswith(wanted)
    assert all(len(line) < 300 for line in said[1:])


@pytest.mark.parametrize("name", ["another number", "a number below", "a name twice", "an entry filed under nothing"])
def test_one_row_that_was_tampered_with_is_one_row_and_not_all_behind_it(
    name: str, told: Callable[[list[bytes]], tuple[int, list[str]]]
) -> None:
    _code, said = told(TAMPERED[name][0](list(LINES)))
    assert {line.strip().partition(":")[0] for line in said[1:]} == {"entry 3"}


def test_what_breaks_no_hash_is_remarked_in_a_sentence(told: Callable[[list[bytes]], tuple[int, list[str]]]) -> None:
    log = make_log(12, signed_at=())
    log.entries[4].update(type="staff.role_changed", payload=None, salt=None, about=None)
    log.entries[8]["time"] = "2024-11-23T14:04:30.000009Z"
    link(log, 1)
    frontier = Frontier()
    for entry in log.entries:
        frontier.append(bytes.fromhex(entry["hash"]))
    log.notes[12] = sign_checkpoint(KEY, size=12, root=frontier.root())
    code, said = told(log.lines())
    assert code == 0
    assert "whole. 12 entries" in said[0]
    assert (
        said[1].strip().startswith("What 1 entries said is gone, and neither goes with a person nor does an entry tell")
    )
    assert ": 5. Somebody deleted it" in said[1]
    assert (
        "1 entries say an earlier time than entries before them, by up to 730 days, 0:00:00, the first of them entry 9"
        in (said[2])
    )
