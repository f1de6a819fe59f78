"""What each part of a recipe is worth: variants of it, cross-validated on the same folds, differences paired.

Every variant and seed is measured on photographs that its fold never saw, as they are and on
another table. A seed draws the folds and the views anew, for all variants alike; figures are
means over seeds, intervals are over photographs and the photographs of other things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handlers.amulet_handler import pixels_of
from training import documents, sampling
from training.augmentation import backdrop
from training.augmentation.standard import Strength
from training.data.folder import Photo
from training.errors import SettingWrong
from training.evaluation import crossvalidation, several
from training.experiments.kept_trials import KeptTrials
from training.experiments.trials import EyesOf, Ground, Trial, tasks_of, trials_of
from training.fitting.companion import JOINED
from training.fitting.ranges import HEADS
from training.fitting.recipe import Recipe, recipe_of, with_settings
from training.fitting.tuning import Tuning
from training.models import weights
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all, effective, reflected, with_room

# Where there are weights for them, each at the size of the recipes and at one nearer to what it was schooled at.
_NETWORKS: Final = (
    ("tf_efficientnet_lite0", 288),
    ("tf_efficientnet_lite1", 224),
    ("tf_efficientnet_lite2", 256),
)
FIGURES: Final = (
    "balanced_accuracy",
    "balanced_accuracy_version",
    "balanced_accuracy_other_table",
    "macro_f1",
    "minority_f1",  # mean of the classes that `sampling.minorities` finds; of all, where all have as many
    "ece",
)
BASE: Final = "as it is"
Say = Callable[[str, int, int], None]


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
class Row:
    """A variant's figures, and how far they are from the first variant's: no differences there."""

    variant: Variant
    figures: Mapping[str, Interval]
    per_class_f1: Mapping[str, Interval]
    auroc: Mapping[str, Interval]  # by set of other things
    differences: Mapping[str, Interval]
    per_class_f1_differences: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Ablation:
    """The result."""

    data: str
    fingerprint: str
    photos: int
    tables_replaced: int  # photographs whose backdrop could be replaced; the others stay as they are
    minorities: tuple[str, ...]  # classes
    seeds: tuple[int, ...]
    folds: int
    rows: tuple[Row, ...]

    @property
    def p_values(self) -> Mapping[tuple[str, str], float]:
        """(variant, figure) -> that the difference is luck, corrected for all of `differences`."""
        return several.corrected(
            {(row.variant.name, name): each for row in self.rows for name, each in row.differences.items()}
        )

    @property
    def per_class_p_values(self) -> Mapping[tuple[str, str], float]:
        """(variant, class) -> the same of `per_class_f1_differences`."""
        return several.corrected(
            {(row.variant.name, name): each for row in self.rows for name, each in row.per_class_f1_differences.items()}
        )

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        of_figures, of_classes = self.p_values, self.per_class_p_values
        return {
            "corrected": {
                "differences": several.words(len(of_figures)),
                "per_class_f1_differences": several.words(len(of_classes)),
            },
            "data": {"name": self.data, "fingerprint": self.fingerprint, "photos": self.photos},
            "tables_replaced": self.tables_replaced,
            "minorities": list(self.minorities),
            "seeds": list(self.seeds),
            "folds": self.folds,
            "variants": {
                row.variant.name: {
                    **{name: interval.value for name, interval in row.figures.items()},
                    "intervals": _pairs(row.figures),
                    "differences": _told(row.variant.name, row.differences, of_figures),
                    "per_class_f1": _values(row.per_class_f1),
                    "per_class_f1_intervals": _pairs(row.per_class_f1),
                    "per_class_f1_differences": _told(row.variant.name, row.per_class_f1_differences, of_classes),
                    "ood_auroc": _values(row.auroc),
                    "ood_auroc_intervals": _pairs(row.auroc),
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


def of_mixes(recipe: Recipe) -> tuple[Variant, ...]:
    """What a network may learn from besides its photographs as they are: nothing, each thing alone, all of them.

    Views of the photographs are of the one kind that the name says, for the network and for the head after it.
    """
    nothing = {item.name: 0.0 for item in fields(Strength)}
    plain: dict[str, Any] = {"mix_ratio": 0.0, "erasing_ratio": 0.0, "randaugment_ops": 0}
    none = with_settings(recipe, {"strength": nothing, "views": 0, "tuning": plain})

    def mixed(cutmix_share: float) -> Recipe:
        return with_settings(none, {"tuning": {"mix_ratio": 1.0, "cutmix_share": cutmix_share}})

    def seen(**kind: float) -> Recipe:
        return with_settings(none, {"views": recipe.views, "strength": kind})

    standard = Tuning()
    return (
        Variant("none", none),
        Variant("MixUp", mixed(0.0)),
        Variant("CutMix", mixed(1.0)),
        Variant("MixUp and CutMix", mixed(0.5)),
        Variant("RandAugment", with_settings(none, {"tuning": {"randaugment_ops": standard.randaugment_ops}})),
        Variant("RandomErasing", with_settings(none, {"tuning": {"erasing_ratio": standard.erasing_ratio}})),
        Variant("robust", seen(robust_ratio=0.5)),
        Variant("backdrop", seen(backdrop_ratio=1.0)),
        Variant("fine-tuned with all", with_settings(recipe, {"tuning": {}})),
    )


def of_minorities(recipe: Recipe) -> tuple[Variant, ...]:
    """What helps classes of few photographs while a network learns, against nothing."""
    nothing = with_settings(recipe, {"tuning": {"sampler": "as_given"}})

    def helped(**how: Any) -> Recipe:
        return with_settings(nothing, {"tuning": how})

    return (
        Variant("as given", nothing),
        Variant("balanced sampling", helped(sampler="balanced")),
        Variant("variance-aware sampling", helped(sampler="variance")),
        Variant("class-weighted loss", helped(class_weighted=True)),
        Variant("stronger augmentation for minorities", helped(minority_robust_ratio=0.5)),
    )


def of_companions(recipe: Recipe) -> tuple[Variant, ...]:
    """The recipe, and with a second network: its own at a larger size, or a larger one at its size.

    Both look at the same views. Each pair once with one head on the features of both, once with the answers of a
    head for each averaged; last the larger size and the larger network alone, as far as their weights are installed.
    """
    seconds = [
        (name, input_px)
        for name, input_px in ((recipe.backbone, 288), ("tf_efficientnet_lite1", recipe.input_px))
        if weights.installed(name)
    ]
    beside = [
        Variant(
            f"and {name} at {input_px} px, {joined}",
            with_settings(recipe, {"companion": {"backbone": name, "input_px": input_px, "joined": joined}}),
        )
        for name, input_px in seconds
        for joined in JOINED
    ]
    alone = [
        Variant(f"{name} at {input_px} px alone", with_settings(recipe, {"backbone": name, "input_px": input_px}))
        for name, input_px in seconds
    ]
    return (Variant(BASE, recipe), *beside, *alone)


def of_preprocessing(recipe: Recipe) -> tuple[Variant, ...]:
    """The recipe, and photographs and views with less noise, more local contrast, or both."""
    steps: Mapping[str, Mapping[str, Any]] = {
        "CLAHE, clip 2": {"clahe_clip": 2.0},
        "CLAHE, clip 4": {"clahe_clip": 4.0},
        "median of 3 x 3": {"denoise": "median"},
        "bilateral": {"denoise": "bilateral"},
        "bilateral, then CLAHE, clip 2": {"denoise": "bilateral", "clahe_clip": 2.0},
    }
    return (
        Variant(BASE, recipe),
        *(Variant(name, with_settings(recipe, {"preprocessing": how})) for name, how in steps.items()),
    )


# What `amulet ablate --over` may name.
SETS: Final[Mapping[str, Callable[[Recipe], tuple[Variant, ...]]]] = MappingProxyType(
    {
        "augmentations": of_augmentations,
        "models": of_models,
        "tunings": of_tunings,
        "mixes": of_mixes,
        "minorities": of_minorities,
        "companions": of_companions,
        "preprocessing": of_preprocessing,
    }
)


def of_settings(recipe: Recipe, changes: Iterable[str]) -> tuple[Variant, ...]:
    """The recipe, and one variant for each value of `FIELD=VALUE,VALUE`; `strength.FIELD` names one of the views'.

    A value is YAML. Raises SettingWrong for what is not of that form, or no setting of a recipe.
    """
    variants = [Variant(BASE, recipe)]
    for change in changes:
        field, mark, values = change.partition("=")
        if not mark or not field or not values:
            raise SettingWrong(f"{change} is not of the form FIELD=VALUE,VALUE, as in head_shrinkage=0.1,0.4")
        for text in values.split(","):
            try:
                value = documents.of_yaml(text)
            except ValueError:
                raise SettingWrong(
                    f"{text} in {change} is no value: commas part the values to try, so none may hold one; a list of "
                    f"several belongs into a file (--config), as in `levels: [middle, head]`"
                ) from None
            outer, dot, inner = field.partition(".")
            settings = {outer: {inner: value}} if dot else {field: value}
            variant = Variant(f"{field} {text}", with_settings(recipe, settings))
            # One that the recipe has anyhow is welcome: it is how the table shows where the recipe stands.
            if any(each.name == variant.name for each in variants):
                raise SettingWrong(f"{variant.name} is to be tried twice: name each value once")
            variants.append(variant)
    return tuple(variants)


def ablate(
    request: Request,
    open_eyes: Callable[[], EyesOf],
    *,
    say: Say,
    jobs: int = 1,
    keep: Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Ablation:
    """Cross-validate every variant with every seed.

    jobs: processes that share the variants and seeds, as `trials_of` says.  keep: a folder for finished trials, those
    of this and of other experiments; what is there is not done again.  warn: told where they cannot be kept.
    Raises DataWrong or TrainingRefused, each one sentence.
    """
    ground = Ground.read(
        request.data,
        request.outside,
        folds=request.folds,
        seeds=request.seeds,
        progress=lambda done, total: say("Reading photographs", done, total),
    )
    folder, labels = ground.folder, crossvalidation.labels_of(ground.folder)
    kept = KeptTrials(keep, ground, warn=warn) if keep is not None else None
    wanted = [(place, each.recipe, seed) for place, each in enumerate(request.variants) for seed in request.seeds]
    found: dict[tuple[int, int], Trial] = {}
    for place, recipe, seed in wanted:
        trial = kept.read(recipe, seed) if kept is not None else None
        if trial is not None:
            found[place, seed] = trial
    say("Cross-validating variants", len(found), len(wanted))
    tasks = tasks_of((place, recipe, seed) for place, recipe, seed in wanted if (place, seed) not in found)
    for task, own in trials_of(ground, tasks, open_eyes, jobs=jobs):
        for (place, recipe), trial in zip(task.recipes, own, strict=True):
            found[place, task.seed] = trial
            if kept is not None:
                kept.write(recipe, task.seed, trial)
        say("Cross-validating variants", len(found), len(wanted))
    trials = [[found[place, seed] for seed in request.seeds] for place in range(len(request.variants))]
    return Ablation(
        data=request.data.resolve().name,
        fingerprint=folder.fingerprint,
        photos=len(folder.photos),
        tables_replaced=_replaceable(folder.photos, request.variants[0].recipe.input_px),
        seeds=request.seeds,
        folds=request.folds,
        minorities=tuple(folder.classes[label] for label in _minorities(labels)),
        rows=_rows(request.variants, trials, labels, folder.classes, ground.groups),
    )


def _replaceable(photos: Sequence[Photo], side_px: int) -> int:
    """How many stand on a backdrop that can be told from them."""
    images = (pixels_of(photo.content(), side_px, side_px) for photo in photos)
    return sum(backdrop.mask(image) is not None for image in images)


def _rows(
    variants: Sequence[Variant],
    trials: Sequence[Sequence[Trial]],
    labels: NDArray[np.intp],
    classes: Sequence[str],
    groups: Sequence[NDArray[np.intp]],
) -> tuple[Row, ...]:
    """groups: of the photographs, then of those of each set of other things."""
    right = np.stack([np.mean([trial.predicted == labels for trial in own], axis=0) for own in trials])  # [variants, n]
    whole = np.stack([np.mean([trial.confident_right for trial in own], axis=0) for own in trials])
    other = np.stack([np.mean([trial.right_other_table for trial in own], axis=0) for own in trials])
    few = _minorities(labels)
    sets = list(trials[0][0].outside_scores)

    def measure(rows: NDArray[np.intp], *outside: NDArray[np.intp]) -> NDArray[np.float64]:
        counts = metrics.balanced_weights(labels, rows)
        f1 = np.stack(
            [np.mean([_f1(labels[rows], each.predicted[rows], len(classes)) for each in own], axis=0) for own in trials]
        )
        errors = [
            np.mean([metrics.confidence_error(each.confidence[rows], each.confident_right[rows]) for each in own])
            for own in trials
        ]
        areas = [
            [
                np.mean([_auroc(each, name, rows, away) for each in own])
                for name, away in zip(sets, outside, strict=True)
            ]
            for own in trials
        ]
        figures = [
            right @ counts,
            whole @ counts,
            other @ counts,
            f1.mean(axis=1),
            f1[:, few].mean(axis=1),
            np.array(errors),
        ]
        table = np.concatenate([np.stack(figures, axis=1), f1, np.array(areas).reshape(len(trials), -1)], axis=1)
        return np.stack([table, table - table[0]]).ravel()  # [2, variants, columns]

    strata = [labels, *(np.zeros(trials[0][0].outside_scores[name].shape[1], np.intp) for name in sets)]
    intervals = bootstrap_all(measure, strata, seed=0, groups=groups)
    width = len(FIGURES) + len(classes) + len(sets)
    lines = [intervals[start : start + width] for start in range(0, len(intervals), width)]

    def named(names: Sequence[str], line: Sequence[Interval], start: int) -> dict[str, Interval]:
        return dict(zip(names, line[start : start + len(names)], strict=True))

    def figures(line: Sequence[Interval], calibration: Callable[[Interval], Interval]) -> dict[str, Interval]:
        found = named(FIGURES, line, 0)
        return {**found, "ece": calibration(found["ece"])}

    def against_luck(own: Sequence[Trial]) -> Callable[[Interval], Interval]:
        said = np.stack([trial.confidence for trial in own])
        return lambda error: metrics.calibration_interval(error, said, seed=0, groups=groups[0])

    known, *others = (effective(own) for own in groups)
    of_figure = {
        **dict.fromkeys(FIGURES, effective(groups[0], labels)),
        "minority_f1": effective(groups[0][np.isin(labels, few)], labels[np.isin(labels, few)]),
    }
    of_class = {name: effective(groups[0][labels == label]) for label, name in enumerate(classes)}
    of_set = {name: min(known, number) for name, number in zip(sets, others, strict=True)}

    def roomy(found: Mapping[str, Interval], photos: Mapping[str, float]) -> dict[str, Interval]:
        return {name: each if name == "ece" else with_room(each, photos[name]) for name, each in found.items()}

    return tuple(
        Row(
            variant=variant,
            figures=roomy(figures(own, against_luck(trials[number])), of_figure),
            per_class_f1=roomy(named(classes, own, len(FIGURES)), of_class),
            auroc=roomy(named(sets, own, len(FIGURES) + len(classes)), of_set),
            differences=figures(gap, reflected) if number else {},
            per_class_f1_differences=named(classes, gap, len(FIGURES)) if number else {},
        )
        for number, (variant, own, gap) in enumerate(
            zip(variants, lines[: len(variants)], lines[len(variants) :], strict=True)
        )
    )


def _auroc(trial: Trial, name: str, rows: NDArray[np.intp], away: NDArray[np.intp]) -> float:
    return metrics.auroc_of_a_version(trial.ood_scores[rows], trial.fold[rows], trial.outside_scores[name][:, away])


def _f1(labels: NDArray[np.intp], predicted: NDArray[np.intp], classes: int) -> NDArray[np.float64]:
    """[classes]; 0 for a class that is neither there nor answered."""
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    known = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    return np.asarray(2.0 * hits / np.maximum(known, 1))


def _minorities(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Classes of few photographs; all, where none has fewer than the others."""
    few = np.unique(labels[sampling.minorities(labels)])
    return few if len(few) else np.unique(labels)


def _values(figures: Mapping[str, Interval]) -> dict[str, float]:
    return {name: interval.value for name, interval in figures.items()}


def _pairs(figures: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {name: interval.pair() for name, interval in figures.items()}


def _told(
    variant: str, differences: Mapping[str, Interval], p_values: Mapping[tuple[str, str], float]
) -> dict[str, dict[str, Any]]:
    return {name: several.told(interval, p_values[variant, name]) for name, interval in differences.items()}


def _strength(recipe: Recipe, **changes: float) -> Recipe:
    return with_settings(recipe, {"strength": changes})
