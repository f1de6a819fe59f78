"""Distributions and photographs made for the parser that opens them."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from typing import Final

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.model_store.cast import with_card
from tests.unit.model_store.hostile import Cases, Material

cases: Final = Cases()


def _with_reference(m: Material, text: str) -> bytes:
    return m.signed({**m.good, "reference.json": text.encode()})


def _with_photograph(m: Material, picture: bytes) -> bytes:
    return m.signed(with_card({**m.good, "golden_0.png": picture}))


# The header of a sketch that promises 2**40 values and brings none.
_PROMISES: Final = "BQEPABAnCAAAAAAAAAEAABAnCAA="

for _key, _text in {
    "reference_of_another_schema": '{"schema": 2, "samples": {}, "counts": {}}',
    "reference_with_no_sketch": '{"schema": 1, "samples": {"confidence": "AAAA"}, "counts": {}}',
    "reference_that_is_no_base64": '{"schema": 1, "samples": {"confidence": "=="}, "counts": {}}',
    "reference_counting_below_zero": '{"schema": 1, "samples": {}, "counts": {"class": {"red": -1}}}',
    "reference_with_one_key_more": '{"schema": 1, "samples": {}, "counts": {}, "hook": "x"}',
    "reference_promising_too_much": '{"schema": 1, "samples": {"confidence": "' + _PROMISES + '"}, "counts": {}}',
}.items():
    cases.add(_key, words.REASON_ARCHIVE_CARD_INVALID, partial(_with_reference, text=_text))


def _png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))

    header = struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


for _key, _picture in {
    "photograph_of_another_size": _png(32, 32, zlib.compress(bytes(32 * (1 + 96)))),
    "photograph_of_four_thousand_million_pixels": _png(65_535, 65_535, zlib.compress(bytes(1000))),
    "photograph_cut_off": _png(64, 64, zlib.compress(bytes(64 * (1 + 192)))[:10]),
    "photograph_of_noise": _png(64, 64, b"\x00" * 64),
}.items():
    cases.add(_key, words.REASON_ARCHIVE_CARD_INVALID, partial(_with_photograph, picture=_picture))


CASES: Final = cases.table
