"""What is wrong with photographs is said by the process that somebody waits for, wherever it was found."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from training.data.errors import DataChanged, DataWrong, FolderMissing, PhotoBroken


@pytest.mark.parametrize(
    "error",
    [
        FolderMissing("there is no folder here"),
        PhotoBroken(Path("b.jpg"), "is no photograph", others=2, mend="take it away"),
        DataChanged(Path("a.jpg"), "changed"),
    ],
)
def test_an_error_comes_whole_from_another_process(error: DataWrong) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
