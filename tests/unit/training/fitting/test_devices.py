"""Several devices learn from each batch together, as one would. Without a GPU a device is a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import psutil
import pytest
import torch

from protos.cores import cores
from tests.unit.training.fitting import tuned as cast
from training.data.errors import DataChanged
from training.data.folder import Photo
from training.errors import SettingWrong, TrainingRefused
from training.fitting import checkpoints
from training.fitting.finetune import Tuned, finetune
from training.fitting.recipe import recipe_of, with_settings
from training.fitting.shown import Pixels
from training.fitting.tuning import BFLOAT16

ROOT: Final = Path(__file__).parents[4]
# Nothing that a device draws by itself: what is left is the same images in the same batches.
ALIKE: Final = {"head_epochs": 0, "epochs": 3, "mix_ratio": 0.0, "randaugment_ops": 0, "erasing_ratio": 0.0}
TWO: Final = {**ALIKE, "devices": 2}

pytestmark = [
    pytest.mark.skipif(cores() < 2, reason="two devices need two cores"),
    pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two devices need two GPUs or none"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cast.write_stripes(tmp_path_factory.mktemp("stripes") / "data")


@pytest.fixture(scope="module")
def one(folder: Path) -> Tuned:
    """By one device."""
    return cast.tune(folder, None, **ALIKE)


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int]]:
    """What was said of how far the fixture `two` is."""
    return []


@pytest.fixture(scope="module")
def two(folder: Path, told: list[tuple[int, int]]) -> Tuned:
    """Never interrupted, never kept; where a cluster's job has left its variables."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOCAL_RANK", "3")
        patched.setenv("MASTER_PORT", "1")
        tuned = cast.tune(folder, None, progress=lambda done, total: told.append((done, total)), **TWO)
        assert (os.environ["LOCAL_RANK"], os.environ["MASTER_PORT"]) == ("3", "1")
    return tuned


def course(tuned: Tuned) -> np.ndarray:
    """What its networks said after each epoch, [epochs + 1, 3]."""
    return np.array([(epoch.loss, epoch.fit_nll, epoch.watch_nll) for epoch in tuned.epochs])


def test_two_devices_learn_what_one_learns_from_whole_batches(
    one: Tuned, two: Tuned, told: list[tuple[int, int]]
) -> None:
    alone = course(one)
    assert np.abs(alone[1:, 1:] - alone[0, 1:]).min() > 0.01  # every epoch taught the network something
    assert course(two) == pytest.approx(alone, rel=1e-3)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_half_precision_is_another_network_that_learns_as_well(folder: Path, one: Tuned) -> None:
    mixed = cast.tune(folder, None, precision=BFLOAT16, **ALIKE)
    assert not np.array_equal(course(mixed), course(one))
    assert course(mixed) == pytest.approx(course(one), rel=0.1)


def test_a_killed_course_takes_its_devices_along_and_ends_with_the_same_numbers(
    folder: Path, two: Tuned, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.unit.training.fitting.tuned", str(folder), str(tmp_path), json.dumps(TWO)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == "1":
                family = psutil.Process(child.pid).children(recursive=True)
                os.kill(child.pid, signal.SIGKILL)
                break
    assert len(family) >= 2
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    (path,) = tmp_path.glob("*.pt")
    state = checkpoints.read(path)
    assert state is not None
    assert not state["finished"]
    began: list[int] = []
    again = cast.tune(folder, tmp_path, progress=lambda number, _total: began.append(number), **TWO)
    assert began[0] == len(state["epochs"])
    assert again.epochs == two.epochs


def _changed(photo: Photo) -> Pixels:
    raise DataChanged(photo.path, "changed")


def _killing(photo: Photo) -> Pixels:
    if os.environ.get("LOCAL_RANK") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return cast.pixels(photo)


def test_what_a_device_finds_wrong_is_said_as_one_device_says_it(folder: Path) -> None:
    tuning = cast.replace(cast.TUNING, devices=2)
    with pytest.raises(DataChanged, match="changed"):
        finetune(cast.untrained(), cast.lesson_of(folder), cast.RECIPE, tuning, _changed, seed=4)


def test_a_device_that_is_killed_ends_all_with_one_sentence(folder: Path) -> None:
    tuning = cast.replace(cast.TUNING, devices=2)
    with pytest.raises(TrainingRefused, match=r"of 2 processes that learn together one .*: start the same"):
        finetune(cast.untrained(), cast.lesson_of(folder), cast.RECIPE, tuning, _killing, seed=4)


def test_more_devices_than_there_are_end_before_anything_is_looked_at(folder: Path) -> None:
    with pytest.raises(SettingWrong, match=r"tuning.devices is 64, but here are \d+ .*: choose 1 to \d+"):
        cast.tune(folder, None, devices=64, batch=64)


def test_a_batch_that_devices_cannot_share_and_a_precision_that_nobody_knows_are_named() -> None:
    recipe = recipe_of("finetuned")
    with pytest.raises(SettingWrong, match="a batch of 16 images cannot be shared by 3 devices"):
        with_settings(recipe, {"tuning": {"devices": 3}})
    with pytest.raises(SettingWrong, match=r"tuning\.precision must be auto or 32-true or bf16-mixed, not"):
        with_settings(recipe, {"tuning": {"precision": "16-mixed"}})
