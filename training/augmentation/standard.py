"""One more view of a photograph: the camera moved a little, the light changed, the lens was softer.

No mirroring: amulets carry writing and gestures that a mirror turns into others (measured
in decision 0010: it costs accuracy).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.augmentation import backdrop, robust


@dataclass(frozen=True, slots=True)
class Strength:
    """How far views stray from their photograph. Half-widths of uniform distributions where not said otherwise."""

    backdrop_ratio: float = 0.6  # share of views on another backdrop, where the photograph allows it
    turn_deg: float = 10.0
    smaller_log: float = 0.2  # natural logarithm of the scale: down to
    larger_log: float = 0.12  # and up to
    shift_ratio: float = 0.06  # of the side
    tilt: float = 0.0005  # perspective terms, per pixel at 224 pixels
    gamma_log: float = 0.35
    white_balance_log: float = 0.08  # standard deviation, each channel
    exposure_log: float = 0.2
    contrast_log: float = 0.25
    paler_log: float = 0.4  # saturation
    richer_log: float = 0.3
    blur_ratio: float = 0.3  # share of views that are blurred
    noise_ratio: float = 0.3  # share of views with sensor noise
    robust_ratio: float = 0.0  # share of views that are then degraded once more, as `robust.degraded` draws it


def view(pixels: NDArray[np.uint8], rng: np.random.Generator, strength: Strength) -> NDArray[np.uint8]:
    """pixels: uint8 [H, W, 3] -> another uint8 [H, W, 3] of the same object."""
    return _view(backdrop.Scene(pixels), rng, strength)


def views(
    pixels: NDArray[np.uint8], generators: Iterable[np.random.Generator], strength: Strength
) -> list[NDArray[np.uint8]]:
    """What `view` gives for each generator, in less time."""
    scene = backdrop.Scene(pixels)
    return [_view(scene, rng, strength) for rng in generators]


def _view(scene: backdrop.Scene, rng: np.random.Generator, strength: Strength) -> NDArray[np.uint8]:
    pixels = scene.on_another(rng) if rng.random() < strength.backdrop_ratio else scene.pixels
    seen = _seen_by_camera(_moved(pixels, rng, strength), rng, strength)
    # Without it nothing is drawn: views stay those of versions that were made before it was known.
    if strength.robust_ratio and rng.random() < strength.robust_ratio:
        return robust.degraded(seen, rng)
    return seen


def _moved(pixels: NDArray[np.uint8], rng: np.random.Generator, strength: Strength) -> NDArray[np.uint8]:
    height, width, _ = pixels.shape
    angle = np.deg2rad(rng.uniform(-strength.turn_deg, strength.turn_deg))
    scale = np.exp(rng.uniform(-strength.smaller_log, strength.larger_log))
    shift_x, shift_y = rng.uniform(-strength.shift_ratio, strength.shift_ratio, 2) * (width, height)
    tilt_x, tilt_y = rng.uniform(-strength.tilt, strength.tilt, 2) * (224.0 / width, 224.0 / height)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    centre_x, centre_y = width / 2, height / 2
    # Pillow maps output to input: ((a x + b y + c) / (g x + h y + 1), (d x + e y + f) / (g x + h y + 1)).
    coefficients = (
        cos,
        sin,
        centre_x - cos * centre_x - sin * centre_y - shift_x,
        -sin,
        cos,
        centre_y + sin * centre_x - cos * centre_y - shift_y,
        tilt_x,
        tilt_y,
    )
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(value) for value in np.median(border, axis=0))
    moved = Image.fromarray(pixels).transform(
        (width, height),
        Image.Transform.PERSPECTIVE,
        tuple(float(value) for value in coefficients),
        Image.Resampling.BICUBIC,
        fillcolor=fill,
    )
    return np.asarray(moved, dtype=np.uint8)


def _seen_by_camera(pixels: NDArray[np.uint8], rng: np.random.Generator, strength: Strength) -> NDArray[np.uint8]:
    gamma = np.exp(rng.uniform(-strength.gamma_log, strength.gamma_log))
    gains = np.exp(rng.normal(0.0, strength.white_balance_log, 3) + rng.uniform(-1.0, 1.0) * strength.exposure_log)
    curve = ((np.arange(256, dtype=np.float32)[:, None] / 255.0) ** gamma * 255.0 * gains).astype(
        np.float32
    )  # [256, 3]
    light = np.stack([curve[:, channel].take(pixels[..., channel]) for channel in range(3)], axis=-1)
    mean = light.mean()
    light -= mean
    light *= np.float32(np.exp(rng.uniform(-strength.contrast_log, strength.contrast_log)))
    light += mean
    # `light.mean(axis=2)` to the last digit, in a sixth of the time.
    grey = ((light[..., 0] + light[..., 1] + light[..., 2]) / np.float32(3.0))[..., None]
    light -= grey
    light *= np.float32(np.exp(rng.uniform(-strength.paler_log, strength.richer_log)))
    light += grey
    if rng.random() < strength.blur_ratio:
        sharp = Image.fromarray(light.clip(0.0, 255.0).astype(np.uint8))
        light = np.asarray(sharp.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))), dtype=np.float32)
    if rng.random() < strength.noise_ratio:
        light = light + rng.normal(0.0, rng.uniform(2.0, 10.0), light.shape).astype(np.float32)
    return light.clip(0.0, 255.0).astype(np.uint8)
