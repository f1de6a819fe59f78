"""What is handed in as YAML or JSON and cannot be read ends in one sentence, however it is nested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.unit.training.data.cast import write_folder
from training import documents
from training.commands.data import data
from training.commands.train import train
from training.data.errors import DataWrong
from training.data.exported import MANIFEST, is_export
from training.errors import ModelUnreadable
from training.experiments import commands as experiments
from training.experiments.search_command import search
from training.experiments.tracking import read_runs
from training.served import learnt
from training.synthetic.commands import synth
from training.synthetic.make import ORIGINS, origins_of

DEEP = "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize("read", [documents.of_yaml, documents.of_json])
def test_what_nests_too_deep_is_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"^it is nested too deeply$"):
        read(DEEP)


@pytest.mark.parametrize(
    "text",
    ["a: 2026-13-45", "a: !!int ''", "a: !!float x", "a: !!timestamp x", f"a: {'9' * 5000}", "{[1]: 2}", "a: [", "\0"],
)
def test_yaml_that_names_no_value_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        documents.of_yaml(text)

    assert "\n" not in str(refused.value)


def test_a_key_that_stands_twice_is_refused_and_one_that_is_merged_over_is_not() -> None:
    with pytest.raises(ValueError, match=r"^views stands in lines 1 and 3, and means one thing only: remove one"):
        documents.of_yaml("views: 1\nseed: 2\nviews: 3")
    assert documents.of_yaml("a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: {d: {<<: *a, x: 3}}\ne: {1: 2, '1': 3}") == {
        "a": {"x": 1},
        "b": {"x": 2},
        "c": {"d": {"x": 3}},
        "e": {1: 2, "1": 3},
    }


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (train, ["data", "--out", "run", "--runs", "none", "--config", "deep"]),
        (experiments.ablate, ["data", "--runs", "none", "--config", "deep"]),
        (search, ["data", "--out", "search", "--runs", "none", "--space", "deep"]),
        (synth, ["reviewed", "deep"]),
        (data, ["check", "deep-names", "--quick"]),
    ],
)
def test_a_file_that_nests_too_deep_ends_a_command_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deep").write_text(DEEP)
    write_folder(Path("deep-names"), {"a": 2, "b": 2})
    Path("deep-names/classes.yaml").write_text(DEEP)

    done = CliRunner().invoke(command, arguments)

    assert done.exit_code == 1, done.output
    said = done.stdout if "check" in arguments else done.stderr
    assert "nested too deeply" in said or "is not JSON" in said
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_what_a_folder_says_of_itself_is_read_with_the_same_care(tmp_path: Path) -> None:
    for name in (ORIGINS, learnt.FILE, MANIFEST, "run.json"):
        (tmp_path / name).write_text(DEEP)

    with pytest.raises(DataWrong, match="does not say what photographs are made from"):
        origins_of(tmp_path)
    with pytest.raises(ModelUnreadable, match="does not say which photographs were learnt from"):
        learnt._parsed(tmp_path / learnt.FILE)
    assert is_export(tmp_path)
    runs, others = read_runs(tmp_path)
    assert runs == ()
    assert tmp_path / "run.json" in others
