"""Files of results: what cannot be written is refused before any work, and what is written is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.disks import files_of_at_most
from training import results
from training.commands import export as forms
from training.commands.data import data
from training.commands.evaluate import evaluate
from training.commands.explain import explain
from training.commands.package import package
from training.commands.train import train
from training.experiments import commands as experiments
from training.experiments.search_command import search
from training.export import run_folder
from training.synthetic.commands import synth
from training.terminal import worded

_BOTH = ("--html", "--json")
# Each with arguments that would be refused later, were the files not looked at first.
COMMANDS = {
    "evaluate": (evaluate, ["no-run", "no-data"], _BOTH),
    "robustness": (experiments.robustness, ["no-run", "no-data"], _BOTH),
    "compare": (experiments.compare, ["no-run"], _BOTH),
    "ablate": (experiments.ablate, ["no-data"], _BOTH),
    "detectors": (experiments.detectors, ["no-data"], _BOTH),
    "calibrators": (experiments.calibrators, ["no-data"], _BOTH),
    "judge": (synth, ["judge", "no-data", "no-synthetic"], _BOTH),
    "sheet": (synth, ["sheet", "no-synthetic"], ("--out",)),
    "quantize": (forms.quantize, ["no-run", "--data", "no-data"], ("--html",)),
    "card": (forms.card, ["no-run"], ("--html",)),
    "check": (data, ["check", "no-data"], ("--html",)),
}
FILES = [(name, option) for name, (_, _, options) in COMMANDS.items() for option in options]


@pytest.mark.parametrize(("name", "option"), FILES)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, name: str, option: str) -> None:
    command, arguments, _ = COMMANDS[name]
    (tmp_path / "file").write_text("")

    for wrong, said in (
        (tmp_path / "none" / "there" / "r", f"there is no folder {tmp_path / 'none/there'}: make it first"),
        (tmp_path / "file" / "r", f"there is no folder {tmp_path / 'file'}: make it first"),
        (tmp_path, "is a directory"),
        (tmp_path / ("r" * 300), "File name too long"),
        (Path("/proc/r"), "the folder /proc takes no files"),
    ):
        done = CliRunner().invoke(command, [*arguments, option, str(wrong)])

        assert done.exit_code == 2, done.output
        assert f"'{option}'" in done.stderr
        assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_that_is_no_utf_8_is_refused_before_any_work(tmp_path: Path) -> None:
    strange = str(tmp_path / os.fsdecode(b"r\xff"))

    for command, arguments in (
        (experiments.calibrators, ["no-data", "--json", strange]),
        (train, ["no-data", "--out", strange, "--runs", "none"]),
    ):
        done = CliRunner().invoke(command, arguments)

        assert done.exit_code in (1, 2)
        assert r"r\udcff is no UTF-8: choose another name" in done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [(BrokenProcessPool("a child was killed"), "was ended from outside"), (MemoryError(), "memory ran out")],
)
def test_what_runs_out_of_memory_is_one_sentence(error: Exception, said: str) -> None:
    with pytest.raises(click.ClickException, match=said), worded():
        raise error


def test_two_results_do_not_share_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("r")

    done = CliRunner().invoke(
        experiments.calibrators, ["no-data", "--json", str(tmp_path / "r"), "--html", str(tmp_path / "link")]
    )

    assert done.exit_code == 2
    assert "--json names that file, too: give each its own" in done.stderr


def test_an_archive_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for wrong, said in ((tmp_path, "is a folder"), (tmp_path / "file" / "x.mar", "is no folder")):
        done = CliRunner().invoke(package, ["no-run", "--out", str(wrong), "--fastest-on", "no-data"])

        assert done.exit_code == 2
        assert said in done.stderr


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (".", "says where, and not what"),
        ("/", "says where, and not what"),
        ("a/..", "says where, and not what"),
        ("file/run", "is no folder"),
        ("/proc", "is where a disk is mounted: name a folder inside it"),
        ("/proc/run/in", "the folder /proc takes no files"),
        ("r" * 300, "File name too long"),
    ],
)
def test_a_run_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")

    done = CliRunner().invoke(train, ["no-data", "--out", out, "--runs", "none"])

    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (data, ["demo"]),
        (data, ["outside"]),
        (synth, ["make", "no-data"]),
        (forms.export, ["no-run", "--data", "no-data"]),
    ],
    ids=["demo", "outside", "make", "export"],
)
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(
    command: click.Command, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    for out, said in (
        (".", "says where, and not what"),
        ("/proc", "is where a disk is mounted"),
        ("/proc/a/b", "/proc"),
        (str(tmp_path / "file"), "is a file"),
    ):
        done = CliRunner().invoke(command, [*arguments, "--out", out])

        assert done.exit_code == 2, done.output
        assert "'--out'" in done.stderr
        assert said in done.stderr


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(search, ["no-data", "--runs", "none"]), (explain, ["no-run", "no-data"])],
    ids=["search", "explain"],
)
def test_a_folder_that_is_gone_on_with_has_to_take_files(
    command: click.Command, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    for out, said in (
        ("/proc", "the folder /proc takes no files"),
        ("/proc/a/b", "the folder /proc takes no files"),
        (str(tmp_path / "file"), "is a file"),
        (str(tmp_path / "file" / "in"), f"{tmp_path / 'file'} is no folder"),
        (str(tmp_path / os.fsdecode(b"r\xff")), r"r\udcff is no UTF-8: choose another name"),
    ):
        done = CliRunner().invoke(command, [*arguments, "--out", out])

        assert done.exit_code == 2, done.output
        assert "'--out'" in done.stderr
        assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    arguments = ["no-data", "--out", str(tmp_path / "new" / "run"), "--runs", "none"]

    with run_folder.reserved(tmp_path / "new" / "run"):
        second = CliRunner().invoke(train, arguments)
    third = CliRunner().invoke(train, arguments)

    assert second.exit_code == 1
    assert "another command writes to" in second.stderr
    assert second.stderr.count("\n") == 1
    assert "there is no folder no-data" in third.stderr
    assert list((tmp_path / "new").iterdir()) == []


def test_a_training_that_was_killed_reserves_nothing(tmp_path: Path) -> None:
    (tmp_path / ".run.lock").write_text("")  # what a process that was killed leaves

    with run_folder.reserved(tmp_path / "run"):
        assert (tmp_path / ".run.lock").exists()

    assert list(tmp_path.iterdir()) == []


def test_a_text_takes_the_place_of_the_older_one_and_keeps_its_mode(tmp_path: Path) -> None:
    file, link = tmp_path / "r.html", tmp_path / "link.html"
    file.write_text("older")
    file.chmod(0o640)
    link.symlink_to("r.html")

    results.write(link, "พระ \udcbe")

    assert file.read_text("utf-8") == "พระ \\udcbe"
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "r.html"]


def test_a_new_file_is_as_open_as_others(tmp_path: Path) -> None:
    results.write(tmp_path / "r", "new")
    (tmp_path / "other").write_text("")

    assert (tmp_path / "r").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_does_not_fit_on_the_disk_leaves_the_older_file_whole(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("older")

    with files_of_at_most(4096), pytest.raises(OSError, match="File too large") as refused:
        results.write(tmp_path / "r", "x" * 8192)

    assert refused.value.filename == str(tmp_path / "r")
    assert (tmp_path / "r").read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        results.write(tmp_path / "pipe", "text")

        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_the_standard_output_is_no_file() -> None:
    @click.command()
    @click.option("--json", "file", type=results.ResultFile(stdout=True))
    def show(file: Path) -> None:
        click.echo(str(file))

    assert CliRunner().invoke(show, ["--json", "-"]).output == "-\n"


def test_what_is_imported_while_a_test_fills_the_disk_is_imported_afterwards(tmp_path: Path) -> None:
    """Python keeps half of a compiled module where a write ends halfway, and takes it for the whole ever after."""
    (tmp_path / "imported.py").write_text(f"names = {list(map(str, range(200)))}")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = os.pathsep.join(map(str, (tmp_path, Path(__file__).parents[3])))
    within = "from tests.disks import files_of_at_most\nwith files_of_at_most(300): import imported"

    for script in (within, "import imported"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**bare, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
