"""What cameras, hands, messengers and scanners do to a photograph: one pure function for each.

`degraded` draws one of them for a view to learn from; `evaluation.robustness` measures a
model against each at five strengths. Lengths are in pixels of a picture of REFERENCE_PX a
side and scale with it, so that a strength means the same for every model.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

REFERENCE_PX: Final = 224
Pixels = NDArray[np.uint8]  # [H, W, 3]


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """As a JPEG of this quality (1 to 95) gives it back."""
    content = BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content).convert("RGB"))


def gaussian_blur(pixels: Pixels, sigma_px: float) -> Pixels:
    """Out of focus."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma_px * _scale(pixels))))


def motion_blur(pixels: Pixels, length_px: float, angle_deg: float) -> Pixels:
    """The camera moved along a line of this length while the shutter was open.

    As a product of spectra: shifting copies and adding them up would blur once more for every
    shift that is no whole number of pixels, and short lines would cost as much as long ones.
    """
    length = length_px * _scale(pixels)
    margin = int(np.ceil(length)) + 1
    padded = np.pad(pixels.astype(np.float32), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    height, width, _ = padded.shape
    down = np.fft.fftfreq(height)[:, None] * np.sin(np.deg2rad(angle_deg))
    right = np.fft.rfftfreq(width)[None, :] * np.cos(np.deg2rad(angle_deg))
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.sinc(length * (down + right))[..., None]
    smeared = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return _cut(smeared[margin:-margin, margin:-margin])


def noise(pixels: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    """Sensor noise: normal, of this standard deviation in 0..255, each channel on its own."""
    return _cut(pixels.astype(np.float32) + rng.normal(0.0, deviation, pixels.shape))


def exposed(pixels: Pixels, factor: float) -> Pixels:
    """So many times the light; what passes white stays white."""
    return _cut(pixels.astype(np.float32) * factor)


def colour_cast(pixels: Pixels, strength_log: float, angle_deg: float) -> Pixels:
    """Light of another colour at the same brightness: gains of up to exp(strength), in the direction of the angle."""
    thirds = np.deg2rad(angle_deg + np.array([0.0, 120.0, 240.0]))
    return _cut(pixels.astype(np.float32) * np.exp(strength_log * np.cos(thirds)))


def occluded(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A rectangle of one colour over this share of the picture: a finger, a label, a reflection."""
    height, width, _ = pixels.shape
    aspect = np.exp(rng.uniform(-0.7, 0.7))
    tall = min(height, max(1, round(np.sqrt(share * height * width * aspect))))
    wide = min(width, max(1, round(share * height * width / tall)))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    covered = pixels.copy()
    covered[top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    return covered


def turned(pixels: Pixels, angle_deg: float) -> Pixels:
    """Turned around its centre; the corners take the colour of the border."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(value) for value in np.median(border, axis=0))
    return np.asarray(Image.fromarray(pixels).rotate(angle_deg, Image.Resampling.BICUBIC, fillcolor=fill))


def downscaled(pixels: Pixels, share: float) -> Pixels:
    """Photographed from afar: shrunk to this share of its side and enlarged again."""
    height, width, _ = pixels.shape
    small = (max(1, round(width * share)), max(1, round(height * share)))
    image = Image.fromarray(pixels).resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


# The set to learn from: mild enough that a person still names the object at once.
_DRAWN: Final[tuple[Callable[[Pixels, np.random.Generator], Pixels], ...]] = (
    lambda pixels, rng: jpeg(pixels, int(rng.integers(50, 96))),
    lambda pixels, rng: gaussian_blur(pixels, rng.uniform(0.6, 1.4)),  # what kernels of 3 to 7 pixels do
    lambda pixels, rng: occluded(pixels, rng.uniform(0.1, 0.3), rng),
    lambda pixels, rng: motion_blur(pixels, rng.uniform(3.0, 9.0), rng.uniform(0.0, 180.0)),
)


def degraded(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """One of JPEG at quality 50 to 95, Gaussian blur, a covered 10 to 30 %, motion blur; each as likely."""
    return _DRAWN[int(rng.integers(len(_DRAWN)))](pixels, rng)


def _scale(pixels: Pixels) -> float:
    return len(pixels) / REFERENCE_PX


def _cut(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(values.round().clip(0.0, 255.0), dtype=np.uint8)
