"""No byte of an accepted archive can change unnoticed."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store import contents
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.model_store.cast import Signer, check, entries_of, zip_of

# Damage is found before a parser runs: a case takes some milliseconds.
BOUNDED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _refused(archive: bytes, maker: Signer) -> words.Reason.ValueType:
    with TemporaryDirectory() as folder:
        report = check(archive, maker.trust, Path(folder))
    assert not report.accepted
    assert report.refusal is not None
    return report.refusal.reason


def _flipped(archive: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(archive)
    changed[at] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("name", [*contents.REQUIRED, "golden_0.png", "golden_1.png", "model.sig"])
def test_a_flipped_byte_anywhere_in_a_member_is_found_by_its_checksum(
    name: str, good_archive: bytes, maker: Signer
) -> None:
    with zipfile.ZipFile(io.BytesIO(good_archive)) as archive:
        info = archive.getinfo(name)
    start = info.header_offset + 30 + len(name)
    for at in {start, start + info.file_size // 3, start + info.file_size // 2, start + info.file_size - 1}:
        assert _refused(_flipped(good_archive, at, 0), maker) == words.REASON_ARCHIVE_UNREADABLE


@pytest.mark.parametrize("name", [*contents.REQUIRED, "golden_0.png", "golden_1.png", "model.sig"])
def test_a_flipped_byte_with_the_checksums_put_right_is_found_as_well(
    name: str, good: dict[str, bytes], maker: Signer
) -> None:
    members = {**good, "model.sig": maker.sign(good)}
    size = len(members[name])
    for at in {0, size // 3, size // 2, size - 1}:
        _refused(zip_of(entries_of({**members, name: _flipped(members[name], at, 0)})), maker)


def test_every_bit_of_every_header_counts(good_archive: bytes, maker: Signer) -> None:
    with zipfile.ZipFile(io.BytesIO(good_archive)) as archive:
        infos = archive.infolist()
    local = {at for info in infos[:2] for at in range(info.header_offset, info.header_offset + 30 + len(info.filename))}
    directory_at = good_archive.rindex(infos[-1].filename.encode()) - 46
    for at in sorted(local | set(range(directory_at, len(good_archive)))):
        _refused(_flipped(good_archive, at, at % 8), maker)


@dataclass(frozen=True)
class Damage:
    """One thing that goes wrong with a file."""

    at: float  # where, as a share of the file
    length: int
    how: str

    def done_to(self, archive: bytes) -> bytes:
        start = int(self.at * len(archive))
        end = min(len(archive), start + self.length)
        piece = archive[start:end]
        new = {
            "cut": b"",
            "twice": piece * 2,
            "zeros": bytes(len(piece)),
            "backwards": piece[::-1],
            "flipped": bytes(byte ^ 0xFF for byte in piece),
            "rest lost": None,
        }[self.how]
        return archive[:start] if new is None else archive[:start] + new + archive[end:]


damages = st.builds(
    Damage,
    at=st.floats(0, 1, exclude_max=True),
    length=st.integers(1, 5000),
    how=st.sampled_from(["cut", "twice", "zeros", "backwards", "flipped", "rest lost"]),
)


@BOUNDED
@given(damage=st.lists(damages, min_size=1, max_size=3))
def test_a_damaged_archive_is_refused_and_never_an_error_of_ours(
    damage: list[Damage], good_archive: bytes, maker: Signer
) -> None:
    damaged = good_archive
    for one in damage:
        damaged = one.done_to(damaged)
    if damaged != good_archive:
        _refused(damaged, maker)


@BOUNDED
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(content: bytes, maker: Signer) -> None:
    assert _refused(content, maker) == words.REASON_ARCHIVE_UNREADABLE


@BOUNDED
@given(name=st.sampled_from([*contents.REQUIRED, "golden_0.png", "model.sig"]), content=st.binary(max_size=400))
def test_arbitrary_content_of_a_member_is_refused(
    name: str, content: bytes, good_archive: bytes, good: dict[str, bytes], maker: Signer
) -> None:
    with zipfile.ZipFile(io.BytesIO(good_archive)) as archive:
        signature = archive.read("model.sig")
    _refused(zip_of(entries_of({**good, "model.sig": signature, name: content})), maker)
