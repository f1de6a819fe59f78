"""What a console process carries before it has done anything."""

from __future__ import annotations

import subprocess
import sys

START_OF_A_WORKER = """
import sys
from console.celery_app import app
app.loader.import_default_modules()
print(*{"numpy", "datasketches", "scipy", "PIL", "fpdf", "fontTools"} & set(sys.modules))
"""


def test_a_process_without_sketches_and_pictures_carries_no_numpy() -> None:
    """Twenty megabytes in each of five processes."""
    done = subprocess.run([sys.executable, "-c", START_OF_A_WORKER], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
