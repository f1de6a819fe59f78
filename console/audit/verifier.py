"""Checks an export of the audit log: the file, a public key, perhaps checkpoints kept elsewhere.

No Django, no database, no network, memory that does not grow with the log. An export is
JSON lines:

    {"amulet_audit": 1, "origin": "amulet/audit/…", "first": 1, "previous": "00…", "frontier": []}
    {"sequence": 1, "time": "…", "type": "…", "actor": "…", "previous": "…", "commitment": "…",
     "hash": "…", "salt": "…", "payload": "{…}", "about": ["prediction", "…"]}
    {"checkpoint": "amulet/audit/…\n1\n…\n\n— …\n"}

`payload` is the text that was committed to, so nothing depends on how JSON is written;
`salt`, `payload` and `about` are null where they were erased. `about` is what the console
finds the entry by, and no part of what is hashed: it must be what the payload says. Exports
from before do not have it. A checkpoint stands right after the
last entry that it covers. `first`, `previous` and `frontier` (the complete subtrees before
`first`) let an export begin in the middle: the next signed root pins them too.

What is found, and where it is named:

    edit, insert, delete, swap    the entry at which the hashes stop fitting
    filed under something else    the entry whose payload says another thing than its `about`
    a field beside those above    the entry, or the line; no hash covers it
    another number                the entry that stands there, where its hash fits the number that belongs there
    another encoding of the file  the line
    tail cut, old checkpoint      the last entry here, and what a later checkpoint covers
    re-hash of everything after   the entries between the last root that fits and the first that does not
    fork                          the size at which two signed roots differ

What breaks no hash and may be right is told all the same: a payload that was deleted of an entry that goes with nobody,
and of which no other entry tells; and an entry that says an earlier time than those before it, as a clock that was set
back leaves, and whoever makes up when something was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from console.audit.chain import FORM, GENESIS, about_of
from console.audit.merkle import Frontier
from console.audit.notes import NoteInvalid, origin_of, read_checkpoint

EXPORT_FORM: Final = 1
PROBLEMS_MAX: Final = 20
NOTHING_SIGNED: Final = "no signed checkpoint covers any entry: nothing here is proved"
BY_HAND: Final = "privacy.typed_erased"  # an entry that tells of one whose payload an officer erased
# Whose payloads go with a person, or with what a person asked for. Of any other that is gone an entry tells.
GO_WITH_SOMEBODY: Final = frozenset(
    {
        *("prediction.made", "feedback.given", "shadow.followed", "vault.opened", "vault.objects_lost"),
        *("review.decided", "review.taken_back"),
        *("review.gold_made", "review.gold_retired", "review.gold_answered", "review.gold_taken_back"),
        *("consent.given", "consent.withdrawn", "vault.restricted", "vault.restriction_lifted"),
        # What was typed about a request, beside what it was about in entries from before.
        *("audit.words", "privacy.extended", "privacy.paused", "privacy.refused", "privacy.done"),
    }
)
CLOCKS_DIFFER_MAX: Final = timedelta(minutes=5)  # writers note the time before they take a number
SEQUENCE_MAX: Final = 2**63 - 1  # of the column that they come from
_NEWLINES: Final = 7
_SALT: Final = re.compile(r"[0-9a-f]{64}")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FIELDS: Final = frozenset(
    ("sequence", "time", "type", "actor", "previous", "commitment", "hash", "salt", "payload", "about")
)


class _Twice(ValueError):
    """A name that stands twice in one object: of two readers one takes the first value, the other the last."""


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _Twice
    return table


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_table)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `first` and `last` bound the entries concerned; None: no entry's fault."""

    first: int | None
    last: int | None
    line: int  # of the file, from 1; 0: a checkpoint given beside it
    what: str

    def __str__(self) -> str:
        if self.first is None:
            return self.what
        where = f"entry {self.first}" if self.first == self.last else f"entries {self.first} to {self.last}"
        return f"{where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and what is wrong; nothing is wrong exactly when `problems` is empty."""

    entries: int
    first: int  # 0: there is no entry
    last: int
    signed_through: int  # the last entry under a checkpoint that fits; 0: none
    checkpoints: int  # that fit
    erased: int  # payloads that are gone; their entries still count
    erased_by_hand: int  # entries that tell, each of one of those, that an officer erased it, and on what ground
    last_time: str
    problems: tuple[Problem, ...]
    problems_left_out: int = 0
    untold: int = 0  # payloads that are gone and of which no entry tells
    untold_at: tuple[int, ...] = ()  # the first of these entries
    set_back: int = 0  # entries that say an earlier time than one before them, by more than clocks differ
    set_back_at: int = 0  # the first of them; 0: none
    set_back_s: float = 0.0  # by how much, at most

    @property
    def whole(self) -> bool:
        return not self.problems


def verify(lines: Iterable[bytes | str], key: Ed25519PublicKey, checkpoints: Sequence[str] = ()) -> Report:
    """Check the lines of an export against each other, the key, and checkpoints from elsewhere."""
    run = _Run(key)
    for note in checkpoints:
        run.known(note, line=0)
    number = 0
    for number, line in enumerate(lines, start=1):
        run.line(number, line)
    return run.report(number)


@dataclass(slots=True)
class _Run:
    """The state of one pass over a file."""

    key: Ed25519PublicKey
    started: bool = False
    first: int = 0
    last: int = 0  # sequence of the last entry read
    entries: int = 0
    erased: int = 0
    erased_by_hand: int = 0
    untold: set[int] = field(default_factory=set)  # of erased payloads, of which nothing told yet
    previous: str = GENESIS
    time: str = ""
    latest: str = ""  # of all times so far
    set_back: int = 0
    set_back_at: int = 0
    set_back_s: float = 0.0
    frontier: Frontier = field(default_factory=Frontier)
    roots: dict[int, bytes] = field(default_factory=dict)  # signed, size -> root, not yet reached
    compared: tuple[int, bytes] | None = None  # the signed size and root that were reached last
    fitting: int = 0
    signed_through: int = 0
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0
    links_broken: bool = False
    roots_broken: bool = False

    def line(self, number: int, line: bytes | str) -> None:
        try:
            text = (line if isinstance(line, str) else line.decode()).strip()
            document, end = _DECODER.raw_decode(text)
            if end != len(text):
                raise ValueError("something follows the value")
        except (ValueError, RecursionError) as error:
            self._problem(number, _unreadable(error, line), place=self.last + 1)
            self.links_broken = True
            return
        if isinstance(document, dict):
            if "sequence" in document:
                self._entry(number, document)
                return
            if "checkpoint" in document:
                self._says_no_more(number, document, ("checkpoint",))
                self._checkpoint(number, str(document["checkpoint"]))
                return
            if "amulet_audit" in document and number == 1:
                self._says_no_more(number, document, ("amulet_audit", "origin", "first", "previous", "frontier"))
                self._start(document)
                return
        self._problem(number, f"line {number} is neither an entry nor a checkpoint")

    def known(self, note: str, *, line: int) -> int | None:
        """Take note of a signed root. Returns its size; None when it is not to be believed."""
        try:
            checkpoint = read_checkpoint(self.key, note)
        except NoteInvalid as error:
            self._problem(line, f"a checkpoint does not count: {error}")
            return None
        other = self.roots.get(checkpoint.size)
        if self.compared is not None and self.compared[0] == checkpoint.size:
            other = self.compared[1]
        if other is None:
            self.roots[checkpoint.size] = checkpoint.root
        elif other != checkpoint.root:
            self._problem(line, "a fork: two signed checkpoints of this size state different roots", checkpoint.size)
        return checkpoint.size

    def report(self, lines: int) -> Report:
        if not self.started:
            self._problem(min(lines, 1), "the file does not begin as an export of the audit log does")
        ahead = [size for size in self.roots if size > self.last]
        if ahead:
            self._problem(
                lines,
                f"missing: the file ends with entry {self.last}, a signed checkpoint covers {max(ahead)}",
                self.last + 1,
                max(ahead),
            )
        if not self.fitting and not self.problems and self.entries:
            self._problem(lines, NOTHING_SIGNED, self.first, self.last)
        return Report(
            entries=self.entries,
            first=(self.first or 1) if self.entries else 0,
            last=self.last,
            signed_through=self.signed_through,
            checkpoints=self.fitting,
            erased=self.erased,
            erased_by_hand=self.erased_by_hand,
            last_time=self.time,
            problems=tuple(self.problems),
            problems_left_out=self.left_out,
            untold=len(self.untold),
            untold_at=tuple(sorted(self.untold)[:PROBLEMS_MAX]),
            set_back=self.set_back,
            set_back_at=self.set_back_at,
            set_back_s=self.set_back_s,
        )

    def _start(self, header: dict[str, Any]) -> None:
        self.started = True
        form = header["amulet_audit"]
        if type(form) is not int or form != EXPORT_FORM:
            self._problem(1, f"this export has form {form}, and form {EXPORT_FORM} is understood")
            return
        origin = origin_of(self.key)
        if header.get("origin") != origin:
            self._problem(1, f"the file is of the log {header.get('origin')}, the key is of {origin}")
        try:
            first = header["first"]
            if type(first) is not int or not 1 <= first <= SEQUENCE_MAX:
                raise ValueError(f"{str(first)[:40]} is no entry")
            self.first = first
            self.frontier = Frontier(self.first - 1, [bytes.fromhex(root) for root in header["frontier"]])
            self.previous = str(header["previous"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:  # the last: a number without an end
            self._problem(1, f"the file's first line does not say where the log begins: {error}")
            self.first = 1
        if self.first == 1 and self.previous != GENESIS:
            self._problem(1, "the first entry cannot follow another", 1)
        self.last = self.first - 1
        self._compare(1)

    def _entry(self, number: int, entry: dict[str, Any]) -> None:
        try:
            sequence, previous, stated = entry["sequence"], entry["previous"], entry["hash"]
            text = _text_of(entry, sequence)
            leaf = sha256(b"\0" + text.encode()).digest()
            payload, salt = entry["payload"], entry["salt"]
            if type(sequence) is not int or not 0 < sequence <= SEQUENCE_MAX or text.count("\n") != _NEWLINES:
                raise ValueError("it is not of the form of an entry")
            if sequence != self.last + 1 and leaf.hex() != stated:
                right = sha256(b"\0" + _text_of(entry, self.last + 1).encode()).digest()
                if right.hex() == stated:  # nothing but its number was changed
                    self._broken(number, f"its number was changed to {sequence}", self.last + 1)
                    sequence, leaf = self.last + 1, right
            if payload is None and salt is None:
                self.erased += 1
                if entry["type"] not in GO_WITH_SOMEBODY:
                    self.untold.add(sequence)
                if entry.get("about") is not None:
                    self._problem(
                        number, "what it says was erased, and what it is filed under was written beside it", sequence
                    )
            elif _SALT.fullmatch(salt) is None:
                self._broken(number, "its salt is not written as 64 hexadecimal digits", sequence)
            elif sha256(bytes.fromhex(salt) + payload.encode()).hexdigest() != entry["commitment"]:
                self._broken(number, "its payload is not the one that it was written with", sequence)
            elif "about" in entry and not _says(payload, about := entry["about"]):
                under = "nothing" if about is None else about
                self._problem(number, f"it is filed under {under}, and is about {about_of(payload)}", sequence)
            elif entry["type"] == BY_HAND and (of := about_of(payload) or ("", ""))[0] == "audit_entry":
                self.erased_by_hand += 1
                self.untold.discard(int(of[1]) if of[1].isdecimal() and len(of[1]) < 20 else 0)
            if not entry.keys() <= _FIELDS:
                added = ", ".join(sorted(entry.keys() - _FIELDS))
                self._problem(
                    number, f"it says something that no entry says, and that no hash covers: {added}", sequence
                )
            changed = leaf.hex() != stated
            if changed:
                leaf = bytes.fromhex(stated)  # what the entries behind it follow
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._broken(number, f"this is no entry: {error}", self.last + 1)
            return
        expected = self.last + 1
        if sequence > expected:
            self._broken(number, "missing", expected, sequence - 1)
        elif sequence < expected:
            self._broken(number, f"it stands again, or in the wrong place, after entry {self.last}", sequence)
        if changed:
            self._broken(number, "it was changed: its hash does not fit its content", sequence)
        elif previous != self.previous and sequence == expected:
            self._broken(number, f"it does not follow the entry before it as that now reads ({self.last})", sequence)
        if sequence >= expected:
            self.last, self.previous = sequence, stated
        self.entries += 1
        self.time = entry["time"]
        if self.time >= self.latest:  # of one form, so that they sort as they are written
            self.latest = self.time
        else:
            self._earlier(sequence)
        self.frontier.append(leaf)
        if sequence in self.roots:
            self._compare(number)

    def _earlier(self, sequence: int) -> None:
        """Take note of an entry whose time is before that of another in front of it."""
        try:
            by = datetime.fromisoformat(self.latest) - datetime.fromisoformat(self.time)
        except (TypeError, ValueError):  # no times: changed, and named as that
            return
        if by > CLOCKS_DIFFER_MAX:
            self.set_back += 1
            self.set_back_at = self.set_back_at or sequence
            self.set_back_s = max(self.set_back_s, by.total_seconds())

    def _checkpoint(self, number: int, note: str) -> None:
        size = self.known(note, line=number)
        if size is not None and size <= self.last:
            if size != self.last:
                self._problem(number, f"a checkpoint of {size} entries stands after entry {self.last}", size)
            else:
                self._compare(number)

    def _compare(self, number: int) -> None:
        """Hold the root of what was read against the signed one for this size, if there is one."""
        signed = self.roots.pop(self.last, None)
        if signed is None:
            return
        self.compared = (self.last, signed)
        if self.frontier.size == self.last and self.frontier.root() == signed:
            self.fitting += 1
            self.signed_through = self.last
        elif not self.roots_broken:
            self.roots_broken = True
            if not self.links_broken:
                self._problem(
                    number,
                    f"they are not those that the checkpoint of {self.last} entries was signed over",
                    self.signed_through + 1,
                    self.last,
                )

    def _says_no_more(self, number: int, document: dict[str, Any], known: Sequence[str]) -> None:
        if added := sorted(document.keys() - set(known)):
            self._problem(number, f"line {number} says something that no hash covers: {', '.join(added)}")

    def _broken(self, number: int, what: str, first: int, last: int | None = None) -> None:
        self.links_broken = True
        self._problem(number, what, first, last)

    def _problem(
        self, line: int, what: str, first: int | None = None, last: int | None = None, *, place: int | None = None
    ) -> None:
        first = place if first is None else first
        if len(self.problems) >= PROBLEMS_MAX:
            self.left_out += 1
            return
        self.problems.append(Problem(first=first, last=first if last is None else last, line=line, what=what))


def _text_of(entry: dict[str, Any], sequence: object) -> str:
    """What the hash of an entry of this number is over. Raises KeyError."""
    return (
        f"{FORM}\n{sequence}\n{entry['time']}\n{entry['type']}\n{entry['actor']}\n"
        f"{entry['previous']}\n{entry['commitment']}\n"
    )


def _unreadable(error: Exception, line: bytes | str) -> str:
    """Why a line is nothing that an export writes."""
    if isinstance(error, _Twice):
        return "a name stands twice on this line, so that it says one thing to one reader and another to the next"
    if isinstance(error, UnicodeDecodeError):
        return "this line is not UTF-8: the file was written in another encoding, or bytes of it were changed"
    if line[:3] == _BYTE_ORDER_MARK or line[:1] == "\ufeff":
        return "a byte order mark stands before this line: the file was written anew by another program"
    return "this line is not JSON"


def _says(payload: str, about: list[str] | None) -> bool:
    """Whether a payload is about this. It is read as JSON only where its beginning does not settle it."""
    if about is None:
        return about_of(payload) is None
    kind, key = about
    plain = '"' not in kind and '"' not in key and "\\" not in kind and "\\" not in key
    return (plain and payload.startswith(f'{{"about":["{kind}","{key}"]')) or about_of(payload) == (kind, key)
