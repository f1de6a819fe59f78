"""Addresses among the settings: taken apart, or refused without a word of theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.addresses import BucketAddress, address, bucket, host_and_port


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


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("s3://photos", BucketAddress("photos", "", "", "")),
        ("s3://photos/", BucketAddress("photos", "", "", "")),
        ("s3://photos/kept/of-shop_1/?region=eu-west-1", BucketAddress("photos", "kept/of-shop_1", "", "eu-west-1")),
        (
            "s3://my.photos/kept?endpoint=https://minio.example:9000/&region=th",
            BucketAddress("my.photos", "kept", "https://minio.example:9000", "th"),
        ),
        ("s3://photos?endpoint=http%3A%2F%2F[::1]:9000", BucketAddress("photos", "", "http://[::1]:9000", "")),
    ],
)
def test_a_bucket_is_taken_apart(value: str, found: BucketAddress) -> None:
    assert bucket(value) == found


@pytest.mark.parametrize(
    "value",
    [
        "s3:",
        "s3://",
        "s3:///prefix",
        "s3://Photos",
        "s3://ph",
        "s3://-photos",
        "s3://user:hunter2@photos",
        "s3://photos:9000/kept",
        "s3://photos/a//b",
        "s3://photos/a b",
        "s3://photos/ก",
        "s3://photos/kept#part",
        "s3://photos?endpoint=",
        "s3://photos?endpoint=minio:9000",
        "s3://photos?endpoint=ftp://minio:9000",
        "s3://photos?endpoint=https://",
        "s3://photos?endpoint=https://minio/path",
        "s3://photos?endpoint=https://u:hunter2@minio",
        "s3://photos?endpoint=https://minio:99999",
        "s3://photos?regoin=eu-west-1",
        "https://photos.s3.amazonaws.com/",
    ],
)
def test_a_bucket_that_is_none_is_refused_without_its_password(value: str) -> None:
    with pytest.raises(ValueError, match=r"^(wanted|the port)") as wrong:
        bucket(value)

    assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("gateway.example:7443", ("gateway.example", 7443)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_host_and_port_are_taken_apart(value: str, parts: tuple[str, int]) -> None:
    assert host_and_port(value) == parts


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        *((each, "wanted HOST:PORT, with a port of 1 to 65535")
          for each in ("7443", ":7443", "h:", "h:0", "h:65536", "h:๗")),
        *((each, "wanted HOST:PORT with an IPv6 address in brackets, as in [::1]:7443")
          for each in ("::1:7443", "[::1:7443", "::1]:7443", "[h]:7443", ":::7443")),
    ],
)  # fmt: skip
def test_what_is_no_host_and_port_is_refused_with_one_sentence(value: str, sentence: str) -> None:
    with pytest.raises(ValueError) as wrong:
        host_and_port(value, port_min=1)

    assert str(wrong.value) == sentence
