"""The policy snapshot: all that the gateway needs to serve while the console is away.

A poll that finds nothing changed costs a few small queries and a hash: the fingerprint is
taken over everything that can change (clients, keys, routes, the newest checkpoint). What
cannot change, cards and golden photographs, is read only when a new snapshot is built. One that
was built while the model store was away lacks golden photographs: every few seconds a poll looks
whether an archive can be read again, and only then is it built anew.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.timezone import now
from google.protobuf import json_format

from console.audit.queries import latest_checkpoint
from console.clients import queries as clients
from console.clients.models import ApiKey, Client
from console.registry.models import ModelVersion
from console.registry.queries import golden_photographs
from console.rollout import queries
from console.rollout.models import Mode, PolicyIssue, PolicyRecord
from model_store.card import Card
from model_store.errors import ArchiveRefused
from protos.amulet.policy.v1 import policy_pb2 as pb
from protos.amulet.v1 import prediction_pb2, vocabulary_pb2

_Photographs = Mapping[str, bytes]  # name -> PNG

_log = logging.getLogger(__name__)
REVIEW_CONFIDENCE_MIN: Final = 0.75
REVIEW_SAMPLING_RATIO: Final = 0.02
# An archive that is another one by now is read to its end to see that: not with every poll.
LOOK_AGAIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A serialised Policy and the entity tag that changes with every byte of it."""

    body: bytes
    etag: str
    fingerprint: str
    lost: frozenset[str]  # archives that could not be read: their versions are without golden photographs


class Snapshots:
    """The newest snapshot of this process. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._newest: Snapshot | None = None
        self._look_again_at_s = 0.0

    def newest(self) -> Snapshot:
        """The snapshot of what the database says now; built anew only when that has changed, or a lost archive is
        back."""
        fingerprint = _fingerprint()
        with self._lock:
            known = self._newest
        if known is not None and known.fingerprint == fingerprint and not self._is_more_to_tell(known):
            return known
        fresh = _build(fingerprint)
        with self._lock:
            self._newest, self._look_again_at_s = fresh, self._clock() + LOOK_AGAIN_S
        return fresh

    def _is_more_to_tell(self, known: Snapshot) -> bool:
        if not known.lost:
            return False
        with self._lock:
            if self._clock() < self._look_again_at_s:
                return False
            self._look_again_at_s = self._clock() + LOOK_AGAIN_S  # the other threads need not look as well
        return _any_readable(known.lost)


@cache
def snapshots() -> Snapshots:
    """This process's own."""
    return Snapshots()


def _fingerprint() -> str:
    parts = (
        clients.fingerprint(),
        queries.fingerprint(),
        latest_checkpoint(),
        REVIEW_CONFIDENCE_MIN,
        REVIEW_SAMPLING_RATIO,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _build(fingerprint: str) -> Snapshot:
    revision, issued_at = _issue(fingerprint)
    models = queries.served_models()
    photos = _golden_photographs(route.version for served in models for route in served.routes)
    policy = pb.Policy(
        revision=revision,
        photo_seal_public_key=_photo_seal_public_key(),
        audit_checkpoint=latest_checkpoint() or "",
        review_confidence_min=REVIEW_CONFIDENCE_MIN,
        review_sampling_ratio=REVIEW_SAMPLING_RATIO,
        clients=[_client(client) for client in clients.clients_with_keys()],
        models=[_model(served, photos) for served in models],
    )
    policy.issued_at.FromDatetime(issued_at.astimezone(UTC))
    body = policy.SerializeToString(deterministic=True)
    digest = hashlib.sha256(body).hexdigest()
    # Before it is handed out: an answer never names a policy that nobody remembers.
    PolicyRecord.objects.bulk_create(
        [PolicyRecord(revision=revision, digest=digest, issued_at=issued_at)], ignore_conflicts=True
    )
    lost = frozenset(name for name, found in photos.items() if found is None)
    return Snapshot(body=body, etag=f'"{digest}"', fingerprint=fingerprint, lost=lost)


def _issue(fingerprint: str) -> tuple[int, datetime]:
    """Revision and time of the policy with this fingerprint; a new one where the last was another.

    Every process of the console gives the same answer for the same content.
    """
    while True:
        last = PolicyIssue.objects.filter(pk=1).first()
        if last is not None and last.fingerprint == fingerprint:
            return last.revision, last.issued_at
        if last is None:
            try:
                with transaction.atomic():
                    PolicyIssue.objects.create(pk=1)
            except IntegrityError:
                pass  # another process was first
            continue
        PolicyIssue.objects.filter(pk=1, revision=last.revision).update(
            revision=last.revision + 1, fingerprint=fingerprint, issued_at=now()
        )


def _client(client: Client) -> pb.Client:
    return pb.Client(
        client_id=str(client.client_id),
        name=client.name,
        calls_per_minute=client.calls_per_minute,
        models=client.model_names,
        keys=[_key(key) for key in client.keys.all()],
    )


def _key(key: ApiKey) -> pb.Key:
    message = pb.Key(key_id=key.key_id, digest=bytes(key.digest), revoked=key.revoked_at is not None)
    if key.expires_at is not None:
        message.expires_at.FromDatetime(key.expires_at.astimezone(UTC))
    return message


def _model(served: queries.Served, photos: Mapping[str, _Photographs | None]) -> pb.ServedModel:
    return pb.ServedModel(
        name=served.model,
        versions=[_version(route.version, route.mode, photos[route.version.file_name]) for route in served.routes],
        routes=[
            pb.Route(
                version=route.version.version,
                weight_ratio=served.weight_ratio(route),
                shadow=route.mode == Mode.SHADOW,
            )
            for route in served.routes
        ],
    )


def _version(version: ModelVersion, alias: str, photos: _Photographs | None) -> pb.ServedVersion:
    card = version.card()
    return pb.ServedVersion(
        card=_card(card, version),
        alias=alias,
        backend_name=card.name,
        golden=[] if photos is None else _golden(card, photos),
    )


def _golden_photographs(versions: Iterable[ModelVersion]) -> dict[str, _Photographs | None]:
    """Archive's name -> its golden photographs; None: it cannot be read."""
    found: dict[str, _Photographs | None] = {}
    for version in versions:
        try:
            found[version.file_name] = golden_photographs(version.file_name)
        except (ArchiveRefused, OSError) as error:
            # A revoked key must still reach the gateway; what it cannot test, it does not call ready.
            _log.error(
                "the model store has lost an archive in use", extra={"version": str(version), "error": str(error)}
            )
            found[version.file_name] = None
    return found


def _any_readable(file_names: Collection[str]) -> bool:
    for name in file_names:
        with suppress(ArchiveRefused, OSError):
            golden_photographs(name)
            return True
    return False


def _golden(card: Card, photos: _Photographs) -> list[pb.Golden]:
    return [
        pb.Golden(
            name=golden.file,
            photo=photos[golden.file],
            probabilities=golden.probabilities,
            scores=dict(golden.scores),
        )
        for golden in card.golden
    ]


def _card(card: Card, version: ModelVersion) -> prediction_pb2.Card:
    limits = card.decision.limits
    message = prediction_pb2.Card(
        name=card.name,
        version=card.version,
        classes=[prediction_pb2.Class(id=item.id, display_names=dict(item.names)) for item in card.classes],
        levels=[
            prediction_pb2.Level(
                id=level.id,
                display_names=dict(level.names),
                set_probability_min=level.set_probability_min,
                groups=[
                    prediction_pb2.Group(id=group.id, display_names=dict(group.names), class_ids=group.classes)
                    for group in level.groups
                ],
            )
            for level in card.levels
        ],
        look_alikes=[
            prediction_pb2.LookAlikes(
                class_ids=pair.classes,
                side=_side(pair.side),
                decided_by=[_side(side) for side in pair.decided_by],
            )
            for pair in card.look_alikes
        ],
        input_height_px=card.input.height_px,
        input_width_px=card.input.width_px,
        temperature=card.temperature,
        decision=prediction_pb2.Decision(
            confidence_min=limits.confidence_min,
            margin_min=limits.margin_min,
            detectors=[
                prediction_pb2.DetectorLimits(
                    name=item.name, typical=item.typical, unsure_at=item.unsure_at, out_at=item.out_at
                )
                for item in limits.detectors
            ],
            set_coverage=limits.set_coverage,
            set_probability_min=limits.set_probability_min,
        ),
        metrics=[
            prediction_pb2.Metric(name=item.name, value=item.value, low=item.low, high=item.high, data=item.data)
            for item in card.metrics
        ],
        data_fingerprint=card.data.fingerprint,
        data_photos=card.data.photos,
        weights_licence=card.weights.licence,
        archive_sha256=version.sha256,
        explanations=[
            prediction_pb2.Explain.Method.Value(f"METHOD_{name.upper()}") for name in card.graph.explanations
        ],
        reference_examples=card.examples.count if card.examples else 0,
    )
    message.created_at.FromDatetime(card.created_at.astimezone(UTC))
    assert version.card_document is not None  # a constraint says so
    json_format.ParseDict(version.card_document, message.document)
    return message


def _side(name: str) -> vocabulary_pb2.Side.ValueType:
    return vocabulary_pb2.Side.Value(f"SIDE_{name.upper()}") if name else vocabulary_pb2.SIDE_UNSPECIFIED


def _photo_seal_public_key() -> bytes:
    private = X25519PrivateKey.from_private_bytes(settings.AMULET.photo_seal_key_file.read_bytes())
    return private.public_key().public_bytes_raw()
