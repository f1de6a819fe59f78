"""The parts of a prediction that no list is filtered by, between the database's JSON and typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    class_id: str
    probability: float  # calibrated, 0 to 1


@dataclass(frozen=True, slots=True)
class OodScore:
    """One detector's score; higher is further out."""

    detector: str
    score: float
    unsure_at: float
    out_at: float


@dataclass(frozen=True, slots=True)
class View:
    """One photograph, without the photograph."""

    side: str  # a name of `amulet.v1.Side`
    width_px: int
    height_px: int
    weight_ratio: float
    input_hash: str  # hex
    quality: Mapping[str, float]  # field of `amulet.v1.Quality` -> value
    kept: str  # why the photograph is kept or not: a value of `console.ingest.retention.Outcome`
    projection: tuple[float, ...] = ()  # of its embedding, for drift; empty: the version's handler knows none


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a version that answers nobody would have said."""

    version: str
    verdict: int
    top_class: str
    confidence: float
    inference_ms: float


@dataclass(frozen=True, slots=True)
class Group:
    """What an answer stood on, above the classes."""

    level: str  # of the class tree
    group_id: str
    probability: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A photograph that the version learnt from, near to what it was asked about."""

    example_id: str
    class_id: str
    similarity_ratio: float  # cosine, -1 to 1


@dataclass(frozen=True, slots=True)
class Detail:
    candidates: tuple[Candidate, ...]  # every class, best first
    ood_scores: tuple[OodScore, ...]
    views: tuple[View, ...]
    reasons: tuple[str, ...]  # names of `amulet.v1.Reason`
    prediction_set: tuple[str, ...]
    shadows: tuple[Shadow, ...]
    total_ms: float
    inference_ms: float
    policy_digest: str  # hex
    idempotency_key_digest: str
    group: Group | None = None  # None: it stood on the classes
    nearest: tuple[Neighbour, ...] = ()  # nearest first; empty: the version names none
    trace_id: str = ""  # of the call, 32 hex digits; empty: it was not traced

    def render(self) -> dict[str, Any]:
        """The JSON document; `parse` reads it back."""
        return {
            "candidates": [[item.class_id, item.probability] for item in self.candidates],
            "ood": [[item.detector, item.score, item.unsure_at, item.out_at] for item in self.ood_scores],
            "views": [_fields(view) for view in self.views],
            "reasons": list(self.reasons),
            "set": list(self.prediction_set),
            "shadows": [_fields(shadow) for shadow in self.shadows],
            "total_ms": self.total_ms,
            "inference_ms": self.inference_ms,
            "policy": self.policy_digest,
            "idempotency": self.idempotency_key_digest,
            **(
                {} if self.group is None else {"group": [self.group.level, self.group.group_id, self.group.probability]}
            ),
            **(
                {"nearest": [[item.example_id, item.class_id, item.similarity_ratio] for item in self.nearest]}
                if self.nearest
                else {}
            ),
            **({"trace": self.trace_id} if self.trace_id else {}),
        }

    @staticmethod
    def parse(document: Mapping[str, Any]) -> Detail:
        """Raises ValueError when this is no such document."""
        try:
            return Detail(
                candidates=tuple(Candidate(class_id, probability) for class_id, probability in document["candidates"]),
                ood_scores=tuple(OodScore(*row) for row in document["ood"]),
                views=tuple(
                    View(**{**view, "projection": tuple(view.get("projection", ()))}) for view in document["views"]
                ),
                reasons=tuple(document["reasons"]),
                prediction_set=tuple(document["set"]),
                shadows=tuple(Shadow(**shadow) for shadow in document["shadows"]),
                total_ms=document["total_ms"],
                inference_ms=document["inference_ms"],
                policy_digest=document["policy"],
                idempotency_key_digest=document["idempotency"],
                group=Group(*document["group"]) if "group" in document else None,
                nearest=tuple(Neighbour(*row) for row in document.get("nearest", ())),
                trace_id=document.get("trace", ""),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a prediction's detail is not of its form: {error!r}") from error


def _fields(item: View | Shadow) -> dict[str, Any]:
    # Not `dataclasses.asdict`: it copies every leaf, which is a third of the time that ingest has for an event.
    return {name: getattr(item, name) for name in _NAMES[type(item)]}


_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in (View, Shadow)}
