"""A backbone adapted to the photographs: first a head alone, then the last blocks with it.

What comes out is a backbone. Head, temperature, detectors and borders are then fitted on what it sees,
as on what a frozen one sees: there is one pipeline. The head that is learnt here only shows the blocks
the way, and begins as the discriminant on the frozen features, so that the blocks are not torn out of
shape by a head that knows nothing (Kumar et al. 2022).

Every epoch is drawn from (seed, epoch) alone and kept on disk: a run that was killed goes on where the
last whole epoch ended, and ends with the same numbers.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import WeightedRandomSampler

from training import provenance, sampling
from training.augmentation import standard
from training.data.folder import Photo
from training.errors import ModelUnreadable
from training.fitting import checkpoints
from training.fitting.head_only import fit_head
from training.fitting.mixing import Mixing
from training.fitting.recipe import Recipe
from training.fitting.shown import Pixels, Shown
from training.fitting.tuning import Tuning
from training.models.backbones import Backbone
from training.models.heads import LinearHead, Network

if TYPE_CHECKING:  # importing it takes seconds
    from lightning_fabric import Fabric

Progress = Callable[[int, int], None]
_FIRST_VIEWS: Final = 2  # of each photograph, for the head to begin with
_WATCH_VIEWS: Final = 3  # of each watched photograph: a dozen photographs alone would choose the epoch by luck
_SHARPER: Final = 1.0 / 0.3  # a head's scores spread by 1; divided by 0.3 they say what they mean (decision 0011)
_FINISHED: Final = "finished"
_BACKBONE: Final = "backbone."  # what the names of a network's weights begin with that are the backbone's


@dataclass(frozen=True, slots=True)
class Lesson:
    """Photographs to learn from."""

    photos: tuple[Photo, ...]
    labels: NDArray[np.intp]  # [n], 0..classes-1
    groups: NDArray[np.intp]  # [n]: near-duplicates share a number
    classes: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """What the averaged network said after an epoch; number 0 is before the first.

    Both surprises are at the temperature that suits the watched photographs best: smoothed labels and mixed images
    teach hesitation, which the temperature that is fitted afterwards takes away again.
    """

    number: int
    stage: str  # "start", "head" or "blocks"
    loss: float  # of the augmented batches
    fit_nll: float  # of the photographs that it learns from, as they are
    fit_accuracy: float
    watch_nll: float  # of those that it does not, and of views of them
    watch_accuracy: float

    @property
    def gap(self) -> float:
        """The sign of memorising: how much more the watched photographs surprise it, in nats."""
        return self.watch_nll - self.fit_nll


@dataclass(frozen=True, slots=True)
class Tuned:
    """An adapted backbone and how it came about."""

    backbone: Backbone  # in evaluation mode and without gradients
    epochs: tuple[Epoch, ...]
    best: int  # the epoch whose network this is

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {"best": self.best, "epochs": [{**asdict(epoch), "gap": epoch.gap} for epoch in self.epochs]}


def finetune(
    backbone: Backbone,
    lesson: Lesson,
    recipe: Recipe,
    tuning: Tuning,
    pixels: Callable[[Photo], Pixels],
    *,
    seed: int,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Adapt a copy of the backbone.

    pixels: a photograph as the model sees it; to be pickled where the tuning has several devices.  keep: a folder for
    the state after each epoch; where it holds that of the same photographs, recipe, seed, code and packages, the work
    goes on there. The same arguments give the same network on one machine, whether it was interrupted or not.

    Raises as `devices.learn`.
    """
    path = keep / f"{_key(backbone, lesson, recipe, tuning, seed)}.pt" if keep is not None else None
    state = _kept(path) if path is not None else None
    if state is None or not state[_FINISHED]:
        from training.fitting import devices

        course = partial(_Course, backbone, lesson, recipe, tuning, pixels, seed=seed)
        state = checkpoints.of_content(devices.learn(tuning, partial(_learn, course, path), progress=progress))
    return _tuned(backbone, state)


def _learn(
    course_on: Callable[[Fabric], _Course], path: Path | None, fabric: Fabric, progress: Progress | None
) -> bytes:
    """What is kept of a course that is over, as a checkpoint's content. Every device runs it; the first one keeps."""
    course = course_on(fabric)
    state = _kept(path) if path is not None else None
    if state is None:
        course.begin()
    else:
        course.load(state)
    keep = path if fabric.is_global_zero else None
    while not course.is_over:
        course.epoch()
        if keep is not None:
            checkpoints.write(keep, course.state())
        if progress is not None:
            progress(len(course.epochs) - 1, course.total)
    state = course.result()
    if keep is not None:
        checkpoints.write(keep, state)
    return checkpoints.content_of(state)


def _tuned(backbone: Backbone, state: dict[str, Any]) -> Tuned:
    """state: of a course that is over."""
    own = {name.removeprefix(_BACKBONE): value for name, value in state["best"].items() if name.startswith(_BACKBONE)}
    learnt = copy.deepcopy(backbone).cpu()
    learnt.load_state_dict(own)
    epochs = tuple(Epoch(**epoch) for epoch in state["epochs"])
    best = min(epochs, key=lambda epoch: epoch.watch_nll).number
    return Tuned(learnt.eval().requires_grad_(False), epochs, best)


def _kept(path: Path) -> dict[str, Any] | None:
    """A state that a lost disk left half of is as good as none: it costs the epochs alone."""
    try:
        return checkpoints.read(path)
    except ModelUnreadable:
        return None


def rate_share(step: int, steps: int, *, warm_up: float) -> float:
    """The share of the learning rate at a step of 0..steps-1: a line up, then a cosine down.

    The cosine is that of Loshchilov and Hutter 2017, equation 5.
    """
    rising = round(warm_up * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def watched(lesson: Lesson, *, share: float, seed: int) -> NDArray[np.bool_]:
    """Which photographs are watched and not learnt from, [n]: of each class about the share, whole groups.

    A class keeps at least one group to learn from.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(lesson.labels), np.bool_)
    first_of = {number: lesson.labels[lesson.groups == number][0] for number in np.unique(lesson.groups)}
    for label in range(lesson.classes):
        own = [number for number, first in first_of.items() if first == label]
        count = min(max(1, round(share * len(own))), len(own) - 1)
        if count > 0:
            chosen |= np.isin(lesson.groups, rng.permutation(own)[:count])
    return chosen


class _Course:
    """One fine-tuning: the network, its average, and everything that an epoch changes.

    On several devices each has a course of its own. They draw the same images for a batch and learn from a share of
    it; the first one looks at the photographs and tells the others what it found.
    """

    def __init__(
        self,
        backbone: Backbone,
        lesson: Lesson,
        recipe: Recipe,
        tuning: Tuning,
        pixels: Callable[[Photo], Pixels],
        fabric: Fabric,
        *,
        seed: int,
    ) -> None:
        self._lesson, self._recipe, self._tuning, self._seed = lesson, recipe, tuning, seed
        self._pixels = pixels
        self._fabric, self._device = fabric, fabric.device
        self._mixing = Mixing(tuning, classes=lesson.classes)
        few = sampling.minorities(lesson.labels) & (tuning.minority_robust_ratio > 0.0)
        stronger = replace(recipe.strength, robust_ratio=tuning.minority_robust_ratio)
        self._strength_of = [stronger if small else recipe.strength for small in few]  # [n]
        away = watched(lesson, share=tuning.watch_share, seed=seed)
        self._fit, self._watch = np.flatnonzero(~away), np.flatnonzero(away)
        if not len(self._watch):  # every class is a single group
            self._watch = self._fit
        size = sum(backbone.channels)
        empty = LinearHead(np.zeros((lesson.classes, size), np.float32), np.zeros(lesson.classes, np.float32))
        self._network = Network(copy.deepcopy(backbone), empty).to(self._device).eval()
        self._shown = Shown(self._network.backbone, self._device, unfrozen=_learning(tuning, backbone))
        self._average = self._averaged()
        self._stage: _Stage | None = None
        self._weights = np.full(len(self._fit), 1.0 / len(self._fit))
        self._best: dict[str, torch.Tensor] = {}
        self.epochs: list[Epoch] = []

    @property
    def total(self) -> int:
        """Epochs at most."""
        return self._tuning.head_epochs + self._tuning.epochs

    @property
    def is_over(self) -> bool:
        return len(self.epochs) > self.total or self._is_stalled

    @property
    def _is_stalled(self) -> bool:
        """Whether the blocks have learnt for as many epochs as patience lasts without a better one."""
        blocks = [epoch.number for epoch in self.epochs if epoch.stage == "blocks"]
        return bool(blocks) and blocks[-1] - max(self._best_number, blocks[0] - 1) >= self._tuning.patience

    @property
    def _best_number(self) -> int:
        return min(self.epochs, key=lambda epoch: epoch.watch_nll).number

    def begin(self) -> None:
        """Look at what the backbone sees already."""
        if self._fabric.is_global_zero:
            self._begin()
        self._tell()

    def _begin(self) -> None:
        """The head as the discriminant on what the backbone sees; other devices get it with the first stage."""
        rows = np.concatenate([self._fit, np.repeat(self._fit, _FIRST_VIEWS)])
        embedding = self._embedding(self._views(self._fit, _FIRST_VIEWS))
        head = fit_head(
            embedding, self._lesson.labels[rows], classes=self._lesson.classes, recipe=replace(self._recipe, head="lda")
        )
        assert isinstance(head, LinearHead)
        with torch.no_grad():
            self._network.head.weight.copy_(torch.from_numpy(head.weight * np.float32(_SHARPER)))
            self._network.head.bias.copy_(torch.from_numpy(head.bias * np.float32(_SHARPER)))
        own = self._lesson.labels[self._fit]
        if self._tuning.sampler == "variance":
            self._weights = sampling.variance_aware(embedding[: len(self._fit)], own)
        elif self._tuning.sampler == "balanced":
            self._weights = sampling.balanced(own)
        self._average = self._averaged()
        self._note("start", 0.0)

    def epoch(self) -> None:
        """One epoch; the head's are before the blocks'."""
        number = len(self.epochs)
        in_head = number <= self._tuning.head_epochs
        if self._stage is None or number == self._tuning.head_epochs + 1:
            self._stage = self._fresh_stage(in_head)
        first = 1 if in_head else self._tuning.head_epochs + 1
        epochs = self._tuning.head_epochs if in_head else self._tuning.epochs
        self._network.eval()
        if self._tuning.learn_norms and not in_head:
            self._network.train()
        with torch.random.fork_rng(devices=[]):
            seeds = np.random.default_rng([self._seed, number]).integers(2**62, size=self._fabric.world_size)
            torch.manual_seed(int(seeds[self._fabric.global_rank]))
            loss = self._pass(self._stage, number, step=(number - first) * self._steps, steps=epochs * self._steps)
        self._network.eval()
        if self._fabric.is_global_zero:
            self._note("head" if in_head else "blocks", loss)
        self._tell()

    def _tell(self) -> None:
        """What the first device found, to all: whether to go on, and what to draw."""
        self.epochs, self._weights = self._fabric.broadcast((self.epochs, self._weights))

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        assert self._stage is not None
        return {
            _FINISHED: False,
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._stage.optimizer.state_dict(),
            "weights": torch.from_numpy(self._weights),
            "best": self._best,
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }

    def load(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._weights = state["weights"].numpy()
        self._best = state["best"]
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self._stage = self._fresh_stage(len(self.epochs) - 1 <= self._tuning.head_epochs)
        self._stage.optimizer.load_state_dict(state["optimizer"])

    def result(self) -> dict[str, Any]:
        """What is kept of a course that is over."""
        return {_FINISHED: True, "best": self._best, "epochs": [asdict(epoch) for epoch in self.epochs]}

    @property
    def _draws(self) -> int:
        """Of an epoch: as many as there are photographs, and a few more so that each device has as many as another."""
        return math.ceil(len(self._fit) / self._tuning.devices) * self._tuning.devices

    @property
    def _steps(self) -> int:
        return math.ceil(self._draws / self._tuning.batch)

    def _pass(self, stage: _Stage, epoch: int, *, step: int, steps: int) -> float:
        """Once through as many photographs as there are; the mean loss."""
        generator = torch.Generator().manual_seed(int(np.random.default_rng([self._seed, epoch, 1]).integers(2**62)))
        drawn = list(WeightedRandomSampler(self._weights.tolist(), self._draws, generator=generator))
        labels = self._lesson.labels[self._fit]
        weights = self._class_weights(labels)
        losses = []
        for number in range(self._steps):
            batch = range(number * self._tuning.batch, min((number + 1) * self._tuning.batch, len(drawn)))
            places = batch[self._fabric.global_rank :: self._fabric.world_size]
            images = torch.stack([self._mixing.image(self._seen(drawn[place], epoch, place)) for place in places])
            truth = torch.from_numpy(labels[[drawn[place] for place in places]].astype(np.int64))
            x, shares = self._mixing.batch(self._network.backbone.normalised(images), truth)
            for group in stage.optimizer.param_groups:
                group["lr"] = group["base"] * rate_share(step + number, steps, warm_up=self._tuning.warm_up)
            stage.optimizer.zero_grad()
            logits = stage.network(x.to(self._device))
            loss = functional.cross_entropy(
                logits.float(), shares.to(self._device), weight=weights, label_smoothing=self._tuning.smoothing
            )
            self._fabric.backward(loss)
            stage.optimizer.step()
            self._average.update_parameters(self._network)
            losses.append(float(loss.detach()))
        own = torch.tensor(np.mean(losses), dtype=torch.float64, device=self._device)
        mean = self._fabric.all_reduce(own, reduce_op="mean")
        assert isinstance(mean, torch.Tensor)
        return float(mean)

    def _seen(self, place: int, epoch: int, draw: int) -> torch.Tensor:
        rng = np.random.default_rng([self._seed, epoch, draw, 2])
        row = self._fit[place]
        pixels = self._pixels(self._lesson.photos[row])
        return torch.tensor(standard.view(pixels, rng, self._strength_of[row]))

    def _class_weights(self, labels: NDArray[np.intp]) -> torch.Tensor | None:
        if not self._tuning.class_weighted:
            return None
        counts = np.maximum(np.bincount(labels, minlength=self._lesson.classes), 1)
        return torch.from_numpy((counts.mean() / counts).astype(np.float32)).to(self._device)

    def _fresh_stage(self, in_head: bool) -> _Stage:
        """Of the head, or of the head and the last blocks, each with its own rate; norms and biases do not decay."""
        backbone, tuning = self._network.backbone, self._tuning
        backbone.requires_grad_(False)
        parts: list[tuple[nn.Module, float]] = [(self._network.head, tuning.head_rate)]
        if not in_head:
            parts.append((backbone.last, tuning.rate))
            deeper = list(reversed([backbone.stem, *backbone.blocks]))[: tuning.unfrozen]
            parts += [(part, tuning.rate * tuning.rate_decay ** (turn + 1)) for turn, part in enumerate(deeper)]
        groups = []
        for part, rate in parts:
            for parameter in part.requires_grad_(True).parameters():
                decay = tuning.weight_decay if parameter.ndim > 1 else 0.0
                groups.append({"params": [parameter], "lr": rate, "base": rate, "weight_decay": decay})
        network, optimizer = self._fabric.setup(self._network, torch.optim.AdamW(groups))
        return _Stage(network, optimizer)

    def _averaged(self) -> AveragedModel:
        average = get_ema_multi_avg_fn(self._tuning.average_decay)  # type: ignore[no-untyped-call]
        model: AveragedModel = AveragedModel(self._network, multi_avg_fn=average, use_buffers=True)
        return model.eval()

    def _note(self, stage: str, loss: float) -> None:
        """Look at both parts with the averaged network, and keep it if it is the best so far."""
        labels = self._lesson.labels
        seen = np.concatenate([self._watch, np.repeat(self._watch, _WATCH_VIEWS)])
        fit = self._logits("fit", lambda: (self._pixels(self._lesson.photos[row]) for row in self._fit))
        away = self._logits("watched", lambda: self._views(self._watch, _WATCH_VIEWS))
        temperature = _temperature(away, labels[seen])
        if self._tuning.sampler == "loss":
            losses = -log_softmax(away / temperature, axis=1)[np.arange(len(seen)), labels[seen]]
            self._weights = sampling.loss_aware(losses, labels[seen], labels[self._fit])
        noted = Epoch(
            number=len(self.epochs),
            stage=stage,
            loss=loss,
            fit_nll=_nll(fit / temperature, labels[self._fit]),
            fit_accuracy=float((fit.argmax(axis=1) == labels[self._fit]).mean()),
            watch_nll=_nll(away / temperature, labels[seen]),
            watch_accuracy=float((away.argmax(axis=1) == labels[seen]).mean()),
        )
        self.epochs.append(noted)
        if noted.number == self._best_number:
            self._best = {
                name: value.detach().cpu().clone() for name, value in self._average.module.state_dict().items()
            }

    def _views(self, rows: NDArray[np.intp], views: int) -> Sequence[Pixels]:
        """The photographs of these rows as they are, then `views` views of each, the same every time."""
        images = [self._pixels(self._lesson.photos[row]) for row in rows]
        return images + [
            standard.view(image, np.random.default_rng([self._seed, int(row), view]), self._recipe.strength)
            for row, image in zip(rows, images, strict=True)
            for view in range(views)
        ]

    def _embedding(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.concatenate([self._network.embedding(x).cpu().numpy() for x in self._shown.batches(images)])

    def _logits(self, name: str, images: Callable[[], Iterable[Pixels]]) -> NDArray[np.float32]:
        network = self._average.module
        assert isinstance(network, Network)
        return self._shown.logits(name, images, network)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What learns for some epochs, as Fabric has set it up: devices and precision are its concern."""

    network: nn.Module  # around the course's network, whose weights it shares
    optimizer: torch.optim.Optimizer


def _learning(tuning: Tuning, backbone: Backbone) -> int:
    """Blocks from the end that change; one more than there are where the stem does too."""
    return len(backbone.blocks) + 1 if tuning.learn_norms else tuning.unfrozen


def _nll(logits: NDArray[np.floating], labels: NDArray[np.intp]) -> float:
    truth = torch.from_numpy(labels.astype(np.int64))
    return float(functional.cross_entropy(torch.from_numpy(logits).double(), truth))


def _temperature(logits: NDArray[np.float32], labels: NDArray[np.intp]) -> float:
    """The one with the least surprise."""
    found = minimize_scalar(
        lambda log: _nll(logits / math.exp(log), labels), bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-3}
    )
    return math.exp(float(found.x))


def _key(backbone: Backbone, lesson: Lesson, recipe: Recipe, tuning: Tuning, seed: int) -> str:
    """A name for everything that decides the result."""
    decided = {
        "photos": [photo.sha256 for photo in lesson.photos],
        "labels": lesson.labels.tolist(),
        "groups": lesson.groups.tolist(),
        "recipe": recipe.document(),
        "tuning": asdict(tuning),
        "weights": backbone.origin.described,
        "levels": backbone.levels,
        "seed": seed,
        "noted": [item.name for item in fields(Epoch)],  # a course that noted less cannot go on
        "packages": provenance.packages(),
        "source": provenance.source(),  # epochs of two versions of this code make a network that neither would
    }
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:32]
