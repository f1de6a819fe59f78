"""Every system call of append, rotate, confirm, open and ship fails or is the last: nothing acknowledged is lost.

strace puts the error into the real call of a real process. The report of the writer travels
through writev, which the journal never uses, so no injection touches it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from gateway.journal.cursor import CURSOR_NAME, write_cursor
from gateway.journal.format import file_name
from gateway.journal.journal import Journal
from gateway.journal.recovery import recover
from gateway.journal.writer import JournalSettings
from tests.fault.console_place import ConsolePlace
from tests.fault.journal_process import Claims, lines_of, lost, start
from tests.fault.journal_writer import record_of

pytestmark = pytest.mark.fault

LONG = "FAULT_LONG" in os.environ  # more moments for each call
RECORDS = 60
SHIPPING = ("--callers", "3", "--segment-bytes", "400")  # some fifteen events a segment
WRITER = ("--records", str(RECORDS), "--callers", "3", "--segment-bytes", "1500")
# What append, rotation and the cursor do to the disk. Of the calls to open, only those for the
# first segments are touched: the interpreter opens files too.
# strace counts the calls of each thread by itself: moments that every run comes to.
OFTEN = ("write", "fdatasync", "fsync", "rename", "fstatfs,statfs")
SELDOM = {"unlink": ("1", "1+2"), "openat": ("1", "2"), "pwrite64": ("1",), "ftruncate": ("1",)}
FAULTS = [(call, error, when) for call in OFTEN for error, when in (("EIO", "2"), ("EIO", "4..10+3"), ("ENOSPC", "3"))]
FAULTS += [(call, error, when) for call, moments in SELDOM.items() for error in ("EIO", "ENOSPC") for when in moments]
KILLS = [("write", 2), ("write", 5), ("fdatasync", 2), ("fdatasync", 5), ("fsync", 2), ("fsync", 5), ("rename", 1)]
KILLS += [("rename", 2), ("fstatfs,statfs", 1), ("fstatfs,statfs", 2), ("unlink", 1), ("openat", 1)]
KILLS += [("pwrite64", 1), ("ftruncate", 1)]

# In the middle of delivery: on the way to the console and back, while it reads what it takes there, while it notes
# what has arrived, and while it deletes what has. A call of the network has no file to be known by.
SHIP_KILLS = [("connect", 1), ("sendto", 1), ("recvfrom", 1), ("pread64", 2), ("openat", 2), ("unlink", 1)]
SHIP_KILLS += [("write", 1), ("fsync", 1), ("fsync", 2), ("rename", 1)]
NETWORK = ("connect", "sendto", "recvfrom")
CURSOR_CALLS = ("write", "fsync", "rename")

# What opening and shipping read, and of what: the segments that a first writer left and those that may follow, the
# cursor, the folder. The interpreter and its loader read other files with the same calls.
READS = {
    "pread64": [file_name(sequence) for sequence in range(1, 140)],
    "openat": [file_name(sequence) for sequence in range(1, 140)],
    "newfstatat,fstat": [file_name(sequence) for sequence in range(1, 140)],
    "read": [CURSOR_NAME, f"rejected/{1:020d}.jsonl"],
    "getdents64": ["."],
}


@cache
def why_not() -> str | None:
    """Why faults cannot be injected here; None when they can."""
    probe = "import os; os.fsync(os.open('.', os.O_RDONLY))"
    command = ["strace", "-f", "-qq", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", sys.executable, "-c", probe]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        return "strace is not installed"
    if "Input/output error" not in done.stderr:
        return f"strace cannot inject faults here: {done.stderr.strip()[:200]}"
    return None


@pytest.fixture(autouse=True)
def _injection() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


def run_writer(folder: Path, call: str, fault: str, *options: str) -> Claims:
    """A writer under strace with one fault, which must have come; its claims, and in FOLDER.strace what it did."""
    log = folder.with_suffix(".strace")
    wrapper = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
    if "SIGKILL" not in fault:
        wrapper.insert(1, "--seccomp-bpf")  # faster, but of signals only one at the first call comes (strace 6.1)
    if call == "openat":
        for name in ("00000000000000000001.journal.aside", "cursor.aside"):
            wrapper += ["-P", str(folder / name)]
    process = start(folder, *WRITER, *options, wrapper=wrapper)
    claims = Claims()
    for line in lines_of(process):
        claims.take(line)
    ended = process.wait(60)  # strace ends as its process does
    came = ended == -signal.SIGKILL if "SIGKILL" in fault else "INJECTED" in log.read_text()
    assert came, f"{call} never came to {fault}"
    return claims


def check_and_go_on(folder: Path, claims: Claims) -> None:
    """Nothing acknowledged is missing or damaged, and the next gateway takes records again."""
    assert not lost(claims, folder)
    assert all(not finding.acknowledged for finding in recover(folder).findings)
    for sequence, number in asyncio.run(append_some(folder)).items():
        assert sequence not in claims.acked
        claims.acked[sequence] = number
    assert not lost(claims, folder)


async def append_some(folder: Path) -> dict[int, int]:
    journal = await Journal.open(JournalSettings(folder, free_bytes_min=0))
    acked = {await journal.append(record_of(number)): number for number in range(10**6, 10**6 + 3)}
    assert journal.health().admitting
    await journal.close()
    return acked


@pytest.mark.parametrize(
    ("call", "error", "when"),
    FAULTS
    + [
        (call, error, when)
        for call in OFTEN
        for error in ("EIO", "ENOSPC")
        for when in ("1", "2..5", "2..6+2")
        if LONG and (call, error, when) not in FAULTS
    ],
)
def test_a_call_that_fails_costs_refusals_but_no_record(tmp_path: Path, call: str, error: str, when: str) -> None:
    folder = tmp_path / "journal"
    claims = run_writer(folder, call, f"error={error}:when={when}", "--advance")
    assert len(claims.acked) >= RECORDS or claims.closed
    assert claims.health.startswith("open") or claims.closed
    check_and_go_on(folder, claims)


TEXT_OF = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}


@pytest.mark.parametrize("error", TEXT_OF)
@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync", "rename", "fstatfs,statfs"])
def test_a_disk_that_stays_broken_is_named_and_nothing_is_acknowledged_on_it(
    tmp_path: Path, call: str, error: str
) -> None:
    folder = tmp_path / "journal"
    claims = run_writer(folder, call, f"error={error}:when=6+", "--patience", "0.5")
    assert claims.refused > 0
    assert claims.health.startswith("refusing")
    assert TEXT_OF[error] in claims.health
    check_and_go_on(folder, claims)


@pytest.mark.parametrize("error", TEXT_OF)
def test_a_journal_that_cannot_rotate_says_so_and_goes_on_in_its_sound_segment(tmp_path: Path, error: str) -> None:
    dry = tmp_path / "dry"
    for _ in lines_of(start(dry, *WRITER, "--callers", "1")):
        pass
    second = sorted(dry.glob("*.journal"))[1].name
    folder = tmp_path / "journal"
    log = folder.with_suffix(".strace")
    wrapper = ["strace", "-f", "-qq", "-o", str(log), "-P", str(folder / f"{second}.aside"), "-e", "trace=openat"]
    claims = Claims()
    process = start(folder, *WRITER, "--callers", "1", wrapper=[*wrapper, "-e", f"inject=openat:error={error}:when=1+"])
    for line in lines_of(process):
        claims.take(line)
    process.wait(60)
    assert len(claims.acked) == RECORDS
    check_and_go_on(folder, claims)


@pytest.mark.parametrize(
    ("call", "when"),
    KILLS + [(call, when) for call in ("write", "fdatasync", "fsync") for when in (1, 3, 4, 6, 7) if LONG],
)
def test_a_process_killed_in_any_call_loses_nothing_that_it_acknowledged(tmp_path: Path, call: str, when: int) -> None:
    folder = tmp_path / "journal"
    claims = run_writer(folder, call, f"signal=SIGKILL:when={when}", "--advance")
    if not folder.exists():
        return  # killed before it had a folder
    check_and_go_on(folder, claims)


def ship(
    folder: Path, place: ConsolePlace, claims: Claims, *options: str, wrapper: Sequence[str] = (), drain_s: float = 60
) -> int:
    """A writer whose events are delivered before it ends, if they can be; how it ended."""
    process = start(folder, *SHIPPING, "--console", place.url, "--drain", str(drain_s), *options, wrapper=wrapper)
    for line in lines_of(process):
        claims.take(line)
    return process.wait(60)


@pytest.mark.parametrize(
    ("call", "when"),
    [(call, when) for call in READS for when in ("1", "2", "1+")]
    + [(call, when) for call in ("pread64", "openat") for when in ("3..9+2", "4..12")]
    + [(call, when) for call in ("pread64", "openat") for when in ("4", "5", "6", "7..40", "5+") if LONG],
)
def test_a_disk_that_refuses_to_read_loses_nothing_and_gives_no_number_twice(
    tmp_path: Path, call: str, when: str
) -> None:
    folder = tmp_path / "journal"
    place = ConsolePlace(tmp_path / "console")
    place.start()
    try:
        claims = backlog_of(folder, place)
        write_cursor(folder, 1)  # as whoever had delivered something would, and had it refused
        (folder / "rejected").mkdir()
        (folder / "rejected" / f"{1:020d}.jsonl").write_text("{}\n")

        log = folder.with_suffix(".strace")
        wrapper = ["strace", "-f", "-qq", "-y", "--seccomp-bpf", "-o", str(log), "-e", f"trace={call}"]
        wrapper += ["-e", f"inject={call}:error=EIO:when={when}"]
        for name in READS[call]:
            wrapper += ["-P", str(folder / name)]
        # Where the disk refuses for good nothing more arrives, and what does not arrive now does from the next one.
        ship(folder, place, claims, "--records", "20", "--first", "1000", wrapper=wrapper, drain_s=10)
        assert "INJECTED" in log.read_text()
        assert "damaged" not in claims.health
        if call == "getdents64":  # who cannot see what is there starts nothing
            assert claims.closed
        else:
            assert claims.health.startswith("open")

        ship(folder, place, claims, "--records", "3", "--first", "2000")
    finally:
        place.kill()
    assert "damaged" not in claims.health
    assert set(place.applied) == {f"event-{number}" for number in claims.acked.values()}
    assert len(place.applied) == len(claims.acked)


def backlog_of(folder: Path, place: ConsolePlace) -> Claims:
    """A journal of which the console has taken nothing, and takes everything from now on."""
    claims = Claims()
    place.behave("500")
    process = start(folder, *SHIPPING, "--console", place.url, "--records", str(RECORDS))
    for line in lines_of(process):
        claims.take(line)
    process.wait(60)
    assert (len(claims.acked), len(place.applied)) == (RECORDS, 0)
    place.behave("ok")
    return claims


@pytest.fixture(scope="module")
def undelivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, int]]:
    """A journal of which nothing is delivered, to be copied, and what was acknowledged of it."""
    folder = tmp_path_factory.mktemp("undelivered")
    place = ConsolePlace(folder / "console")
    place.start()
    claims = backlog_of(folder / "journal", place)
    place.kill()
    return folder / "journal", claims.acked


@pytest.mark.parametrize(
    ("call", "when"), SHIP_KILLS + [(call, when + more) for call, when in SHIP_KILLS for more in (2, 4) if LONG]
)
def test_a_process_killed_in_any_call_of_delivery_delivers_everything_afterwards(
    tmp_path: Path, undelivered: tuple[Path, dict[int, int]], call: str, when: int
) -> None:
    folder, claims = tmp_path / "journal", Claims()
    shutil.copytree(undelivered[0], folder)
    claims.acked.update(undelivered[1])
    place = ConsolePlace(tmp_path / "console")
    place.start()
    try:
        wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
        wrapper += ["-e", f"inject={call}:signal=SIGKILL:when={when}"]
        names = [f"{CURSOR_NAME}.aside", "."] if call in CURSOR_CALLS else READS["openat"]
        for name in () if call in NETWORK else names:
            wrapper += ["-P", str(folder / name)]
        ended = ship(folder, place, claims, "--records", "3", "--first", "1000", wrapper=wrapper)
        assert ended == -signal.SIGKILL, f"{call} never came to its {when}"
        ship(folder, place, claims, "--records", "3", "--first", "2000")
    finally:
        place.kill()
    assert not [finding for finding in recover(folder).findings if finding.acknowledged]
    assert {f"event-{number}" for number in claims.acked.values()} <= set(place.applied)
    assert len(place.applied) == len(set(place.applied))


def test_a_cursor_that_runs_ahead_of_delivery_would_be_noticed(
    tmp_path: Path, undelivered: tuple[Path, dict[int, int]]
) -> None:
    """The negative control: what was noted as arrived and has not is missing in the end."""
    folder, claims = tmp_path / "journal", Claims()
    shutil.copytree(undelivered[0], folder)
    write_cursor(folder, RECORDS // 2)
    place = ConsolePlace(tmp_path / "console")
    place.start()
    try:
        ship(folder, place, claims, "--records", "3", "--first", "2000")
    finally:
        place.kill()
    assert not {f"event-{number}" for number in undelivered[1].values()} <= set(place.applied)
    assert {f"event-{number}" for number in claims.acked.values()} <= set(place.applied)


def test_a_cursor_that_cannot_be_read_does_not_come_back(tmp_path: Path) -> None:
    """With no segment left it alone says which numbers were used."""
    folder, claims = tmp_path / "journal", Claims()
    folder.mkdir()
    write_cursor(folder, 1000)
    place = ConsolePlace(tmp_path / "console")
    place.start()
    place.behave("500")
    log = folder.with_suffix(".strace")
    wrapper = ["strace", "-f", "-qq", "-o", str(log), "-P", str(folder / CURSOR_NAME), "-e", "trace=read"]
    wrapper += ["-e", "inject=read:error=EIO:when=1"]
    try:
        process = start(folder, *SHIPPING, "--console", place.url, "--records", "20", wrapper=wrapper)
        for line in lines_of(process):
            claims.take(line)
        process.wait(60)
        assert "INJECTED" in log.read_text()
        place.behave("ok")
        ship(folder, place, claims, "--records", "3", "--first", "2000")
    finally:
        place.kill()
    assert set(place.applied) == {f"event-{number}" for number in claims.acked.values()}
    assert len(claims.acked) == 23


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_file_whose_write_or_sync_failed_is_never_written_or_synced_again(tmp_path: Path, call: str) -> None:
    folder = tmp_path / "journal"
    log = folder.with_suffix(".strace")
    wrapper = ["strace", "-f", "-qq", "-y", "--seccomp-bpf", "-o", str(log), "-e", "trace=write,fdatasync,fsync"]
    process = start(folder, *WRITER, wrapper=[*wrapper, "-e", f"inject={call}:error=EIO:when=3"])
    claims = Claims()
    for line in lines_of(process):
        claims.take(line)
    process.wait(60)
    assert claims.refused > 0
    touched = [
        (match["number"], "INJECTED" in line)
        for line in log.read_text().splitlines()
        if (match := re.search(r"(?:write|fdatasync|fsync)\((?P<number>\d+)<[^>]*\.journal>", line))
    ]
    failed_at = next(index for index, (_, injected) in enumerate(touched) if injected)
    # The file is closed at once, so a later use of the same number is another file: it starts with a new header.
    paths = re.findall(r"(\w+)\(\d+<([^>]*\.journal(?:\.aside)?)>", log.read_text())
    failed_path = [path for _, path in paths if path.endswith(".journal")][failed_at]
    after = log.read_text().split("INJECTED", 1)[1]
    assert f"<{failed_path}>" not in after
    check_and_go_on(folder, claims)


def test_without_a_sync_the_check_would_notice(tmp_path: Path) -> None:
    """The negative control: a writer whose writes do nothing but claim to have worked."""
    folder = tmp_path / "journal"
    log = folder.with_suffix(".strace")
    lying = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", "trace=write", "-e", "inject=write:retval=4096:when=9+"]
    process = start(folder, *WRITER, wrapper=lying)
    claims = Claims()
    for line in lines_of(process):
        claims.take(line)
    process.wait(60)
    assert lost(claims, folder)
