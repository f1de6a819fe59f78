"""Where the stubs of the contract lie: beside this folder in the repository, inside it in a source distribution.

Everything else is in pyproject.toml, which knows one place only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

_BESIDE = Path("../protos")
_INSIDE = Path("protos")


class SourceDistribution(sdist):
    """One that is whole by itself. Setuptools would copy ../protos to a place beside the archive."""

    def make_release_tree(self, base_dir: str, files: Iterable[str]) -> None:
        of_ours = {file for file in files if Path(file).is_relative_to(_BESIDE)}
        super().make_release_tree(base_dir, [file for file in files if file not in of_ours])
        for file in of_ours:
            target = Path(base_dir, _INSIDE, Path(file).relative_to(_BESIDE))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


setup(
    package_dir={"protos": str(_INSIDE if _INSIDE.is_dir() else _BESIDE)},
    cmdclass={"sdist": SourceDistribution},
)
