"""The network of a recipe: where it starts, whether it learns, and what it then shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from training.data.folder import Photo
from training.errors import SettingWrong
from training.fitting.companion import Companion
from training.fitting.features import Eye, Progress, pixels_seen
from training.fitting.finetune import Lesson, finetune
from training.fitting.recipe import Recipe
from training.fitting.sight import Eyes, Lens, Sight, still
from training.models import backbone_graph, backbones, kept_graphs
from training.models.backbones import Backbone
from training.models.pair import Pair

Look = Callable[[Eye], Sight]


@dataclass(frozen=True, slots=True)
class Tutor:
    """What fine-tuning needs beyond the recipe."""

    groups: Sequence[Sequence[Photo]]  # near-duplicates together
    keep: Path | None = None  # where the state after each epoch goes
    progress: Progress | None = None


def starting_backbone(recipe: Recipe, *, seed: int, file: Path | None = None) -> Backbone:
    """With its pretrained weights; a network that has none and will be tuned starts from numbers drawn by the seed.

    file: as for `backbones.pretrained`. Raises WeightsMissing, and SettingWrong for a recipe that is there to be
    compared, of two networks or with preprocessing, or that is to learn on more devices than there are.
    """
    if recipe.companion is not None:
        raise SettingWrong(
            "a companion is no part of a graph: it is there to be compared (amulet ablate --over companions)"
        )
    if recipe.preprocessing is not None:
        raise SettingWrong(
            "preprocessing is no part of what is served: it is there to be compared "
            "(amulet ablate --over preprocessing)"
        )
    if recipe.tuning is not None:
        from training.fitting import devices

        devices.check(recipe.tuning)
    spec = backbones.spec_of(recipe.backbone)
    if recipe.tuning is None or spec.pretrainable:
        return backbones.pretrained(spec, recipe.levels, file=file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(spec, recipe.levels).eval().requires_grad_(False)


def pair_of(recipe: Recipe, companion: Companion) -> Pair:
    """The recipe's network and its companion, with their pretrained weights. Raises WeightsMissing, SettingWrong."""
    first = backbones.pretrained(backbones.spec_of(recipe.backbone), recipe.levels)
    second = backbones.pretrained(backbones.spec_of(companion.backbone), companion.levels)
    return Pair(first, second, sides_px=(recipe.input_px, companion.input_px))


def lens_of(backbone: Backbone, recipe: Recipe, *, threads: int, kept: Path | None = None) -> Lens:
    """Exported, and ready to look.  kept: a folder as for `kept_graphs.exported`."""
    graph = kept_graphs.exported(backbone, input_px=recipe.input_px, kept=kept)
    return Lens(backbone, graph, Eye(backbone_graph.to_bytes(graph), recipe, threads=threads))


def eyes_of(lens: Lens, recipe: Recipe, look: Look, tutor: Tutor, *, seed: int, threads: int) -> Eyes:
    """Of a frozen backbone one sight for all; of one that is tuned, a sight for each part that it learns from.

    lens: of the backbone to start from.
    """
    tuning = recipe.tuning
    if tuning is None:
        return still(replace(look(lens.eye), lens=lens))
    group_of = {photo.relative: number for number, members in enumerate(tutor.groups) for photo in members}

    def see(photos: Sequence[Photo]) -> Sight:
        classes = sorted({photo.label for photo in photos})
        lesson = Lesson(
            tuple(photos),
            np.array([classes.index(photo.label) for photo in photos], np.intp),
            np.array([group_of[photo.relative] for photo in photos], np.intp),
            len(classes),
        )
        tuned = finetune(
            lens.backbone,
            lesson,
            recipe,
            tuning,
            partial(pixels_seen, side_px=recipe.input_px),
            seed=seed,
            keep=tutor.keep,
            progress=tutor.progress,
        )
        own = replace(lens_of(tuned.backbone, recipe, threads=threads), course=tuned.document())
        return replace(look(own.eye), lens=own, tuned=True)

    return see
