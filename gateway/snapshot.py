"""What the policy says, as typed values: who may call, what is served, by which weights.

Protobuf stops here: `Snapshot.parse` reads the console's Policy once and refuses one that
contradicts itself, so that nothing behind it asks again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from google.protobuf.message import DecodeError

from gateway.sealing import can_seal_for
from protos.amulet.policy.v1 import policy_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import DecisionLimits, DetectorLimits, Level

CALLS_PER_MINUTE: int = 100  # where the policy names no limit


class PolicyInvalid(ValueError):
    """A policy that cannot be followed, with the first thing that is wrong."""


@dataclass(frozen=True, slots=True)
class Client:
    client_id: str
    calls_per_minute: int
    models: frozenset[str]  # empty: all

    def may_use(self, model: str) -> bool:
        return not self.models or model in self.models


@dataclass(frozen=True, slots=True)
class Key:
    key_id: str
    digest: bytes  # HMAC-SHA256 of the whole key under the shared key secret
    revoked: bool
    expires_at: datetime | None  # aware
    client: Client


@dataclass(frozen=True, slots=True)
class ClassName:
    class_id: str
    display_names: Mapping[str, str]  # language tag -> name


@dataclass(frozen=True, slots=True)
class ServedLevel:
    """A cut through the class tree that answers can stand on."""

    rule: Level
    groups: tuple[ClassName, ...]  # in the rule's order


@dataclass(frozen=True, slots=True)
class LookAlikes:
    """Two classes that photographs of one side do not tell apart."""

    classes: frozenset[int]  # two indices
    side: words.Side.ValueType  # SIDE_UNSPECIFIED: any
    decided_by: tuple[words.Side.ValueType, ...]


@dataclass(frozen=True, slots=True)
class Golden:
    name: str
    photo: bytes  # PNG at the model's size
    probabilities: tuple[float, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ServedVersion:
    model: str
    version: str
    alias: str
    backend_name: str  # the name TorchServe knows the model by
    classes: tuple[ClassName, ...]  # in the order of the graph's outputs
    size_px: tuple[int, int]  # (width, height) of the graph's input
    limits: DecisionLimits
    goldens: tuple[Golden, ...]
    explanations: frozenset[pb.Explain.Method.ValueType]  # how it can explain itself
    card: pb.Card  # as the console sent it, for GetModel alone
    levels: tuple[ServedLevel, ...] = ()  # lowest first
    look_alikes: tuple[LookAlikes, ...] = ()

    def class_index(self, class_id: str) -> int | None:
        return next((index for index, known in enumerate(self.classes) if known.class_id == class_id), None)


@dataclass(frozen=True, slots=True)
class Route:
    version: ServedVersion
    weight_ratio: float  # above 0 up to 1


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    versions: Mapping[str, ServedVersion]
    routes: tuple[Route, ...]  # those that answer; empty: nothing is in production
    shadows: tuple[ServedVersion, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    revision: int
    digest: bytes  # SHA-256 of the policy's bytes
    keys: Mapping[str, Key]  # by key id
    models: Mapping[str, ServedModel]
    photo_seal_public_key: bytes | None  # X25519, 32 bytes
    audit_checkpoint: str
    review_confidence_min: float
    review_sampling_ratio: float

    @staticmethod
    def parse(content: bytes) -> Snapshot:
        """Raises PolicyInvalid naming what is wrong."""
        try:
            policy = policy_pb2.Policy.FromString(content)
        except DecodeError:
            raise PolicyInvalid("the content is not a Policy message") from None
        try:
            return _snapshot_of(policy, hashlib.sha256(content).digest())
        except (KeyError, ValueError) as error:
            raise error if isinstance(error, PolicyInvalid) else PolicyInvalid(str(error)) from None


def _snapshot_of(policy: policy_pb2.Policy, digest: bytes) -> Snapshot:
    keys: dict[str, Key] = {}
    for entry in policy.clients:
        client = Client(entry.client_id, entry.calls_per_minute or CALLS_PER_MINUTE, frozenset(entry.models))
        for key in entry.keys:
            if key.key_id in keys:
                raise PolicyInvalid(f"key {key.key_id} is listed twice")
            expires_at = key.expires_at.ToDatetime(UTC) if key.HasField("expires_at") else None
            keys[key.key_id] = Key(key.key_id, key.digest, key.revoked, expires_at, client)
    models = {model.name: _model_of(model) for model in policy.models}
    if len(models) != len(policy.models):
        raise PolicyInvalid("a model is listed twice")
    seal_key = policy.photo_seal_public_key
    if seal_key and len(seal_key) != 32:
        raise PolicyInvalid(f"photo_seal_public_key has {len(seal_key)} bytes, not 32")
    if seal_key and not can_seal_for(seal_key):
        raise PolicyInvalid("photo_seal_public_key is a point of low order, for which nothing can be sealed")
    return Snapshot(
        revision=policy.revision,
        digest=digest,
        keys=MappingProxyType(keys),
        models=MappingProxyType(models),
        photo_seal_public_key=seal_key or None,
        audit_checkpoint=policy.audit_checkpoint,
        review_confidence_min=policy.review_confidence_min,
        review_sampling_ratio=policy.review_sampling_ratio,
    )


def _model_of(model: policy_pb2.ServedModel) -> ServedModel:
    versions = {entry.card.version: _version_of(model.name, entry) for entry in model.versions}
    if len(versions) != len(model.versions):
        raise PolicyInvalid(f"model {model.name} lists a version twice")
    unknown = [route.version for route in model.routes if route.version not in versions]
    if unknown:
        raise PolicyInvalid(f"model {model.name} routes to {unknown[0]}, which it does not list")
    return ServedModel(
        name=model.name,
        versions=MappingProxyType(versions),
        routes=tuple(
            Route(versions[route.version], route.weight_ratio)
            for route in model.routes
            if not route.shadow and route.weight_ratio > 0
        ),
        shadows=tuple(versions[route.version] for route in model.routes if route.shadow),
    )


def _version_of(model: str, entry: policy_pb2.ServedVersion) -> ServedVersion:
    card = entry.card
    if not card.version or not card.classes or card.input_width_px < 1 or card.input_height_px < 1:
        raise PolicyInvalid(f"model {model} has a version without name, classes or input size")
    decision = card.decision
    return ServedVersion(
        model=model,
        version=card.version,
        alias=entry.alias,
        backend_name=entry.backend_name or model,
        classes=tuple(ClassName(known.id, MappingProxyType(dict(known.display_names))) for known in card.classes),
        size_px=(card.input_width_px, card.input_height_px),
        limits=DecisionLimits(
            confidence_min=decision.confidence_min,
            margin_min=decision.margin_min,
            detectors=tuple(
                DetectorLimits(limit.name, limit.typical, limit.unsure_at, limit.out_at) for limit in decision.detectors
            ),
            set_coverage=decision.set_coverage,
            set_probability_min=decision.set_probability_min,
        ),
        goldens=tuple(
            Golden(golden.name, golden.photo, tuple(golden.probabilities), MappingProxyType(dict(golden.scores)))
            for golden in entry.golden
        ),
        # A console that knows of one way alone names none.
        explanations=frozenset(card.explanations) or frozenset({pb.Explain.METHOD_GRAD_CAM}),
        card=card,
        levels=tuple(_level_of(level, card) for level in card.levels),
        look_alikes=tuple(_look_alikes_of(pair, card) for pair in card.look_alikes),
    )


def _level_of(level: pb.Level, card: pb.Card) -> ServedLevel:
    number = {class_id: index for index, group in enumerate(level.groups) for class_id in group.class_ids}
    members = sum(len(group.class_ids) for group in level.groups)
    if members != len(card.classes) or set(number) != {known.id for known in card.classes}:
        raise PolicyInvalid(f"{card.version}: not every class stands in exactly one group of the level {level.id}")
    return ServedLevel(
        Level(level.id, tuple(number[known.id] for known in card.classes), level.set_probability_min),
        tuple(ClassName(group.id, MappingProxyType(dict(group.display_names))) for group in level.groups),
    )


def _look_alikes_of(pair: pb.LookAlikes, card: pb.Card) -> LookAlikes:
    indices = {known.id: index for index, known in enumerate(card.classes)}
    if len(pair.class_ids) != 2 or not set(pair.class_ids) <= set(indices):
        raise PolicyInvalid(f"{card.version}: look-alikes are two of its classes")
    return LookAlikes(frozenset(indices[class_id] for class_id in pair.class_ids), pair.side, tuple(pair.decided_by))


def versions_of(snapshot: Snapshot) -> list[ServedVersion]:
    """Every version that may be asked."""
    return [version for model in snapshot.models.values() for version in model.versions.values()]
