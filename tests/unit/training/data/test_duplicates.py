"""Copies are found however they were made; pieces that merely look alike are not copies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from tests.unit.training.data.cast import copy_of, photo, picture
from training.data import duplicates, prints
from training.data.duplicates import Pair, groups, near_duplicates, shared_photos
from training.data.folder import LOOK_PX, Photo
from training.data.prints import CHANGES, MIRRORINGS, prints_of
from training.demo.photographs import draw

SEEDS = range(12)


def _cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))


def _noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float64)
    noise = np.random.default_rng(0).normal(0, 10, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "halved": lambda image: image.resize((image.width // 2, image.height // 2)),
    "doubled": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "brighter": lambda image: image.point(lambda level: min(255, int(level * 1.2 + 8))),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "noisy": _noisy,
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "quarter turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored quarter turn": lambda image: ImageOps.mirror(image).transpose(Image.Transpose.ROTATE_270),
    "turned by 3 degrees": lambda image: image.rotate(3, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90)),
    "cropped by 3 %": lambda image: _cropped(image, 0.03, 0.03, 0.03, 0.03),
    "cropped by 8 %": lambda image: _cropped(image, 0.08, 0.08, 0.08, 0.08),
    "cropped on one side": lambda image: _cropped(image, 0.06, 0.0, 0.0, 0.06),
    "mirrored and cropped": lambda image: _cropped(ImageOps.mirror(image), 0.04, 0.06, 0.06, 0.04),
    "its middle square": lambda image: ImageOps.fit(image, (96, 96)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_however_it_was_made(how: str) -> None:
    sources = [draw(f"wheel_of_law/front_{seed:03}.jpg", seed).resize((240, 320)) for seed in range(3)]
    originals = [copy_of(source, f"a/{index}.jpg") for index, source in enumerate(sources)]
    copies = [copy_of(COPIES[how](source), f"b/{index}.jpg") for index, source in enumerate(sources)]
    pairs = {(pair.first.relative, pair.second.relative) for pair in near_duplicates([*originals, *copies])}
    assert pairs == {(f"a/{index}.jpg", f"b/{index}.jpg") for index in range(3)}
    across = {(pair.first.relative, pair.second.relative) for pair in shared_photos(copies, originals)}
    assert across == {(f"b/{index}.jpg", f"a/{index}.jpg") for index in range(3)}


def test_pieces_of_one_mould_are_not_copies() -> None:
    pieces = [copy_of(draw(f"wheel_of_law/front_{seed:03}.jpg", 0), f"a/{seed}.jpg") for seed in SEEDS]
    assert near_duplicates(pieces) == ()


def piece(seed: int) -> Image.Image:
    """All of one shape, each with a grain of its own."""
    shape = picture(1, width=16, height=16).resize((256, 256), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0.0, 25.0, (64, 64)).repeat(4, axis=0).repeat(4, axis=1)
    return Image.fromarray((np.asarray(shape, np.float64) + grain[..., None]).clip(0, 255).astype(np.uint8))


def test_whom_many_resemble_is_compared_with_few_of_them_and_with_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [copy_of(piece(seed), f"a/{seed:02}.jpg") for seed in range(30)]
    again = copy_of(_cropped(piece(20), 0.08, 0.08, 0.08, 0.08), "b/copy.jpg")
    photos = [*pieces, again]
    aligned: list[frozenset[bytes]] = []
    agreement = duplicates.agreement

    def counted(look: NDArray[np.uint8], other: NDArray[np.uint8], variant: int, *, enough: float) -> float:
        aligned.append(frozenset((look.tobytes(), other.tobytes())))
        return agreement(look, other, variant, enough=enough)

    monkeypatch.setattr(duplicates, "agreement", counted)
    pairs = near_duplicates(photos)

    assert [(pair.first.relative, pair.second.relative) for pair in pairs] == [("a/20.jpg", "b/copy.jpg")]
    every = prints_of(photos)
    candidates = duplicates._alike(every, every)
    alike = {frozenset(pair) for pair in zip(candidates.rows, candidates.columns, strict=True) if pair[0] != pair[1]}
    assert len(set(aligned)) <= duplicates.TRIES_MAX * len(photos) < len(alike) / 2
    looks = [look.tobytes() for look in every.looks]
    assert next(pair for pair in aligned if looks[-1] in pair) == {looks[20], looks[-1]}  # the likeliest comes first

    for crop in (0.08, 0.1):  # found from the side of the whole photograph alone
        other = copy_of(_cropped(piece(20), crop, crop, crop, crop), "b/copy.jpg")
        across = {(pair.first.relative, pair.second.relative) for pair in shared_photos([other], pieces)}
        assert ("b/copy.jpg", "a/20.jpg") in across


@pytest.mark.parametrize(("smooth_px", "coarse_px"), [(2.5, 10.0), (0.0, 4.0)])
def test_bands_are_scipy_s_gaussians(smooth_px: float, coarse_px: float) -> None:
    picture = np.random.default_rng(0).uniform(0.0, 255.0, (LOOK_PX, LOOK_PX)).astype(np.float32)
    smooth = ndimage.gaussian_filter(picture, smooth_px) if smooth_px else picture
    expected = smooth - ndimage.gaussian_filter(picture, coarse_px)
    np.testing.assert_allclose(prints._band(picture, smooth_px, coarse_px), expected, atol=1e-3)


def test_who_had_enough_is_still_compared_with_a_copy_that_had_not() -> None:
    pieces = [copy_of(piece(seed), f"a/{seed:02}.jpg") for seed in range(12)]
    photos = [*pieces, copy_of(COPIES["cropped on one side"](piece(5)), "b/copy.jpg")]
    every = prints_of(photos)
    alike = duplicates._alike(every, every)
    order = [{*alike.at(place)[:2]} for place in np.argsort(-alike.correlations, kind="stable")]
    likelier = {frozenset(pair) for pair in order[: order.index({5, 12})] if 5 in pair and len(pair) > 1}
    assert len(likelier) > duplicates.TRIES_MAX

    pairs = near_duplicates(photos)

    assert [(pair.first.relative, pair.second.relative) for pair in pairs] == [("a/05.jpg", "b/copy.jpg")]


def test_pairs_are_sorted_by_name_and_not_by_how_they_were_found() -> None:
    blurred = [copy_of(picture(3), "a/1.jpg"), copy_of(COPIES["blurred"](picture(3)), "a/2.jpg")]
    same = [copy_of(picture(4), "z/1.jpg"), copy_of(picture(4), "z/2.jpg")]

    pairs = near_duplicates([*same, *blurred])

    assert [(pair.first.relative, pair.same_bytes) for pair in pairs] == [("a/1.jpg", False), ("z/1.jpg", True)]


def test_the_same_bytes_are_a_pair_even_where_there_is_nothing_to_see() -> None:
    blank = Image.new("RGB", (64, 64), (200, 200, 200))
    one, other, third = (copy_of(blank, name) for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"))
    third = dataclasses.replace(third, sha256="0" * 64)
    pairs = near_duplicates([other, one, third])
    assert [(pair.first.relative, pair.second.relative, pair.same_bytes) for pair in pairs] == [
        ("a/1.jpg", "a/2.jpg", True)
    ]
    assert len(shared_photos([one, other], [dataclasses.replace(one, relative="c/4.jpg")])) == 2


def test_whoever_has_the_same_bytes_on_the_other_side_is_in_a_pair_however_often_they_are_there() -> None:
    blank = [copy_of(Image.new("RGB", (64, 64), (120, 120, 120)), f"{name}.jpg") for name in "abcd"]

    pairs = shared_photos(blank[:2], blank[2:])

    assert {pair.first.relative for pair in pairs} == {"a.jpg", "b.jpg"}
    assert {pair.second.relative for pair in pairs} == {"c.jpg", "d.jpg"}


def test_a_burst_of_frames_is_connected_by_one_pair_less_than_frames() -> None:
    frames = [copy_of(_noisy(picture(1, width=200, height=200)), f"a/{index:02}.jpg") for index in range(30)]
    frames = [dataclasses.replace(frame, sha256=f"{index:064}") for index, frame in enumerate(frames)]
    pairs = near_duplicates(frames)
    assert len(pairs) == 29
    assert [len(members) for members in groups(frames, pairs)] == [30]


def test_nothing_has_no_duplicates() -> None:
    assert near_duplicates([]) == ()
    assert shared_photos([], [photo("a", 1, look_seed=1)]) == ()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_hashes_are_imagehash_s_own(seed: int) -> None:
    original = photo("a", seed, look_seed=seed)
    hashes = prints_of([original]).hashes[0]
    look = np.frombuffer(original.look, dtype=np.uint8).reshape(LOOK_PX, LOOK_PX)
    small = look.reshape(32, 2, 32, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    mirrorings = [small, small[::-1], small[:, ::-1], small[::-1, ::-1]]
    for index, mirrored in enumerate([*mirrorings, *(each.T for each in mirrorings)]):
        bits = imagehash.phash(Image.fromarray(np.ascontiguousarray(mirrored))).hash.ravel()
        expected = sum(1 << place for place, bit in enumerate(bits) if bit)
        # imagehash sees the small picture rounded to whole levels, which can move a coefficient over the median.
        assert (expected ^ int(hashes[index])).bit_count() <= 2


def test_a_change_of_frame_is_hashed_as_if_the_photograph_had_been_changed() -> None:
    source = picture(4, width=640, height=640)
    prints = prints_of([copy_of(source, "a/1.jpg"), copy_of(_cropped(source, 0.06, 0.06, 0.06, 0.06), "a/2.jpg")])
    change = next(index for index, change in enumerate(CHANGES) if change.crop_ratio == 0.06)
    assert int(prints.hashes[0, change * MIRRORINGS] ^ prints.hashes[1, 0]).bit_count() <= 4


@given(edges=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
@settings(deadline=None)
def test_groups_are_the_connected_photographs(edges: list[tuple[int, int]]) -> None:
    photos = [dataclasses.replace(_BLANK, relative=f"a/{index:02}.jpg") for index in range(20)]
    together = groups(photos, [Pair(photos[a], photos[b], False, 1.0) for a, b in edges])

    reachable = {index: {index} for index in range(20)}
    for _ in photos:  # as many rounds as the longest path has steps
        for a, b in edges:
            reachable[a] |= reachable[b]
            reachable[b] |= reachable[a]
    expected = {frozenset(f"a/{index:02}.jpg" for index in members) for members in reachable.values()}
    assert {frozenset(member.relative for member in members) for members in together} == expected
    assert [members[0].relative for members in together] == sorted(members[0].relative for members in together)


_BLANK: Photo = photo("a", 0, look_seed=0)
