"""A better recipe, looked for with Optuna, and what it is really worth.

The best of many recipes is the best on these photographs, and a little of that is luck: its figure on the folds that
chose it is too good. So the whole search is done once more for each fold without that fold's photographs, and what it
chose there answers them (nested cross-validation: Varma and Simon 2006, BMC Bioinformatics 7:91; Cawley and Talbot
2010, JMLR 11). That figure is the one to expect; the difference is what choosing costs.

A trial is in DIR when it is done, and each is drawn by the seed and the trials before it alone: a search that was
killed goes on with at most one trial lost, and ends with the same numbers. It has ended when its result is there,
which is written last.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from model_store import leftovers, placed
from training import documents, locks, results
from training.data.duplicates import group_numbers, groups, near_duplicates
from training.data.folder import Folder, load_folder
from training.data.splits import divide
from training.errors import SettingWrong
from training.evaluation import crossvalidation
from training.evaluation.crossvalidation import Groups, head_on
from training.experiments.search_space import Space
from training.experiments.sights import EyeOf, Sights
from training.fitting.features import Features
from training.fitting.recipe import Recipe
from training.listing import counted
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all, of_class_mean

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

REQUEST: Final = "request.json"
RESULT: Final = "search.json"
RECIPE: Final = "recipe.yaml"
REPORT: Final = "report.html"
_TRIALS: Final = "trials.journal"
_SEEN: Final = "seen"
_LOCK: Final = ".lock"
_CHOOSING: Final = "all photographs"
_SECONDS: Final = "seconds"
NAME: Final = "searched"  # of the recipe that is found
FOLDS_MIN: Final = 3  # a search without one fold divides the others again
_IMPORTANCE_TRIALS_MIN: Final = 8  # fewer say nothing about so many settings
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides a search."""

    data: Path
    out: Path
    space: Space
    trials: int
    seed: int = 0
    folds: int = 5
    resume: bool = False  # go on with a search that has ended


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe, cross-validated on the photographs that choose."""

    number: int  # from 1
    settings: Mapping[str, Any]  # what was drawn
    recipe: Recipe
    balanced_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Search:
    """The result. All intervals are over the same resamples of the photographs."""

    data: str
    fingerprint: str
    photos: int
    seed: int
    folds: int
    space: Space
    trials: tuple[Trial, ...]
    best: Trial | None  # None: no trial is better than the recipe as it is
    chosen: tuple[Mapping[str, Any] | None, ...]  # settings that the search takes without each fold; None: none
    nested: Interval  # balanced accuracy of photographs that the choice never saw
    naive: Interval  # of the best recipe, on the folds that it was chosen on
    base: Interval  # of the recipe as it is, which nothing was chosen for
    optimism: Interval  # naive - nested
    gain: Interval  # nested - base
    importance: Mapping[str, float]  # setting -> share of the variance of trials, fANOVA; empty for few trials

    @property
    def recipe(self) -> Recipe:
        """The recipe that was found."""
        return replace(self.best.recipe, name=NAME) if self.best else self.space.base

    @property
    def agreement(self) -> int:
        """In how many folds the search without them takes the same recipe."""
        mine = self.best.settings if self.best else None
        return sum(settings == mine for settings in self.chosen)

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        figures = {"nested": self.nested, "naive": self.naive, "base": self.base}
        differences = {"optimism": self.optimism, "gain": self.gain}
        return {
            "data": {"name": self.data, "fingerprint": self.fingerprint, "photos": self.photos},
            "seed": self.seed,
            "folds": self.folds,
            "base": self.space.base.document(),
            "space": self.space.document(),
            "balanced_accuracy": {name: interval.value for name, interval in figures.items()},
            "intervals": {name: interval.pair() for name, interval in figures.items()},
            "differences": {
                name: {"value": interval.value, "interval": interval.pair(), "more_than_luck": interval.sure}
                for name, interval in differences.items()
            },
            "best": None if self.best is None else self.best.number,
            "recipe": self.recipe.document(),
            "chosen_without_fold": [None if settings is None else dict(settings) for settings in self.chosen],
            "importance": dict(self.importance),
            "trials": [
                {
                    "number": trial.number,
                    "settings": dict(trial.settings),
                    "balanced_accuracy": trial.balanced_accuracy,
                    "seconds": trial.seconds,
                }
                for trial in self.trials
            ],
        }


def search(
    request: Request,
    eye_of: EyeOf,
    *,
    say: Say,
    tried: Callable[[Folder, Trial], None] = lambda *_: None,
    page: Callable[[Search], str] | None = None,
) -> Search:
    """Search, measure, and leave the result in `request.out`; one that did not end there is gone on with.

    eye_of: the exported network of a recipe.  tried: told of each trial that chooses, once it is on disk.
    page: of the result, for people.
    Raises DataWrong or TrainingRefused, each one sentence; OSError where the disk refuses.
    """
    placed.clear(request.out / REQUEST)  # of a search that was killed before it had begun
    _check_out(request)
    folder = load_folder(request.data, progress=lambda done, total: say("Reading photographs", done, total))
    together = groups(folder.photos, near_duplicates(folder.photos))
    crossvalidation.check_size(together, folder, folds=request.folds, seeds=(request.seed,))
    _begin(request, folder)
    with locks.held(request.out / _LOCK, request.out), leftovers.named(request.out):
        found = _searched(request, folder, together, eye_of, say, tried)
        _write(request.out, found, page)
        return found


def _searched(
    request: Request,
    folder: Folder,
    together: Groups,
    eye_of: EyeOf,
    say: Say,
    tried: Callable[[Folder, Trial], None],
) -> Search:
    whole, *without = _parts(folder, together, request)
    sights = Sights(
        folder,
        request.space,
        request.out / _SEEN,
        eye_of,
        seed=request.seed,
        progress=lambda done, total: say("Looking at photographs", done, total),
    )
    work = _Work(folder, request, sights, say)
    trials = work.study(whole, lambda trial: tried(folder, trial))
    base, best = work.best(whole, trials)
    nested = np.full(len(folder.photos), -1, np.intp)
    chosen: list[Mapping[str, Any] | None] = []
    for test, part in zip(whole.tests, without, strict=True):
        _, own = work.best(part, work.study(part))
        chosen.append(own.settings if own else None)
        nested[test] = work.answers(own.recipe if own else request.space.base, part.rows, test)
    naive = work.predicted(whole, best.recipe) if best else base
    figures = _figures(work.labels, group_numbers(folder.photos, together), nested, naive, base)
    return Search(
        data=request.data.resolve().name,
        fingerprint=folder.fingerprint,
        photos=len(folder.photos),
        seed=request.seed,
        folds=request.folds,
        space=request.space,
        trials=trials,
        best=best,
        chosen=tuple(chosen),
        **dict(zip(("nested", "naive", "base", "optimism", "gain"), figures, strict=True)),
        importance=work.importance(whole),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Photographs that choose, divided into folds."""

    name: str
    rows: NDArray[np.intp]
    tests: tuple[NDArray[np.intp], ...]


def _parts(folder: Folder, together: Groups, request: Request) -> list[_Part]:
    """All photographs, then all but those of each fold; the same folds as of any cross-validation with this seed."""
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}

    def part(name: str, members: Groups, folds: int) -> _Part:
        tests = divide(members, {str(number): 1.0 for number in range(folds)}, seed=request.seed)
        rows = tuple(np.array([row_of[photo.relative] for photo in photos]) for photos in tests.values())
        return _Part(name, np.sort(np.concatenate(rows)), rows)

    whole = part(_CHOOSING, together, request.folds)
    parts = [whole]
    for number, test in enumerate(whole.tests):
        away = set(test.tolist())
        inside = [members for members in together if row_of[members[0].relative] not in away]
        parts.append(part(f"without fold {number + 1}", inside, request.folds - 1))
    return parts


class _Work:
    """Trials of recipes on parts of one folder."""

    def __init__(self, folder: Folder, request: Request, sights: Sights, say: Say) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.labels = crossvalidation.labels_of(folder)
        self._classes, self._request, self._sights, self._say = len(folder.classes), request, sights, say
        _drop_torn_line(request.out / _TRIALS)
        self._storage: BaseStorage = optuna.storages.JournalStorage(
            JournalFileBackend(str(request.out / _TRIALS), lock_obj=_Held())  # type: ignore[arg-type]
        )
        self._done = 0

    def answers(self, recipe: Recipe, train: NDArray[np.intp], test: NDArray[np.intp]) -> NDArray[np.intp]:
        """Classes of the rows `test` by a head fitted on the rows `train` and their views."""
        return self._answers(self._sights.of(recipe), recipe, train, test)

    def predicted(self, part: _Part, recipe: Recipe) -> NDArray[np.intp]:
        """Out of fold, for every row of the folder; -1 for those that are no part of it."""
        features = self._sights.of(recipe)
        found = np.full(len(self.labels), -1, np.intp)
        for test in part.tests:
            found[test] = self._answers(features, recipe, np.setdiff1d(part.rows, test), test)
        return found

    def study(self, part: _Part, tried: Callable[[Trial], None] = lambda _: None) -> tuple[Trial, ...]:
        """All trials of a part; those that are on disk already are not done again."""
        import optuna

        study = self._study(part)
        for left in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            study.tell(left.number, state=optuna.trial.TrialState.FAIL)  # the one that a kill interrupted
        trials = self._trials(study)
        while len(trials) < self._request.trials:
            total = self._request.trials * (self._request.folds + 1)
            self._say("Trying recipes", self._done + len(trials), total)
            started = time.monotonic()
            # Seeded anew for each: a search that goes on draws what an uninterrupted one would have drawn.
            study.sampler = optuna.samplers.TPESampler(seed=_seed(self._request.seed, part.name, len(trials)))
            trial = study.ask()
            score = self._score(part, self.predicted(part, self._request.space.draw(trial)))
            trial.set_user_attr(_SECONDS, round(time.monotonic() - started, 3))
            study.tell(trial, score)
            trials = self._trials(study)
            tried(trials[-1])
        self._done += len(trials)
        return trials[: self._request.trials]

    def best(self, part: _Part, trials: Sequence[Trial]) -> tuple[NDArray[np.intp], Trial | None]:
        """What the recipe as it is answers, and the first of the best trials that are better than it."""
        base = self.predicted(part, self._request.space.base)
        best = max(trials, key=lambda trial: trial.balanced_accuracy)
        return base, best if best.balanced_accuracy > self._score(part, base) else None

    def importance(self, part: _Part) -> Mapping[str, float]:
        """Only of settings that every trial draws: those of one head are left out."""
        import optuna

        study = self._study(part)
        values = [trial.value for trial in study.get_trials(deepcopy=False) if trial.value is not None]
        if len(values) < _IMPORTANCE_TRIALS_MIN or len(set(values)) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._request.seed)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {name: float(value) for name, value in found.items()}

    def _answers(
        self, features: Features, recipe: Recipe, train: NDArray[np.intp], test: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        head = head_on(features, self.labels, train, classes=self._classes, recipe=recipe)
        return np.asarray(head.logits(features.plain[test]).argmax(axis=1))

    def _score(self, part: _Part, predicted: NDArray[np.intp]) -> float:
        return metrics.balanced_accuracy(self.labels[part.rows], predicted[part.rows])

    def _study(self, part: _Part) -> Study:
        import optuna

        return optuna.create_study(
            storage=self._storage, study_name=part.name, direction="maximize", load_if_exists=True
        )

    def _trials(self, study: Study) -> tuple[Trial, ...]:
        import optuna

        done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        return tuple(
            Trial(
                number,
                dict(trial.params),
                self._request.space.recipe_of(trial.params),
                float(trial.value or 0.0),
                float(trial.user_attrs[_SECONDS]),
            )
            for number, trial in enumerate(done, start=1)
        )


class _Held:
    """For Optuna's own lock: who searches holds the folder already.

    Optuna's is a link beside the journal. One that a kill left is waited for, and for ever where DIR was named by a
    relative path, as the link then leads nowhere.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None: ...


def _drop_torn_line(journal: Path) -> None:
    """What a full disk or a lost machine left of the last line; Optuna would write on behind it."""
    if not journal.is_file():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)


def _seed(seed: int, part: str, done: int) -> int:
    return int(np.random.SeedSequence([seed, *part.encode(), done]).generate_state(1)[0])


def _figures(
    labels: NDArray[np.intp],
    groups: NDArray[np.intp],
    nested: NDArray[np.intp],
    naive: NDArray[np.intp],
    base: NDArray[np.intp],
) -> tuple[Interval, ...]:
    """Balanced accuracies of the three answers [n], what choosing costs, and what it gains."""
    of_nested, of_naive, of_base = ((answers == labels).astype(np.float64) for answers in (nested, naive, base))
    # Differences before sums: where two answers are alike, theirs is 0 and not what rounding leaves.
    table = np.stack([of_nested, of_naive, of_base, of_naive - of_nested, of_nested - of_base])
    found = bootstrap_all(
        lambda rows: np.asarray(table @ metrics.balanced_weights(labels, rows)), [labels], seed=0, groups=[groups]
    )
    return *(of_class_mean(each, groups, labels) for each in found[:3]), *found[3:]


def _check_out(request: Request) -> None:
    """Raises SettingWrong where the search can neither begin nor go on in its folder, whatever the photographs are."""
    out = request.out
    if (out / REQUEST).is_file():
        if (out / RESULT).is_file() and not request.resume:
            raise SettingWrong(f"{out} holds a search already: go on with it by --resume, or name a new folder")
    elif request.resume:
        raise SettingWrong(f"{out} holds no search to go on with: leave --resume out, or name its folder")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingWrong(f"{out} exists and is no search: name a new folder, or an empty one")


def _begin(request: Request, folder: Folder) -> None:
    """The folder, with what decides the search in it. Raises SettingWrong where it holds something else."""
    asked = {
        "photographs": folder.fingerprint,
        "recipe": request.space.base.document(),
        "space": request.space.document(),
        "seed": request.seed,
        "folds": request.folds,
    }
    _check_out(request)  # another search may have begun there meanwhile
    out, path = request.out, request.out / REQUEST
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        results.write(path, json.dumps(asked, ensure_ascii=False, indent=2) + "\n")
        return
    try:
        before = documents.of_json(path.read_text("utf-8"))
        other = [name for name, value in json.loads(json.dumps(asked)).items() if before[name] != value]
    except (ValueError, KeyError, TypeError):
        raise SettingWrong(f"{path} is not what a search wrote: name a new folder") from None
    if other:
        raise SettingWrong(
            f"the search in {out} was begun with other {' and '.join(other)}: go on with the same, or name a new folder"
        )


def _write(out: Path, found: Search, page: Callable[[Search], str] | None) -> None:
    nested = found.nested
    head = (
        f"# Found by `amulet search` on {counted(found.photos, 'photograph')}, fingerprint {found.fingerprint[:12]}.\n"
        f"# What that search finds has a balanced accuracy of {nested.value:.3f} ({nested.low:.3f} to "
        f"{nested.high:.3f}) on photographs that its choice never saw.\n"
    )
    results.write(out / RECIPE, head + yaml.safe_dump(found.recipe.document(), sort_keys=False, allow_unicode=True))
    if page is not None:
        results.write(out / REPORT, page(found))
    results.write(out / RESULT, json.dumps(found.document(), ensure_ascii=False, indent=2) + "\n")
