"""A certificate that anything was done to is not proved, and one sentence says why; by the command that people type."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.utils.timezone import now

from console.audit.commands import receipt
from console.audit.notes import public_pem, sign_checkpoint
from console.audit.receipts import receipt_of
from console.audit.signer import Signer
from console.privacy import erasure
from console.privacy.certificate import certificate_of
from console.privacy.paper import certificate_pdf
from console.site.roles import Role
from tests.unit.console.people import member
from tests.unit.console.privacy.planted import ask_erasure, plant

pytestmark = pytest.mark.django_db
Told = Callable[[Any], tuple[int, str]]
Place = tuple[str | int, ...]


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Any]:
    """Of a person with something in every store, as a script fetches it."""
    officer = member(Role.PRIVACY_OFFICER)
    plant(officer, member(Role.REVIEWER))
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    Signer(tmp_path / "key", tmp_path / "checkpoints").sign(now())
    made: dict[str, Any] = json.loads(json.dumps(certificate_of(request.pk)))
    return made


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """What the command says of a file: its exit code and its words."""

    def tell(document: Any, *options: str) -> tuple[int, str]:
        content = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
        file = tmp_path / "certificate.json"
        file.write_bytes(content)
        key = str(tmp_path / "checkpoints" / "audit_public.pem")
        done = CliRunner().invoke(receipt, [str(file), "--key", key, *options], standalone_mode=False)
        if done.exception is not None:
            return 1, str(done.exception)
        return int(done.return_value), done.output.strip()

    return tell


def leaves(node: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    if isinstance(node, dict | list) and node:
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(child, (*at, key))
    else:
        yield at, node


def objects(node: Any, at: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    if isinstance(node, dict):
        yield at, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from objects(child, (*at, key))


def changed(document: Any, at: Place, change: Callable[[Any, Any], None]) -> Any:
    other = copy.deepcopy(document)
    target = other
    for step in at[:-1]:
        target = target[step]
    change(target, at[-1] if at else None)
    return other


def others(value: Any) -> Iterator[Any]:
    """What somebody would write in place of a value, the same to an eye or to a careless reader among them."""
    yield None if value is not None else 0
    if type(value) is int:
        yield from (value + 1, float(value), str(value), "".join(chr(0xFF10 + int(digit)) for digit in str(value)))
        if value == 1:
            yield True
    elif isinstance(value, str) and value:
        yield value + " "
        yield ("f" if value[0] != "f" else "e") + value[1:]
        yield (
            value.replace("a", "\u0430").replace("e", "\u0435").replace("-", "\u2010").replace("2", "\u0662") + "\u200b"
        )
        if value.upper() != value:
            yield value.upper()
    elif value in ([], {}):
        yield [1] if value == [] else {"a": 1}


def test_whole_it_is_proved_with_its_key(certificate: dict[str, Any], told: Told, tmp_path: Path) -> None:
    status, text = told(certificate)
    assert (status, "proved. Entry" in text) == (0, True)
    assert told(certificate, "--checkpoints", str(tmp_path / "checkpoints"))[0] == 0
    assert told(json.dumps(certificate, indent=4).encode())[0] == 0


def test_no_value_can_be_another(certificate: dict[str, Any], told: Told) -> None:
    tried = 0
    for at, value in leaves(certificate):
        for other in others(value):
            status, text = told(
                changed(
                    certificate,
                    at,
                    lambda target, key, other=other: (
                        target.update({key: other}) if isinstance(target, dict) else target.__setitem__(key, other)
                    ),
                )
            )
            assert status == 1, (at, value, other, text)
            assert "\n" not in text, text
            tried += 1
    assert tried > 200


def test_nothing_can_be_left_out_or_added_that_nothing_proves(certificate: dict[str, Any], told: Told) -> None:
    for at, node in objects(certificate):
        for name in node:
            if (*at, name) == ("amulet_certificate",):  # a statement with its receipt is proved without it
                continue
            status, text = told(changed(certificate, (*at, name), lambda target, key: target.pop(key)))
            assert (status, text.count("\n")) == (1, 0), (at, name, text)
        for name in ("note", "st\u0430tement"):
            added = changed(certificate, (*at, name), lambda target, key: target.__setitem__(key, "nothing was found"))
            status, text = told(added)
            assert status == 1, (at, name)
            assert "that nothing proves" in text or "not the one that the entry commits to" in text, text


def test_a_receipt_vouches_for_no_statement_beside_it(certificate: dict[str, Any], told: Told) -> None:
    forged = {**certificate["receipt"], "statement": {**certificate["statement"], "finished_at": "2020-01-01"}}
    status, text = told(forged)
    assert (status, "it says something that nothing proves: 'statement'" in text) == (1, True)


def test_no_other_key_log_or_entry_proves_it(certificate: dict[str, Any], told: Told, tmp_path: Path) -> None:
    forger = Ed25519PrivateKey.generate()
    size = certificate["receipt"]["size"]
    for note in (
        sign_checkpoint(forger, size=size, root=bytes(32)),
        certificate["receipt"]["checkpoint"].splitlines(keepends=True)[0]
        + sign_checkpoint(forger, size=size, root=bytes(32)),
    ):
        status, text = told({**certificate, "receipt": {**certificate["receipt"], "checkpoint": note}})
        assert (status, "its checkpoint does not count" in text) == (1, True)
    other_entry = {**certificate, "receipt": receipt_of(1)}
    why = "the statement is not the one that the entry commits to"
    assert told(other_entry) == (1, f"{tmp_path / 'certificate.json'}: NOT PROVED, {why}")
    (tmp_path / "checkpoints" / "audit_public.pem").write_bytes(public_pem(forger.public_key()))
    status, text = told(certificate)
    assert status == 1
    assert "its checkpoint does not count: it is not signed by the given key" in text


def test_a_file_that_was_cut_off_or_says_something_twice_is_none(certificate: dict[str, Any], told: Told) -> None:
    whole = json.dumps(certificate).encode()
    for length in range(0, len(whole), 97):
        status, text = told(whole[:length])
        assert (status, text.count("\n")) == (1, 0)
    twice = whole.replace(b'"statement": {', b'"statement": {}, "statement": {', 1)
    assert "stands twice" in told(twice)[1]
    assert told(whole + b"{}")[0] == 1
    assert told(b"\xff" + whole)[0] == 1
    assert told(whole.replace(b'"predictions": {"before": 4', b'"predictions": {"before": 4, "before": 0'))[0] == 1


def test_of_the_paper_it_is_said_what_is_checked_in_its_place(certificate: dict[str, Any], told: Told) -> None:
    status, text = told(certificate_pdf(certificate))
    assert (status, "is a PDF, by which nothing is proved: check the same certificate as JSON" in text) == (1, True)
