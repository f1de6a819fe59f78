"""Recipes measured on photographs that their folds never saw, one after the other or in processes side by side.

A trial is one recipe with one seed. Recipes whose network shows the same are tried together, since looking is what
takes long; nothing else is shared between trials, so that it does not matter where each is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no stubs

from training.augmentation import backdrop
from training.data.duplicates import group_numbers, grouped, groups, near_duplicates
from training.data.folder import Folder, Photo, load_folder
from training.data.others import read_unlike
from training.evaluation import crossvalidation
from training.evaluation.crossvalidation import Groups
from training.fitting.companion import FEATURES
from training.fitting.features import Eye, network_cores
from training.fitting.lenses import Look, Tutor, eyes_of, lens_of, pair_of, starting_backbone
from training.fitting.recipe import Recipe
from training.fitting.sight import Eyes, Lens, Outside, Sight, still
from training.models import backbone_graph, weights
from training.models.backbones import spec_of
from training.side_by_side import begin_by, begin_tracker, starting

# Given a recipe, what its network is to be asked, which photographs belong together, and the seed.
EyesOf = Callable[[Recipe, Look, Groups, int], Eyes]


@dataclass(frozen=True, slots=True)
class Ground:
    """What recipes are tried on."""

    folder: Folder
    together: Groups  # near-duplicates
    sets: Mapping[str, Sequence[Photo]]  # of other things
    folds: int

    @classmethod
    def read(
        cls,
        data: Path,
        outside: Sequence[Path],
        *,
        folds: int,
        seeds: Sequence[int],
        progress: Callable[[int, int], None],
    ) -> Ground:
        """Raises DataWrong, DataTooSmall where a class does not have a group of photographs for each fold, and
        SettingWrong where two sets share a name.
        """
        folder = load_folder(data, progress=progress)
        together = groups(folder.photos, near_duplicates(folder.photos))
        crossvalidation.check_size(together, folder, folds=folds, seeds=seeds)
        return cls(folder, together, read_unlike(outside, folder), folds)

    @property
    def groups(self) -> tuple[NDArray[np.intp], ...]:
        """The group of each photograph of the folder, then of each of every set of other things."""
        own = group_numbers(self.folder.photos, self.together)
        return own, *(grouped(photos) for photos in self.sets.values())


@dataclass(frozen=True, slots=True)
class Task:
    """One seed, and recipes whose network shows the same."""

    recipes: tuple[tuple[int, Recipe], ...]  # each with its place among those that were asked for
    seed: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One variant with one seed; rows in the folder's order."""

    predicted: NDArray[np.intp]  # [n] by heads that never saw the photograph
    right_other_table: NDArray[np.float64]  # the same with its backdrop replaced
    confidence: NDArray[np.float64]  # [n] of whole versions
    confident_right: NDArray[np.bool_]  # [n] whether what they are confident of is right
    ood_scores: NDArray[np.float64]  # [n] of whole versions
    fold: NDArray[np.intp]  # [n]: whose version that is
    outside_scores: Mapping[str, NDArray[np.float64]]  # by set of other things, by the version of each fold [folds, m]


def tasks_of(wanted: Iterable[tuple[int, Recipe, int]]) -> tuple[Task, ...]:
    """wanted: places, recipes and seeds."""
    alike: dict[tuple[Any, ...], list[tuple[int, Recipe]]] = {}
    for place, recipe, seed in wanted:
        alike.setdefault((seed, _shown_by(recipe)), []).append((place, recipe))
    return tuple(Task(tuple(own), seed) for (seed, _), own in alike.items())


def trials_of(
    ground: Ground, tasks: Sequence[Task], open_eyes: Callable[[], EyesOf], *, jobs: int
) -> Iterator[tuple[Task, tuple[Trial, ...]]]:
    """Each task with its trials, as they come.

    jobs: processes; each opens eyes of its own, so `open_eyes` must be picklable where they are more than one. The
    first error ends them all.
    """
    if not tasks:
        return
    if jobs == 1:
        eyes_of = open_eyes()
        for task in tasks:
            yield task, _tried(ground, eyes_of, task)
        return
    begin_tracker()
    # Not forked: onnxruntime's and torch's threads would not be there in the child.
    begin, arguments = begin_by(_begin, ground, open_eyes, jobs)
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)), mp_context=get_context("spawn"), initializer=begin, initargs=arguments
    )
    try:
        with starting():
            running = {pool.submit(_in_own_process, task): task for task in tasks}
        for done in as_completed(running):
            yield running[done], done.result()
    except BaseException:
        for process in active_children():  # a trial may take minutes, and nobody waits for it any more
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_own: list[tuple[Ground, EyesOf]] = []  # of a process of the pool, from its beginning on


def _begin(ground: Ground, open_eyes: Callable[[], EyesOf], jobs: int) -> None:
    threads = max(1, network_cores() // jobs)
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    _own.append((ground, open_eyes()))


def _in_own_process(task: Task) -> tuple[Trial, ...]:
    return _tried(*_own[0], task)


def _tried(ground: Ground, eyes_of: EyesOf, task: Task) -> tuple[Trial, ...]:
    shown = task.recipes[0][1]
    look = look_of(ground.folder.photos, ground.sets, views=shown.views, seed=task.seed)
    eyes = eyes_of(shown, look, ground.together, task.seed)
    return tuple(
        _trial(ground.folder, eyes, ground.together, recipe, task.seed, ground.folds) for _, recipe in task.recipes
    )


def check_networks(recipes: Iterable[Recipe]) -> None:
    """Raises WeightsMissing for a network without its weights: its turn may come after hours with others."""
    for recipe in recipes:
        for name in (recipe.backbone, *((recipe.companion.backbone,) if recipe.companion is not None else ())):
            if recipe.tuning is None or spec_of(name).pretrainable:
                weights.check_installed(name)


def pretrained_eyes(*, threads: int) -> EyesOf:
    """The eyes of a recipe's network; each is exported once before it learns."""
    lenses: dict[tuple[str, tuple[str, ...], int, int], Lens] = {}
    pairs: dict[tuple[Any, ...], bytes] = {}

    def see(recipe: Recipe, look: Look, together: Groups, seed: int) -> Eyes:
        if recipe.companion is not None:
            companion = replace(recipe.companion, joined=FEATURES)
            own = (recipe.backbone, recipe.levels, recipe.input_px, companion)
            if own not in pairs:
                pair = pair_of(recipe, companion)
                pairs[own] = backbone_graph.to_bytes(backbone_graph.export_backbone(pair, input_px=recipe.seen_px))
            return still(look(Eye(pairs[own], recipe, threads=threads)))
        drawn = seed if recipe.tuning is not None else 0
        key = (recipe.backbone, recipe.levels, recipe.input_px, drawn)
        if key not in lenses:
            lenses[key] = lens_of(
                starting_backbone(replace(recipe, preprocessing=None), seed=drawn), recipe, threads=threads
            )
        # The lens's own recipe decides its views: another strength is another eye on the same graph.
        eye = Eye(backbone_graph.to_bytes(lenses[key].graph), recipe, threads=threads)
        lens = replace(lenses[key], eye=eye)
        eyes = eyes_of(lens, recipe, look, Tutor(together), seed=seed, threads=threads)
        if recipe.tuning is not None:
            return eyes
        # What was seen stays for all variants that look alike; the session that saw it does not: fifteen
        # variants and seeds were on their way to 7 GB.
        return still(replace(eyes(()), lens=None))

    return see


def _shown_by(recipe: Recipe) -> tuple[Any, ...]:
    """What of a recipe decides what its network shows."""
    companion = replace(recipe.companion, joined=FEATURES) if recipe.companion is not None else None
    return (
        *(recipe.backbone, recipe.levels, recipe.input_px, recipe.views, recipe.strength, recipe.tuning, companion),
        recipe.preprocessing,
    )


def look_of(photos: Sequence[Photo], sets: Mapping[str, Sequence[Photo]], *, views: int, seed: int) -> Look:
    """What an experiment asks of a network: the photographs, views of them, on other tables, and other things."""
    return partial(_look, photos=photos, sets=sets, views=views, seed=seed)


def _look(eye: Eye, *, photos: Sequence[Photo], sets: Mapping[str, Sequence[Photo]], views: int, seed: int) -> Sight:
    tables = [_on_another_table(eye.pixels(photo), photo) for photo in photos]
    return Sight(
        eye.features(photos, seed=seed, views=views),
        Outside(
            np.zeros((0, sum(eye.channels)), np.float32),
            {name: eye.features(others, seed=0, views=0).plain for name, others in sets.items()},
        ),
        elsewhere=eye.look(tables),
    )


def _trial(folder: Folder, eyes: Eyes, together: Groups, recipe: Recipe, seed: int, folds: int) -> Trial:
    found = crossvalidation.out_of_fold(folder, eyes, together, folds=folds, recipe=recipe, seed=seed)
    assert found.elsewhere_predicted is not None
    return Trial(
        predicted=found.head_predicted,
        right_other_table=(found.elsewhere_predicted == found.labels).astype(np.float64),
        confidence=found.probabilities.max(axis=1),
        confident_right=found.probabilities.argmax(axis=1) == found.labels,
        ood_scores=found.ratios,
        fold=found.fold,
        outside_scores=found.outside,
    )


def _on_another_table(pixels: NDArray[np.uint8], photo: Photo) -> NDArray[np.uint8]:
    """On one other backdrop, the same for every variant and seed; the same pixels where none can be replaced."""
    return backdrop.replaced(pixels, np.random.default_rng(int(photo.sha256[:16], 16)))
