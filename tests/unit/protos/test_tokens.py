"""What can be a token and what is no secret, as gateway and console both ask it."""

from __future__ import annotations

import os

import pytest

from protos.blankness import is_blank
from protos.tokens import is_token


@pytest.mark.parametrize("content", [b"0f" * 32, b"x", b"two words", b"~!@#"])
def test_one_printable_line_is_a_token(content: bytes) -> None:
    assert is_token(content)


@pytest.mark.parametrize(
    "content", [b"", b" ", b" 0f0f", b"0f0f ", b"0f0f\n", b"0f\n0f", b"0f\x7f", b"0f\x00", "rückseite".encode()]
)
def test_what_no_header_carries_as_it_is_is_none(content: bytes) -> None:
    assert not is_token(content)


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 32, b"a" * 64])
def test_one_byte_over_and_over_is_no_secret(content: bytes) -> None:
    assert is_blank(content)


def test_two_bytes_may_be_one() -> None:
    assert not is_blank(b"\0" * 31 + b"\1")
    assert not is_blank(os.urandom(32))
