"""The command line as people type it: one line says what is wrong, and nothing ends in a trace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.connection import RemoteError, secret
from cli.main import main
from cli.predict import _map_names

ROOT = Path(__file__).parents[3]
LONG = "a" * 300  # no file has such a name: as with a folder that is not open to you, only looking raises


def amulet(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A real `amulet`, in a folder of its own, with none of the caller's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "client"))), **variables}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def only(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours but these."""
    for name in [name for name in os.environ if name.startswith("AMULET_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats"], "there is no command stats; did you mean status?"),
        (["models", "lst"], "Did you mean 'list'?"),
        (["keys", "create", "--nam", "x"], "Did you mean '--name'?"),
        (["users", "create"], "Missing argument 'NAME'"),
        (["settings", "--json", "--markdown"], "--json and --markdown are two forms"),
        (["users", "create", "somchai", "--role", "king"], "'king' is not one of"),
        (["audit", "verify", "nofile"], "'nofile' does not exist"),
        (["audit", "export", "log.jsonl", "--since", "yesterday"], "'yesterday' is no moment: write 2026-11-01"),
        (["predict"], "Missing argument"),
        (["predict", "a.jpg", "--language", "fr"], "'fr' is not one of 'en', 'th'"),
        (["explain", "run", "photos", "--out", "o", "--sample", "0"], "0 is not in the range"),
        (["models", "rollout", "v", "--mode", "canary", "--weight", "nan", "--reason", "r"], "nan is no number in the"),
        (["bench", "inference", "--seconds", "nan"], "nan is no number in the range 0.2<=x<=600"),
    ],
)
def test_wrong_use_is_one_line_with_the_way_to_the_right_one(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    error = capsys.readouterr().err
    assert said in error
    assert "--help` shows how" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["status"], {}, "no stack runs in"),
        (["predict", "a.jpg"], {}, "no API key: set AMULET_API_KEY"),
        (["predict", "a.jpg"], {"AMULET_API_KEY": "amk_x"}, "ca.pem cannot be read (No such file or directory)"),
        (["models", "list"], {}, "no token for the console"),
        (["models", "list"], {"AMULET_CONSOLE_TOKEN_FILE": "nofile"}, "cannot be read: No such file or directory"),
        (["models", "list"], {"AMULET_CONSOLE_TOKEN": "โทเคน"}, "AMULET_CONSOLE_TOKEN holds no key or token"),
        (["models", "list"], {"AMULET_CONSOLE_TOKEN": "one two"}, "AMULET_CONSOLE_TOKEN holds no key or token"),
        (["models", "list"], {"AMULET_CONSOLE_TOKEN": "x", "AMULET_CONSOLE_URL": "nonsense"}, "which is no address"),
        (["models", "list"], {"AMULET_CONSOLE_TOKEN": "x", "AMULET_CONSOLE_URL": "http://[::1"}, "which is no address"),
        (
            ["models", "list"],
            {"AMULET_CONSOLE_TOKEN": "x", "AMULET_CONSOLE_URL": "http://127.0.0.1:9"},
            "cannot be reached (Connection refused): `amulet status` says what runs",
        ),
        (
            ["audit", "export", "/nowhere/audit.jsonl"],
            {"AMULET_CONSOLE_TOKEN": "x"},
            "/nowhere/audit.jsonl cannot be written: No such file or directory",
        ),
        (["users", "create", "somchai", "--role", "viewer"], {}, "no stack was ever started in"),
    ],
)
def test_failed_work_is_one_line(
    arguments: list[str],
    variables: dict[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    only(variables, monkeypatch)
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 1

    output = capsys.readouterr()
    assert said in output.out + output.err
    assert len((output.out + output.err).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "variables", "status"),
    [
        (["status", "--state", LONG], {}, 1),
        (["runs", "list", "--runs", LONG], {}, 1),
        (["runs", "list"], {"AMULET_STATE_DIR": LONG}, 1),
        (["verify", __file__], {"AMULET_STATE_DIR": LONG}, 2),  # 1: what is verified is not right
        (["verify", __file__], {"AMULET_TRUSTED_KEYS": LONG}, 2),
        (["labels", "export", "amulets", "--out", LONG], {"AMULET_CONSOLE_TOKEN": "x"}, 1),
        (["audit", "export", LONG], {"AMULET_CONSOLE_TOKEN": "x"}, 1),
    ],
)
def test_a_path_that_the_system_does_not_take_is_named(
    arguments: list[str],
    variables: dict[str, str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    only(variables, monkeypatch)
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == status

    error = capsys.readouterr().err
    assert LONG in error
    assert ": File name too long" in error
    assert len(error.splitlines()) == 1
    assert "unexpected" not in error


def test_a_variable_that_nobody_reads_stops_every_command_but_those_that_explain_it(tmp_path: Path) -> None:
    stopped = amulet("status", folder=tmp_path, AMULET_GATEWY="127.0.0.1:1")
    listed = amulet("settings", folder=tmp_path, AMULET_GATEWY="127.0.0.1:1")

    assert stopped.returncode == 2
    assert stopped.stderr == "amulet: AMULET_GATEWY is not a setting of Amulet: did you mean AMULET_GATEWAY?\n"
    assert listed.returncode == 0


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m cli.main settings | head -1; echo "${{PIPESTATUS[0]}}"'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "client")))}

    done = subprocess.run(
        ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=200
    )

    assert done.stdout.splitlines() == ["AMULET_STATE_DIR=.amulet", "0"]
    assert done.stderr == ""


def test_closed_output_is_no_trace(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m cli.main settings >&-'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "client")))}

    done = subprocess.run(
        ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )

    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("settings >/dev/full", 1, "amulet: what is printed cannot be written: No space left on device\n"),
        ("--help >/dev/full", 1, "amulet: what is printed cannot be written: No space left on device\n"),
        ("nonsense 2>/dev/full", 2, ""),
        ("nonsense 2>&-", 2, ""),
        ("status 2>/dev/full", 1, ""),
    ],
)
def test_a_full_disk_behind_the_output_is_a_sentence_and_changes_no_other_status(
    command: str, status: int, said: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "client")))}

    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m cli.main {command}'],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (status, said)


def test_no_command_paints_where_nobody_looks(tmp_path: Path) -> None:
    for arguments in (["--help"], ["status"], ["settings"], ["doctor"]):
        done = amulet(*arguments, folder=tmp_path, NO_COLOR="1")
        assert "\x1b" not in done.stdout + done.stderr


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = amulet("--version", folder=tmp_path)

    assert re.fullmatch(r"amulet, version \d+\.\d+\.\d+\n", done.stdout)


def test_ctrl_c_ends_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "client")))}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "data", "demo", "--out", "photos", "--per-class", "24"],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not list(tmp_path.glob(".photos-*")):
        assert process.poll() is None

    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)

    assert process.returncode == 1
    assert error.strip() == "amulet: interrupted"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (  # a compiled module that is interrupted as it starts
            "import os, signal\n"
            "try:\n"
            "    os.kill(os.getpid(), signal.SIGINT)\n"
            "except KeyboardInterrupt as interrupt:\n"
            "    raise ImportError('initialization failed') from interrupt\n",
            "amulet: interrupted",
        ),
        (  # half of a compiled one; for click every EOFError is somebody who ends a question
            "raise EOFError('marshal data too short')",
            "amulet: unexpected EOFError: marshal data too short (run `amulet --debug …` for the trace)",
        ),
    ],
)
def test_an_import_that_fails_is_told_as_what_it_is(tmp_path: Path, module: str, said: str) -> None:
    (tmp_path / "onnxruntime.py").write_text(module)

    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "evaluate", "run", "photos"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "client")))},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", said)


@pytest.mark.parametrize("proxy", ["http://proxy.invalid:3128", "socks5://proxy.invalid:1080", "what://proxy.invalid"])
def test_a_proxy_is_not_asked_about_this_machine(proxy: str, tmp_path: Path) -> None:
    asked = {"AMULET_CONSOLE_TOKEN": "x", "http_proxy": proxy, "all_proxy": proxy}
    inside = amulet("models", "list", folder=tmp_path, **asked, AMULET_CONSOLE_URL="http://127.0.0.1:9")
    outside = amulet("models", "list", folder=tmp_path, **asked, AMULET_CONSOLE_URL="http://console.invalid:9")

    assert "cannot be reached (Connection refused)" in inside.stderr
    assert outside.stderr.startswith("amulet: the console at http://console.invalid:9 cannot be reached ")
    assert len(outside.stderr.splitlines()) == 1
    assert ("which is none for HTTP" in outside.stderr) == (not proxy.startswith("http:"))


def test_a_secret_in_a_file_is_its_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("  amk_abc\n")
    monkeypatch.delenv("AMULET_API_KEY", raising=False)
    monkeypatch.setenv("AMULET_API_KEY_FILE", str(tmp_path / "key"))
    assert secret("API_KEY") == "amk_abc"

    for content in (b"", b"\n\n", b"amk_abc\namk_def\n", b"\xff\xfe\x00"):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(RemoteError) as refusal:
            secret("API_KEY")
        assert str(tmp_path / "key") in refusal.value.message
        assert "amk_" not in refusal.value.message


def test_heat_maps_of_photographs_of_one_name_do_not_replace_each_other() -> None:
    names = _map_names((Path("a/front.jpg"), Path("b/front.jpg"), Path("b/front-2.png"), Path("a/front.jpg")))

    assert names == {
        Path("a/front.jpg"): "front.png",
        Path("b/front.jpg"): "front-2.png",
        Path("b/front-2.png"): "front-2-2.png",
    }
