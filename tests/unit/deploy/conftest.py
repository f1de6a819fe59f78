"""What several tests of deploy/ look at."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import ROOT


@pytest.fixture(scope="module")
def install() -> ModuleType:
    return loaded(ROOT / "deploy/lock/install.py")


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    return loaded(ROOT / "deploy/supply/sbom.py")


def loaded(program: Path) -> ModuleType:
    """A program of deploy/, which is no package."""
    spec = importlib.util.spec_from_file_location(program.stem, program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
