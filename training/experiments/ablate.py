"""What each part of a recipe is worth: variants of it, cross-validated on the same folds, differences paired.

Every variant and seed is measured on photographs that its fold never saw, as they are and on
another table. A seed draws the folds and the views anew, for all variants alike; figures are
means over seeds, intervals are over photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from handlers.amulet_handler import pixels_of
from training.augmentation import backdrop
from training.data.duplicates import groups, near_duplicates
from training.data.folder import Folder, Photo, load_folder, load_outside
from training.errors import SettingWrong
from training.evaluation import crossvalidation, metrics
from training.evaluation.crossvalidation import Groups
from training.evaluation.intervals import Interval, bootstrap_all
from training.export import fused_graph
from training.fitting.features import Eye
from training.fitting.lenses import Look, Tutor, eyes_of, lens_of, starting_backbone
from training.fitting.recipe import HEADS, Recipe, recipe_of, with_settings
from training.fitting.sight import Eyes, Lens, Outside, Sight
from training.models import weights

# Where there are weights for them, each at the size of the recipes and at one nearer to what it was schooled at.
_NETWORKS: Final = (
    ("tf_efficientnet_lite0", 288),
    ("tf_efficientnet_lite1", 224),
    ("tf_efficientnet_lite2", 256),
)
FIGURES: Final = ("balanced_accuracy", "balanced_accuracy_version", "balanced_accuracy_other_table", "ece")
BASE: Final = "as it is"
Say = Callable[[str, int, int], None]
# Given a recipe, what its network is to be asked, which photographs belong together, and the seed.
EyesOf = Callable[[Recipe, Look, Groups, int], Eyes]


@dataclass(frozen=True, slots=True)
class Variant:
    """A recipe under the name of what was changed in it."""

    name: str
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides an ablation; the first variant is what the others are compared with."""

    data: Path
    variants: tuple[Variant, ...]
    outside: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One variant with one seed; rows in the folder's order."""

    right: NDArray[np.float64]  # [n] 1 or 0: named rightly by heads that never saw the photograph
    right_other_table: NDArray[np.float64]  # the same with its backdrop replaced
    confidence: NDArray[np.float64]  # [n] of whole versions
    confident_right: NDArray[np.bool_]  # [n] whether what they are confident of is right
    per_class_f1: Mapping[str, float]
    auroc: Mapping[str, float]  # by set of other things


@dataclass(frozen=True, slots=True)
class Row:
    """A variant's figures, and how far they are from the first variant's."""

    variant: Variant
    figures: Mapping[str, Interval]
    differences: Mapping[str, Interval]
    per_class_f1: Mapping[str, float]
    auroc: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ablation:
    """The result."""

    data: str
    fingerprint: str
    photos: int
    tables_replaced: int  # photographs whose backdrop could be replaced; the others stay as they are
    seeds: tuple[int, ...]
    folds: int
    rows: tuple[Row, ...]

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "data": {"name": self.data, "fingerprint": self.fingerprint, "photos": self.photos},
            "tables_replaced": self.tables_replaced,
            "seeds": list(self.seeds),
            "folds": self.folds,
            "variants": {
                row.variant.name: {
                    **{name: interval.value for name, interval in row.figures.items()},
                    "intervals": {name: interval.pair() for name, interval in row.figures.items()},
                    "differences": {
                        name: {"value": interval.value, "interval": interval.pair(), "more_than_luck": interval.sure}
                        for name, interval in row.differences.items()
                    },
                    "per_class_f1": dict(row.per_class_f1),
                    "ood_auroc": dict(row.auroc),
                    "recipe": asdict(row.variant.recipe),
                }
                for row in self.rows
            },
        }


def of_augmentations(recipe: Recipe) -> tuple[Variant, ...]:
    """The recipe, and what its views are made of taken away or added."""
    return (
        Variant(BASE, recipe),
        Variant("no views", with_settings(recipe, {"views": 0})),
        Variant("views on their own table", _strength(recipe, backdrop_ratio=0.0)),
        Variant("every view on another table", _strength(recipe, backdrop_ratio=1.0)),
        Variant("half of the views degraded", _strength(recipe, robust_ratio=0.5)),
    )


def of_models(recipe: Recipe) -> tuple[Variant, ...]:
    """The recipe, its other heads, the reference point, and other networks as far as their weights are installed."""
    heads = [Variant(f"head {name}", with_settings(recipe, {"head": name})) for name in HEADS if name != recipe.head]
    networks = [
        Variant(
            f"{name} {head} at {input_px} px",
            with_settings(recipe, {"backbone": name, "head": head, "input_px": input_px}),
        )
        for name, input_px in _NETWORKS
        if weights.installed(name)
        for head in ("lda", "logistic")
    ]
    return (
        Variant(BASE, recipe),
        *heads,
        Variant("recipe baseline", recipe_of("baseline")),
        Variant("last features only", with_settings(recipe, {"levels": ["head"]})),
        *(variant for variant in networks if variant.recipe not in (recipe, *(each.recipe for each in heads))),
    )


def of_tunings(recipe: Recipe) -> tuple[Variant, ...]:
    """The recipe, fine-tuning, fine-tuning on its views alone, and a small network that knows nothing.

    A network that learns answers as a whole version, fitted on three quarters of what lies outside the fold; a
    frozen one by heads on all of that. `balanced_accuracy_version` compares like with like.
    """
    tuned = with_settings(recipe, {"tuning": {}})
    bare = {"mix_ratio": 0.0, "erasing_ratio": 0.0, "randaugment_ops": 0}
    scratch = {"unfrozen": 9, "rate_decay": 1.0, "learn_norms": True, "epochs": 40, "patience": 12, "rate": 3e-3}
    return (
        Variant(BASE, recipe),
        Variant("fine-tuned", tuned),
        Variant("fine-tuned on views alone", with_settings(tuned, {"tuning": bare})),
        Variant("a small network from nothing", with_settings(tuned, {"backbone": "small_cnn", "tuning": scratch})),
    )


def of_settings(recipe: Recipe, changes: Iterable[str]) -> tuple[Variant, ...]:
    """The recipe, and one variant for each value of `FIELD=VALUE,VALUE`; `strength.FIELD` names one of the views'.

    Raises SettingWrong for what is not of that form, or no setting of a recipe.
    """
    variants = [Variant(BASE, recipe)]
    for change in changes:
        field, mark, values = change.partition("=")
        if not mark or not field or not values:
            raise SettingWrong(f"{change} is not of the form FIELD=VALUE,VALUE, as in head_shrinkage=0.1,0.4")
        for text in values.split(","):
            value = yaml.safe_load(text)
            outer, dot, inner = field.partition(".")
            settings = {outer: {inner: value}} if dot else {field: value}
            variants.append(Variant(f"{field} {text}", with_settings(recipe, settings)))
    return tuple(variants)


def pretrained_eyes(*, threads: int) -> EyesOf:
    """The eyes of a recipe's network; each is exported once before it learns."""
    lenses: dict[tuple[str, tuple[str, ...], int, int], Lens] = {}

    def see(recipe: Recipe, look: Look, together: Groups, seed: int) -> Eyes:
        drawn = seed if recipe.tuning is not None else 0
        key = (recipe.backbone, recipe.levels, recipe.input_px, drawn)
        if key not in lenses:
            lenses[key] = lens_of(starting_backbone(recipe, seed=drawn), recipe, threads=threads)
        # The lens's own recipe decides its views: another strength is another eye on the same graph.
        eye = Eye(fused_graph.to_bytes(lenses[key].graph), recipe, threads=threads)
        lens = replace(lenses[key], eye=eye)
        return eyes_of(lens, recipe, look, Tutor(together), seed=seed, threads=threads)

    return see


def ablate(request: Request, eyes_of: EyesOf, *, say: Say) -> Ablation:
    """Cross-validate every variant with every seed.

    Raises DataWrong or TrainingRefused, each one sentence.
    """
    folder = load_folder(request.data, progress=lambda done, total: say("Reading photographs", done, total))
    together = groups(folder.photos, near_duplicates(folder.photos))
    crossvalidation.check_size(together, folder, folds=request.folds)
    sets = {name: photos for path in request.outside for name, photos in load_outside(path).items()}
    total = len(request.variants) * len(request.seeds)
    seen: dict[tuple[Any, ...], Eyes] = {}  # variants of a head look at the same views
    trials: list[list[Trial]] = []
    for number, variant in enumerate(request.variants):
        own = []
        for turn, seed in enumerate(request.seeds):
            say("Cross-validating variants", number * len(request.seeds) + turn, total)
            key = (_shown_by(variant.recipe), seed)
            if key not in seen:
                look = look_of(folder.photos, sets, views=variant.recipe.views, seed=seed)
                seen[key] = eyes_of(variant.recipe, look, together, seed)
            eyes = seen[key]
            own.append(_trial(folder, eyes, together, variant.recipe, seed, request.folds))
        trials.append(own)
    say("Cross-validating variants", total, total)
    return Ablation(
        data=request.data.resolve().name,
        fingerprint=folder.fingerprint,
        photos=len(folder.photos),
        tables_replaced=_replaceable(folder.photos, request.variants[0].recipe.input_px),
        seeds=request.seeds,
        folds=request.folds,
        rows=_rows(request.variants, trials, crossvalidation.labels_of(folder)),
    )


def _shown_by(recipe: Recipe) -> tuple[Any, ...]:
    """What of a recipe decides what its network shows."""
    return (recipe.backbone, recipe.levels, recipe.input_px, recipe.views, recipe.strength, recipe.tuning)


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
    f1 = metrics.f1_per_class(found.labels, found.head_predicted)
    return Trial(
        right=(found.head_predicted == found.labels).astype(np.float64),
        right_other_table=(found.elsewhere_predicted == found.labels).astype(np.float64),
        confidence=found.probabilities.max(axis=1),
        confident_right=found.probabilities.argmax(axis=1) == found.labels,
        per_class_f1={folder.classes[label]: value for label, value in f1.items()},
        auroc={name: metrics.auroc(found.ratios, scores) for name, scores in found.outside.items()},
    )


def _on_another_table(pixels: NDArray[np.uint8], photo: Photo) -> NDArray[np.uint8]:
    """On one other backdrop, the same for every variant and seed; the same pixels where none can be replaced."""
    return backdrop.replaced(pixels, np.random.default_rng(int(photo.sha256[:16], 16)))


def _replaceable(photos: Sequence[Photo], side_px: int) -> int:
    """How many stand on a backdrop that can be told from them."""
    images = (pixels_of(photo.path.read_bytes(), side_px, side_px) for photo in photos)
    return sum(backdrop.mask(image) is not None for image in images)


def _rows(variants: Sequence[Variant], trials: Sequence[Sequence[Trial]], labels: NDArray[np.intp]) -> tuple[Row, ...]:
    # Resampling within classes keeps their sizes, so that balanced accuracy is one weighted mean.
    sizes = np.bincount(labels)
    weight = 1.0 / (sizes[labels] * np.count_nonzero(sizes))
    right = np.stack([np.mean([trial.right for trial in own], axis=0) for own in trials])  # [variants, n]
    whole = np.stack([np.mean([trial.confident_right for trial in own], axis=0) for own in trials])
    other = np.stack([np.mean([trial.right_other_table for trial in own], axis=0) for own in trials])

    def measure(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        counts = np.bincount(rows, minlength=len(labels)) * weight
        errors = [
            np.mean([metrics.confidence_error(each.confidence[rows], each.confident_right[rows]) for each in own])
            for own in trials
        ]
        table = np.stack(
            [right @ counts, whole @ counts, other @ counts, np.array(errors)], axis=1
        )  # [variants, FIGURES]
        return np.concatenate([table, table - table[0]]).ravel()

    intervals = bootstrap_all(measure, [labels], seed=0)
    width = len(FIGURES)
    told = [
        dict(zip(FIGURES, intervals[start : start + width], strict=True)) for start in range(0, len(intervals), width)
    ]
    return tuple(
        Row(
            variant=variant,
            figures=told[number],
            differences=told[len(variants) + number] if number else {},
            per_class_f1=_mean(trial.per_class_f1 for trial in trials[number]),
            auroc=_mean(trial.auroc for trial in trials[number]),
        )
        for number, variant in enumerate(variants)
    )


def _mean(tables: Iterable[Mapping[str, float]]) -> dict[str, float]:
    every = list(tables)
    return {name: float(np.mean([table[name] for table in every])) for name in every[0]}


def _strength(recipe: Recipe, **changes: float) -> Recipe:
    return with_settings(recipe, {"strength": changes})
