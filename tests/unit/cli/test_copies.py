"""A folder of state that is a copy of another is told from it, and starts over nothing that both keep."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli import supervision
from cli.checks import copies
from cli.checks.copies import ORIGIN, copied, origin
from cli.layout import Layout, Ports
from cli.main import main
from cli.provision import provision
from tests.ports import free_offset


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folder of a stack that was started."""
    found = Layout(tmp_path / "first", Ports(free_offset()))
    provision(found)
    found.record.write_text(json.dumps({**found.document(), ORIGIN: origin(found)}))
    return found


@pytest.fixture
def copy(layout: Layout, tmp_path: Path) -> Layout:
    shutil.copytree(layout.state, tmp_path / "second")
    return Layout.of(tmp_path / "second")


def test_a_folder_that_was_copied_says_where_it_was_and_what_follows(layout: Layout, copy: Layout) -> None:
    assert copied(layout) is None
    assert copied(copy) == (
        f"this folder was copied, moved or unpacked since its last start in {layout.state}. Should the stack there go "
        "on, both sign one audit log with one key, and whoever compares their checkpoints finds a fork: let one of "
        "them serve, and the other only be looked at"
    )


def test_one_that_was_renamed_or_never_started_or_by_an_earlier_version_says_nothing(
    layout: Layout, copy: Layout, tmp_path: Path
) -> None:
    layout.state.rename(tmp_path / "renamed")
    copy.record.write_text(json.dumps(copy.document()))

    assert copied(Layout.of(tmp_path / "renamed")) is None
    assert copied(copy) is None
    assert copied(Layout.of(tmp_path / "new")) is None


def test_the_same_disk_in_another_machine_is_another(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine-id").write_text("another\n")
    monkeypatch.setattr(copies, "MACHINE_ID", tmp_path / "machine-id")

    assert f"since its last start in {layout.state}" in (copied(layout) or "")


def test_a_copy_does_not_start_over_the_photographs_of_both_unless_it_is_the_only_one(
    layout: Layout, copy: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMULET_STORAGE_URL", f"file://{tmp_path / 'shared'}")

    assert main(["up", "--state", str(copy.state)]) == 1

    sentence = capsys.readouterr().err.strip()
    assert len(sentence.splitlines()) == 1
    assert "and AMULET_STORAGE_URL names what both keep" in sentence
    assert sentence.endswith(f"where no stack of {layout.state} will run any more, `amulet up --moved`")
    assert not copy.supervisor_config.exists()
    assert supervision.pid(copy) is None
    resolved = supervision.environment(copy, {"AMULET_STORAGE_URL": f"file://{copy.state / 'photographs'}"})
    assert copies.copies(copy, resolved).ok
    assert copies.copies(copy, supervision.environment(copy, {})).ok
