"""What spoilt photographs are told: nine in ten of a kind hear the right reason, and nine in ten sharp ones none."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image, ImageFilter

from gateway.intake.pixels import open_photo
from gateway.intake.quality import judge
from protos.amulet.v1 import vocabulary_pb2 as words
from training.demo.moulds import DESIGNS
from training.demo.photographs import draw

SIZE_PX = (224, 224)
SHARE_MIN = 0.9
Spoil = Callable[[Image.Image], Image.Image]


@pytest.fixture(scope="module")
def sharp() -> list[Image.Image]:
    """Forty photographs of every class, as a set for training has them."""
    return [draw(f"{name}/front_{number:03}.jpg", seed=5) for name in DESIGNS for number in range(1, 6)]


def told(photo: Image.Image) -> set[words.Reason.ValueType]:
    """The reasons, as the gateway finds them in the file."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    opened = open_photo(file.getvalue(), format_name="JPEG", claimed_px=photo.size, size_px=SIZE_PX)
    return {found.reason for found in judge(opened.quality, source_px=opened.source_px, size_px=SIZE_PX)}


def toned(factor: float, offset: float = 0.0) -> Spoil:
    return lambda photo: photo.point(lambda value: round(value * factor + offset))


def blurred(photo: Image.Image) -> Image.Image:
    """As a camera that focused on the table behind: 2 px of what the check looks at."""
    return photo.filter(ImageFilter.GaussianBlur(2 * min(photo.size) / 224))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (blurred, words.REASON_BLURRED),
        (toned(0.05), words.REASON_TOO_DARK),
        (toned(0.06, 238), words.REASON_TOO_BRIGHT),
        (toned(0.05, 110), words.REASON_LOW_CONTRAST),
        (lambda photo: photo.resize((200, 150)), words.REASON_SMALL_SOURCE),
    ],
    ids=["out of focus", "in the dark", "burnt out", "behind milky glass", "a thumbnail"],
)
def test_a_spoilt_photograph_hears_the_right_reason(
    sharp: list[Image.Image], spoil: Spoil, reason: words.Reason.ValueType
) -> None:
    heard = sum(reason in told(spoil(photo)) for photo in sharp)

    assert heard >= SHARE_MIN * len(sharp)


def test_a_sharp_photograph_hears_none(sharp: list[Image.Image]) -> None:
    assert sum(not told(photo) for photo in sharp) >= SHARE_MIN * len(sharp)
