"""What the classes of a prediction are called, from the card of the version that answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import get_language

from console.predictions.models import Prediction
from console.registry.models import ModelVersion


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
