"""What the ids in a prediction are called: classes, from the cards of versions, and clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import get_language

from console.clients.models import Client
from console.predictions.detail import Detail
from console.predictions.models import Prediction
from console.registry.models import ModelVersion
from console.spelling import composed

_CARDS_READ: Final = 20


@dataclass(frozen=True, slots=True)
class KnownClass:
    """A class that a version can say. `names`: language -> display name; may be empty."""

    class_id: str
    names: Mapping[str, str]

    @property
    def name(self) -> str:
        """In the language of whoever looks; else in English; else the id."""
        language = (get_language() or "en").split("-")[0]
        return self.names.get(language) or self.names.get("en") or self.class_id


def classes_of(prediction: Prediction) -> tuple[KnownClass, ...]:
    """All classes of the version that answered, the model's best first. One query.

    A version whose card this console does not hold has the names of its candidates alone.
    """
    rows = ModelVersion.objects.filter(model=prediction.model, version=prediction.version)
    card = rows.exclude(card_document=None).values_list("card_document", flat=True).first()
    names = {item["id"]: item["names"] for item in (card or {}).get("classes", ())}
    best_first = dict.fromkeys(candidate.class_id for candidate in prediction.detail().candidates)
    return tuple(KnownClass(class_id, names.get(class_id, {})) for class_id in {**best_first, **dict.fromkeys(names)})


def names_of_model(model: str) -> Mapping[str, Mapping[str, str]]:
    """Class id -> language -> display name, from the newest card of a model. One query."""
    rows = ModelVersion.objects.filter(model=model).exclude(card_document=None).order_by("-pk")
    card = rows.values_list("card_document", flat=True).first()
    return {item["id"]: item["names"] for item in (card or {}).get("classes", ())}


def group_name(prediction: Prediction, detail: Detail) -> str:
    """What an answer above the classes stood on, as "Family: Seated figures"; empty for one on the classes.

    One query at most.
    """
    said = detail.group
    if said is None:
        return ""
    rows = ModelVersion.objects.filter(model=prediction.model, version=prediction.version)
    card = rows.exclude(card_document=None).values_list("card_document", flat=True).first() or {}
    levels: dict[str, Any] = {item["id"]: item for item in card.get("levels", ())}
    level = levels.get(said.level, {"names": {}, "groups": ()})
    names = {item["id"]: item["names"] for item in level["groups"]}
    return (
        f"{KnownClass(said.level, level['names']).name}: {KnownClass(said.group_id, names.get(said.group_id, {})).name}"
    )


def in_order_of_ids(classes: Sequence[KnownClass]) -> tuple[KnownClass, ...]:
    """The same classes in an order that says nothing of what the model holds most probable: by id."""
    return tuple(sorted(classes, key=lambda known: known.class_id))


def class_names() -> Mapping[str, str]:
    """Class id, also in its composed spelling -> name in the language of whoever looks, over the newest cards.

    One query, however long the history.
    """
    newest = ModelVersion.objects.exclude(card_document=None).order_by("-pk")[:_CARDS_READ]
    found: dict[str, str] = {}
    for card in newest.values_list("card_document", flat=True):
        for item in (card or {}).get("classes", ()):
            name = KnownClass(item["id"], item["names"]).name
            found.setdefault(item["id"], name)
            found.setdefault(composed(item["id"]), name)
    return found


def client_names() -> Mapping[str, str]:
    """Client id -> name. One query over a small table."""
    return {str(client_id): name for client_id, name in Client.objects.values_list("client_id", "name")}
