"""What a form costs is measured of the form, not of who asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tiny_archive import SIDE_PX, write_run
from training.errors import NotMeasured
from training.export import latency


def test_peak_memory_is_that_of_the_form_however_large_the_one_who_asks(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    images = np.zeros((2, SIDE_PX, SIDE_PX, 3), np.uint8)
    held = np.ones(600 * 2**20, np.uint8)  # every page is written, and so counts for this process
    found = latency.measure(tmp_path / "run" / "model.onnx", images)
    assert held.nbytes > 2 * found.peak_mib * 2**20
    assert found.peak_mib > 20.0


def test_a_form_that_does_not_run_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    images = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)

    with pytest.raises(NotMeasured, match=r"^broken\.onnx did not run to its end where it is timed: [^\n]+$"):
        latency.measure(tmp_path / "broken.onnx", images)
    with pytest.raises(NotMeasured, match=r"^broken\.onnx "):
        latency.measure_in_turn([(tmp_path / "broken.onnx", images)], rounds=1)
