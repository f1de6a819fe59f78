"""What the launcher writes down for TorchServe, and what it refuses to start."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli import supervision
from cli.layout import Layout
from protos.cores import cores
from tests.integration.torchserve.loosened import LAUNCHER, launcher

launch = launcher()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o755)
    return folder


def test_everything_that_locks_torchserve_down_is_written(tmp_path: Path, store: Path) -> None:
    options = launch.Options(tmp_path, store, port_offset=100)
    found = launch.properties(options, tmp_path / "tmp")

    assert {name: found[name] for name in LOCKED} == LOCKED
    assert found["management_address"] == "http://127.0.0.1:8181"
    assert (found["grpc_inference_port"], found["grpc_management_port"]) == ("7170", "7171")
    assert found["inference_address"].startswith("unix:")
    assert found["token_expiration_min"] == "60"
    assert int(found["default_response_timeout"]) <= 10
    assert int(found["job_queue_size"]) <= 200


LOCKED = {
    "allowed_urls": "(?!)",
    "use_env_allowed_urls": "false",
    "enable_envvars_config": "false",
    "install_py_dep_per_model": "false",
    "disable_token_authorization": "false",
    "enable_metrics_api": "false",
    "load_models": "",
    "grpc_inference_address": "127.0.0.1",
    "grpc_management_address": "127.0.0.1",
}


def test_the_command_has_no_snapshots_and_a_small_heap(tmp_path: Path, store: Path) -> None:
    command = launch.prepare(launch.Options(tmp_path / "state", store))

    assert "--no-config-snapshot" in command.arguments
    assert "-Xmx192m" in command.arguments
    assert "--disable-token-auth" not in command.arguments


def test_the_environment_is_an_allow_list(tmp_path: Path, store: Path) -> None:
    outer = {
        "TZ": "Asia/Bangkok",
        "AMULET_KEY": "canary",
        "TS_ALLOWED_URLS": ".*",
        "PYTHONPATH": "/evil",
        "PATH": "/bin",
    }

    found = launch.environment(launch.Options(tmp_path, store), tmp_path / "tmp", outer)

    assert found["TZ"] == "Asia/Bangkok"
    assert not {"AMULET_KEY", "TS_ALLOWED_URLS", "PYTHONPATH"} & set(found)
    assert found["PATH"] == str(tmp_path / "bin")


def test_what_it_lets_through_reaches_it_from_the_shell_of_amulet_up(tmp_path: Path) -> None:
    outer = dict.fromkeys(launch.ENVIRONMENT_KEPT, "as it is in the shell")

    told = supervision.environment(Layout.of(tmp_path), outer)

    assert launch.environment(launch.Options(tmp_path, tmp_path), tmp_path, told).items() >= outer.items()


@pytest.mark.parametrize(("workers", "threads", "wanted"), [(1, 3, 3), (10_000, 0, 1), (1, 0, cores())])
def test_workers_share_the_cores(tmp_path: Path, workers: int, threads: int, wanted: int) -> None:
    options = launch.Options(tmp_path, tmp_path, workers=workers, threads=threads)
    assert launch.environment(options, tmp_path, {})["OMP_NUM_THREADS"] == str(wanted)


def test_a_quota_of_time_counts_as_fewer_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "cores", lambda: 6)  # stands for the control group of a larger machine
    assert launch.Options(tmp_path, tmp_path, workers=2).threads_of_a_worker == 3


def test_a_worker_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    home, unpacked = tmp_path / "home", tmp_path / "tmp" / "models" / "a"
    (home / "ts").mkdir(parents=True)
    unpacked.mkdir(parents=True)
    program = home / "ts" / "model_service_worker.py"
    program.write_text(
        "import resource\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA))\n"
        "try:\n    bytearray(600 * 2**20)\nexcept MemoryError:\n    print('refused')\n"
    )
    script = tmp_path / "worker"
    for mib, wanted in ((512, "(536870912, 536870912)\nrefused\n"), (2048, "(2147483648, 2147483648)\n")):
        script.write_text(launch._worker_script(home, tmp_path / "tmp", mib))
        done = subprocess.run(["/bin/sh", script, program], cwd=unpacked, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, wanted), done.stderr


@pytest.mark.parametrize(
    ("group_mib", "told", "wanted"),
    [(None, 0, 6144), (4096, 0, 2560), (2048, 0, 1280), (64_000, 0, 6144), (1024, 900, 900)],
)
def test_a_worker_in_a_control_group_takes_what_that_can_give(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, group_mib: int | None, told: int, wanted: int
) -> None:
    # stands for the control group of a container, or of a unit
    monkeypatch.setattr(launch, "memory_bytes_max", lambda: None if group_mib is None else group_mib * 2**20)
    options = launch._options([f"--state={tmp_path / 'state'}", f"--model-store={store}", f"--worker-mib={told}"])

    launch.prepare(options)

    assert f"ulimit -d {wanted * 1024} " in (tmp_path / "state" / "bin" / "worker").read_text()


def test_only_the_owner_can_look_into_the_state_folder(tmp_path: Path, store: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    launch.prepare(launch.Options(state, store))
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "empty").stat().st_mode) == 0o500


def test_what_an_earlier_run_left_is_cleared(tmp_path: Path, store: Path) -> None:
    state = tmp_path / "state"
    (state / "tmp" / "models" / "x").mkdir(parents=True)
    (state / "tmp" / ".ts.sock.9000").touch()
    (state / "key_file.json").write_text("{}")

    launch.prepare(launch.Options(state, store))

    assert list((state / "tmp").iterdir()) == []
    assert not (state / "key_file.json").exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("/plain/path", "/plain/path"), ("a\\b", "a\\\\b"), ("ห้อง", "\\u0e2b\\u0e49\\u0e2d\\u0e07"), ('"(?!)"', '"(?!)"')],
)
def test_values_are_escaped_as_java_reads_them(text: str, wanted: str) -> None:
    assert launch._properties_text({"name": text}) == f"name={wanted}\n"


@pytest.mark.parametrize("text", ["two\nlines", "$$HOME$$"])
def test_values_that_java_would_read_otherwise_are_refused(text: str) -> None:
    with pytest.raises(launch.StartRefused):
        launch._properties_text({"name": text})


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(LAUNCHER), *arguments], capture_output=True, text=True, check=False)


def test_a_model_store_that_cannot_be_trusted_is_refused_in_a_sentence(tmp_path: Path, store: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    store.chmod(0o777)
    for path, message in ((store, "chmod go-w"), (file, "is not a folder"), (tmp_path / "no", "cannot be read")):
        refused = start(f"--state={tmp_path / 'state'}", f"--model-store={path}")
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        "--workers=0",
        "--workers=x",
        "--port-offset=50001",
        "--token-expiration-min=0",
        "--token-expiration-min=9999",
        "--no",
    ],
)
def test_a_wrong_argument_is_wrong_use(tmp_path: Path, store: Path, wrong: str) -> None:
    refused = start(f"--state={tmp_path / 'state'}", f"--model-store={store}", wrong)
    assert refused.returncode == 2
    assert wrong.partition("=")[0] in refused.stderr


def test_it_says_how_it_is_used() -> None:
    helped = start("--help")
    assert helped.returncode == 0
    assert "Example:" in helped.stdout
