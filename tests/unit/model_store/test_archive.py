"""What `build` writes, and what `Archive` reads."""

from __future__ import annotations

import json
import os
import resource
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model_store.archive import Archive, build
from model_store.card import Card
from model_store.errors import ArchiveRefused, KeyUnusable
from model_store.manifest import manifest_of
from model_store.verification import verify
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.cast import HANDLERS, Signer

HANDLER, STUB = tiny_archive.HANDLER, tiny_archive.STUB


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tiny_archive.write_run(tmp_path / "run")
    return tmp_path / "run"


def test_a_run_becomes_an_archive_that_every_rule_accepts(run: Path, tmp_path: Path, maker: Signer) -> None:
    summary = build(run, tmp_path / "out" / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=maker.key)

    report = verify(summary.path, trusted=maker.trust, handlers=HANDLERS)
    assert report.accepted, report.refusal
    assert (report.sha256, report.signer) == (summary.sha256, maker.fingerprint)
    assert summary.signed_by == maker.fingerprint
    assert summary.size_bytes == summary.path.stat().st_size


def test_the_same_run_and_key_give_the_same_bytes(run: Path, tmp_path: Path, maker: Signer) -> None:
    first = build(run, tmp_path / "first.mar", handler=HANDLER, stub=STUB, sign_key=maker.key)
    copy = shutil.copytree(run, tmp_path / "somewhere" / "else")
    for path in copy.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    second = build(copy, tmp_path / "second.mar", handler=HANDLER, stub=STUB, sign_key=maker.key)

    assert first.path.read_bytes() == second.path.read_bytes()


def test_torchserve_finds_what_it_looks_for(run: Path, tmp_path: Path) -> None:
    summary = build(run, tmp_path / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=None)

    with zipfile.ZipFile(summary.path) as opened:
        manifest = json.loads(opened.read("MAR-INF/MANIFEST.json"))
        assert manifest["runtime"] == "python"
        assert manifest["model"] == {
            "modelName": tiny_archive.NAME,
            "modelVersion": tiny_archive.VERSION,
            "serializedFile": "model.onnx",
            "handler": "amulet_handler.py",
        }
        assert {"model.onnx", "amulet_handler.py"} <= set(opened.namelist())
        assert opened.testzip() is None


def test_a_card_has_one_manifest_for_ever(run: Path) -> None:
    """It must be, byte for byte: with another text no archive that was made before would be accepted."""
    card = Card.parse((run / "model.json").read_bytes())
    assert manifest_of(card).decode() == (
        "{\n"
        f'  "createdOn": "{card.created_at.isoformat()}",\n'
        '  "runtime": "python",\n'
        '  "model": {\n'
        '    "modelName": "tiny",\n'
        f'    "modelVersion": "{tiny_archive.VERSION}",\n'
        '    "serializedFile": "model.onnx",\n'
        '    "handler": "amulet_handler.py"\n'
        "  },\n"
        '  "archiverVersion": "0.12.0"\n'
        "}\n"
    )


def test_an_archive_gives_back_what_went_in(run: Path, tmp_path: Path, maker: Signer) -> None:
    build(run, tmp_path / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=maker.key)

    opened = Archive.open(tmp_path / "tiny.mar")

    assert opened.signed
    assert opened.card() == Card.parse((run / "model.json").read_bytes())
    assert dict(opened.golden()) == {name: (run / name).read_bytes() for name in ("golden_0.png", "golden_1.png")}
    assert opened.reference().samples["confidence"].count == 12
    assert opened.manifest()["model"]["modelName"] == tiny_archive.NAME
    assert opened.read("model.onnx") == (run / "model.onnx").read_bytes()
    folder = tmp_path / "unpacked"
    folder.mkdir()
    opened.extract(folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(opened.names)


def test_an_older_archive_is_replaced_whole(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.mar"
    out.write_bytes(b"older")
    build(run, out, handler=HANDLER, stub=STUB, sign_key=None)
    assert Archive.open(out).card().name == tiny_archive.NAME
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "tiny.mar"]


def test_a_member_that_no_archive_has_is_refused_before_anything_is_read(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.mar"
    build(run, out, handler=HANDLER, stub=STUB, sign_key=None)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("setup.py", b"")
    with pytest.raises(ArchiveRefused, match=r"setup\.py") as refusal:
        Archive.open(out)
    assert refusal.value.reason == words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED


def _leak(run: Path) -> None:
    card = Card.parse((run / "model.json").read_bytes())
    pairs = (("red/a.jpg", "red/b.jpg"), ("blue/a.jpg", "blue/b.jpg"))
    split = replace(card.data.split, leaks=pairs)
    (run / "model.json").write_text(replace(card, data=replace(card.data, split=split)).render())


def _another_graph(run: Path) -> None:
    (run / "model.onnx").write_bytes(tiny_archive.graph_bytes(temperature=2.0))


def _no_reference(run: Path) -> None:
    (run / "reference.json").unlink()


def _no_card(run: Path) -> None:
    (run / "model.json").unlink()


def _broken_card(run: Path) -> None:
    (run / "model.json").write_text("{}")


def _another_photograph(run: Path) -> None:
    (run / "golden_0.png").write_bytes(tiny_archive.photo_of("green"))


def _no_photograph(run: Path) -> None:
    (run / "golden_0.png").unlink()


def _jpeg(run: Path) -> None:
    (run / "golden_0.png").write_bytes(b"\xff\xd8\xff\xe0")


def _broken_reference(run: Path) -> None:
    (run / "reference.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_leak, words.REASON_ARCHIVE_SPLIT_LEAKS),
        (_another_graph, words.REASON_ARCHIVE_CARD_INVALID),
        (_no_reference, words.REASON_ARCHIVE_MEMBER_MISSING),
        (_no_card, words.REASON_ARCHIVE_MEMBER_MISSING),
        (_broken_card, words.REASON_ARCHIVE_CARD_INVALID),
        (_another_photograph, words.REASON_ARCHIVE_CARD_INVALID),
        (_no_photograph, words.REASON_ARCHIVE_MEMBER_MISSING),
        (_jpeg, words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
        (_broken_reference, words.REASON_ARCHIVE_CARD_INVALID),
    ],
)
def test_a_run_that_is_not_right_is_not_packed_and_leaves_nothing_behind(
    spoil: Callable[[Path], None], reason: words.Reason.ValueType, run: Path, tmp_path: Path, maker: Signer
) -> None:
    spoil(run)
    with pytest.raises(ArchiveRefused) as refusal:
        build(run, tmp_path / "out" / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=maker.key)
    assert refusal.value.reason == reason
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("letters", "refused"),
    [(85, "examples.json has photographs of red"), (86, "the class ก+… has 258 bytes in UTF-8")],
)
def test_a_class_whose_name_no_folder_can_have_is_refused_with_its_length(
    letters: int, refused: str, run: Path, tmp_path: Path
) -> None:
    # Of three bytes each. The one that fits gets as far as to the examples, which still have the old name.
    renamed = (run / "model.json").read_text().replace('"red"', f'"{"ก" * letters}"')
    assert Card.parse(renamed).classes[0].id == "ก" * letters
    (run / "model.json").write_text(renamed)
    with pytest.raises(ArchiveRefused, match=refused):
        build(run, tmp_path / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=None)


def test_leaks_are_named_by_both_files(run: Path, tmp_path: Path) -> None:
    _leak(run)
    with pytest.raises(ArchiveRefused, match=r"red/a\.jpg and red/b\.jpg .* 1 more"):
        build(run, tmp_path / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=None)


def test_a_key_that_cannot_sign_leaves_no_unsigned_archive(run: Path, tmp_path: Path, maker: Signer) -> None:
    with pytest.raises(KeyUnusable):
        build(run, tmp_path / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=maker.public)
    assert not (tmp_path / "tiny.mar").exists()


def test_a_crash_in_the_middle_leaves_the_older_archive(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tiny.mar"
    older = build(run, out, handler=HANDLER, stub=STUB, sign_key=None)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        build(run, out, handler=HANDLER, stub=STUB, sign_key=None)
    assert Archive.open(out).sha256 == older.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "tiny.mar"]


def test_a_full_disk_is_not_taken_for_a_missing_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            build(run, tmp_path / "out" / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_place_of_the_archive_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.mar").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder.*tiny\.mar"):
        build(run, tmp_path / "tiny.mar", handler=HANDLER, stub=STUB, sign_key=None)
