"""A folder of photographs becomes a model version: the way of training in one screen."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from model_store import examples, placed
from model_store.card import DRAWN, GOLDEN, Card, ExamplesCard, check_suffix
from training.data import splits
from training.data.duplicates import grouped, groups, near_duplicates
from training.data.exported import is_export
from training.data.folder import Folder, Photo, load_folder, set_fingerprint
from training.data.others import Others, SetAside, read_others, set_aside
from training.data.splits import Split
from training.errors import SettingWrong
from training.evaluation import crossvalidation, report, subjects
from training.evaluation.assessment import Answered, Assessment, assess
from training.evaluation.figures import Provenance, confusion_of, figures_of, reliability_of
from training.evaluation.records import answered_of, metrics_of, reference_of
from training.evaluation.unseen import LeftOut, leave_class_out
from training.export import card_page, fused_graph, parity, run_folder
from training.export.card import Learning, Measures, card_of
from training.export.golden import drawn_photos, golden_photos
from training.export.parity import Parity
from training.fitting import head_only, lenses, saved
from training.fitting.features import Eye, network_cores
from training.fitting.kept_features import Shelf
from training.fitting.lenses import Tutor
from training.fitting.recipe import Recipe
from training.fitting.sight import Eyes, Lens, Outside, Sight
from training.listing import counted
from training.models import backbone_graph
from training.models.heads import Network
from training.served import learnt
from training.served.answers import GraphModel

FOLDS: Final = 5
_MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

Say = Callable[[str, int, int], None]  # what is being done, how far, of how much


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides a run."""

    data: Path
    out: Path
    recipe: Recipe
    outside: tuple[Path, ...] = ()
    seed: int = 0
    name: str = ""  # of the model; empty: after the data's folder
    suffix: str = ""  # of the version's name
    folds: int = FOLDS
    weights: Path | None = None  # of the backbone; None: those of the installed package
    exports: Path | None = None  # a folder in which exported backbones are kept for the next run; None: nowhere
    features: Path | None = None  # a folder in which is kept what a frozen backbone sees; None: nowhere
    thumbnails: bool = False  # show small pictures of the references to whoever may call the model
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Run:
    """What `train` made."""

    path: Path
    card: Card
    parity: Parity
    left_out: tuple[str, ...]  # photographs of other things, a sentence for each


@dataclass(frozen=True, slots=True)
class _Given:
    """The photographs of a run, and how they are divided."""

    folder: Folder
    together: crossvalidation.Groups  # near-duplicates, and views of one object
    others: Others
    aside: SetAside  # of the others
    division: Split


@dataclass(frozen=True, slots=True)
class _Measured:
    """What versions of the recipe say of photographs that they never saw, and how well that does."""

    found: crossvalidation.OutOfFold
    left_out: LeftOut
    answered: Answered
    assessment: Assessment
    source: Provenance


@dataclass(frozen=True, slots=True)
class _Model:
    """The version that a run gives, as a network and as a graph that says the same."""

    fit: crossvalidation.Fit
    lens: Lens
    network: Network
    whole: ModelProto
    graph: bytes  # the same
    parity: Parity


def train(request: Request, *, say: Say = _silent) -> Run:
    """Train, measure and write a run; `request.out` appears whole or not at all.

    Raises DataWrong or TrainingRefused, each one sentence; OSError where the disk refuses.
    """
    threads = network_cores()
    torch.set_num_threads(threads)
    _check(request)
    given = _read(request, say)
    eyes = _eyes(request, given, threads, say)
    measured = _measure(request, given, eyes, threads, say)
    model = _fit(request, given, eyes, say)
    say("Writing the run", 0, 1)
    with placed.folder(request.out, replace=True) as place:
        card = _write(place, request, given, measured, model, threads)
    shutil.rmtree(_tuning_folder(request.out), ignore_errors=True)
    return Run(request.out, card, model.parity, given.others.left_out)


def _check(request: Request) -> None:
    """What can be said before a photograph is read. Raises SettingWrong; DataWrong where `out` is not free."""
    _model_name(request)
    run_folder.check_free(request.out)
    try:
        check_suffix(request.suffix)
    except ValueError as error:
        raise SettingWrong(str(error)) from None
    if request.recipe.head not in head_only.LINEAR:
        raise SettingWrong(
            f"the head {request.recipe.head} is no part of a graph: it is there to be compared (amulet ablate --over "
            f"models); train with {' or '.join(head_only.LINEAR)}"
        )
    if request.thumbnails and is_export(request.data):
        raise SettingWrong(
            f"{request.data} is an export of a console: its photographs may be taken back, and an archive that shows "
            "small pictures of them cannot forget one; leave --thumbnails out, or train on photographs of your own"
        )


def _read(request: Request, say: Say) -> _Given:
    """Raises DataWrong, and DataTooSmall where the folds and parts need more photographs."""
    recipe = request.recipe
    folder = load_folder(request.data, progress=lambda done, total: say("Reading photographs", done, total))
    together = groups(folder.photos, near_duplicates(folder.photos))
    crossvalidation.check_size(together, folder, folds=request.folds, seeds=(request.seed,))
    others = read_others(request.outside, folder)
    aside = set_aside(others.kept, borders_share=recipe.ood_threshold_share, seed=request.seed)
    division = splits.split(folder, seed=request.seed, parts=crossvalidation.shares_of(recipe), together=together)
    return _Given(folder, together, others, aside, division)


def _eyes(request: Request, given: _Given, threads: int, say: Say) -> Eyes:
    """Raises WeightsMissing."""
    say("Exporting the backbone", 0, 1)
    recipe = request.recipe
    start = lenses.starting_backbone(recipe, seed=request.seed, file=request.weights)
    return lenses.eyes_of(
        lenses.lens_of(start, recipe, threads=threads, kept=request.exports),
        recipe,
        lambda eye: _look(eye, given.folder, given.aside, request, say, shelf=shelf_of(request)),
        Tutor(given.together, keep=_tuning_folder(request.out), progress=partial(say, "Fine-tuning")),
        seed=request.seed,
        threads=threads,
    )


def _measure(request: Request, given: _Given, eyes: Eyes, threads: int, say: Say) -> _Measured:
    folder, recipe, seed = given.folder, request.recipe, request.seed
    at_once = threads if recipe.tuning is None else 1  # a network that learns needs all cores for itself
    found = crossvalidation.out_of_fold(
        folder,
        eyes,
        given.together,
        folds=request.folds,
        recipe=recipe,
        seed=seed,
        threads=at_once,
        progress=lambda done, total: say("Cross-validating", done, total),
        outside_groups={each: grouped(photos) for each, photos in given.aside.report.items()},
    )
    say("Leaving each class out", 0, len(folder.classes))
    left_out = leave_class_out(
        folder,
        eyes,
        given.together,
        recipe=recipe,
        seed=seed,
        folds=request.folds,
        threads=at_once,
        progress=lambda done, total: say("Leaving each class out", done, total),
    )
    answered = answered_of(folder, found, set_coverage=recipe.set_coverage)
    source = Provenance(request.data.resolve().name, folder.fingerprint, len(folder.photos), request.folds, seed)
    return _Measured(found, left_out, answered, assess(answered, seed=seed), source)


def _fit(request: Request, given: _Given, eyes: Eyes, say: Say) -> _Model:
    """The version, which learns from all photographs. Raises ParityBroken."""
    say("Fitting the version", 0, 1)
    folder = given.folder
    fit = crossvalidation.fit_on(
        given.together,
        {photo.relative: row for row, photo in enumerate(folder.photos)},
        eyes,
        crossvalidation.labels_of(folder),
        classes=len(folder.classes),
        recipe=request.recipe,
        seed=request.seed,
        levels=crossvalidation.cuts_of(folder),
    )
    version, lens = fit.version, fit.sight.lens
    assert lens is not None
    fitted = version.fitted
    whole = fused_graph.fuse(lens.graph, fitted, pooled=lens.backbone.channels)
    network = Network(lens.backbone, fused_graph.linear(fitted.head)).eval()
    graph = backbone_graph.to_bytes(whole)
    say("Comparing the graph with the model", 0, 1)
    images = [lens.eye.pixels(photo) for photo in _spread(folder.photos, parity.PHOTOS)]
    equal = parity.check(network, fitted, version.limits, graph, images)
    return _Model(fit, lens, network, whole, graph, equal)


def _learning(request: Request, given: _Given, model: _Model) -> Learning:
    sets = sorted(given.others.given.items())
    return Learning(
        folder=given.folder,
        division=given.division,
        leaks=splits.leaks(given.division, given.together),
        recipe=request.recipe,
        seed=request.seed,
        settings={
            "folds": request.folds,
            "outside": [name for name, _photos in sets],
            "outside_fingerprints": {name: set_fingerprint(photos) for name, photos in sets},
            **({GOLDEN: DRAWN} if is_export(request.data) else {}),
        },
        origin=model.lens.backbone.origin,
        borders_on=_borders_on(given.division, model.fit.sight.outside, request.recipe),
    )


def _measures(given: _Given, measured: _Measured) -> Measures:
    found, assessment, source = measured.found, measured.assessment, measured.source
    return Measures(
        metrics=figures_of(given.folder, found, measured.left_out, source),
        confusion=confusion_of(assessment, source, tuned=found.tuned),
        reliability=reliability_of(assessment, source),
        look_alikes=tuple(assessment.look_alikes),
    )


def _write(place: Path, request: Request, given: _Given, measured: _Measured, model: _Model, threads: int) -> Card:
    """Everything that belongs to a run, into a folder. Returns the card that is among it."""
    folder, fit, lens = given.folder, model.fit, model.lens
    references = [fit.learnt_from[number] for number in fit.version.fitted.nearest.photos]
    shown = {photo.sha256: lens.eye.pixels(photo) for photo in references} if request.thumbnails else {}
    listed = run_folder.examples_of(references, shown=shown)
    card = card_of(
        fit.version,
        _learning(request, given, model),
        _measures(given, measured),
        name=_model_name(request),
        created_at=request.created_at,
        suffix=request.suffix,
        graph=model.whole,
        graph_sha256=hashlib.sha256(model.graph).hexdigest(),
        examples=ExamplesCard(len(references), hashlib.sha256(listed.encode()).hexdigest(), request.thumbnails),
    )
    photographs = _golden(request, given.division, lens.eye)
    golden = run_folder.write_golden(place, photographs, GraphModel(card, model.graph, threads=threads))
    card = replace(card, golden=golden)
    run_folder.write_model(place, card, model.graph)
    saved.write_checkpoint(place, model.network, fit.version.fitted, request.recipe)
    (place / examples.FILE).write_text(listed, "utf-8")
    reference = reference_of(folder, measured.found, measured.answered.qualities, unlearnt=_unlearnt(fit, folder))
    (place / run_folder.REFERENCE).write_text(reference, "utf-8")
    if lens.course is not None:
        run_folder.write_json(place, run_folder.TUNING, lens.course)
    document = metrics_of(card, folder, measured.found, measured.assessment, measured.left_out, model.parity)
    run_folder.write_json(place, run_folder.METRICS, document)
    run_folder.write_json(place, learnt.FILE, learnt.document(given.division.parts, given.aside.thresholds))
    subject = subjects.of_run(
        GraphModel(card, model.graph, threads=threads),
        folder,
        measured.found,
        measured.answered,
        measured.assessment,
        measured.left_out,
        course=lens.course,
    )
    (place / run_folder.REPORT).write_text(report.page(subject), "utf-8")
    (place / run_folder.CARD_PAGE).write_text(card_page.page(card), "utf-8")
    return card


def _golden(request: Request, division: Split, eye: Eye) -> list[NDArray[np.uint8]]:
    """[height, width, 3] each: held-out photographs, and drawings where those may be taken back."""
    if is_export(request.data):
        return drawn_photos(request.recipe.seen_px)
    return [
        eye.pixels(photo) for photo in golden_photos([*division.parts["calibration"], *division.parts["thresholds"]])
    ]


def _unlearnt(fit: crossvalidation.Fit, folder: Folder) -> NDArray[np.floating]:
    """[n, size]: what the version's network sees of photographs that it did not learn from: of all, where it learnt
    from none.
    """
    seen: NDArray[np.floating] = fit.sight.features.plain
    if not fit.sight.tuned:
        return seen
    learnt = {photo.relative for photo in fit.learnt_from}
    return seen[[photo.relative not in learnt for photo in folder.photos]]


def _model_name(request: Request) -> str:
    folder = request.data.resolve().name
    name = request.name or re.sub(r"[^a-z0-9_-]+", "-", folder.lower()).strip("-_")[:63]
    if not _MODEL_NAME.fullmatch(name):
        wrong = f"{name!r} cannot be" if request.name else f"The folder {folder} does not give"
        raise SettingWrong(
            f"{wrong} a model's name: use 1 to 63 lower case letters, digits, - and _, "
            f"starting with a letter or digit (--name)"
        )
    return name


def _tuning_folder(out: Path) -> Path:
    """Beside the run: what a fine-tuning that was interrupted goes on from."""
    return out.with_name(f".{out.name}.tuning")


def shelf_of(request: Request) -> Shelf | None:
    """Where what a network sees is found again; None: it looks for itself."""
    # A network that learns from this very division sees otherwise next time.
    if request.features is None or request.recipe.tuning is not None:
        return None
    # It would outlive an export, which is deleted after a training: its people may take the photographs back.
    places = (request.data, *(place for path in request.outside for place in (path, path.parent)))
    if any(is_export(place) for place in places):
        return None
    return Shelf(request.features, request.data)


def _look(eye: Eye, folder: Folder, others: SetAside, request: Request, say: Say, *, shelf: Shelf | None) -> Sight:
    """Everything that a network is asked about, seen by it."""
    features = eye.features(
        folder.photos,
        seed=request.seed,
        views=request.recipe.views,
        progress=lambda done, total: say("Looking at photographs", done, total),
        shelf=shelf,
    )

    def plain(photos: Sequence[Photo]) -> NDArray[np.float32]:
        if not photos:
            return np.zeros((0, sum(eye.channels)), np.float32)
        return eye.features(photos, seed=request.seed, views=0, shelf=shelf).plain

    report = {name: plain(photos) for name, photos in others.report.items()}
    sight = Sight(features, Outside(plain(others.thresholds), report))
    if shelf is not None:
        shown = (folder.photos, others.thresholds, *others.report.values())
        shelf.tidy({photo.sha256 for photos in shown for photo in photos})
    return sight


def _borders_on(division: Split, outside: Outside, recipe: Recipe) -> str:
    known = division.counts["thresholds"]
    text = (
        f"{counted(known, 'held-out photograph')} of the known classes and {counted(recipe.views, 'view')} of "
        f"each: prediction bounds on scores, unsure beyond {recipe.unsure_ratio:.1%} and out beyond "
        f"{recipe.out_ratio:.1%} of them"
    )
    if len(outside.thresholds):
        text += (
            f"; the border to out moved, within 0.05% to 5%, to where it separates them best from "
            f"{counted(len(outside.thresholds), 'photograph')} of other things that no figure is reported on"
        )
    return text


def _spread(photos: Sequence[Photo], count: int) -> list[Photo]:
    """Photographs from all over the folder, in a fixed order."""
    return [photos[index] for index in np.unique(np.linspace(0, len(photos) - 1, count).astype(int))]
