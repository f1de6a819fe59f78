"""The report: every rule, in order, and nothing with a parser before a trusted signature."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_store import contents, inspection, members
from model_store.handler_list import HandlerList
from model_store.members import Limits
from model_store.signing import TrustStore
from model_store.verification import RULES, State, verify
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.cast import HANDLERS, Signer, check, entries_of, with_card, zip_of

PARSERS = ("graph", "reference", "golden", "scanner")


def test_a_good_archive_passes_every_rule_and_says_what_it_is(
    good_archive: bytes, maker: Signer, tmp_path: Path
) -> None:
    report = check(good_archive, maker.trust, tmp_path)
    assert report.accepted
    assert report.refusal is None
    assert tuple(rule.rule for rule in report.rules) == RULES
    assert all(rule.state is State.PASSED and rule.message for rule in report.rules)
    assert report.card is not None
    assert report.card.version == tiny_archive.VERSION
    assert report.signer == maker.fingerprint


def test_the_report_is_json_with_every_rule(good_archive: bytes, maker: Signer, tmp_path: Path) -> None:
    document = json.loads(json.dumps(check(good_archive, maker.trust, tmp_path).as_document()))
    assert document["accepted"] is True
    assert document["version"] == tiny_archive.VERSION
    assert [rule["rule"] for rule in document["rules"]] == list(RULES)
    assert {"rule", "passed", "message", "state", "reason"} == set(document["rules"][0])


def test_no_parser_runs_on_what_no_trusted_key_signed(
    good: dict[str, bytes], stranger: Signer, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a parser was started")

    monkeypatch.setattr(inspection, "inspect", never)
    archive = zip_of(entries_of({**good, "model.sig": stranger.sign(good)}))
    report = check(archive, maker.trust, tmp_path)
    states = {rule.rule: rule.state for rule in report.rules}
    assert all(states[rule] is State.NOT_RUN for rule in PARSERS)
    assert report.signer is None


def test_an_uploader_sees_every_complaint_of_the_cheap_rules_at_once(
    good: dict[str, bytes], maker: Signer, tmp_path: Path
) -> None:
    spoiled = {**good, "amulet_handler.py": b"pass\n", "MAR-INF/MANIFEST.json": b"{}"}
    report = check(zip_of(entries_of(spoiled)), maker.trust, tmp_path)
    failed = {rule.rule: rule.reason for rule in report.rules if rule.state is State.FAILED}
    assert failed == {
        "handler": words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED,
        "manifest": words.REASON_ARCHIVE_MANIFEST_INVALID,
        "signature": words.REASON_ARCHIVE_UNSIGNED,
    }
    assert report.refusal is not None
    assert report.refusal.rule == "handler"


def test_what_a_stranger_writes_into_a_statement_is_shown_escaped(
    good: dict[str, bytes], maker: Signer, tmp_path: Path
) -> None:
    bundle = json.loads(maker.sign(good))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"].append({"name": "\x1b[2J\0", "digest": "0" * 64, "algorithm": "sha256"})
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    forged = {**good, "model.sig": json.dumps(bundle).encode()}
    report = check(zip_of(entries_of(forged)), maker.trust, tmp_path)
    assert report.refusal is not None
    assert report.refusal.message == "not as it was signed: \\x1b[2J\\x00"


def test_a_rule_that_needs_a_broken_card_is_not_judged(good: dict[str, bytes], maker: Signer, tmp_path: Path) -> None:
    report = check(zip_of(entries_of({**good, "model.json": b"{}"})), maker.trust, tmp_path)
    states = {rule.rule: rule.state for rule in report.rules}
    assert (states["card"], states["manifest"], states["split"]) == (State.FAILED, State.NOT_RUN, State.NOT_RUN)
    assert report.card is None


def test_nothing_is_unpacked_before_names_and_sizes_are_right(
    good: dict[str, bytes], maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a member was unpacked")

    monkeypatch.setattr(members, "unpack", never)
    report = check(zip_of(entries_of({**good, "extra.py": b""})), maker.trust, tmp_path)
    assert report.refusal is not None
    assert report.refusal.rule == "members"


@pytest.mark.parametrize(
    "limits",
    [
        Limits(archive_bytes_max=1000),
        Limits(expanded_bytes_max=1000),
        Limits(members_max=3),
    ],
)
def test_limits_are_kept(limits: Limits, good_archive: bytes, maker: Signer, tmp_path: Path) -> None:
    (tmp_path / "large.mar").write_bytes(good_archive)
    report = verify(tmp_path / "large.mar", trusted=maker.trust, limits=limits, handlers=HANDLERS)
    assert report.refusal is not None
    assert report.refusal.reason == words.REASON_ARCHIVE_TOO_LARGE


def test_an_archive_above_the_limit_is_not_even_copied(maker: Signer, tmp_path: Path) -> None:
    with (tmp_path / "vast.mar").open("wb") as file:
        file.truncate(50 << 30)  # sparse
    began_s = time.process_time()
    report = verify(tmp_path / "vast.mar", trusted=maker.trust, handlers=HANDLERS)
    assert time.process_time() - began_s < 5.0  # 50 GiB are not hashed in five seconds
    assert report.refusal is not None
    assert report.refusal.reason == words.REASON_ARCHIVE_TOO_LARGE


def test_what_is_no_file_is_refused_without_waiting(maker: Signer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mar")
    for path in (tmp_path, tmp_path / "missing.mar", tmp_path / "pipe.mar"):
        report = verify(path, trusted=maker.trust, handlers=HANDLERS)
        assert report.refusal is not None
        assert report.refusal.reason == words.REASON_ARCHIVE_UNREADABLE


def test_an_archive_is_judged_by_what_it_was_when_it_was_copied(
    good_archive: bytes, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "candidate.mar"
    path.write_bytes(good_archive)
    container = members.read_directory

    def swapped(file: BufferedReader, limits: Limits) -> tuple[members.Member, ...]:
        path.write_bytes(b"something else")
        return container(file, limits)

    monkeypatch.setattr(members, "read_directory", swapped)
    report = verify(path, trusted=maker.trust, handlers=HANDLERS)
    assert report.accepted
    assert report.sha256 == contents.sha256(good_archive)


def test_nothing_stays_behind(
    good_archive: bytes, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    check(good_archive, maker.trust, tmp_path)
    check(good_archive, TrustStore({}), tmp_path)
    assert list(scratch.iterdir()) == []


def test_twenty_megabytes_take_a_few_seconds(good: dict[str, bytes], maker: Signer, tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_archive.graph_bytes())
    weights = np.random.default_rng(1).normal(size=5_000_000).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "ballast"))
    content = with_card({**good, "model.onnx": model.SerializeToString(deterministic=True)})
    archive = zip_of(entries_of({**content, "model.sig": maker.sign(content)}))

    began = os.times()
    report = check(archive, maker.trust, tmp_path)
    ended = os.times()

    assert report.accepted, report.refusal
    assert len(archive) > 20_000_000
    assert sum(ended[:4]) - sum(began[:4]) < 10.0  # of processor time, the limited process included; 0.9 s measured


def test_what_a_killed_process_left_behind_goes_after_a_day(
    good_archive: bytes, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new, other = tmp_path / "amulet-verify-old", tmp_path / "amulet-verify-new", tmp_path / "amulet-verifier"
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "archive.mar").write_bytes(b"half")
    kept = tmp_path / "kept"
    kept.mkdir()
    link = tmp_path / "amulet-verify-link"
    link.symlink_to(kept)
    for path in (old, other, kept):
        os.utime(path, (1, 1))
    os.utime(link, (1, 1), follow_symlinks=False)

    assert check(good_archive, maker.trust, tmp_path).accepted

    assert not old.exists()
    assert all(path.exists() for path in (new, other, kept, link))


def test_what_is_being_verified_is_not_swept_however_old_the_clock_makes_it(
    good_archive: bytes, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock is set on while an archive is verified, and then somebody else's is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "candidate.mar"
    path.write_bytes(good_archive)
    others = []

    class SetOn(HandlerList):
        def check(self, digests: Mapping[str, str]) -> str:
            for folder in tmp_path.glob("amulet-verify-*"):
                os.utime(folder, (1, 1))
            others.append(verify(path, trusted=maker.trust, handlers=HANDLERS).accepted)
            return HandlerList.check(self, digests)

    report = verify(path, trusted=maker.trust, handlers=SetOn(HANDLERS.accepted))

    assert (report.accepted, others) == (True, [True])
    assert list(tmp_path.glob("amulet-verify-*")) == []
