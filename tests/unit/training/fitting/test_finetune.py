"""Fine-tuning: it learns what frozen features do not show, a killed one goes on, and its schedule is as said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.fitting import tuned as cast
from training import provenance
from training.fitting import checkpoints
from training.fitting.finetune import Lesson, Tuned, rate_share, watched

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cast.write_stripes(tmp_path_factory.mktemp("stripes") / "data")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Tuned:
    """Never interrupted, never kept."""
    torch.set_num_threads(1)
    return cast.tune(folder, None)


def same(one: Tuned, other: Tuned) -> bool:
    ours, theirs = one.backbone.state_dict(), other.backbone.state_dict()
    return one.epochs == other.epochs and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_learns_and_keeps_the_best_epoch(whole: Tuned) -> None:
    assert [epoch.stage for epoch in whole.epochs] == ["start", "head", *["blocks"] * 8]
    best = whole.epochs[whole.best]
    assert best.watch_nll == min(epoch.watch_nll for epoch in whole.epochs)
    assert best.watch_nll < 0.9 * whole.epochs[0].watch_nll
    assert best.gap == best.watch_nll - best.fit_nll
    assert 0.9 < best.fit_accuracy <= 1.0
    assert not any(parameter.requires_grad for parameter in whole.backbone.parameters())


def test_a_killed_run_goes_on_after_its_last_whole_epoch_and_ends_with_the_same_numbers(
    folder: Path, whole: Tuned, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.unit.training.fitting.tuned", str(folder), str(tmp_path), "{}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == "3":
                os.kill(child.pid, signal.SIGKILL)
                break
    assert child.wait() == -signal.SIGKILL
    (path,) = tmp_path.glob("*.pt")
    state = checkpoints.read(path)
    assert state is not None
    assert not state["finished"]
    done = len(state["epochs"]) - 1
    assert done >= 3  # what was reported is on disk
    began: list[int] = []
    again = cast.tune(folder, tmp_path, progress=lambda number, _total: began.append(number))
    assert began[0] == done + 1
    assert same(again, whole)
    # Done is done: nothing is computed a second time.
    began.clear()
    assert same(cast.tune(folder, tmp_path, progress=lambda number, _total: began.append(number)), whole)
    assert began == []


def test_another_setting_does_not_go_on_from_here(folder: Path, tmp_path: Path) -> None:
    cast.tune(folder, tmp_path, head_epochs=0, epochs=1)
    other = cast.tune(folder, tmp_path, head_epochs=0, epochs=1, smoothing=0.2)
    assert len(list(tmp_path.glob("*.pt"))) == 2
    assert len(other.epochs) == 2


def test_an_upgraded_program_does_not_go_on_with_what_another_version_began(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []

    def once() -> None:
        cast.tune(folder, tmp_path, head_epochs=0, epochs=1, progress=lambda number, _total: began.append(number))

    once()
    once()
    assert began == [1]  # the second found it done
    monkeypatch.setattr(provenance, "source", lambda: "of the next version")
    once()
    monkeypatch.setattr(provenance, "packages", lambda: {"torch": "of the next version"})
    once()
    assert began == [1, 1, 1]


def test_only_the_images_of_small_classes_are_degraded_once_more(folder: Path, tmp_path: Path) -> None:
    def once(data: Path, ratio: float) -> Tuned:
        return cast.tune(data, None, head_epochs=0, epochs=1, minority_robust_ratio=ratio)

    fewer = shutil.copytree(folder, tmp_path / "fewer")
    for photo in sorted((fewer / "lying").iterdir())[:6]:
        photo.unlink()
    assert same(once(folder, 1.0), once(folder, 0.0))
    assert not same(once(fewer, 1.0), once(fewer, 0.0))


def test_drawn_by_losses_it_goes_on_as_if_it_had_not_been_interrupted(folder: Path, tmp_path: Path) -> None:
    def with_epochs(keep: Path | None, **more: int | str) -> Tuned:
        return cast.tune(folder, keep, **{"head_epochs": 0, "epochs": 3, "sampler": "loss", **more})

    whole = with_epochs(None)
    assert not same(whole, with_epochs(None, sampler="balanced"))

    def stop(number: int, _total: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cast.tune(folder, tmp_path, progress=stop, head_epochs=0, epochs=3, sampler="loss")
    assert same(with_epochs(tmp_path), whole)


def test_it_stops_when_patience_ends(folder: Path) -> None:
    still = cast.tune(folder, None, head_epochs=0, epochs=30, rate=0.0, head_rate=0.0, patience=2, learn_norms=False)
    assert len(still.epochs) == 3
    assert still.best == 0


def test_what_is_frozen_does_not_move_and_what_is_not_does(folder: Path) -> None:
    tuned = cast.tune(folder, None, head_epochs=1, epochs=1, unfrozen=1, learn_norms=False).backbone.state_dict()
    before = cast.untrained().state_dict()
    moved = {
        name.split(".")[0] + "." + name.split(".")[1] for name in before if not torch.equal(before[name], tuned[name])
    }
    assert moved <= {"blocks.2"}
    # Statistics of norms stay those of the weights, whatever the photographs are.
    assert torch.equal(before["blocks.2.1.running_mean"], tuned["blocks.2.1.running_mean"])


def test_the_rate_rises_along_a_line_and_falls_along_a_cosine() -> None:
    shares = [rate_share(step, 10, warm_up=0.2) for step in range(10)]
    assert shares[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert shares[6] == pytest.approx(0.5)
    assert shares[9] == pytest.approx(0.5 * (1 + np.cos(np.pi * 7 / 8)))
    assert rate_share(0, 1, warm_up=0.0) == 1.0


def test_groups_are_watched_whole_and_each_class_keeps_one_to_learn_from() -> None:
    labels = np.array([0] * 12 + [1] * 8 + [2] * 2, np.intp)
    groups = np.concatenate([np.arange(6).repeat(2), 6 + np.arange(8), [20, 20]])
    lesson = Lesson((), labels, groups, 3)
    for seed in range(5):
        chosen = watched(lesson, share=0.25, seed=seed)
        assert all(len(set(chosen[groups == number])) == 1 for number in np.unique(groups))
        assert [int(chosen[labels == label].sum()) for label in range(3)] == [4, 2, 0]
    assert not np.array_equal(watched(lesson, share=0.25, seed=0), watched(lesson, share=0.25, seed=1))


def test_a_state_on_disk_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "keep/state.pt"
    assert checkpoints.read(path) is None
    checkpoints.write(path, {"finished": False, "epoch": 1})
    checkpoints.write(path, {"finished": False, "epoch": 2})
    assert checkpoints.read(path) == {"finished": False, "epoch": 2}
    assert [item.name for item in path.parent.iterdir()] == ["state.pt"]
