"""Stage A: figures worked out by hand, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFilter
from scipy.ndimage import convolve

from gateway.intake.quality import Quality, judge, measure, share
from protos.amulet.v1 import vocabulary_pb2 as words

GOOD = Quality(900.0, 0.45, 0.18, 0.0, 0.0)


def test_one_bright_pixel_in_the_dark_measures_what_it_does_by_hand() -> None:
    luma = np.zeros((4, 4), dtype=np.uint8)
    luma[1, 1] = 100

    found = measure(luma)

    # Laplacian of the four inner pixels: -400, 100, 100, 0; their mean -50, their variance 42,500.
    assert found.sharpness_var == pytest.approx(42_500)
    assert found.brightness_ratio == pytest.approx(100 / 16 / 255)
    assert found.contrast_ratio == pytest.approx(np.sqrt((100**2 / 16) - (100 / 16) ** 2) / 255)
    assert found.clipped_dark_ratio == pytest.approx(15 / 16)
    assert found.clipped_bright_ratio == 0


@given(arrays(np.uint8, st.tuples(st.integers(3, 12), st.integers(3, 12))))
def test_sharpness_is_the_variance_of_a_convolution(luma: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> None:
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])

    wanted = convolve(luma.astype(np.int64), kernel)[1:-1, 1:-1].var()

    assert measure(luma).sharpness_var == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("quality", "reason", "grave"),
    [
        (Quality(40.0, 0.45, 0.18, 0, 0), words.REASON_BLURRED, False),
        (Quality(5.0, 0.45, 0.18, 0, 0), words.REASON_BLURRED, True),
        (Quality(900.0, 0.06, 0.18, 0, 0), words.REASON_TOO_DARK, False),
        (Quality(900.0, 0.02, 0.18, 0, 0), words.REASON_TOO_DARK, True),
        (Quality(900.0, 0.93, 0.18, 0, 0), words.REASON_TOO_BRIGHT, False),
        (Quality(900.0, 0.98, 0.18, 0, 0), words.REASON_TOO_BRIGHT, True),
        (Quality(900.0, 0.45, 0.02, 0, 0), words.REASON_LOW_CONTRAST, False),
        (Quality(900.0, 0.45, 0.005, 0, 0), words.REASON_LOW_CONTRAST, True),
    ],
)
def test_a_shortcoming_is_named_and_weighed(quality: Quality, reason: words.Reason.ValueType, grave: bool) -> None:
    (found,) = judge(quality, source_px=(1000, 1000), size_px=(224, 224))

    assert (found.reason, found.grave) == (reason, grave)


def test_a_source_below_the_models_size_is_a_remark() -> None:
    (found,) = judge(GOOD, source_px=(1000, 200), size_px=(224, 224))

    assert (found.reason, found.grave) == (words.REASON_SMALL_SOURCE, False)


def test_a_good_photograph_has_no_shortcoming_and_full_weight() -> None:
    assert judge(GOOD, source_px=(224, 224), size_px=(224, 224)) == ()
    assert share(()) == 1.0


def test_a_worse_photograph_weighs_less_and_a_grave_one_next_to_nothing() -> None:
    remark = judge(Quality(40.0, 0.45, 0.18, 0, 0), source_px=(300, 300), size_px=(224, 224))
    grave = judge(Quality(5.0, 0.45, 0.18, 0, 0), source_px=(300, 300), size_px=(224, 224))

    assert 1.0 > share(remark) > 100 * share(grave) > 0


def test_blurring_lowers_the_sharpness_all_the_way() -> None:
    noise = np.random.default_rng(5).integers(0, 255, (256, 256), dtype=np.uint8)
    image = Image.fromarray(noise)

    figures = [
        measure(np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))).sharpness_var for radius in (0, 1, 2, 4)
    ]

    assert figures == sorted(figures, reverse=True)
