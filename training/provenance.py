"""Which code made something: its version, its commit, the packages that it ran with."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

import handlers
import training

_PACKAGES: Final = (
    "lightning-fabric",
    "numpy",
    "onnx",
    "onnxruntime",
    "pillow",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
)
_GIT_S_MAX: Final = 5.0


def code_version() -> str:
    """The installed version, and the commit where the code runs from a checkout."""
    version = metadata.version("amulet")
    found = commit()
    return f"{version}+{found}" if found else version


def commit() -> str:
    """Of the checkout that the code runs from, 12 digits; empty where it runs from none."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=_GIT_S_MAX,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


@cache
def source() -> str:
    """The digest of the code that trains: what was begun with other code is not gone on with."""
    digest = hashlib.sha256()
    for package in (training, handlers):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{file.relative_to(root)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def packages() -> Mapping[str, str]:
    """Versions of what decides numbers."""
    return {package: metadata.version(package) for package in _PACKAGES}
