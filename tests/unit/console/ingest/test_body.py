from __future__ import annotations

import gzip
import io
import tracemalloc

import pytest

from console.errors import Invalid, TooLarge
from console.ingest.body import PACKED_BYTES_MAX, UNPACKED_BYTES_MAX, read_body


def test_a_body_is_unpacked() -> None:
    content = b"event" * 100_000
    assert read_body(io.BytesIO(gzip.compress(content)), gzip=True) == content
    assert read_body(io.BytesIO(content), gzip=False) == content
    assert read_body(io.BytesIO(b""), gzip=False) == b""


def test_a_bomb_is_refused_before_it_fills_memory() -> None:
    bomb = gzip.compress(bytes(1 << 30), compresslevel=9)
    tracemalloc.start()
    with pytest.raises(TooLarge, match="unpacked"):
        read_body(io.BytesIO(bomb), gzip=True)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 3 * UNPACKED_BYTES_MAX


def test_a_long_body_is_refused_on_the_wire() -> None:
    with pytest.raises(TooLarge, match="wire"):
        read_body(io.BytesIO(bytes(PACKED_BYTES_MAX + 1)), gzip=False)


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"cut off here")[:-3], gzip.compress(b"whole") + b"more"],
    ids=["empty", "of another kind", "cut", "with a tail"],
)
def test_what_is_no_gzip_is_named(content: bytes) -> None:
    with pytest.raises(Invalid, match="gzip"):
        read_body(io.BytesIO(content), gzip=True)
