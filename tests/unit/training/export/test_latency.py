"""What a form costs is measured of the form, not of who asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.tiny_archive import SIDE_PX, write_run
from training.export import latency


def test_peak_memory_is_that_of_the_form_however_large_the_one_who_asks(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    images = np.zeros((2, SIDE_PX, SIDE_PX, 3), np.uint8)
    held = np.ones(600 * 2**20, np.uint8)  # every page is written, and so counts for this process
    found = latency.measure(tmp_path / "run" / "model.onnx", images)
    assert held.nbytes > 2 * found.peak_mib * 2**20
    assert found.peak_mib > 20.0
