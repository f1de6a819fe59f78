"""`amulet bench` says in a sentence, and before it begins, what it cannot measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import main
from tests import tiny_archive


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status, and the one line on stderr."""
    status = main(["bench", *arguments])
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1, output.err
    return status, output.err


@pytest.mark.parametrize("what", ["serving", "overload", "stack", "inference"])
def test_a_folder_that_is_no_run_is_named_with_what_makes_one(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = said([what, "--model", str(tmp_path)], capsys)

    assert status == 2
    assert f"--model {tmp_path} holds no model.json: a run is the folder that `amulet train --out` makes" in error


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        ("model.json", "{", "is no run: model.json is not JSON"),
        ("model.onnx", "no graph", "holds a model.onnx that cannot be opened"),
        ("model.onnx", None, "holds no model.onnx"),
    ],
)
def test_a_run_that_was_damaged_is_named(
    name: str, content: str | None, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    tiny_archive.write_run(run)
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)

    status, error = said(["inference", "--model", str(run)], capsys)

    assert status == 2
    assert f"--model {run} {wrong}" in error


def test_a_folder_without_photographs_is_named_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = said(["inference", "--photos", str(tmp_path)], capsys)

    assert status == 2
    assert f"--photos {tmp_path} holds no file *.jpg" in error


@pytest.mark.parametrize("what", [["console", "--rows", "1000"], ["migrations"]])
@pytest.mark.parametrize(
    ("server", "wrong"),
    [
        ("foo", "wanted an address that begins with postgresql://"),
        ("http://h", "wanted an address that begins with postgresql://"),
        ("postgresql://u:hunter2@h:abc", "the port is no number up to 65535"),
        ("postgresql://u:hunter2@h/name", "wanted a server and nothing behind it"),
        ("postgresql://", "wanted a server"),
    ],
)
def test_a_server_that_is_none_is_named_without_its_password(
    what: list[str], server: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = said([*what, "--server", server], capsys)

    assert status == 2
    assert "'--server'" in error
    assert f"{wrong}" in error
    assert "as in postgresql://USER:PASSWORD@HOST:5432" in error
    assert "hunter2" not in error


def test_a_server_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, error = said(["migrations", "--server", "postgresql://127.0.0.1:9"], capsys)

    assert status == 1
    assert error.startswith("amulet: --server: PostgreSQL there does not let anybody in: ")


@pytest.mark.parametrize("what", ["serving", "overload", "stack", "journal", "inference", "console", "migrations"])
def test_a_result_that_could_not_be_written_is_said_before_the_measurement(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    result = tmp_path / "file" / "result.json"

    status, error = said([what, "--json", str(result)], capsys)

    assert status == 2
    assert f"there is no folder {tmp_path / 'file'}: make it first" in error


def test_a_disk_that_takes_no_journal_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    status, error = said(["journal", "--folder", "/proc", "--rounds", "1"], capsys)

    assert status == 1
    assert error == "amulet: the journal cannot be written in /proc: No such file or directory\n"
