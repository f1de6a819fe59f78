"""Keys, trust, and signatures that the library's own tool accepts."""

from __future__ import annotations

import base64
import hashlib
import json
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from model_store import signing
from model_store.errors import ArchiveRefused, KeyUnusable
from model_store.signing import TrustStore
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.model_store.cast import Signer, write

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-4, D.1.2.3
MEMBERS = {"model.onnx": b"weights", "MAR-INF/MANIFEST.json": b"{}", ".gitignore": b"*"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(MEMBERS, tmp_path / "members")


def test_a_signature_holds_for_the_trusted_key(folder: Path, maker: Signer) -> None:
    signature = maker.sign(MEMBERS)
    assert signing.verify(folder, signature, list(MEMBERS), maker.trust) == maker.fingerprint


def test_signing_twice_gives_the_same_bytes(maker: Signer) -> None:
    assert maker.sign(MEMBERS) == maker.sign(MEMBERS)


def test_the_other_signature_of_ecdsa_holds_for_the_same_members_alone(
    folder: Path, tmp_path: Path, maker: Signer
) -> None:
    """(r, n - s): nobody may take a signature, or the hash of an archive that it is in, for the model's identity."""
    signature = maker.sign(MEMBERS)
    bundle = json.loads(signature)
    (one,) = bundle["dsseEnvelope"]["signatures"]
    r, s = decode_dss_signature(base64.b64decode(one["sig"]))
    one["sig"] = base64.b64encode(encode_dss_signature(r, P256_ORDER - s)).decode()
    other = json.dumps(bundle, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    changed = write({**MEMBERS, "model.onnx": b"other"}, tmp_path / "changed")

    assert other != signature
    assert signing.verify(folder, other, list(MEMBERS), maker.trust) == maker.fingerprint
    with pytest.raises(ArchiveRefused, match=r"not as it was signed: model\.onnx"):
        signing.verify(changed, other, list(MEMBERS), maker.trust)


def test_the_librarys_own_command_accepts_the_signature(folder: Path, tmp_path: Path, maker: Signer) -> None:
    (tmp_path / "model.sig").write_bytes(maker.sign(MEMBERS))
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    options = ["--signature", str(tmp_path / "model.sig"), "--public_key", str(maker.public)]
    done = subprocess.run([*command, *options, "--no-ignore-git-paths"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_that_look_like_gits_are_signed_too(tmp_path: Path, maker: Signer) -> None:
    signature = maker.sign(MEMBERS)
    changed = write({**MEMBERS, ".gitignore": b"changed"}, tmp_path / "changed")
    with pytest.raises(ArchiveRefused, match=r"not as it was signed: \.gitignore"):
        signing.verify(changed, signature, list(MEMBERS), maker.trust)


def test_each_way_of_not_being_trusted_has_its_own_reason(folder: Path, maker: Signer, stranger: Signer) -> None:
    def reason(signature: bytes | None, trusted: TrustStore) -> words.Reason.ValueType:
        with pytest.raises(ArchiveRefused) as refusal:
            signing.verify(folder, signature, list(MEMBERS), trusted)
        return refusal.value.reason

    revoked = TrustStore(maker.trust.keys, frozenset({maker.fingerprint}))
    assert reason(None, maker.trust) == words.REASON_ARCHIVE_UNSIGNED
    assert reason(stranger.sign(MEMBERS), maker.trust) == words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED
    assert reason(maker.sign(MEMBERS), revoked) == words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED
    assert (
        reason(maker.sign({**MEMBERS, "model.onnx": b"other"}), maker.trust) == words.REASON_ARCHIVE_SIGNATURE_INVALID
    )


def test_a_signature_that_says_the_same_in_other_bytes_is_not_the_one_that_was_made(
    folder: Path, maker: Signer
) -> None:
    again = json.dumps(json.loads(maker.sign(MEMBERS)), indent=1).encode()
    with pytest.raises(ArchiveRefused, match="written again after signing") as refusal:
        signing.verify(folder, again, list(MEMBERS), maker.trust)
    assert refusal.value.reason == words.REASON_ARCHIVE_SIGNATURE_INVALID


@pytest.mark.parametrize("hint", ["the maker", "A" * 64, "a" * 63, "a" * 100_000, 7, None])
def test_a_signature_that_names_no_fingerprint_is_none(folder: Path, maker: Signer, hint: object) -> None:
    bundle = json.loads(maker.sign(MEMBERS))
    bundle["verificationMaterial"]["publicKey"]["hint"] = hint
    with pytest.raises(ArchiveRefused, match="does not say which key made it") as refusal:
        signing.verify(folder, json.dumps(bundle).encode(), list(MEMBERS), maker.trust)
    assert refusal.value.reason == words.REASON_ARCHIVE_SIGNATURE_INVALID


def test_a_trust_folder_holds_keys_and_revocations(tmp_path: Path, maker: Signer, stranger: Signer) -> None:
    for signer, name in ((maker, "maker.pem"), (stranger, "stranger.pub")):
        (tmp_path / name).write_bytes(signer.public.read_bytes())
    (tmp_path / "notes.txt").write_text("not a key")
    (tmp_path / "revoked.txt").write_text(f"# left in March\n{stranger.fingerprint.upper()}  # lost\n\n")

    trusted = TrustStore.load(tmp_path)

    assert set(trusted.keys) == {maker.fingerprint, stranger.fingerprint}
    assert trusted.revoked == {stranger.fingerprint}


def test_a_trust_folder_is_read_however_its_files_are_capitalised(
    tmp_path: Path, maker: Signer, stranger: Signer
) -> None:
    for signer, name in ((maker, "MAKER.PEM"), (stranger, "Stranger.Pub")):
        (tmp_path / name).write_bytes(signer.public.read_bytes())
    (tmp_path / "REVOKED.TXT").write_text(stranger.fingerprint)

    trusted = TrustStore.load(tmp_path)

    assert set(trusted.keys) == {maker.fingerprint, stranger.fingerprint}
    assert trusted.revoked == {stranger.fingerprint}


def test_a_fingerprint_is_what_sha256sum_prints(maker: Signer) -> None:
    assert hashlib.sha256(maker.public.read_bytes()).hexdigest() == maker.fingerprint


def test_a_private_key_is_readable_by_its_owner_alone_and_never_replaced(tmp_path: Path) -> None:
    signing.generate_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(FileExistsError):
        signing.generate_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


def test_no_private_key_without_its_public_half(tmp_path: Path) -> None:
    (tmp_path / "key.pem.pub").write_text("someone else's")
    with pytest.raises(FileExistsError):
        signing.generate_key(tmp_path / "key.pem")
    assert not (tmp_path / "key.pem").exists()


def test_half_a_key_does_not_stand_in_the_way_of_a_whole_one(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # as on a disk that is full
    try:
        with pytest.raises(OSError, match="File too large"):
            signing.generate_key(tmp_path / "key.pem")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list(tmp_path.iterdir()) == []
    fingerprint = signing.generate_key(tmp_path / "key.pem")
    assert signing.fingerprint_of((tmp_path / "key.pem.pub").read_bytes()) == fingerprint


def test_a_large_member_that_nobody_signed_is_not_held_in_memory(tmp_path: Path, maker: Signer) -> None:
    changed = write(MEMBERS, tmp_path / "changed")
    with (changed / "model.onnx").open("wb") as weights:
        weights.truncate(64 * 2**20)
    signature, trust = maker.sign(MEMBERS), maker.trust
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveRefused, match=r"not as it was signed: model\.onnx"):
            signing.verify(changed, signature, list(MEMBERS), trust)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def _pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b""
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        (_pem(ed25519.Ed25519PrivateKey.generate()), "not an elliptic curve key"),
        (_pem(rsa.generate_private_key(65537, 2048)), "not an elliptic curve key"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "secp384r1"),
        (_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "password"),
        (b"x" * 100_000, "too large"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_with_what_is_wrong(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(KeyUnusable, match=complaint) as refusal:
        signing.private_key(path)
    assert str(path) in str(refusal.value)


def _public_pem(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (_public_pem(ed25519.Ed25519PrivateKey.generate().public_key()), "not an elliptic curve key"),
        (_public_pem(ec.generate_private_key(ec.SECP384R1()).public_key()), "secp384r1"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "secp384r1"),
    ],
)
def test_a_trusted_key_of_another_kind_is_named_with_what_is_wrong(
    content: bytes, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "other.pub").write_bytes(content)
    with pytest.raises(KeyUnusable, match=rf"other\.pub .*{complaint}"):
        TrustStore.load(tmp_path)


def test_of_several_trusted_keys_the_one_that_signed_counts_wherever_it_lies(
    folder: Path, maker: Signer, stranger: Signer
) -> None:
    for places in ((maker.public, stranger.public), (stranger.public, maker.public)):
        trusted = TrustStore.load(*places)
        for signer in (maker, stranger):
            assert signing.verify(folder, signer.sign(MEMBERS), list(MEMBERS), trusted) == signer.fingerprint


def test_what_was_taken_away_or_added_since_it_was_signed_is_named(folder: Path, maker: Signer) -> None:
    signature = maker.sign(MEMBERS)
    (folder / "model.onnx").rename(folder / "other.onnx")
    with pytest.raises(ArchiveRefused, match=r"not as it was signed: model\.onnx, other\.onnx"):
        signing.verify(folder, signature, list(MEMBERS), maker.trust)


def test_a_trusted_key_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no key")
    with pytest.raises(KeyUnusable, match=r"broken\.pem"):
        TrustStore.load(tmp_path)
    with pytest.raises(KeyUnusable, match="does not exist"):
        TrustStore.load(tmp_path / "nowhere")
    with pytest.raises(KeyUnusable, match="x cannot be read: File name too long"):
        TrustStore.load(tmp_path / ("x" * 300))


def test_a_revocation_that_is_no_fingerprint_stops_everything(tmp_path: Path) -> None:
    (tmp_path / "revoked.txt").write_text("the key of March\n")
    with pytest.raises(KeyUnusable, match="line 1"):
        TrustStore.load(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00\xe9\n"])
def test_a_list_of_revocations_that_is_no_text_stops_everything(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "revoked.txt").write_bytes(content)
    with pytest.raises(KeyUnusable, match=r"revoked\.txt"):
        TrustStore.load(tmp_path)


def test_a_list_of_revocations_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    (tmp_path / "revoked.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(KeyUnusable, match=r"revoked\.txt cannot be read"):
        TrustStore.load(tmp_path)
    (tmp_path / "revoked.txt").unlink()
    (tmp_path / "revoked.txt").mkdir()
    with pytest.raises(KeyUnusable, match=r"revoked\.txt cannot be read"):
        TrustStore.load(tmp_path)


@pytest.mark.parametrize("rewrite", [lambda pem: pem.replace(b"\n", b"\r\n"), lambda pem: b"# release key\n" + pem])
def test_what_sha256sum_prints_of_a_key_revokes_it_however_its_file_is_written(
    rewrite: Callable[[bytes], bytes], maker: Signer, tmp_path: Path
) -> None:
    content = rewrite(maker.public.read_bytes())
    (tmp_path / "maker.pub").write_bytes(content)
    (tmp_path / "revoked.txt").write_text(hashlib.sha256(content).hexdigest() + "\n", "utf-8-sig")

    trusted = TrustStore.load(tmp_path)

    assert set(trusted.keys) == {maker.fingerprint}
    assert maker.fingerprint in trusted.revoked
