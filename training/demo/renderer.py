"""From a mould to a photograph: press, wear, light, lay on a table, photograph.

Everything that a photograph must not give its class away by (material, light, backdrop,
wear, place, camera) is drawn from the same ranges for every mould.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from training.demo.backdrops import KINDS, backdrop
from training.demo.moulds import Mould
from training.demo.relief import HEIGHT_PX, UNIT_PX, WIDTH_PX, Field, X, Y, noise

Rgb = NDArray[np.float32]  # [height, width, 3], linear, 0 to about 1

PHOTO_WIDTH_PX: Final = 480
PHOTO_HEIGHT_PX: Final = 640
_RELIEF_PX: Final = 9.0  # height of a full relief, in pixels of the canvas
_SURFACE_MAX: Final = 2.0  # brighter than this is white in every exposure


@dataclass(frozen=True, slots=True)
class Material:
    colour: tuple[float, float, float]  # linear reflectance
    shine: float  # strength of the highlight
    hardness: float  # exponent of the highlight; higher is smaller and sharper
    grain: float  # roughness of the surface, in relief heights


CLAYS: Final = (
    Material((0.36, 0.15, 0.08), 0.04, 8, 0.05),  # terracotta
    Material((0.22, 0.20, 0.18), 0.05, 8, 0.05),  # grey clay
    Material((0.52, 0.40, 0.26), 0.05, 8, 0.05),  # ochre
    Material((0.60, 0.55, 0.46), 0.08, 12, 0.04),  # cream
    Material((0.07, 0.06, 0.055), 0.10, 14, 0.05),  # black powder
    Material((0.20, 0.11, 0.06), 0.06, 10, 0.06),  # brown
)
METALS: Final = (
    Material((0.42, 0.27, 0.09), 0.95, 18, 0.014),  # brass
    Material((0.32, 0.15, 0.08), 0.80, 16, 0.014),  # copper
    Material((0.36, 0.36, 0.355), 1.00, 20, 0.014),  # silver
    Material((0.13, 0.16, 0.115), 0.35, 12, 0.02),  # old bronze
)


PLASTICS: Final = (
    Material((0.55, 0.08, 0.06), 0.35, 30, 0.008),
    Material((0.06, 0.16, 0.45), 0.35, 30, 0.008),
    Material((0.70, 0.68, 0.62), 0.30, 30, 0.008),
    Material((0.05, 0.05, 0.05), 0.40, 34, 0.008),
    Material((0.10, 0.32, 0.12), 0.25, 24, 0.012),
)
TABLETS: Final = CLAYS + METALS


@dataclass(frozen=True, slots=True)
class Scene:
    """How far one photograph may stray from another. The defaults are those of the tablets."""

    materials: tuple[Material, ...] = TABLETS
    scale: tuple[float, float] = (0.62, 0.98)  # the canvas's width against the photograph's
    turn_deg: float = 14.0  # standard deviation
    tilt: float = 0.06  # how much nearer one edge may be than the other
    wear: tuple[float, float] = (0.0, 1.0)  # 0 as pressed, 1 worn nearly flat
    warp: float = 1.0  # unevenness of the casting
    blur_px: tuple[float, float] = (0.0, 0.8)  # radius


COIN_SCENE: Final = Scene(materials=METALS[:3], wear=(0.0, 0.35), warp=0.0, turn_deg=60.0)
OBJECT_SCENE: Final = Scene(materials=PLASTICS + METALS + CLAYS[:2], wear=(0.0, 0.2), warp=0.15, turn_deg=40.0)
_TABLET_SCENE: Final = Scene()


def photograph(mould: Mould, rng: np.random.Generator, scene: Scene = _TABLET_SCENE) -> Image.Image:
    """One piece of a mould, as a phone saw it: RGB, PHOTO_WIDTH_PX x PHOTO_HEIGHT_PX.

    The same state of the generator gives the same photograph.
    """
    material = scene.materials[int(rng.integers(len(scene.materials)))]
    turn = math.radians(rng.normal(0, scene.turn_deg))
    light = _light(rng)
    outline, height = _pressed(mould, rng, material, rng.uniform(*scene.wear), scene.warp)
    surface = _lit(outline, height, material, rng, _turned(light, -turn))
    table = backdrop(rng, KINDS[int(rng.integers(len(KINDS)))], PHOTO_WIDTH_PX, PHOTO_HEIGHT_PX)
    table *= np.float32(light[2] * 0.9 + 0.1)
    coefficients, scale = _placement(rng, turn, scene)
    picture = _laid(surface, outline, table, coefficients, light, thickness_px=mould.thickness * 7 * scale)
    return _camera(picture, rng, light, scene)


def _pressed(
    mould: Mould, rng: np.random.Generator, material: Material, wear: float, warp: float
) -> tuple[Field, Field]:
    """One casting: outline and height warped a little, worn, chipped, scratched, rough."""
    outline, height = _warped(mould, rng, warp) if warp > 0 else (mould.outline, mould.height)
    soft = ndimage.gaussian_filter(height, 1.0 + 4.0 * wear)
    height = height * (1 - 0.75 * wear) + soft * 0.75 * wear
    height = np.minimum(height, 1.05 - 0.35 * wear + 0.1 * height)
    outline = outline + 0.012 * noise(rng, outline.shape, 9, octaves=2) * ((0.3 + wear) * warp)
    for _ in range(int(rng.poisson(1.5 * wear * warp))):
        angle, size = rng.uniform(0, 2 * math.pi), rng.uniform(0.03, 0.12)
        on_edge = np.argmin(np.abs(outline) + np.abs(np.arctan2(Y, X) - (angle - math.pi)))
        outline = np.maximum(outline, size - np.hypot(X - X.flat[on_edge], Y - Y.flat[on_edge]))
    for _ in range(int(rng.poisson(2.0 * wear))):
        angle, offset = rng.uniform(0, math.pi), rng.uniform(-0.7, 0.7)
        across = X * math.sin(angle) - Y * math.cos(angle) - offset
        along = X * math.cos(angle) + Y * math.sin(angle) - rng.uniform(-0.5, 0.5)
        height = height - 0.25 * np.exp(-((across / 0.008) ** 2)) * (np.abs(along) < rng.uniform(0.1, 0.5))
    rough = noise(rng, height.shape, 60) + rng.standard_normal(height.shape, dtype=np.float32) * 0.6
    height = height + material.grain * (0.5 + wear) * rough + 0.08 * warp * noise(rng, height.shape, 3)
    return outline.astype(np.float32), height.astype(np.float32)


def _warped(mould: Mould, rng: np.random.Generator, warp: float) -> tuple[Field, Field]:
    shape = mould.outline.shape
    shift = [noise(rng, shape, 3) * (2.2 * warp) for _ in range(2)]
    stretch = 1 + rng.normal(0, 0.02 * warp, 2)
    rows = (Y * stretch[0]) * UNIT_PX + HEIGHT_PX / 2 - 0.5 + shift[0]
    columns = (X * stretch[1]) * UNIT_PX + WIDTH_PX / 2 - 0.5 + shift[1]
    outline, height = (
        ndimage.map_coordinates(field, (rows, columns), order=1, mode="nearest", output=np.float32)
        for field in (mould.outline, mould.height)
    )
    return outline, height


def _lit(
    outline: Field, height: Field, material: Material, rng: np.random.Generator, light: tuple[float, float, float]
) -> Rgb:
    """The piece's colours under a light: diffuse, highlight, dark hollows, dirt in them, worn-bright tops."""
    edge = np.clip(-outline * UNIT_PX / 6, 0, 1)
    relief = (height + 0.9 * np.sqrt(edge * (2 - edge))) * _RELIEF_PX
    slope_y, slope_x = np.gradient(relief)
    steep = rng.uniform(0.8, 1.5)
    inverse = 1 / np.sqrt((slope_x * steep) ** 2 + (slope_y * steep) ** 2 + 1)
    facing = (-slope_x * steep * light[0] - slope_y * steep * light[1] + light[2]) * inverse
    hollow = np.clip(relief - ndimage.gaussian_filter(relief, 7), -6, 6) / 6
    half = np.array([light[0], light[1], light[2] + 1.0])
    half /= np.linalg.norm(half)
    gloss = np.clip((-slope_x * steep * half[0] - slope_y * steep * half[1] + half[2]) * inverse, 0, 1)
    ambient = rng.uniform(0.18, 0.4)
    shade = ambient * (1 + 0.6 * hollow) + (1 - ambient) * 1.15 * np.clip(facing, 0, None)
    colour = np.array(material.colour) * rng.uniform(0.75, 1.25) * (1 + rng.normal(0, 0.05, 3))
    dirt = np.clip(-hollow * rng.uniform(0.5, 2.0), 0, 0.8)
    dirt_colour = (0.08, 0.065, 0.05) if rng.random() < 0.7 else (0.30, 0.33, 0.27)
    stained = (1 + 0.12 * noise(rng, outline.shape, 4, octaves=3)) * shade
    bright = material.shine * gloss**material.hardness * (1 + 0.5 * hollow)
    surface = np.empty((*outline.shape, 3), dtype=np.float32)
    for channel in range(3):
        own, dirty = float(colour[channel]), dirt_colour[channel]
        tint = 0.35 + 0.65 * material.colour[channel] / max(material.colour)
        surface[..., channel] = (own + (dirty - own) * dirt) * stained + bright * tint
    return surface


def _light(rng: np.random.Generator) -> tuple[float, float, float]:
    """A unit vector towards the light: x right, y down, z towards the camera."""
    around, up = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(24, 60))
    return math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up)


def _turned(light: tuple[float, float, float], angle: float) -> tuple[float, float, float]:
    cos, sin = math.cos(angle), math.sin(angle)
    return light[0] * cos - light[1] * sin, light[0] * sin + light[1] * cos, light[2]


def _placement(rng: np.random.Generator, turn: float, scene: Scene) -> tuple[tuple[float, ...], float]:
    """Coefficients of the perspective that Pillow wants (photograph to canvas), and pixels a canvas pixel."""
    scale = rng.uniform(*scene.scale) * PHOTO_WIDTH_PX / WIDTH_PX
    centre = (
        PHOTO_WIDTH_PX / 2 + rng.normal(0, 0.03) * PHOTO_WIDTH_PX,
        PHOTO_HEIGHT_PX / 2 + rng.normal(0, 0.03) * PHOTO_HEIGHT_PX,
    )
    cos, sin = math.cos(turn) * scale, math.sin(turn) * scale
    pull = rng.normal(0, scene.tilt, 2) / WIDTH_PX
    forward = np.array(
        [
            [cos + centre[0] * pull[0], -sin + centre[0] * pull[1], centre[0]],
            [sin + centre[1] * pull[0], cos + centre[1] * pull[1], centre[1]],
            [pull[0], pull[1], 1.0],
        ]
    ) @ np.array([[1, 0, -WIDTH_PX / 2], [0, 1, -HEIGHT_PX / 2], [0, 0, 1]])
    backward = np.linalg.inv(forward)
    backward /= backward[2, 2]
    return tuple(float(value) for value in backward.ravel()[:8]), scale


def _laid(
    surface: Rgb,
    outline: Field,
    table: Rgb,
    coefficients: tuple[float, ...],
    light: tuple[float, float, float],
    *,
    thickness_px: float,
) -> Rgb:
    """The piece on the table, with its shadow."""
    size = (PHOTO_WIDTH_PX, PHOTO_HEIGHT_PX)
    cover = np.clip(0.5 - outline * UNIT_PX, 0, 1)

    # One pass over four 8-bit planes; square roots give the dark tones their share of the 256 levels.
    coded = np.empty((HEIGHT_PX, WIDTH_PX, 4), dtype=np.uint8)
    coded[..., :3] = np.sqrt(np.clip(surface, 0, _SURFACE_MAX)) * (255 / math.sqrt(_SURFACE_MAX))
    coded[..., 3] = cover * 255
    laid = Image.fromarray(coded).transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    shadow = laid.getchannel("A")
    steep = math.hypot(light[0], light[1]) / light[2]
    length = thickness_px * min(steep, 2.0)
    norm = math.hypot(light[0], light[1])
    offset = (round(-light[0] / norm * length), round(-light[1] / norm * length))
    cast = Image.new("L", size)
    cast.paste(shadow, offset)
    blurred = np.maximum(
        np.asarray(cast.filter(ImageFilter.BoxBlur(max(1.0, length * 0.35))), dtype=np.float32)
        * np.float32(0.62 / 255),
        np.asarray(shadow.filter(ImageFilter.BoxBlur(thickness_px * 0.8)), dtype=np.float32) * np.float32(0.5 / 255),
    )
    picture: Rgb = table * (1 - blurred)[..., None]
    planes = np.asarray(laid, dtype=np.float32)
    planes *= np.float32(1 / 255)
    mask = planes[..., 3:]
    picture += (planes[..., :3] ** 2 * np.float32(_SURFACE_MAX) - picture) * mask
    return picture


def _camera(picture: Rgb, rng: np.random.Generator, light: tuple[float, float, float], scene: Scene) -> Image.Image:
    """Fall-off, exposure, white balance, focus, noise, tone curve."""
    y, x = (axis.astype(np.float32) for axis in np.ogrid[-1 : 1 : PHOTO_HEIGHT_PX * 1j, -1 : 1 : PHOTO_WIDTH_PX * 1j])
    slant, corners = np.float32(rng.uniform(0.0, 0.3)), np.float32(rng.uniform(0.0, 0.18))
    fall = 1 + slant * (x * np.float32(light[0]) + y * np.float32(light[1])) - corners * (x * x + y * y)
    balance = np.exp(rng.normal(0, 0.07, 3)).astype(np.float32)
    middle = float(np.mean(picture[::8, ::8]))
    exposure = (0.2 / max(middle, 0.02)) ** 0.6 * math.exp(rng.normal(0, 0.2))
    toned = picture * (fall * np.float32(exposure))[..., None]
    toned *= balance
    np.clip(toned, 0, 1, out=toned)
    np.sqrt(toned, out=toned)
    # What a phone does to please: contrast about the middle.
    toned = (toned - np.float32(0.5)) * np.float32(rng.uniform(1.15, 1.5)) + np.float32(0.5)
    toned += np.float32(rng.uniform(0.004, 0.022)) * rng.standard_normal(toned.shape[:2], dtype=np.float32)[..., None]
    np.clip(toned, 0, 1, out=toned)
    toned *= 255
    image = Image.fromarray(toned.astype(np.uint8))
    blur = rng.uniform(*scene.blur_px)
    return image.filter(ImageFilter.BoxBlur(blur)) if blur > 0.2 else image
