"""A run again, from nothing but its card and the photographs that it names.

On one machine the same code and packages give the same files, byte for byte. What could make them others is
refused before the work begins (photographs, weights) or named after it (code, packages).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from model_store.card import Card, CardInvalid
from training.data.errors import DataWrong
from training.data.folder import load_folder, load_outside, set_fingerprint
from training.errors import ModelUnreadable, SettingWrong, WeightsMissing
from training.fitting import lenses
from training.fitting.recipe import RECIPES, Recipe, with_settings
from training.pipeline import Request
from training.served.answers import CARD, read_model

_FP32: Final = "fp32"


def card_at(path: Path) -> Card:
    """The card of a RUN folder or an archive, or a model.json. Raises ModelUnreadable."""
    if path.suffix != Path(CARD).suffix:
        return read_model(path)[0]
    try:
        return Card.parse(path.read_bytes())
    except OSError as error:
        raise ModelUnreadable(
            f"{path} cannot be read ({error.strerror}): name a card, a RUN folder or an .mar"
        ) from None
    except CardInvalid as error:
        raise ModelUnreadable(f"{path}: {error}") from None


def request_of(
    card: Card,
    data: Path,
    out: Path,
    *,
    outside: tuple[Path, ...] = (),
    weights: Path | None = None,
    exports: Path | None = None,
) -> Request:
    """What trains the card's version once more; its photographs and weights are compared with the card's first.

    outside, weights, exports: as for `Request`. Raises DataWrong, SettingWrong or WeightsMissing where anything
    that decides the run is not what the card says, each naming both.
    """
    if card.graph.form != _FP32:
        raise SettingWrong(
            f"the card of {card.version} is that of an {card.graph.form} form, which no training makes: "
            f"give the card of the run that it was made from"
        )
    recipe, rest = _recipe_of(card)
    _check_photographs(card, data)
    _check_outside(card, rest, outside)
    origin = lenses.starting_backbone(recipe, seed=card.training.seed, file=weights).origin
    if origin.described != card.weights.source:
        raise WeightsMissing(
            f"{card.version} started from other weights ({card.weights.source}) than these ({origin.described}): "
            f"name theirs with --weights FILE, or leave it out"
        )
    return Request(
        data=data,
        out=out,
        recipe=recipe,
        outside=outside,
        seed=card.training.seed,
        name=card.name,
        suffix=card.version.partition("-")[2],
        folds=int(rest["folds"]),
        weights=weights,
        exports=exports,
        thumbnails=card.examples is not None and card.examples.thumbnails,
        created_at=card.created_at,
    )


def differences(wanted: Card, made: Card) -> tuple[str, ...]:
    """What was computed and is not as the card says, in words; empty where all of it is the same."""
    parts: Mapping[str, Callable[[Card], object]] = {
        "graph": lambda card: card.graph,
        "figures": lambda card: (card.metrics, card.confusion, card.reliability, card.calibration),
        "borders": lambda card: (card.decision, card.temperature),
        "known answers": lambda card: card.golden,
        "reference examples": lambda card: card.examples,
        "names of classes and levels": lambda card: (card.classes, card.levels, card.look_alikes),
    }
    return tuple(name for name, part in parts.items() if part(wanted) != part(made))


def reasons(wanted: Card, made: Card) -> tuple[str, ...]:
    """Code and packages that are not those of the card, in words."""
    then, now = wanted.training, made.training
    code = [f"code {now.code_version} and not {then.code_version}"] if now.code_version != then.code_version else []
    packages = [
        f"{name} {now.environment.get(name, 'missing')} and not {version}"
        for name, version in sorted(then.environment.items())
        if now.environment.get(name) != version
    ]
    return (*code, *packages)


def _recipe_of(card: Card) -> tuple[Recipe, Mapping[str, Any]]:
    """The recipe, and what else the card says decided the run."""
    known = {item.name for item in fields(Recipe)}
    config = dict(card.training.config)
    settings = {name: value for name, value in config.items() if name in known}
    rest = {name: value for name, value in config.items() if name not in known}
    if "folds" not in rest:
        raise SettingWrong(f"the card of {card.version} does not say how many folds it was measured with")
    return with_settings(RECIPES["standard"], settings), rest


def _check_photographs(card: Card, data: Path) -> None:
    folder = load_folder(data)
    if folder.fingerprint != card.data.fingerprint:
        raise DataWrong(
            f"{data} holds other photographs than {card.version} was trained on: {len(folder.photos)} with the "
            f"fingerprint {folder.fingerprint[:12]}, and the card says {card.data.photos} with "
            f"{card.data.fingerprint[:12]}"
        )
    if folder.path.resolve().name != card.data.name:
        raise DataWrong(
            f"the folder {folder.path.resolve().name} was called {card.data.name} when {card.version} was trained, "
            f"and the card says so: give it that name"
        )


def _check_outside(card: Card, rest: Mapping[str, Any], outside: tuple[Path, ...]) -> None:
    given = {name: set_fingerprint(photos) for path in outside for name, photos in load_outside(path).items()}
    wanted = sorted(rest.get("outside", ()))
    if sorted(given) != wanted:
        raise DataWrong(
            f"{card.version} was trained beside {_sets(wanted)} of other things, and given "
            f"{'is' if len(given) < 2 else 'are'} {_sets(sorted(given))}: name the folders with --ood"
        )
    for name, digest in rest.get("outside_fingerprints", {}).items():
        if given[name] != digest:
            raise DataWrong(
                f"the set {name} holds other photographs than {card.version} was trained beside (fingerprint "
                f"{given[name][:12]}, and the card says {digest[:12]})"
            )


def _sets(names: list[str]) -> str:
    return f"the set{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "no set"
