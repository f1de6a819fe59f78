"""Signed by nobody, by somebody else, or not as it is."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, Final

from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.cast import entries_of, entry, zip_of
from tests.unit.model_store.hostile import Cases, Fires, Material

cases: Final = Cases()


@cases.refused_for(words.REASON_ARCHIVE_UNSIGNED)
def unsigned(m: Material) -> bytes:
    return zip_of(entries_of(m.good))


@cases.refused_for(words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED)
def signed_by_a_stranger(m: Material) -> bytes:
    return zip_of(entries_of({**m.good, "model.sig": m.stranger.sign(m.good)}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signed_by_a_stranger_in_the_makers_name(m: Material) -> bytes:
    signature = m.stranger.sign(m.good).replace(m.stranger.fingerprint.encode(), m.maker.fingerprint.encode())
    return zip_of(entries_of({**m.good, "model.sig": signature}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_of_another_archive(m: Material) -> bytes:
    other = {**m.good, "reference.json": m.good["reference.json"] + b"\n"}
    return zip_of(entries_of({**m.good, "model.sig": m.maker.sign(other)}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def changed_after_signing(m: Material) -> bytes:
    changed = {**m.good, "reference.json": m.good["reference.json"].replace(b'"red": 4', b'"red": 5')}
    assert changed != m.good
    return zip_of(entries_of({**changed, "model.sig": m.maker.sign(m.good)}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def member_added_after_signing(m: Material) -> bytes:
    less = {key: value for key, value in m.good.items() if key != "golden_1.png"}
    return zip_of(entries_of({**m.good, "model.sig": m.maker.sign(less)}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def member_removed_after_signing(m: Material) -> bytes:
    more = {**m.good, "golden_2.png": tiny_archive.photo_of("green")}
    return zip_of(entries_of({**m.good, "model.sig": m.maker.sign(more)}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_that_leaves_a_member_out(m: Material) -> bytes:
    """OpenSSF statements may list paths to ignore; a signature must cover everything all the same."""
    from model_signing import hashing, signing

    folder = m.canary.parent / "partly"
    for name, content in m.good.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    config = hashing.Config()  # type: ignore[no-untyped-call]  # its constructor is not annotated
    config.use_file_serialization(ignore_paths=[folder / "model.onnx"])
    out = m.canary.parent / "partly.sig"
    signer = signing.Config()  # type: ignore[no-untyped-call]  # as above
    signer.use_elliptic_key_signer(private_key=m.maker.key).set_hashing_config(
        config.set_ignored_paths(paths=["model.onnx"])
    ).sign(folder, out)
    return zip_of(entries_of({**m.good, "model.sig": out.read_bytes()}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def the_same_members_in_a_zip_of_someones_own(m: Material) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**m.good, "model.sig": m.maker.sign(m.good)}.items():
            archive.writestr(name, content)
    return out.getvalue()


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def the_same_members_at_another_time(m: Material) -> bytes:
    """Headers have room for what nobody signed."""
    entries = m.entries()
    entry(entries, "model.json").lie(time=1)
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_that_is_no_bundle(m: Material) -> bytes:
    return zip_of(entries_of({**m.good, "model.sig": b"{}"}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def two_signatures_in_one(m: Material) -> bytes:
    bundle = json.loads(m.maker.sign(m.good))
    bundle["dsseEnvelope"]["signatures"] *= 2
    return zip_of(entries_of({**m.good, "model.sig": json.dumps(bundle).encode()}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_without_a_signature(m: Material) -> bytes:
    bundle = json.loads(m.maker.sign(m.good))
    bundle["dsseEnvelope"]["signatures"] = []
    return zip_of(entries_of({**m.good, "model.sig": json.dumps(bundle).encode()}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_with_the_statement_changed(m: Material) -> bytes:
    bundle = json.loads(m.maker.sign(m.good))
    other = json.loads(m.maker.sign({**m.good, "reference.json": b"{}"}))
    bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
    return zip_of(entries_of({**m.good, "model.sig": json.dumps(bundle).encode()}))


def _resigned(m: Material, change: Callable[[dict[str, Any]], object]) -> bytes:
    """With the true signature, and a bundle around it that is another."""
    bundle = json.loads(m.maker.sign(m.good))
    change(bundle)
    text = json.dumps(bundle, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return zip_of(entries_of({**m.good, "model.sig": text}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_with_room_for_what_nobody_signed(m: Material) -> bytes:
    return _resigned(m, lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(keyid="smuggled " * 1000))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_with_white_space(m: Material) -> bytes:
    return zip_of(entries_of({**m.good, "model.sig": m.maker.sign(m.good) + b"\n"}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_with_its_keys_in_another_order(m: Material) -> bytes:
    bundle = json.loads(m.maker.sign(m.good))
    return zip_of(entries_of({**m.good, "model.sig": json.dumps(dict(reversed(bundle.items()))).encode()}))


@cases.refused_for(words.REASON_ARCHIVE_SIGNATURE_INVALID)
def signature_of_a_key_that_is_no_fingerprint(m: Material) -> bytes:
    def change(bundle: dict[str, Any]) -> None:
        bundle["verificationMaterial"]["publicKey"]["hint"] = "\x1b]0;look here\x07"

    return _resigned(m, change)


@cases.refused_for(words.REASON_ARCHIVE_PICKLE)
def signature_pickled(m: Material) -> bytes:
    return zip_of(entries_of({**m.good, "model.sig": pickle.dumps(Fires(m.command))}))


CASES: Final = cases.table
