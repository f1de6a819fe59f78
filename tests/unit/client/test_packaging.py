"""The client installs by itself, from sources as well: its wheel brings the contract along and nothing else of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parents[3]


BUILT: Final = ("wheel", "sdist")
MAKE_SDIST: Final = "import setuptools.build_meta as backend; backend.build_sdist('../dist')"


@pytest.fixture(scope="module", params=BUILT)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the two folders or from the source distribution of one, and unpacked."""
    work = tmp_path_factory.mktemp(request.param)
    for folder in ("client", "protos"):
        shutil.copytree(
            ROOT / folder, work / folder, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        )
    source = work / "client"
    if request.param == "sdist":
        before = set(source.iterdir())
        subprocess.run([sys.executable, "-c", MAKE_SDIST], check=True, cwd=source, stdout=subprocess.DEVNULL)
        assert {path.name for path in set(source.iterdir()) - before} == {"amulet_client.egg-info"}
        (source,) = (work / "dist").glob("*.tar.gz")
        for folder in ("client", "protos"):  # it is whole without them
            shutil.rmtree(work / folder)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--wheel-dir", str(work / "dist"), str(source)], check=True, cwd=work)
    (wheel,) = (work / "dist").glob("*.whl")
    shutil.unpack_archive(wheel, work / "site", "zip")
    return work / "site"


def test_it_imports_with_nothing_else_of_ours_on_the_path(installed: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import amulet_client, amulet_client.reading, protos; "
        "assert amulet_client.__file__.startswith(sys.argv[1]) and protos.__file__.startswith(sys.argv[1]); "
        "ours = {name.split('.')[0] for name in sys.modules} & "
        "{'gateway', 'handlers', 'training', 'console', 'cli', 'model_store', 'numpy', 'PIL'}; "
        "assert not ours, ours"
    )
    # -I: neither this folder nor PYTHONPATH; the site-packages with grpc stay.
    subprocess.run([sys.executable, "-I", "-c", script, str(installed)], check=True, cwd=installed)


def test_the_command_without_its_extra_says_which_one_it_is(installed: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['click'] = None; "
        "from amulet_client.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(installed)], capture_output=True, text=True, check=False, cwd=installed
    )
    assert (done.returncode, done.stderr) == (2, "click is missing: pip install 'amulet-client[cli]'\n")


def test_it_is_typed_and_brings_the_public_contract_only(installed: Path) -> None:
    assert (installed / "amulet_client/py.typed").exists()
    assert (installed / "protos/py.typed").exists()  # what `request_of` gives has a type, too
    assert (installed / "protos/amulet/v1/prediction_pb2.pyi").exists()
    assert not list((installed / "protos").rglob("*events*"))
    assert not list((installed / "protos").rglob("*policy*"))
