"""A photograph that goes or becomes another one while a command is at work is named, and never passes for what it was.

Figures, origins and kept answers would speak of a photograph that nobody can find any more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_archive import CLASSES, photo_of, write_run
from training.data.errors import DataChanged
from training.data.folder import Folder, load_folder
from training.data.quality import qualities
from training.evaluation.evaluate import evaluate
from training.explanation import batch
from training.explanation.batch import explain_folder
from training.fitting.backbone_features import backbone_features
from training.served.answers import GraphModel
from training.synthetic.make import make
from training.synthetic.review_sheet import write_sheet


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for colour in CLASSES:
        (folder / colour).mkdir(parents=True)
        for number in range(4):
            seed = 1000 * CLASSES.index(colour) + number
            (folder / colour / f"front_{number}.png").write_bytes(photo_of(colour, seed=seed))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> GraphModel:
    write_run(tmp_path / "run")
    return GraphModel.open(tmp_path / "run", threads=1)


def _last(folder: Path) -> Path:
    return folder / CLASSES[-1] / "front_3.png"


def _goes(folder: Path) -> None:
    _last(folder).unlink()


def _becomes_another(folder: Path) -> None:
    _last(folder).write_bytes(photo_of(CLASSES[0], seed=77))


def _is_cut_off(folder: Path) -> None:
    _last(folder).write_bytes(_last(folder).read_bytes()[:300])


SPOILS = [
    (_goes, "can no longer be read (No such file or directory) after the folder was read: start again"),
    (_becomes_another, "changed after the folder was read: start again, and leave the folder alone meanwhile"),
    (_is_cut_off, "changed after the folder was read"),
]


def _made(folder: Folder, place: Path) -> None:
    make(folder, place / "made", kinds=("relit",))


def _packed(folder: Folder, place: Path) -> None:
    write_sheet(folder.photos, folder.photos, place / "sheet.zip", sample=len(folder.photos), seed=0)


def _judged(folder: Folder, _place: Path) -> None:
    qualities(folder.photos)


def _looked_at(folder: Folder, _place: Path) -> None:
    backbone_features(folder.photos)


@pytest.mark.parametrize("work", [_made, _packed, _judged, _looked_at])
@pytest.mark.parametrize(("spoil", "said"), SPOILS)
def test_what_is_no_longer_what_was_read_ends_the_work_in_one_sentence(
    tmp_path: Path, photos: Path, work: Callable[[Folder, Path], None], spoil: Callable[[Path], None], said: str
) -> None:
    folder = load_folder(photos)
    (tmp_path / "place").mkdir()
    spoil(photos)

    with pytest.raises(DataChanged) as refused:
        work(folder, tmp_path / "place")

    assert str(refused.value).startswith(f"{_last(photos)} {said}")
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize(("spoil", "said"), SPOILS)
def test_no_figure_is_of_a_photograph_that_is_another_by_then(
    photos: Path, model: GraphModel, spoil: Callable[[Path], None], said: str
) -> None:
    begun: list[int] = []

    def progress(done: int, _total: int) -> None:
        if done == 1:
            begun.append(done)
            spoil(photos)

    with pytest.raises(DataChanged) as refused:
        evaluate(model, photos, progress=progress)

    assert begun == [1]
    assert str(refused.value).startswith(f"{_last(photos)} {said}")


def test_a_map_is_not_kept_as_that_of_what_the_photograph_was_before(
    tmp_path: Path, photos: Path, model: GraphModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _last(photos).read_bytes()
    is_kept = batch._is_cached

    def changing(cache: Path, key: str) -> bool:  # a moment that no interface has
        _becomes_another(photos)
        return is_kept(cache, key)

    monkeypatch.setattr(batch, "_is_cached", changing)
    done = explain_folder(model, photos, tmp_path / "out")
    monkeypatch.undo()
    _last(photos).write_bytes(before)
    again = explain_folder(model, photos, tmp_path / "out")

    assert [error.path for error in done.left_out] == [_last(photos)]
    assert "changed while it was read" in str(done.left_out[0])
    assert (done.photos, again.photos, again.from_cache) == (11, 12, 11)
