from __future__ import annotations

import numpy as np

from training.export.golden import GOLDEN_MAX, drawn_photos


def test_drawn_photographs_are_the_same_each_time_differ_from_each_other_and_have_the_models_size() -> None:
    once, again = drawn_photos(96), drawn_photos(96)
    assert [photo.shape for photo in once] == [(96, 96, 3)] * GOLDEN_MAX
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))
    assert len({photo.tobytes() for photo in once}) == GOLDEN_MAX
