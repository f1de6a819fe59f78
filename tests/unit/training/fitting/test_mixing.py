"""Mixing: shares of classes say what is in the picture, and the caller's seed decides it all."""

from __future__ import annotations

import pytest
import torch

from training.fitting.mixing import Mixing
from training.fitting.tuning import Tuning


def batches(tuning: Tuning, *, seed: int = 0, count: int = 30) -> list[tuple[torch.Tensor, torch.Tensor]]:
    mixing = Mixing(tuning, classes=3)
    x = torch.arange(3.0)[:, None, None, None].expand(3, 3, 8, 8).contiguous()  # class 0 is 0, 1 is 1, 2 is 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [mixing.batch(x, torch.arange(3)) for _ in range(count)]


def test_shares_are_what_the_mean_picture_holds() -> None:
    for x, shares in batches(Tuning(mix_ratio=1.0, erasing_ratio=0.0)):
        assert shares.sum(dim=1) == pytest.approx(torch.ones(3), abs=1e-5)
        torch.testing.assert_close(x.mean((1, 2, 3)), shares @ torch.arange(3.0), rtol=0, atol=1e-4)


def test_without_mixing_and_erasing_a_batch_stays_as_it_is() -> None:
    x, shares = batches(Tuning(mix_ratio=0.0, erasing_ratio=0.0))[0]
    assert torch.equal(shares, torch.eye(3))
    assert torch.equal(x[2], torch.full((3, 8, 8), 2.0))


def test_the_same_seed_mixes_the_same_and_another_otherwise() -> None:
    def mixed(seed: int) -> torch.Tensor:
        return torch.stack([x for x, _ in batches(Tuning(), seed=seed)])

    assert torch.equal(mixed(1), mixed(1))
    assert not torch.equal(mixed(1), mixed(2))


def test_an_image_keeps_its_shape_and_kind() -> None:
    image = torch.randint(0, 256, (16, 12, 3), dtype=torch.uint8)
    assert Mixing(Tuning(), classes=2).image(image).shape == image.shape
    assert Mixing(Tuning(randaugment_ops=0), classes=2).image(image).equal(image)


def test_cutmix_pastes_a_rectangle_and_mixup_blends_all_of_it() -> None:
    def patched(cutmix_share: float) -> list[bool]:
        made = batches(Tuning(mix_ratio=1.0, erasing_ratio=0.0, cutmix_share=cutmix_share))
        return [bool(((x == 0.0) | (x == 1.0) | (x == 2.0)).all()) for x, _ in made]

    assert all(patched(1.0))
    assert not any(patched(0.0))
    assert len(set(patched(0.5))) == 2
