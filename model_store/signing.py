"""Signatures over archives: OpenSSF model signing (the model-signing library) with EC keys.

A signature is a Sigstore bundle holding a DSSE envelope over an in-toto statement that
lists every member with its SHA-256. `model_signing verify key` accepts it on a folder into
which the archive was unpacked. Signing twice gives the same bytes: the library's random
signature is replaced by the deterministic one of RFC 6979 over the same statement
(decision 0032).

A key is named by its fingerprint: SHA-256 over its public PEM text, in hexadecimal, which
is what `sha256sum KEY.pub` prints and what the bundle carries as a hint.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing, verifying

from model_store import leftovers, strict_json
from model_store.errors import ArchiveRefused, KeyUnusable
from protos.amulet.v1 import vocabulary_pb2 as words

REVOKED_FILE: Final = "revoked.txt"
_KEY_SUFFIXES: Final = frozenset({".pem", ".pub"})
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_KEY_BYTES_MAX: Final = 64 * 1024
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TrustStore:
    """The public keys whose signatures count, and the fingerprints that no longer do."""

    keys: Mapping[str, bytes]  # fingerprint -> public PEM
    revoked: frozenset[str] = field(default=frozenset())

    @staticmethod
    def load(*places: Path) -> TrustStore:
        """Read keys from files, and from folders every `*.pem` and `*.pub`, in capitals or not.

        A folder's `revoked.txt` holds one fingerprint a line; what follows a `#` is a remark. What `sha256sum`
        prints of a key's file revokes it, too, where that is written in another way than its fingerprint takes it.
        A private key counts as its public half. Raises KeyUnusable naming the file.
        """
        keys: dict[str, bytes] = {}
        written: dict[str, str] = {}  # SHA-256 of a key's file -> its fingerprint
        revoked: set[str] = set()
        for place in places:
            inside = _inside(place)
            for file in [place] if inside is None else inside:
                if inside is not None and file.suffix.lower() not in _KEY_SUFFIXES:
                    continue
                public = public_pem(file)
                keys[fingerprint_of(public)] = public
                written[fingerprint_of(_read_key(file))] = fingerprint_of(public)
            # Also a link to nothing: a revocation that is lost must not go unnoticed.
            for file in inside or ():
                if file.name.lower() == REVOKED_FILE:
                    revoked.update(_fingerprints_in(file))
        return TrustStore(keys, frozenset(revoked | {written[each] for each in revoked & written.keys()}))


def generate_key(path: Path) -> str:
    """Write a new private key (EC P-256, PEM, mode 0600) to `path` and its public half to `path`.pub.

    Returns the fingerprint. Raises FileExistsError rather than replace a key.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    public = _pem_of(private.public_key())
    _write_new(
        path,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        mode=0o600,
    )
    try:
        _write_new(path.with_name(path.name + ".pub"), public, mode=0o644)
    except OSError:
        path.unlink()
        raise
    return fingerprint_of(public)


def fingerprint_of(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()


def public_pem(path: Path) -> bytes:
    """The public half of the key in a PEM file, public or private. Raises KeyUnusable."""
    text = _read_key(path)
    if b"PRIVATE KEY" in text:
        return _pem_of(private_key(path).public_key())
    try:
        key = serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{path} is not a public key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyUnusable(f"{path} is not an elliptic curve key; model signatures use EC P-256")
    _check_curve(path, key.curve)
    return _pem_of(key)


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in a PEM file without a password. Raises KeyUnusable."""
    text = _read_key(path)
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except TypeError:
        raise KeyUnusable(f"{path} is protected by a password; decrypt it to a file that only you can read") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{path} is not a private key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyUnusable(f"{path} is not an elliptic curve key; `amulet signing-key create` makes one")
    _check_curve(path, key.curve)
    return key


def sign(folder: Path, key: Path) -> bytes:
    """The signature over every file below `folder`; its name goes into the statement.

    Raises KeyUnusable when the key cannot sign.
    """
    private = private_key(key)
    with leftovers.held_folder("amulet-sign-") as scratch:
        bundle = scratch / "model.sig"
        config = signing.Config()  # type: ignore[no-untyped-call]  # its constructor is not annotated
        config.use_elliptic_key_signer(private_key=key).set_hashing_config(_hashing()).sign(folder, bundle)
        return _reproducible(json.loads(bundle.read_bytes()), private)


def verify(folder: Path, signature: bytes | None, members: Sequence[str], trusted: TrustStore) -> str:
    """Check that a trusted key signed exactly these files; returns the key's fingerprint.

    folder: holds the members and nothing else.  signature: the content of model.sig; None: there is none.
    Whoever holds an archive can write its other one: (r, n - s) is as good an ECDSA signature as (r, s). So the members
    are what was signed, and an archive's hash says which bytes were verified and not which model they are: that is the
    name, which the console gives to one archive for ever. Checkpoints of the audit log are Ed25519, and their roots are
    compared, not their texts.
    Raises ArchiveRefused with REASON_ARCHIVE_UNSIGNED, _SIGNER_NOT_TRUSTED or _SIGNATURE_INVALID.
    """
    if signature is None:
        raise ArchiveRefused(
            words.REASON_ARCHIVE_UNSIGNED, "the archive has no model.sig: package it with `--sign KEY`"
        )
    bundle = _bundle(signature)
    signer = bundle.signer
    if signer in trusted.revoked:
        raise ArchiveRefused(words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED, f"the key {signer} that signed it is revoked")
    if signer not in trusted.keys:
        known = ", ".join(sorted(trusted.keys)) or "no key at all"
        raise ArchiveRefused(
            words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED,
            f"it is signed by the key {signer}, which is not trusted here; trusted: {known}",
        )
    with leftovers.held_folder("amulet-verify-") as scratch:
        public, bundle_file = scratch / "key.pub", scratch / "model.sig"
        public.write_bytes(trusted.keys[signer])
        bundle_file.write_bytes(signature)
        config = verifying.Config()  # type: ignore[no-untyped-call]  # as above
        config.use_elliptic_key_verifier(public_key=public).set_hashing_config(_hashing())
        try:
            config.verify(folder, bundle_file)
        except Exception:  # the library documents ValueError, and lets its parsers' own errors through
            differing = _differing(folder, bundle.digests)
            raise ArchiveRefused(
                words.REASON_ARCHIVE_SIGNATURE_INVALID,
                f"not as it was signed: {', '.join(differing)}" if differing else "the key did not sign this statement",
            ) from None
    if signature != bundle.text:
        raise ArchiveRefused(
            words.REASON_ARCHIVE_SIGNATURE_INVALID,
            "model.sig was written again after signing, or holds what nobody signed: "
            "send the file that `amulet package` wrote",
        )
    # The library lets a statement name paths that it need not cover; we do not.
    uncovered = sorted(set(members) - set(bundle.digests))
    if uncovered:
        raise ArchiveRefused(
            words.REASON_ARCHIVE_SIGNATURE_INVALID, f"the signature does not cover {', '.join(uncovered)}"
        )
    return signer


@dataclass(frozen=True, slots=True)
class _Bundle:
    signer: str
    digests: Mapping[str, str]  # member -> SHA-256, as the statement says
    text: bytes  # as `sign` writes it: with the statement and its signature, and nothing that is not signed


def _bundle(signature: bytes) -> _Bundle:
    try:
        document = strict_json.loads(signature)
        signer = document["verificationMaterial"]["publicKey"]["hint"]
        envelope = document["dsseEnvelope"]
        if len(envelope["signatures"]) != 1:
            raise ValueError("an archive has exactly one signature")
        statement = strict_json.loads(base64.b64decode(envelope["payload"], validate=True))
        digests = {resource["name"]: resource["digest"] for resource in statement["predicate"]["resources"]}
        if not isinstance(signer, str) or not _FINGERPRINT.fullmatch(signer):
            raise ValueError("it does not say which key made it")
        text = _written(
            media_type=document["mediaType"],
            signer=signer,
            payload=base64.b64decode(envelope["payload"]),
            signature=base64.b64decode(envelope["signatures"][0]["sig"]),
        )
    except KeyError as error:
        raise _no_bundle(f"it has no {error}") from None
    except (ValueError, TypeError, IndexError) as error:
        raise _no_bundle(str(error)[:200]) from None
    return _Bundle(signer, digests, text)


def _no_bundle(detail: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_SIGNATURE_INVALID, f"model.sig is not a model signature: {detail}")


def _differing(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """Members that changed, came or went since the statement was written."""
    present = {path.relative_to(folder).as_posix(): _digest(path) for path in folder.rglob("*") if path.is_file()}
    names = present.keys() | digests.keys()
    return sorted(str(name)[:80] for name in names if present.get(name) != digests.get(name))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashing() -> hashing.Config:
    """Every file by its SHA-256; nothing left out, not even what looks like git's."""
    return (
        hashing.Config()  # type: ignore[no-untyped-call]  # as above
        .use_file_serialization(hashing_algorithm="sha256", max_workers=1)
        .set_ignored_paths(paths=[], ignore_git_paths=False)
        .set_allow_symlinks(False)
    )


def _reproducible(bundle: dict[str, Any], private: ec.EllipticCurvePrivateKey) -> bytes:
    """The same bundle with its statement in one key order and signed without randomness."""
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    # DSSE's pre-authentication encoding, protocol version 1.
    message = b" ".join([b"DSSEv1", b"%d" % len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), b"%d" % len(payload), payload])
    signature = private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    signer = bundle["verificationMaterial"]["publicKey"]["hint"]
    return _written(media_type=bundle["mediaType"], signer=signer, payload=payload, signature=signature)


def _written(*, media_type: str, signer: str, payload: bytes, signature: bytes) -> bytes:
    """The one text of a bundle: it has room for what is signed, and for what says how."""
    bundle = {
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
        },
        "mediaType": media_type,
        "verificationMaterial": {"publicKey": {"hint": signer}, "tlogEntries": []},
    }
    return json.dumps(bundle, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _inside(place: Path) -> Sequence[Path] | None:
    """What lies in a folder; None: the place is a file. Raises KeyUnusable."""
    try:
        if not place.exists():
            raise KeyUnusable(f"{place} does not exist: name a public key (PEM) or a folder of them")
        return sorted(place.iterdir()) if place.is_dir() else None
    except OSError as error:
        raise KeyUnusable(f"{place} cannot be read: {error.strerror}") from None


def _fingerprints_in(path: Path) -> Iterable[str]:
    try:
        text = path.read_text("utf-8-sig")  # some editors begin every text with a mark
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyUnusable(f"{path} is not text in UTF-8: write one fingerprint a line") from None
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip().lower()
        if not entry:
            continue
        if not _FINGERPRINT.fullmatch(entry):
            raise KeyUnusable(
                f"{path}, line {number}: a fingerprint is 64 hexadecimal digits, as `sha256sum KEY.pub` prints"
            )
        yield entry


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_KEY_BYTES_MAX + 1)
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}") from None
    if len(text) > _KEY_BYTES_MAX:
        raise KeyUnusable(f"{path} is too large to be a key")
    return text


def _check_curve(path: Path, curve: ec.EllipticCurve) -> None:
    if not isinstance(curve, ec.SECP256R1):
        raise KeyUnusable(f"{path} is on the curve {curve.name}; model signatures use P-256")


def _pem_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink()  # half a key would stand in the way of a whole one
        raise
