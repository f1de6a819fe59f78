from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from console.vault import cipher
from gateway.sealing import seal

KEYS = cipher.MasterKeys(look_up=bytes(32), wrapping=bytes(range(32)))
SUBJECT = uuid4()


def test_a_subject_key_opens_only_for_its_subject_and_master_key() -> None:
    wrapped = cipher.new_subject_key(KEYS, SUBJECT)
    assert len(cipher.unwrap(KEYS, SUBJECT, wrapped)) == 32
    with pytest.raises(cipher.Unopenable):
        cipher.unwrap(KEYS, uuid4(), wrapped)
    with pytest.raises(cipher.Unopenable):
        cipher.unwrap(cipher.MasterKeys(bytes(32), bytes(32)), SUBJECT, wrapped)
    with pytest.raises(cipher.Unopenable):
        cipher.unwrap(KEYS, SUBJECT, b"\x02" + wrapped[1:])


@given(st.binary(max_size=300), st.integers(0))
def test_an_object_with_any_byte_changed_does_not_open(content: bytes, place: int) -> None:
    key, salt, object_id = os.urandom(32), os.urandom(32), uuid4()
    sealed = bytearray(cipher.seal_object(key, object_id=object_id, salt=salt, content=content))
    assert cipher.open_object(key, object_id=object_id, salt=salt, sealed=bytes(sealed)) == content
    sealed[place % len(sealed)] ^= 1
    with pytest.raises(cipher.Unopenable):
        cipher.open_object(key, object_id=object_id, salt=salt, sealed=bytes(sealed))


def test_an_object_without_its_salt_is_noise() -> None:
    key, object_id = os.urandom(32), uuid4()
    sealed = cipher.seal_object(key, object_id=object_id, salt=os.urandom(32), content=b"x")
    with pytest.raises(cipher.Unopenable):
        cipher.open_object(key, object_id=object_id, salt=os.urandom(32), sealed=sealed)


def test_what_the_gateway_seals_the_vault_opens_for_that_prediction_alone() -> None:
    key = X25519PrivateKey.generate()
    sealed = seal(b"photo", recipient_public_key=key.public_key().public_bytes_raw(), prediction_id="p1")
    parts = {
        "ephemeral_public_key": sealed.ephemeral_public_key,
        "nonce": sealed.nonce,
        "ciphertext": sealed.ciphertext,
    }
    assert cipher.open_photo(key, **parts, prediction_id="p1") == b"photo"
    with pytest.raises(cipher.Unopenable):
        cipher.open_photo(key, **parts, prediction_id="p2")
    with pytest.raises(cipher.Unopenable):
        cipher.open_photo(X25519PrivateKey.generate(), **parts, prediction_id="p1")
    for spoilt in (
        {"nonce": b""},
        {"ephemeral_public_key": b"short"},
        {"ephemeral_public_key": bytes(32)},
        {"ciphertext": b""},
    ):
        with pytest.raises(cipher.Unopenable):
            cipher.open_photo(key, **{**parts, **spoilt}, prediction_id="p1")


def test_a_pseudonym_is_found_under_a_keyed_hash() -> None:
    other = cipher.MasterKeys(look_up=bytes([1] * 32), wrapping=bytes(32))
    assert cipher.find_by(KEYS, "shop-17") == cipher.find_by(KEYS, "shop-17")
    assert cipher.find_by(KEYS, "shop-17") != cipher.find_by(other, "shop-17")


def test_a_key_file_of_another_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    path.write_bytes(bytes(31))
    with pytest.raises(cipher.KeyUnreadable, match="exactly 32"):
        cipher.load_master_keys(path)
    path.write_bytes(b"\n" * 31 + b"k")  # every byte counts, line breaks too
    assert cipher.load_master_keys(path)
    assert "look_up" not in repr(cipher.load_master_keys(path))


@pytest.mark.parametrize("load", [cipher.load_master_keys, cipher.load_photo_key])
def test_a_key_file_whose_content_was_lost_is_refused(tmp_path: Path, load: Callable[[Path], object]) -> None:
    path = tmp_path / "lost.key"
    path.write_bytes(bytes(32))  # as a disk gives it back that lost its power
    with pytest.raises(cipher.KeyUnreadable, match="one byte over and over"):
        load(path)
