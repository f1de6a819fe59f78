"""Power loss: a result on a disk image that is copied when its command has ended, and read from the copy.

What the file system still holds in memory is not in the image. With syncs that do nothing the same check must miss it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.fault.test_journal_power_loss import image, mounted

__all__ = ["image"]
pytestmark = pytest.mark.fault

ROOT: Final = Path(__file__).parents[2]
WRITER: Final = """
import sys
from pathlib import Path
from model_store import placed
at = Path(sys.argv[1])
for text in ("earlier", "later"):
    with placed.folder(at / "run", replace=True) as place:
        (place / "photos").mkdir()
        for name in ("model.json", "photos/1.jpg"):
            (place / name).write_text(text * 3000)
    with placed.file(at / "report.html") as new:
        new.write_text(text * 3000)
"""


def after_a_power_cut(image: Path, tmp_path: Path, *, wrapper: Sequence[str] = ()) -> dict[str, str]:
    """Each file of the results, as it is found when the power is back."""
    with mounted(image, tmp_path / "disk") as disk:
        subprocess.run([*wrapper, sys.executable, "-c", WRITER, str(disk)], cwd=ROOT, check=True)
        shutil.copyfile(image, tmp_path / "copy")
    with mounted(tmp_path / "copy", tmp_path / "recovered") as disk:
        places = [path for path in sorted(disk.rglob("*")) if path.is_file()]
        return {path.relative_to(disk).as_posix(): path.read_text() for path in places}


def test_what_a_command_made_survives_the_loss_of_power(image: Path, tmp_path: Path) -> None:
    names = ("report.html", "run/model.json", "run/photos/1.jpg")
    assert after_a_power_cut(image, tmp_path) == dict.fromkeys(names, "later" * 3000)


def test_without_syncs_the_check_finds_what_is_missing(image: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    lying = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:retval=0"]
    assert "later" * 3000 not in after_a_power_cut(image, tmp_path, wrapper=lying).values()
