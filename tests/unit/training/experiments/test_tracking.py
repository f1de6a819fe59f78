"""Runs are noted where the user expects them, in MLflow too where that is wanted, and never at the cost of the work."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.main import COMMANDS, amulet
from tests.unit.training.evaluation.cast import Colours, write_colours
from training.commands.evaluate import evaluate
from training.experiments.mlflow_server import into_mlflow
from training.experiments.runs import NOTED, runs
from training.experiments.tracking import Outcome, Photographs, Tracker, into_folder, numbers, read_runs

DATA = Photographs("tablets", "ab" * 32, 24)
PASSWORD = "s3cret-of-mlflow"


def outcome(accuracy: float, *, name: str = "", data: Photographs = DATA, artefacts: tuple[Path, ...] = ()) -> Outcome:
    return Outcome(
        data,
        figures={"balanced_accuracy": accuracy, "ece": 1.0 - accuracy, "per_class_f1": {"ปางยืน": accuracy, "b": None}},
        parameters={"views": 12, "levels": ("block5", "head"), "strength": {"turn_deg": 10.0}, "tuning": None},
        name=name,
        seed=7,
        artefacts=artefacts,
    )


def noted(folder: Path, *outcomes: Outcome, command: str = "train") -> None:
    warnings: list[str] = []
    tracker = Tracker(command, [into_folder(folder)], warnings.append)
    for each in outcomes:
        tracker.note(each)
    assert not warnings


def amulet_runs(*arguments: str, folder: Path) -> Result:
    return CliRunner().invoke(runs, [*arguments, "--runs", str(folder)])


@pytest.fixture
def colours(tmp_path: Path) -> Colours:
    return write_colours(tmp_path)


def test_a_run_is_one_file_with_all_that_decided_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.json").write_bytes(b"card")
    noted(tmp_path / "runs", outcome(0.9, artefacts=(tmp_path / "out/model.json",)))

    (file,) = (tmp_path / "runs").iterdir()
    document = json.loads(file.read_text("utf-8"))
    assert document["figures"] == {"balanced_accuracy": 0.9, "ece": pytest.approx(0.1), "per_class_f1.ปางยืน": 0.9}
    assert document["parameters"] == {
        "views": 12,
        "levels": "block5, head",
        "strength.turn_deg": 10.0,
        "tuning": None,
    }
    assert document["artefacts"] == {"out/model.json": hashlib.sha256(b"card").hexdigest()}
    assert document["peak_mib"] > 10
    assert document["packages"]["numpy"]
    assert str(tmp_path) not in file.read_text("utf-8")
    ((read,), others) = read_runs(tmp_path / "runs")
    assert (read.document(), others) == (document, ())


@settings(max_examples=50)
@given(
    st.recursive(
        st.floats() | st.integers(-5, 5) | st.booleans() | st.none() | st.text(),
        lambda below: st.dictionaries(st.text(st.characters(exclude_characters="."), min_size=1), below),
    ).filter(lambda value: isinstance(value, dict))
)
def test_every_finite_number_is_kept_once_and_nothing_else(document: dict[str, object]) -> None:
    def leaves(value: object) -> list[object]:
        return [leaf for each in value.values() for leaf in leaves(each)] if isinstance(value, dict) else [value]

    wanted = [
        float(leaf)
        for leaf in leaves(document)
        if isinstance(leaf, int | float) and not isinstance(leaf, bool) and math.isfinite(leaf)
    ]
    assert sorted(numbers(document).values()) == sorted(wanted)


def test_a_folder_that_refuses_costs_one_warning_and_no_work(tmp_path: Path, colours: Colours) -> None:
    (tmp_path / "taken").write_text("a file")
    done = CliRunner().invoke(evaluate, [str(colours.run), str(colours.data), "--runs", str(tmp_path / "taken/runs")])

    assert done.exit_code == 0
    assert "balanced_accuracy" in done.stdout
    (warning,) = done.stderr.splitlines()
    assert warning.startswith(f"amulet: runs are not noted in {tmp_path}/taken/runs (Not a directory)")


def test_what_json_cannot_carry_is_noted_all_the_same(tmp_path: Path) -> None:
    odd = replace(outcome(math.nan, name="photos-\udcff"), parameters={"head_inverse_penalty": math.inf})
    noted(tmp_path, odd)
    ((run,), _) = read_runs(tmp_path)
    assert (run.name, run.parameters, run.figures) == ("photos-?", {"head_inverse_penalty": "inf"}, {})


def test_an_evaluation_is_noted_with_the_model_and_the_photographs(tmp_path: Path, colours: Colours) -> None:
    folder = tmp_path / "noted"
    arguments = [str(colours.run), str(colours.data), "--json", str(tmp_path / "figures.json"), "--runs", str(folder)]
    assert CliRunner().invoke(evaluate, arguments).exit_code == 0

    ((run,), _) = read_runs(folder)
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert run.command == "evaluate"
    assert run.name == figures["model"]
    assert run.data == Photographs("data", figures["data"]["fingerprint"], figures["data"]["photos"])
    assert run.figures["balanced_accuracy"] == figures["balanced_accuracy"]
    assert run.figures["per_class_f1.red"] == figures["per_class_f1"]["red"]
    assert run.artefacts == {"figures.json": hashlib.sha256((tmp_path / "figures.json").read_bytes()).hexdigest()}


def test_runs_are_listed_shown_and_ranked_among_their_own_photographs(tmp_path: Path) -> None:
    other = Photographs("coins", "cd" * 32, 9)
    noted(tmp_path, outcome(0.7, name="poor"), outcome(0.9, name="good"))
    noted(tmp_path, outcome(0.99, name="easy", data=other), command="evaluate")
    (tmp_path / "notes.json").write_text("{}")

    listed = amulet_runs("list", folder=tmp_path)
    assert [line.split()[1] for line in listed.stdout.splitlines()] == ["poor", "good", "easy"]
    assert "notes.json in the folder of runs is no run" in listed.stderr
    assert [
        run["name"] for run in json.loads(amulet_runs("list", "--last", "1", "--json", folder=tmp_path).stdout)
    ] == ["easy"]
    ranked = json.loads(amulet_runs("best", "balanced_accuracy", "--json", folder=tmp_path).stdout)
    assert [(row["data"]["name"], row["name"]) for row in ranked] == [
        ("tablets", "good"),
        ("tablets", "poor"),
        ("coins", "easy"),
    ]
    errors = json.loads(amulet_runs("best", "ece", "--top", "1", "--json", folder=tmp_path).stdout)
    assert [row["name"] for row in errors] == ["good", "easy"]
    shown = amulet_runs("show", ranked[0]["id"], folder=tmp_path).stdout
    assert "balanced_accuracy    0.9000" in shown
    assert "strength.turn_deg  10.0" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "2"), "2 runs begin with 2, as "),
        (("show", "x"), "begins with x: `amulet runs list` names them"),
        (("best", "balanced_accurcy"), "did you mean balanced_accuracy?"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    noted(tmp_path, outcome(0.7), outcome(0.9))
    done = amulet_runs(*arguments, folder=tmp_path)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "no run was noted in" in amulet_runs("list", folder=tmp_path / "none").stderr


def test_a_command_that_notes_nothing_is_named_with_those_that_do(tmp_path: Path) -> None:
    noted(tmp_path, outcome(0.7))

    done = amulet_runs("list", "--command", "trian", folder=tmp_path)
    assert done.exit_code == 2
    assert "--command trian notes no runs: did you mean train? these do: train, evaluate," in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("as_json", "printed"), [((), ""), (("--json",), "[]\n")])
def test_a_command_of_which_no_run_is_there_yet_is_said(as_json: tuple[str, ...], printed: str, tmp_path: Path) -> None:
    noted(tmp_path, outcome(0.7), outcome(0.8))

    done = amulet_runs("list", "--command", "search", *as_json, folder=tmp_path)

    assert done.exit_code == 0
    assert done.stdout == printed
    assert f"No run of search in {tmp_path}: there are those of train." in done.stderr


def test_the_commands_that_are_known_to_note_runs_are_those_that_do() -> None:
    found, waiting = set(), [((name,), amulet.get_command(click.Context(amulet), name)) for name in COMMANDS]
    while waiting:
        path, command = waiting.pop()
        if isinstance(command, click.Group):
            waiting += [((*path, name), each) for name, each in command.commands.items()]
        elif command is not None and any(parameter.name == "tracker" for parameter in command.params):
            found.add(" ".join(path))

    assert found == set(NOTED)


def test_the_same_run_is_in_mlflow(tmp_path: Path, colours: Colours, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    arguments = [str(colours.run), str(colours.data), "--runs", str(tmp_path / "runs")]
    done = CliRunner().invoke(evaluate, arguments)

    assert (done.exit_code, done.stderr) == (0, "")
    from mlflow import MlflowClient  # not before: the command decides how it is imported

    ((run,), _) = read_runs(tmp_path / "runs")
    client = MlflowClient(tracking_uri=uri)
    (there,) = client.search_runs([client.get_experiment_by_name("amulet").experiment_id])
    assert there.info.status == "FINISHED"
    assert there.data.tags["amulet.run"] == run.id
    assert there.data.tags["amulet.fingerprint"] == run.data.fingerprint
    assert there.data.metrics["balanced_accuracy"] == run.figures["balanced_accuracy"]
    assert there.data.params["model"] == run.name
    assert str(tmp_path) not in json.dumps([there.data.tags, there.data.params])
    assert not client.list_artifacts(there.info.run_id)


class _Mlflow(BaseHTTPRequestHandler):
    """The answers of MLflow's REST interface to a client that notes a run, as a server of 3.17 gives them."""

    info: ClassVar = {"run_id": "r1", "run_uuid": "r1", "experiment_id": "1", "status": "RUNNING", "run_name": "n"}
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].rpartition("/mlflow/")[2]
        self.asked.append((path, self.headers.get("Authorization")))
        answers: dict[str, object] = {
            "experiments/create": {"experiment_id": "1"},
            "runs/create": {"run": {"info": self.info, "data": {}}},
            "runs/get": {"run": {"info": self.info, "data": {}}},
            "runs/log-batch": {},
            "runs/update": {"run_info": {**self.info, "status": "FINISHED"}},
        }
        body = json.dumps(answers.get(path, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": path})).encode()
        self.send_response(200 if path in answers else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """pytest's output is not a server's log."""


def test_an_mlflow_with_a_password_gets_it_and_shows_it_to_nobody(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Mlflow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        warnings: list[str] = []
        uri = f"http://somchai:{PASSWORD}@127.0.0.1:{server.server_address[1]}"
        Tracker("train", [into_mlflow(uri)], warnings.append).note(outcome(0.8))
        server.shutdown()

    assert not warnings
    paths = [path for path, _ in _Mlflow.asked]
    assert [path for path in dict.fromkeys(paths) if path in ("runs/create", "runs/log-batch", "runs/update")] == [
        "runs/create",
        "runs/log-batch",
        "runs/update",
    ]
    basic = "Basic " + base64.b64encode(f"somchai:{PASSWORD}".encode()).decode()
    assert {authorization for _, authorization in _Mlflow.asked} == {basic}
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert PASSWORD not in caplog.text


def test_an_mlflow_that_is_away_is_asked_once_and_its_password_shows_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    warnings: list[str] = []
    places = [into_mlflow(f"http://somchai:{PASSWORD}@127.0.0.1:9"), into_folder(tmp_path)]
    tracker = Tracker("train", places, warnings.append)
    tracker.note(outcome(0.8))
    tracker.note(outcome(0.9))

    (warning,) = warnings
    assert warning.startswith("runs are not noted in MLflow at http://127.0.0.1:9 (")
    assert PASSWORD not in warning
    assert "somchai" not in warning
    assert len(read_runs(tmp_path)[0]) == 2


def test_without_its_client_mlflow_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    warnings: list[str] = []
    Tracker("train", [into_mlflow("http://127.0.0.1:9")], warnings.append).note(outcome(0.8))
    (warning,) = warnings
    assert "the Python module mlflow is not installed; install this project with its `mlflow` extra" in warning


def test_where_nobody_asked_for_another_place_runs_are_in_the_state_folder(
    tmp_path: Path, colours: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMULET_RUNS")
    monkeypatch.delenv("AMULET_STATE_DIR", raising=False)
    assert CliRunner().invoke(evaluate, [str(colours.run), str(colours.data)]).exit_code == 0
    assert len(read_runs(tmp_path / ".amulet/runs")[0]) == 1
    monkeypatch.setenv("AMULET_RUNS", "none")
    assert CliRunner().invoke(evaluate, [str(colours.run), str(colours.data)]).exit_code == 0
    assert len(read_runs(tmp_path / ".amulet/runs")[0]) == 1
    assert [each.name for each in (tmp_path / ".amulet").iterdir()] == ["runs"]
