"""A state on disk is the whole of the last one, or is known not to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from training.errors import ModelUnreadable
from training.fitting import checkpoints
from training.fitting.finetune import _kept

STATE = {"weights": torch.arange(1000.0), "epoch": 3}


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "new" / "state.pt", STATE)

    found = checkpoints.read(tmp_path / "new" / "state.pt")

    assert found is not None
    assert found["epoch"] == 3
    assert torch.equal(found["weights"], STATE["weights"])  # type: ignore[arg-type]
    assert checkpoints.read(tmp_path / "none.pt") is None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_state_that_is_not_whole_is_named_and_costs_a_tuning_its_epochs_alone(tmp_path: Path, share: float) -> None:
    file = tmp_path / "state.pt"
    checkpoints.write(file, STATE)
    os.truncate(file, int(share * file.stat().st_size))

    with pytest.raises(ModelUnreadable, match=r"state\.pt is damaged: train the run again"):
        checkpoints.read(file)

    assert _kept(file) is None


@pytest.mark.parametrize("content", [b"no state", b"\x80\x02K\x01.", b"PK\x03\x04" + 100 * b"\0"])
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)

    with pytest.raises(ModelUnreadable, match="is damaged"):
        checkpoints.read(tmp_path / "state.pt")
