"""Addresses among the settings: taken apart, or refused without a word of theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.addresses import address


def test_an_address_is_taken_apart() -> None:
    url = address("redis://u:p%2Fw@h:6380/1", ("redis", "rediss"))

    assert (url.hostname, url.port, url.password) == ("h", 6380, "p%2Fw")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("kafka://h", "wanted an address that begins with redis://, rediss://"),
        ("redis://h:abc", "the port is no number up to 65535; a / in a password is written %2F"),
        ("redis://h:65536", "the port is no number up to 65535; a / in a password is written %2F"),
        ("redis://u:se/cret@h/0", "the port is no number up to 65535; a / in a password is written %2F"),
        (
            "redis://u:12/cret@h/0",
            "an @ stands behind the first /; a / in a password is written %2F, an @ in a name %40",
        ),
        ("redis://u:[cret@h/0", "wanted an address of the form SCHEME://USER:PASSWORD@HOST:PORT/NAME"),
        (
            "redis://u:cret\N{FULLWIDTH COLON}@h/0",
            "wanted an address of the form SCHEME://USER:PASSWORD@HOST:PORT/NAME",
        ),
    ],
)
def test_an_address_that_is_none_is_refused_with_one_sentence(value: str, sentence: str) -> None:
    with pytest.raises(ValueError) as wrong:
        address(value, ("redis", "rediss"))

    assert str(wrong.value) == sentence


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_no_password_is_repeated_whatever_is_in_it(password: str) -> None:
    assert "hunter2" not in said_of(f"redis://u:hunter2{password}hunter2@h:1/0")


def said_of(value: str) -> str:
    """The complaint; or the port, where there is none."""
    try:
        return str(address(value, ("redis",)).port)
    except ValueError as error:
        return str(error)
