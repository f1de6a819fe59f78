"""The project as a wheel, which an image has in place of this folder."""

from __future__ import annotations

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from tests.pages import ROOT

PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_file_of_our_packages_is_in_the_wheel() -> None:
    """A page's icon that it lacks is an error on every page."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    roots = [each.rstrip("*") for each in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
    listed = subprocess.run(["git", "ls-files", *roots], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(line) for line in listed.splitlines()]
    assert len(files) > 700

    left_out = [
        path for path in files if path.suffix != ".py" and not any(fnmatch(path.name, each) for each in patterns)
    ]

    assert not left_out
