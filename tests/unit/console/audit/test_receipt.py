from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.utils.timezone import now
from hypothesis import given
from hypothesis import strategies as st

from console.audit.commands import receipt as receipt_command
from console.audit.merkle import Frontier, inclusion_path, root_by_path
from console.audit.notes import load_public_key, sign_checkpoint
from console.audit.receipt import ReceiptInvalid, check, statement_digest
from console.audit.receipts import receipt_of
from console.audit.services import NewEntry, append, erase_payloads
from console.audit.signer import Signer
from console.errors import NotAvailable, NotFound


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"\0%d" % number).digest() for number in range(count)]


def tree(hashes: list[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in hashes:
        frontier.append(leaf)
    return frontier


@given(st.integers(1, 70), st.data())
def test_the_path_of_every_leaf_leads_to_the_root_and_of_no_other(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    path = inclusion_path(tree(hashes[:index]), hashes[index + 1 :])
    root = tree(hashes).root()
    assert root_by_path(hashes[index], index=index, size=size, path=path) == root
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index)) if size > 1 else None
    if other is not None:
        with contextlib.suppress(ValueError):  # a path of another length
            assert root_by_path(hashes[index], index=other, size=size, path=path) != root
    with pytest.raises(ValueError, match="too long"):
        root_by_path(hashes[index], index=index, size=size, path=[*path, root])


@pytest.fixture
def signed(tmp_path: Path, db: None) -> Any:
    """Forty entries, signed after 7, 16 and 33."""
    key_file = tmp_path / "key"
    key_file.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    signer = Signer(key_file, tmp_path / "checkpoints")
    for count in (7, 9, 17):
        with transaction.atomic():
            append([NewEntry("prediction.made", "prediction", f"p{n}") for n in range(count)], actor="gateway")
        signer.sign(now())
    with transaction.atomic():
        append([NewEntry("prediction.made", "prediction", "late") for _ in range(7)], actor="gateway")
    return load_public_key(tmp_path / "checkpoints" / "audit_public.pem")


def test_a_receipt_proves_its_entry_with_the_public_key_alone(signed: Any) -> None:
    for sequence in range(1, 34):
        proved = check(receipt_of(sequence), signed)
        assert proved.sequence == sequence
        assert proved.payload["about"][0] == "prediction"
    assert check(receipt_of(8), signed).signed_entries == 16


def test_what_is_not_signed_yet_or_erased_has_no_receipt(signed: Any) -> None:
    with pytest.raises(NotAvailable):
        receipt_of(34)
    erase_payloads(subject_type="prediction", subject_ids=["p3"])
    with pytest.raises(NotFound):
        receipt_of(4)


def test_any_change_to_a_receipt_is_found(signed: Any) -> None:
    good = receipt_of(12)
    for place, value in (
        (("entry", "payload"), good["entry"]["payload"].replace("p", "q")),
        (("entry", "salt"), "00" * 32),
        (("entry", "time"), "2020-01-01T00:00:00.000000Z"),
        (("entry", "actor"), "somebody"),
        (("entry", "sequence"), 13),
        (("entry", "sequence"), math.inf),
        (("path",), good["path"][:-1]),
        (("path",), [*good["path"][:-1], "00" * 32]),
        (("checkpoint",), good["checkpoint"].replace("16", "17", 1)),
        (("amulet_receipt",), 2),
    ):
        spoilt: Any = copy.deepcopy(good)
        target = spoilt
        for step in place[:-1]:
            target = target[step]
        target[place[-1]] = value
        with pytest.raises(ReceiptInvalid):
            check(spoilt, signed)


@pytest.mark.parametrize("other", [None, [], {}, {"amulet_receipt": 1}, {"amulet_receipt": 1, "entry": 5}, "text"])
def test_what_is_no_receipt_is_refused(signed: Any, other: Any) -> None:
    with pytest.raises(ReceiptInvalid):
        check(other, signed)


def test_a_receipt_of_another_log_or_of_a_fork_is_refused(signed: Any) -> None:
    foreign = Ed25519PrivateKey.generate()
    with pytest.raises(ReceiptInvalid):
        check(receipt_of(12), foreign.public_key())
    with pytest.raises(ReceiptInvalid, match="does not count"):
        check(receipt_of(12), signed, kept=[sign_checkpoint(foreign, size=16, root=bytes(32))])


def test_the_command_checks_a_receipt_and_the_statement_that_it_vouches_for(signed: Any, tmp_path: Path) -> None:
    statement = {"erased": {"predictions": 3}, "note": "ลบแล้ว"}
    with transaction.atomic():
        details = {"statement_sha256": statement_digest(statement)}
        sequence = append([NewEntry("erasure.done", "privacy_request", "1", details)], actor="system")
    Signer(tmp_path / "key", tmp_path / "checkpoints").sign(now())
    file = tmp_path / "certificate.json"

    def told(document: Any) -> tuple[int, str]:
        file.write_text(json.dumps(document))
        key = str(tmp_path / "checkpoints" / "audit_public.pem")
        kept = str(tmp_path / "checkpoints")
        done = CliRunner().invoke(
            receipt_command, [str(file), "--key", key, "--checkpoints", kept], standalone_mode=False
        )
        assert done.exception is None
        return int(done.return_value), done.output

    good = {"statement": statement, "receipt": receipt_of(sequence)}
    assert told(good)[0] == 0
    assert told(receipt_of(sequence))[0] == 0
    status, text = told({**good, "statement": {**statement, "erased": {"predictions": 2}}})
    assert status == 1
    assert "the statement is not the one" in text
    assert told({"receipt": 5})[0] == 1


@pytest.mark.parametrize("content", [b"[" * 200_000, b"\x85\x89PNG", b""], ids=["deep", "binary", "empty"])
def test_the_command_says_of_a_file_that_holds_no_receipt_that_it_holds_none(
    signed: Any, tmp_path: Path, content: bytes
) -> None:
    Signer(tmp_path / "key", tmp_path / "checkpoints").sign(now())
    file = tmp_path / "certificate.json"
    file.write_bytes(content)

    done = CliRunner().invoke(receipt_command, [str(file), "--key", str(tmp_path / "checkpoints" / "audit_public.pem")])

    assert done.exit_code == 1
    assert f"{file} is no receipt, nor a document that carries one" in done.output
