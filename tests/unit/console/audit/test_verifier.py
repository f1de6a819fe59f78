from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from console.audit import chain
from console.audit.merkle import Frontier
from console.audit.names import TYPES
from console.audit.notes import sign_checkpoint
from console.audit.verifier import BY_HAND, GO_WITH_SOMEBODY, PROBLEMS_MAX, Report, verify
from tests.unit.console.audit.logs import KEY, Log, link, make_log

LENGTH = 40
SIGNED_AT = (7, 16, 33, 40)
LOG = make_log(LENGTH, signed_at=SIGNED_AT)
positions = st.integers(1, LENGTH)


def checked(log: Log, *, kept: tuple[str, ...] = ()) -> Report:
    return verify(log.lines(), KEY.public_key(), kept)


def places(report: Report) -> list[tuple[int | None, int | None]]:
    return [(problem.first, problem.last) for problem in report.problems]


def test_a_whole_log_verifies_and_says_how_far_it_is_signed() -> None:
    log = make_log(LENGTH, signed_at=(7, 33))
    report = checked(log)
    assert report.whole
    assert (report.entries, report.first, report.last) == (LENGTH, 1, LENGTH)
    assert (report.signed_through, report.checkpoints, report.erased) == (33, 2, 0)


@given(positions)
def test_an_erased_payload_leaves_the_log_whole(position: int) -> None:
    log = LOG.copy()
    log.entries[position - 1].update(payload=None, salt=None, about=None)
    report = checked(log)
    assert report.whole
    assert report.erased == 1


@pytest.mark.parametrize("lost", ["payload", "salt"])
def test_what_is_erased_by_half_is_a_problem(lost: str) -> None:
    log = LOG.copy()
    log.entries[6][lost] = None
    assert 7 in {problem.first for problem in checked(log).problems}


@given(
    positions,
    st.sampled_from(["time", "type", "actor", "payload", "salt", "commitment", "previous", "hash"]),
)
def test_an_edited_field_is_found_at_its_entry(position: int, field: str) -> None:
    log = LOG.copy()
    entry = log.entries[position - 1]
    flipped = {"0": "1", "9": "8"}.get(entry[field][-1], "0")
    entry[field] = entry[field][:-1] + flipped
    report = checked(log)
    assert position in {problem.first for problem in report.problems}


@given(positions, st.sampled_from([["prediction", "another"], ["review", "p7"], ["", ""], ["prediction", 'p7","x']]))
def test_an_entry_that_is_filed_under_another_thing_is_named_and_nothing_else_is(
    position: int, about: list[str]
) -> None:
    log = LOG.copy()
    log.entries[position - 1]["about"] = about
    report = checked(log)
    assert places(report) == [(position, position)]
    assert "filed under" in report.problems[0].what
    assert report.signed_through == LENGTH


def test_an_export_from_before_entries_said_what_they_are_filed_under_verifies() -> None:
    log = LOG.copy()
    for entry in log.entries:
        del entry["about"]
    report = checked(log)
    assert report.whole
    assert (report.signed_through, report.erased) == (LENGTH, 0)


@given(st.text(), st.text(), st.sampled_from([{}, {"a": 1}, {"z": {"about": ["x", "y"]}}]), st.booleans())
def test_what_an_entry_is_about_is_read_however_it_is_written(kind: str, key: str, details: Any, right: bool) -> None:
    payload = chain.canonical({"about": [kind, key], **details})
    log = make_log(1, signed_at=())
    log.entries[0] |= {"payload": payload, "about": [kind, key if right else f"{key}x"]}
    log.entries[0]["commitment"] = chain.commitment_of(bytes.fromhex(log.entries[0]["salt"]), payload).hex()
    link(log, 1)
    report = checked(log)
    assert ("filed under" in report.problems[0].what) is not right


@given(positions)
def test_an_edit_with_its_own_hash_recomputed_breaks_the_link_behind_it(position: int) -> None:
    log = LOG.copy()
    entry = log.entries[position - 1]
    entry["actor"] = "somebody-else"
    tail = [dict(later) for later in log.entries[position:]]
    link(log, position)
    log.entries[position:] = tail
    report = checked(log)
    if position in SIGNED_AT:  # the checkpoint right behind it sees it first
        good = max((size for size in SIGNED_AT if size < position), default=0)
        assert places(report)[0] == (good + 1, position)
    else:
        assert places(report)[0] == (position + 1, position + 1)


@given(positions)
def test_a_deleted_entry_is_named(position: int) -> None:
    log = LOG.copy()
    del log.entries[position - 1]
    report = checked(log, kept=(LOG.notes[40],))
    assert places(report)[0] == (position, position)


@given(positions, st.integers(0, LENGTH))
def test_an_inserted_copy_is_named(position: int, behind: int) -> None:
    log = LOG.copy()
    log.entries.insert(behind, dict(log.entries[position - 1]))
    report = checked(log)
    assert not report.whole
    assert min(problem.first or 0 for problem in report.problems) <= position


@given(positions, positions)
def test_two_swapped_entries_are_found(one: int, other: int) -> None:
    if one == other:
        return
    log = LOG.copy()
    low, high = sorted((one, other))
    log.entries[low - 1], log.entries[high - 1] = log.entries[high - 1], log.entries[low - 1]
    report = checked(log)
    assert places(report)[0] == (low, high - 1)  # what is missing when the later one comes too early


@given(st.integers(0, LENGTH - 1))
def test_a_cut_tail_is_found_against_a_checkpoint_kept_elsewhere(left: int) -> None:
    log = LOG.copy()
    del log.entries[left:]
    report = checked(log, kept=(LOG.notes[40],))
    assert places(report)[-1] == (left + 1, LENGTH)


def test_a_checkpoint_in_the_file_keeps_its_own_tail() -> None:
    log = LOG.copy()
    lines = log.lines()
    report = verify([*lines[:10], lines[-1]], KEY.public_key())
    assert places(report) == [(9, LENGTH)]


@given(positions)
def test_a_log_rehashed_from_anywhere_does_not_fit_what_was_signed(position: int) -> None:
    """Whoever owns the database, but not the key, rewrites an entry and everything behind it."""
    log = LOG.copy()
    entry = log.entries[position - 1]
    entry["about"] = ["prediction", "another"]
    entry["payload"] = chain.canonical({"about": entry["about"]})
    entry["commitment"] = chain.commitment_of(bytes.fromhex(entry["salt"]), entry["payload"]).hex()
    link(log, position)
    report = checked(log)
    good = max((size for size in SIGNED_AT if size < position), default=0)
    bad = min(size for size in SIGNED_AT if size >= position)
    assert places(report) == [(good + 1, bad)]
    assert report.signed_through == good


def test_without_what_was_signed_a_log_rehashed_would_look_whole() -> None:
    """Negative control of the test above: the links say nothing of it, the roots do."""
    log = LOG.copy()
    log.entries[19]["actor"] = "somebody-else"
    link(log, 20)
    assert places(checked(log)) == [(17, 33)]
    log.notes.clear()
    (problem,) = checked(log).problems
    assert "nothing here is proved" in problem.what


def test_a_rewritten_log_under_another_key_is_not_believed() -> None:
    foreign = make_log(LENGTH, signed_at=SIGNED_AT, tag="x", key=Ed25519PrivateKey.generate())
    report = checked(foreign)
    assert any("not signed by the given key" in problem.what for problem in report.problems)
    assert report.signed_through == 0


@pytest.mark.parametrize("known_first", [True, False])
def test_a_fork_is_named_by_its_size(known_first: bool) -> None:
    fork = make_log(LENGTH, signed_at=(16,), tag="fork")
    if known_first:
        report = checked(LOG, kept=(fork.notes[16], LOG.notes[16]))
        assert places(report)[0] == (16, 16)
        assert "fork" in report.problems[0].what
    else:
        lines = LOG.lines()
        place = next(number for number, line in enumerate(lines) if b"checkpoint" in line and b"\\n16\\n" in line)
        lines.insert(place + 1, json.dumps({"checkpoint": fork.notes[16]}).encode())
        report = verify(lines, KEY.public_key())
        assert places(report) == [(16, 16)]
        assert "fork" in report.problems[0].what


def test_what_somebody_deleted_of_an_entry_that_goes_with_nobody_is_remarked() -> None:
    log = make_log(4, signed_at=())
    for place, type_ in ((0, "staff.role_changed"), (1, "prediction.made"), (2, "rollout.rolled_back")):
        log.entries[place].update(type=type_, payload=None, salt=None, about=None)
    told = {"about": ["audit_entry", "3"], "ground": "names"}
    log.entries[3].update(type=BY_HAND, payload=chain.canonical(told), about=told["about"])
    salt = bytes.fromhex(log.entries[3]["salt"])
    log.entries[3]["commitment"] = chain.commitment_of(salt, log.entries[3]["payload"]).hex()
    link(log, 1)
    roots = Frontier()
    for entry in log.entries:
        roots.append(bytes.fromhex(entry["hash"]))
    log.notes[4] = sign_checkpoint(KEY, size=4, root=roots.root())
    report = checked(log)
    assert report.whole
    assert (report.erased, report.erased_by_hand, report.untold, report.untold_at) == (3, 1, 1, (1,))


@pytest.mark.parametrize(("by", "remarked"), [("11-23T14:00:00.000000", 0), ("11-23T13:59:29.000011", 3), ("01-01", 3)])
def test_an_entry_that_says_an_earlier_time_than_those_before_it_is_remarked(by: str, remarked: int) -> None:
    """As whoever appends to the log by hand, and has every hash right, may say of a consent."""
    log = LOG.copy()
    wanted = f"2026-{by}Z" if "T" in by else f"2026-{by}T00:00:00.000000Z"
    for place in (11, 12, 20):
        log.entries[place]["time"] = wanted
    link(log, 12)
    roots = Frontier()
    for entry in log.entries:
        roots.append(bytes.fromhex(entry["hash"]))
        if entry["sequence"] in log.notes:
            log.notes[entry["sequence"]] = sign_checkpoint(KEY, size=entry["sequence"], root=roots.root())
    report = checked(log)
    assert report.whole
    assert (report.set_back, report.set_back_at) == (remarked, 12 if remarked else 0)
    assert (report.set_back_s > 300) is bool(remarked)


def test_an_old_state_of_the_log_is_found_by_a_newer_checkpoint() -> None:
    old = make_log(16, signed_at=(7, 16))
    assert checked(old).whole
    report = checked(old, kept=(LOG.notes[33],))
    assert places(report) == [(17, 33)]
    assert "covers 33" in str(report.problems[0])


def test_a_file_without_any_checkpoint_proves_nothing() -> None:
    report = checked(make_log(3, signed_at=()))
    assert "nothing here is proved" in report.problems[0].what


def test_an_empty_log_is_whole() -> None:
    assert checked(make_log(0, signed_at=())).whole


def test_a_checkpoint_of_the_empty_log_fits_every_log() -> None:
    assert checked(LOG, kept=(sign_checkpoint(KEY, size=0, root=Frontier().root()),)).whole


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"sequence": "1"}',
        b'{"sequence": 41, "time": null}',
        b"\xff\xfe",
        b'{"checkpoint": 5}',
        b'{"checkpoint": "amulet"}',
        b'{"checkpoint": "\\ud800"}',  # half a character, which JSON can say and no text can hold
        b"[" * 100_000,
    ],
)
def test_a_line_of_anything_else_is_a_problem_and_no_crash(spoilt: bytes) -> None:
    assert not verify([*LOG.lines(), spoilt], KEY.public_key()).whole


def test_what_follows_an_entry_on_its_line_is_a_problem() -> None:
    lines = LOG.lines()
    lines[5] += b' {"note": "added"}'
    report = verify(lines, KEY.public_key())
    assert (report.problems[0].first, report.problems[0].what) == (5, "this line is not JSON")


@pytest.mark.parametrize(
    ("added", "what"),
    [
        (b'{"payload": "forged", ', "a name stands twice on this line"),
        (b'{"sequence": 7, ', "a name stands twice on this line"),
        (b'{"remark": "seen by the board", ', "no hash covers: remark"),
    ],
)
def test_what_is_written_into_an_entry_beside_what_its_hash_covers_is_named(added: bytes, what: str) -> None:
    lines = LOG.lines()
    lines[5] = added + lines[5].removeprefix(b"{")
    report = verify(lines, KEY.public_key())
    assert (report.problems[0].first, report.whole) == (5, False)
    assert what in report.problems[0].what


def test_what_is_written_beside_a_checkpoint_or_where_the_log_begins_is_named() -> None:
    lines = LOG.lines()
    for place in (0, next(number for number, line in enumerate(lines) if b'"checkpoint"' in line)):
        spoilt = [*lines]
        spoilt[place] = b'{"remark": "seen by the board", ' + lines[place].removeprefix(b"{")
        report = verify(spoilt, KEY.public_key())
        assert [str(problem) for problem in report.problems] == [
            f"line {place + 1} says something that no hash covers: remark"
        ]


def test_a_flipped_bit_in_any_byte_is_found() -> None:
    log = b"\n".join(make_log(2, signed_at=(1, 2)).lines())
    spoilt = (log[:place] + bytes([log[place] ^ 1]) + log[place + 1 :] for place in range(len(log)))
    assert [changed for changed in spoilt if verify(changed.split(b"\n"), KEY.public_key()).whole] == []


def test_a_log_behind_another_log_does_not_prove_what_stands_before_it() -> None:
    forged = make_log(3, signed_at=(), tag="forged")
    report = verify([*forged.lines(), *LOG.lines()], KEY.public_key())
    assert not report.whole
    assert report.problems[0].what == "line 5 is neither an entry nor a checkpoint"


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("amulet_audit", 2, "has form 2, and form 1 is understood"),
        ("origin", "amulet/audit/another", "the file is of the log amulet/audit/another"),
        ("previous", "1" * 64, "the first entry cannot follow another"),
        ("first", None, "does not say where the log begins"),
        ("first", math.inf, "does not say where the log begins"),
        ("frontier", ["00" * 32], "does not say where the log begins"),
    ],
)
def test_a_first_line_that_is_not_this_logs_is_named(field: str, value: object, what: str) -> None:
    lines = LOG.lines()
    lines[0] = json.dumps({**json.loads(lines[0]), field: value}).encode()
    report = verify(lines, KEY.public_key())
    assert what in report.problems[0].what


@pytest.mark.parametrize("first", [0, -4])
def test_a_log_that_begins_before_its_first_entry_is_a_problem_and_no_crash(first: int) -> None:
    lines = LOG.lines()
    roots = ["00" * 32] * (first - 1).bit_count()  # as many as a tree of that size would have
    lines[0] = json.dumps({**json.loads(lines[0]), "first": first, "frontier": roots}).encode()
    report = verify(lines, KEY.public_key())
    assert "does not say where the log begins" in report.problems[0].what


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_file_makes_it_crash(lines: list[bytes]) -> None:
    assert not verify(lines, KEY.public_key()).whole


def test_a_field_with_a_line_break_cannot_pass_for_two() -> None:
    log = make_log(1, signed_at=(1,))
    entry = log.entries[0]
    entry["type"] = f"{entry['type']}\n{entry.pop('actor')}"
    entry["actor"] = ""
    report = checked(log)
    assert not report.whole


def test_many_problems_are_counted_and_not_all_told() -> None:
    log = LOG.copy()
    for entry in log.entries:
        entry["actor"] = "nobody"
    report = checked(log)
    assert len(report.problems) == PROBLEMS_MAX
    assert report.problems_left_out == LENGTH - PROBLEMS_MAX


def test_an_export_may_begin_behind_a_checkpoint_and_the_next_root_pins_its_start() -> None:
    lines = partial(behind=16)
    report = verify(lines, KEY.public_key())
    assert report.whole
    assert (report.first, report.last, report.signed_through) == (17, 40, 40)
    header: dict[str, Any] = json.loads(lines[0])
    header["frontier"] = [chain.GENESIS] * len(header["frontier"])
    assert places(verify([json.dumps(header), *lines[1:]], KEY.public_key())) == [(1, 33)]


def partial(*, behind: int) -> list[bytes]:
    frontier = Frontier()
    for entry in LOG.entries[:behind]:
        frontier.append(bytes.fromhex(entry["hash"]))
    header = {
        **json.loads(LOG.lines()[0]),
        "first": behind + 1,
        "previous": LOG.entries[behind - 1]["hash"],
        "frontier": [root.hex() for root in frontier.roots],
    }
    rest = Log(LOG.entries[behind:], LOG.notes).lines()[1:]
    return [json.dumps(header).encode(), *rest]


def test_it_needs_no_django() -> None:
    code = "import sys, console.audit.commands; sys.exit('django' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_whose_words_go_with_somebody_are_names_of_entries() -> None:
    assert TYPES.keys() >= GO_WITH_SOMEBODY
