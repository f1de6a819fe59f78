"""Every hostile archive is refused for its own reason, and none runs anything."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.errors import MESSAGE_CHARACTERS_MAX
from model_store.signing import TrustStore
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.model_store.cast import Signer, check, zip_of
from tests.unit.model_store.hostile import (
    Fires,
    Material,
    Members,
    claims,
    containers,
    formats,
    graphs,
    names,
    payloads,
    signatures,
)

KINDS = (containers, names, formats, claims, signatures, graphs, payloads)
CASES = {name: case for kind in KINDS for name, case in kind.CASES.items()}


@pytest.fixture
def material(good: Members, maker: Signer, stranger: Signer, tmp_path: Path) -> Material:
    return Material(good, maker, stranger, tmp_path / "canary")


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_archive_is_refused_for_its_reason_and_runs_nothing(
    case: str, material: Material, tmp_path: Path
) -> None:
    reason, make = CASES[case]
    archive = make(material)
    before = {name: sys.modules[name] for name in sys.modules if name.startswith(("torch", "amulet_handler"))}

    report = check(archive, material.maker.trust, tmp_path)

    assert not report.accepted
    assert report.refusal is not None
    assert words.Reason.Name(report.refusal.reason) == words.Reason.Name(reason), report.refusal.message
    assert report.refusal.message
    assert "Traceback" not in report.refusal.message
    # It is shown on terminals and kept in a database, whatever names an archive holds.
    assert all(rule.message.isprintable() and len(rule.message) <= MESSAGE_CHARACTERS_MAX for rule in report.rules)
    assert not material.canary.exists()
    assert {name: sys.modules[name] for name in sys.modules if name.startswith(("torch", "amulet_handler"))} == before


def test_there_are_at_least_sixty_of_them_for_every_reason_an_archive_can_be_refused_for() -> None:
    assert sum(len(kind.CASES) for kind in KINDS) == len(CASES) >= 60
    reasons = {words.Reason.Name(reason) for reason, _ in CASES.values()}
    # The second opinion only speaks where all else is silent; a known version is the console's matter.
    elsewhere = {"REASON_ARCHIVE_SCANNER", "REASON_ARCHIVE_DUPLICATE"}
    every = set(words.DESCRIPTOR.enum_types_by_name["Reason"].values_by_name)
    assert reasons == {name for name in every if name.startswith("REASON_ARCHIVE_")} - elsewhere


def test_the_payloads_would_fire(material: Material, tmp_path: Path) -> None:
    for protocol in range(6):
        pickle.loads(pickle.dumps(Fires(material.command), protocol=protocol))
        assert material.canary.exists(), protocol
        material.canary.unlink()
    script = tmp_path / "sitecustomize.py"
    script.write_bytes(material.python)
    subprocess.run([sys.executable, script], check=True)
    assert material.canary.exists()


def test_the_material_itself_is_accepted(material: Material, tmp_path: Path) -> None:
    report = check(material.signed(material.good), material.maker.trust, tmp_path)
    assert report.accepted, report.refusal


def test_the_same_members_deflated_are_accepted(material: Material, tmp_path: Path) -> None:
    entries = material.entries()
    for item in entries:
        item.deflated = True
    report = check(zip_of(entries), material.maker.trust, tmp_path)
    assert report.accepted, report.refusal


def test_an_archive_signed_with_a_revoked_key_is_refused(material: Material, tmp_path: Path) -> None:
    trusted = TrustStore(material.maker.trust.keys, frozenset({material.maker.fingerprint}))
    report = check(material.signed(material.good), trusted, tmp_path)
    assert report.refusal is not None
    assert report.refusal.reason == words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED
    assert "revoked" in report.refusal.message
