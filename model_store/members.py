"""The zip rules: an archive's container is read here, strictly, before anything inside it.

TorchServe unpacks by the local headers in the order of the file; Python's zipfile goes by
the central directory at its end; scanners do one or the other. An archive on which two
readers could disagree is refused: no gaps, no order of its own, no bytes before, between
or after, no second spelling of a name or a size.

    [local header | name | data] per member, from byte 0, without gaps
    [central header | name]      per member, in the same order
    [end of central directory]   22 bytes, the last of the file

Sizes are checked from the headers before data is touched, and again while it is inflated.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Final

from model_store.errors import ArchiveRefused
from protos.amulet.v1 import vocabulary_pb2 as words

MIB: Final = 1024 * 1024
_CHUNK: Final = MIB
_DIRECTORY_BYTES_MAX: Final = MIB
_STORED: Final = 0
_DEFLATED: Final = 8
_END: Final = struct.Struct("<4s4H2LH")
_CENTRAL: Final = struct.Struct("<4sH24s4H2L")
_LOCAL: Final = struct.Struct("<4s24sH")
_SHARED: Final = struct.Struct("<5H3LH")  # the 24 bytes that both headers carry
_FLAGS_ENCRYPTED: Final = 0x0001 | 0x0040 | 0x2000
_FLAG_SIZES_AFTER_DATA: Final = 0x0008
_FLAGS_HARMLESS: Final = 0x0002 | 0x0004 | 0x0800  # deflate's level; the name is UTF-8
_DOS_DIRECTORY: Final = 0x10
_VERSION_MAX: Final = 20  # 2.0: stored and deflated files; 4.5 would be zip64
# Made by zip 2.0 on Unix, binary, -rw-r--r--; needs 2.0, no flags; 1980-01-01 00:00.
PLAIN: Final = (0x0314, 0, 0o100644 << 16, 20, 0, 0, 33)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an archive may be. The ratio counts only for members above one MiB."""

    archive_bytes_max: int = 512 * MIB
    expanded_bytes_max: int = 1024 * MIB
    ratio_max: int = 100
    members_max: int = 64


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive whose two headers agree."""

    name: str
    size_bytes: int
    packed_bytes: int
    crc32: int
    deflated: bool
    data_at: int  # offset of the first byte of data
    plain: bool  # its headers say what `amulet package` writes, and nothing more


def open_regular(path: Path) -> BufferedReader:
    """The archive's file, opened once. Raises ArchiveRefused when it is no regular file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(f"{path.name} cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _unreadable(f"{path.name} is not a regular file")
    return os.fdopen(handle, "rb")


def check_size(file: BufferedReader, limits: Limits) -> int:
    """The archive's size in bytes. Raises ArchiveRefused above the limit."""
    size = os.fstat(file.fileno()).st_size
    if size > limits.archive_bytes_max:
        raise _too_large(f"the archive has {size} bytes; at most {limits.archive_bytes_max} are accepted")
    return size


def read_directory(file: BufferedReader, limits: Limits) -> tuple[Member, ...]:
    """All members, in the order of the file. Raises ArchiveRefused for the first rule broken."""
    size = check_size(file, limits)
    entries, directory_at = _end_record(file, size)
    if entries > limits.members_max:
        raise _too_large(f"the archive has {entries} members; at most {limits.members_max} are accepted")
    directory_bytes = size - _END.size - directory_at
    if directory_bytes > _DIRECTORY_BYTES_MAX:
        raise _too_large(f"its directory has {directory_bytes} bytes; at most {_DIRECTORY_BYTES_MAX} are accepted")
    file.seek(directory_at)
    directory = file.read(directory_bytes)
    headers = _central_headers(directory, entries)
    _check_names([header.name for header in headers])
    _check_sizes(headers, limits)
    members = []
    expected_at = 0
    for header in headers:
        member = _member(file, header, expected_at)
        members.append(member)
        expected_at = member.data_at + member.packed_bytes
    if expected_at != directory_at:
        raise _unreadable("its directory does not start where the last member ends")
    return tuple(members)


def chunks(file: BufferedReader, member: Member) -> Iterator[bytes]:
    """The content of a member in pieces of at most one MiB.

    Raises ArchiveRefused as soon as it is longer than declared, and at the end when it is
    shorter or its CRC is wrong: use what was yielded only after the last piece.
    """
    crc = total = 0
    for piece in _inflated(file, member) if member.deflated else _stored(file, member):
        crc = zlib.crc32(piece, crc)
        total += len(piece)
        if total > member.size_bytes:
            raise _too_large(f"{member.name} is longer than the {member.size_bytes} bytes that it declares")
        yield piece
    if total != member.size_bytes:
        raise _unreadable(f"{member.name} ends after {total} of {member.size_bytes} bytes")
    if crc != member.crc32:
        raise _unreadable(f"{member.name} does not have the checksum (CRC-32) that its header states")


def read(file: BufferedReader, member: Member) -> bytes:
    return b"".join(chunks(file, member))


def unpack(file: BufferedReader, members: Sequence[Member], folder: Path) -> Mapping[str, str]:
    """Write the members below an empty private folder; returns name -> SHA-256 of the content.

    Call it only with names that were checked against the allow-list. Raises ArchiveRefused.
    """
    digests: dict[str, str] = {}
    for member in members:
        target = folder / member.name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as out:
            for piece in chunks(file, member):
                digest.update(piece)
                out.write(piece)
        digests[member.name] = digest.hexdigest()
    return MappingProxyType(digests)


def digest_of(file: BufferedReader) -> str:
    """SHA-256 of the whole archive, in hexadecimal."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class _Central:
    """One entry of the central directory, before its local header was seen."""

    name: str
    raw_name: bytes
    shared: bytes  # what the local header must repeat
    deflated: bool
    crc32: int
    packed_bytes: int
    size_bytes: int
    local_at: int
    plain: bool


def _end_record(file: BufferedReader, size: int) -> tuple[int, int]:
    """Number of members, and where the central directory starts."""
    file.seek(max(0, size - _END.size))
    tail = file.read(_END.size)
    if len(tail) < _END.size or not tail.startswith(b"PK\x05\x06"):
        file.seek(max(0, size - _END.size - 0xFFFF))
        if b"PK\x05\x06" in file.read():
            raise _unreadable("there are bytes, or a comment, after the end of the zip")
        raise _unreadable("it is no zip archive, or its end is missing")
    _mark, disk, directory_disk, entries_here, entries, length, start, comment = _END.unpack(tail)
    if disk or directory_disk or entries_here != entries:
        raise _unreadable("it is one part of an archive in several files")
    if comment:
        raise _unreadable("its end record announces a comment that is not there")
    if entries == 0xFFFF or 0xFFFFFFFF in (length, start):
        raise _unreadable("it is a zip64 archive; model archives stay below four GiB")
    if start + length != size - _END.size:
        raise _unreadable("its directory is not where its end record says: bytes before or inside the zip")
    return entries, start


def _central_headers(directory: bytes, entries: int) -> list[_Central]:
    headers = []
    at = 0
    for _ in range(entries):
        if len(directory) - at < _CENTRAL.size:
            raise _unreadable("its directory ends early")
        mark, made_by, shared, extra, comment, disk, inner, outer, local_at = _CENTRAL.unpack_from(directory, at)
        if mark != b"PK\x01\x02":
            raise _unreadable("its directory holds something that is no member")
        version, flags, method, time, date, crc32, packed, size, name_length = _SHARED.unpack(shared)
        at += _CENTRAL.size
        raw_name = directory[at : at + name_length]
        at += name_length
        if len(raw_name) != name_length:
            raise _unreadable("its directory ends early")
        name = _decoded(raw_name)
        if extra or comment or disk:
            raise _unreadable(f"{name} carries extra fields or a comment, which readers understand differently")
        _check_kind(name, outer)
        _check_packing(name, version, flags, method)
        if 0xFFFFFFFF in (packed, size, local_at):
            raise _unreadable(f"{name} uses zip64; model archives stay below four GiB")
        plain = (made_by, inner, outer, version, flags, time, date) == PLAIN
        headers.append(_Central(name, raw_name, shared, method == _DEFLATED, crc32, packed, size, local_at, plain))
    if at != len(directory):
        raise _unreadable("its directory holds bytes that belong to no member")
    return headers


def _decoded(raw_name: bytes) -> str:
    try:
        name = raw_name.decode("ascii")
    except UnicodeDecodeError:
        raise _unsafe(f"the name {raw_name[:80]!r} is not plain ASCII") from None
    if not name or any(character < " " or character == "\x7f" for character in name):
        raise _unsafe(f"the name {raw_name[:80]!r} is empty or holds control characters")
    return name


def _check_kind(name: str, outer_attributes: int) -> None:
    mode = outer_attributes >> 16
    if name.endswith("/") or outer_attributes & _DOS_DIRECTORY or stat.S_ISDIR(mode):
        raise ArchiveRefused(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED, f"{name} is a directory; only files belong here")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise _unsafe(f"{name} is a link or a device; only files belong here")


def _check_packing(name: str, version: int, flags: int, method: int) -> None:
    if flags & _FLAGS_ENCRYPTED:
        raise _unreadable(f"{name} is encrypted")
    if flags & _FLAG_SIZES_AFTER_DATA:
        raise _unreadable(f"{name} states its size only after its data; write the archive to a seekable file")
    if flags & ~_FLAGS_HARMLESS or version > _VERSION_MAX:
        raise _unreadable(f"{name} needs features of zip beyond version 2.0")
    if method not in (_STORED, _DEFLATED):
        raise _unreadable(f"{name} is packed by method {method}; stored and deflated are read")


def _check_names(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name:
            raise _unsafe(f"{name} is an absolute path or uses backslashes or drive letters")
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise _unsafe(f"{name} climbs out of its folder or spells its path in another way")
        if (other := seen.get(name.casefold())) is not None:
            raise _unsafe(f"{name} and {other} are one file to some readers")
        seen[name.casefold()] = name


def _check_sizes(headers: Sequence[_Central], limits: Limits) -> None:
    for header in headers:
        if header.size_bytes > max(MIB, header.packed_bytes * limits.ratio_max):
            raise _too_large(f"{header.name} expands more than {limits.ratio_max} times")
    expanded = sum(header.size_bytes for header in headers)
    if expanded > limits.expanded_bytes_max:
        raise _too_large(f"the members have {expanded} bytes; at most {limits.expanded_bytes_max} are accepted")


def _member(file: BufferedReader, header: _Central, expected_at: int) -> Member:
    """Compare the local header with the directory. Members follow each other without gaps."""
    if header.local_at != expected_at:
        raise _unreadable(f"{header.name} does not start where the member before it ends")
    file.seek(header.local_at)
    local = file.read(_LOCAL.size + len(header.raw_name))
    if len(local) != _LOCAL.size + len(header.raw_name):
        raise _unreadable(f"{header.name} is cut off")
    mark, shared, extra = _LOCAL.unpack_from(local)
    if mark != b"PK\x03\x04" or shared != header.shared or local[_LOCAL.size :] != header.raw_name:
        raise _unreadable(f"{header.name}: its own header and the directory disagree")
    if extra:
        raise _unreadable(f"{header.name} carries extra fields, which readers understand differently")
    if not header.deflated and header.packed_bytes != header.size_bytes:
        raise _unreadable(f"{header.name} is stored, but states two different sizes")
    return Member(
        name=header.name,
        size_bytes=header.size_bytes,
        packed_bytes=header.packed_bytes,
        crc32=header.crc32,
        deflated=header.deflated,
        data_at=expected_at + len(local),
        plain=header.plain,
    )


def _stored(file: BufferedReader, member: Member) -> Iterator[bytes]:
    at, end = member.data_at, member.data_at + member.packed_bytes
    while at < end:
        file.seek(at)
        piece = file.read(min(_CHUNK, end - at))
        if not piece:
            return
        at += len(piece)
        yield piece


def _inflated(file: BufferedReader, member: Member) -> Iterator[bytes]:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        for piece in _stored(file, member):
            waiting = piece
            while waiting and not inflater.eof:
                yield inflater.decompress(waiting, _CHUNK)
                waiting = inflater.unconsumed_tail
            if inflater.unused_data or (waiting and inflater.eof):
                raise _unreadable(f"{member.name} holds bytes after its packed data")
        while not inflater.eof and (rest := inflater.decompress(b"", _CHUNK)):
            yield rest  # a match that did not fit into the last piece
    except zlib.error:
        raise _unreadable(f"{member.name} cannot be unpacked") from None
    if not inflater.eof:
        raise _unreadable(f"{member.name}: its packed data ends early")


def _unreadable(message: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_UNREADABLE, message)


def _unsafe(message: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_PATH_UNSAFE, message)


def _too_large(message: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_TOO_LARGE, message)
