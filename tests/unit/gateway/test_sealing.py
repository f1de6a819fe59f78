"""Sealed photographs: only the console's key opens them, and only for their own prediction."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.sealing import Sealed, can_seal_for, seal

CONSOLE = X25519PrivateKey.generate()
PUBLIC = CONSOLE.public_key().public_bytes_raw()


def unseal(sealed: Sealed, private_key: X25519PrivateKey, prediction_id: str) -> bytes:
    """As the contract between the planes says it, written down a second time."""
    shared = private_key.exchange(X25519PublicKey.from_public_bytes(sealed.ephemeral_public_key))
    salt = sealed.ephemeral_public_key + private_key.public_key().public_bytes_raw()
    key = HKDF(SHA256(), 32, salt, b"amulet photo v1").derive(shared)
    return ChaCha20Poly1305(key).decrypt(sealed.nonce, sealed.ciphertext, prediction_id.encode())


def test_the_console_opens_what_was_sealed_for_it() -> None:
    sealed = seal(b"pixels", recipient_public_key=PUBLIC, prediction_id="p-1")

    assert unseal(sealed, CONSOLE, "p-1") == b"pixels"
    assert b"pixels" not in sealed.ciphertext


@pytest.mark.parametrize(("key", "prediction_id"), [(X25519PrivateKey.generate(), "p-1"), (CONSOLE, "p-2")])
def test_another_key_or_another_prediction_opens_nothing(key: X25519PrivateKey, prediction_id: str) -> None:
    sealed = seal(b"pixels", recipient_public_key=PUBLIC, prediction_id="p-1")

    with pytest.raises(InvalidTag):
        unseal(sealed, key, prediction_id)


def test_two_seals_of_one_photograph_share_nothing() -> None:
    first, second = (seal(b"pixels", recipient_public_key=PUBLIC, prediction_id="p-1") for _ in range(2))

    assert first.ephemeral_public_key != second.ephemeral_public_key
    assert first.ciphertext != second.ciphertext


# u-coordinates of the points whose order divides 8 (RFC 7748, section 6.1), without the two on the twist alone.
FIELD = 2**255 - 19
LOW_ORDER = [0, 1, FIELD - 1, FIELD, FIELD + 1]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_nothing_is_sealed_for_a_point_of_low_order(point: int) -> None:
    key = point.to_bytes(32, "little")

    assert not can_seal_for(key)
    with pytest.raises(ValueError, match="shared key"):
        seal(b"pixels", recipient_public_key=key, prediction_id="p-1")


def test_something_is_sealed_for_a_key() -> None:
    assert can_seal_for(PUBLIC)
    assert not can_seal_for(PUBLIC[:-1])
