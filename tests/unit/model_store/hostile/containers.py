"""The zip itself lies, or hides something."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from model_store.members import MIB
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.model_store.cast import Entry, entry, zip_of
from tests.unit.model_store.hostile import Cases, Material

cases: Final = Cases()


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def empty_file(_: Material) -> bytes:
    return b""


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def not_a_zip(_: Material) -> bytes:
    return b"#!/bin/sh\nexit 0\n" * 100


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def gzip_instead(m: Material) -> bytes:
    return zlib.compress(m.signed(m.good))


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def cut_in_half(m: Material) -> bytes:
    archive = m.signed(m.good)
    return archive[: len(archive) // 2]


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def last_byte_missing(m: Material) -> bytes:
    return m.signed(m.good)[:-1]


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def script_before_the_zip(m: Material) -> bytes:
    return zip_of(m.entries(), before=b"#!/bin/sh\n" + m.command.encode() + b"\nexit\n")


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def bytes_before_with_old_offsets(m: Material) -> bytes:
    return b"MZ" + m.signed(m.good)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def bytes_after_the_zip(m: Material) -> bytes:
    return zip_of(m.entries(), after=b"trailer")


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def comment_at_the_end(m: Material) -> bytes:
    return zip_of(m.entries(), comment=b"PK\x05\x06 hidden")


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def two_zips_in_a_row(m: Material) -> bytes:
    return m.signed(m.good) + m.signed(m.good)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def several_disks(m: Material) -> bytes:
    return zip_of(m.entries(), end={"disk": 1, "directory_disk": 1})


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def zip64_end(m: Material) -> bytes:
    return zip_of(m.entries(), end={"start": 0xFFFFFFFF})


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def zip64_sizes(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.onnx").lie(size=0xFFFFFFFF, packed=0xFFFFFFFF)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def fewer_members_than_announced(m: Material) -> bytes:
    entries = m.entries()
    return zip_of(entries, end={"here": len(entries) + 1, "entries": len(entries) + 1})


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def more_members_than_announced(m: Material) -> bytes:
    entries = m.entries()
    return zip_of(entries, end={"here": len(entries) - 1, "entries": len(entries) - 1})


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def other_name_in_the_local_header(m: Material) -> bytes:
    """TorchServe would unpack `sitecustom.py` where others see the handler's stub."""
    entries = m.entries()
    entry(entries, "graph_pb2.py").local_name = b"sitecustom.p"
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def other_size_in_the_local_header(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").local = {"size": 3}
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def other_method_in_the_local_header(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").local = {"method": 8}
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def other_checksum_in_the_local_header(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").local = {"crc": 0}
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def wrong_checksum_in_both_headers(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").lie(crc=1)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def member_hidden_from_the_directory(m: Material) -> bytes:
    """Readers of local headers (TorchServe) would find one more file than the directory lists."""
    entries = m.entries()
    hidden = zip_of([Entry(b"sitecustomize.py", m.python)])
    entries[2].gap = hidden[: hidden.index(b"PK\x01\x02")]
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def member_before_the_first(m: Material) -> bytes:
    hidden = zip_of([Entry(b"sitecustomize.py", m.python)])
    return zip_of(m.entries(), before=hidden[: hidden.index(b"PK\x01\x02")])


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def member_after_the_last(m: Material) -> bytes:
    entries = m.entries()
    hidden = zip_of([Entry(b"sitecustomize.py", m.python)])
    entries[-1].gap = hidden[: hidden.index(b"PK\x01\x02")]
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def bytes_at_the_end_of_the_directory(m: Material) -> bytes:
    return zip_of(m.entries(), directory_order=lambda headers: [*headers, m.python])


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def two_names_for_one_content(m: Material) -> bytes:
    """Overlapping members, the way of the 42 kB bombs that no ratio limit sees."""
    entries = m.entries()
    entry(entries, "golden_1.png").central = {"offset": 0}
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def directory_in_another_order(m: Material) -> bytes:
    return zip_of(m.entries(), directory_order=lambda headers: headers[::-1])


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def encrypted_member(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.onnx").lie(flags=0x0001)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def encrypted_directory(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.onnx").lie(flags=0x2000)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def sizes_after_the_data(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.onnx").lie(flags=0x0008)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def unicode_path_extra_field(m: Material) -> bytes:
    """Info-ZIP's 0x7075 gives a member a second name that only some readers use."""
    entries = m.entries()
    other = b"\x01" + struct.pack("<L", zlib.crc32(b"model.json")) + b"../../evil.py"
    entry(entries, "model.json").central_extra = struct.pack("<2H", 0x7075, len(other)) + other
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def extra_field_in_the_local_header(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").local_extra = struct.pack("<2HL", 0x5455, 4, 0)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def packed_with_bzip2(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").lie(method=12)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def needs_features_of_zip64(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").lie(version=45)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def flag_that_readers_do_not_agree_on(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "model.json").lie(flags=0x0020)  # a patch of another file
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def data_after_the_packed_stream(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.json")
    item.deflated = True
    item.data = item.packed() + m.python
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def broken_packed_stream(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.json")
    item.deflated = True
    item.data = b"\xff" * 400
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def packed_stream_without_end(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.json")
    item.deflated = True
    item.data = item.packed()[:-3]
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def packed_stream_that_is_whole_and_goes_on(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.json")
    item.deflated = True
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    item.data = deflater.compress(item.content) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def packed_stream_shorter_than_it_says(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.json")
    item.deflated = True
    item.lie(size=len(item.content) + 1)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_UNREADABLE)
def stored_with_two_sizes(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.json")
    item.lie(size=len(item.content) - 1)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_TOO_LARGE)
def bomb_of_zeros(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.onnx")
    item.content, item.deflated = bytes(200 * MIB), True
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_TOO_LARGE)
def bomb_that_declares_less(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.onnx")
    item.deflated = True
    item.content = bytes(64 * MIB)
    item.lie(size=900_000, crc=zlib.crc32(bytes(900_000)))
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_TOO_LARGE)
def many_members(m: Material) -> bytes:
    return zip_of([*m.entries(), *(Entry(b"golden_%d.png" % number, b"") for number in range(100, 200))])


@cases.refused_for(words.REASON_ARCHIVE_TOO_LARGE)
def directory_of_megabytes(m: Material) -> bytes:
    return zip_of([*m.entries(), *(Entry(b"n" * 60_000, b"") for _ in range(20))])


@cases.refused_for(words.REASON_ARCHIVE_TOO_LARGE)
def declares_more_than_the_limit(m: Material) -> bytes:
    entries = m.entries()
    item = entry(entries, "model.onnx")
    item.deflated = True
    item.data = bytes(20 * MIB)
    item.lie(size=1900 * MIB)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_TOO_LARGE)
def endless_card(m: Material) -> bytes:
    return m.signed({**m.good, "model.json": m.good["model.json"] + b" " * (9 * MIB)})


CASES: Final = cases.table
