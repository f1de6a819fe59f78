"""A console's history of as many predictions as one likes, copied straight into PostgreSQL.

What ingest and a year of work would have left: predictions with their detail, the ids of their
events, the audit log with a true chain and signed checkpoints, tallies, people and consents, the
review queue with decisions, feedback, privacy requests, and the sketches of the last weeks. Rows
come at a constant rate up to now, so more of them reach further back. Staff, clients and versions
must be there before.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management.color import no_style
from django.db import connection, transaction
from django.utils.timezone import now

from console.audit import chain
from console.audit import queries as audit
from console.audit.merkle import Frontier
from console.audit.models import Head
from console.audit.notes import sign_checkpoint
from console.clients.models import Client
from console.drift import services as drift
from console.drift.measures import measure
from console.drift.models import Pending
from console.predictions.detail import Candidate, Detail, OodScore, View
from console.predictions.models import FeedbackKind, Verdict
from console.predictions.tallies import Tallied, tally
from console.privacy.models import PrivacyRequest
from console.review.models import TAKE_BACK, Part, ReviewItem, Why
from console.review.services import NOT_YET, why_review
from console.staff.models import User
from console.vault import cipher
from console.vault import queries as vault
from console.vault.models import Consent
from tests.console_events import CLASSES

A_DAY: Final = 2740  # predictions: a million in a year
VERSIONS: Final = ("v20251120_tiny_0.930", "v20260601_tiny_0.951", "v20261101_tiny_0.961", "v20261118_tiny_0.974")
MODEL: Final = "amulets"
CHECKPOINT_EVERY: Final = 1000
SKETCHED_DAYS: Final = 16  # both windows of a drift report, and a day at each end
PREDICTIONS_OF_A_PERSON: Final = 5
DOUBLE_EVERY: Final = 44  # review items: of every fourth, which has a photograph, one in eleven
_DETECTORS: Final = ("mahalanobis", "isolation_forest", "nearest_neighbour")
_ROWS_AT_ONCE: Final = 20_000
_COLUMNS: Final = {
    "predictions_prediction": (
        "prediction_id happened_at client_id model version verdict top_class confidence subject_id input_hash "
        "request_id gateway_id detail_document"
    ),
    "ingest_appliedevent": "event_id applied_at",
    "audit_entry": "sequence recorded_at type actor previous_hash commitment entry_hash",
    "audit_payload": "entry_id salt text subject_type subject_id",
    "audit_checkpoint": "size created_at note frontier",
    "review_reviewitem": (
        "id prediction_id state why sampling_ratio with_photograph created_at held_by_id held_since held_until rounds "
        "blind withheld_until opinions_wanted opinions"
    ),
    "review_expertdecision": "item_id round expert_id decided class_id agrees note took_s decided_at blind part",
    "predictions_feedback": "feedback_id prediction_id happened_at client_id kind true_class comment",
    "vault_subject": "id found_by wrapped_key created_at shut_at",
    "vault_consent": (
        "reference subject_id purpose text_version channel given_at expires_at recorded_at withdrawn_at "
        "withdrawal_channel"
    ),
    "privacy_privacyrequest": (
        "kind laws state subject_id found_by channel received_at recorded_at due_at extended_at extension_reason "
        "identity_method identity_checked_at paused_from reason duplicate_of_id told handled_by_id closed_at"
    ),
}

TABLES: Final = tuple(_COLUMNS)  # what grows with traffic


@dataclass(frozen=True, slots=True)
class Filled:
    """What was made, with names that are found again."""

    predictions: int
    entries: int
    people: int
    open_items: int
    a_prediction: str
    a_request_id: str
    a_person: str  # pseudonym
    a_consent: str


@dataclass
class _Log:
    """The audit log as it grows."""

    key: Ed25519PrivateKey
    frontier: Frontier = field(default_factory=Frontier)
    previous: str = chain.GENESIS
    sequence: int = 0


class _Copies:
    """Rows on their way into tables, some thousands at a time."""

    def __init__(self) -> None:
        self._rows: dict[str, list[str]] = defaultdict(list)

    def add(self, table: str, values: Sequence[object]) -> None:
        self._rows[table].append("\t".join(map(_text, values)))

    def write(self) -> None:
        with connection.cursor() as cursor:
            for table, names in _COLUMNS.items():  # in the order of foreign keys where that matters: all are deferred
                if rows := self._rows.pop(table, None):
                    columns = ", ".join(names.split())
                    cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", io.StringIO("\n".join(rows) + "\n"))


def fill(predictions: int, *, key: Ed25519PrivateKey, seed: int = 1, tell: Callable[[int], None]) -> Filled:
    """Fill an empty, migrated database. tell: how many predictions are in, now and then.

    key: what the log's checkpoints are signed with. The same seed gives the same history but for ids and keys.
    """
    chance = random.Random(seed)  # noqa: S311 - a history, and no secret
    moment = now()
    began = moment - timedelta(days=predictions / A_DAY)
    clients = [str(key) for key in Client.objects.order_by("pk").values_list("client_id", flat=True)]
    experts = list(User.objects.order_by("pk"))
    copies, log = _Copies(), _log_so_far(key)
    people: list[UUID] = []
    open_items = items = 0
    a_prediction = a_request_id = ""
    pending: dict[tuple[str, datetime], dict[str, Any]] = {}
    made: list[Tallied] = []
    for number in range(predictions):
        at = began + timedelta(days=number / A_DAY)
        age = moment - at
        if number % PREDICTIONS_OF_A_PERSON == 0 and number % (5 * PREDICTIONS_OF_A_PERSON) == 0:
            people.append(_person(copies, len(people), at))
        prediction = _id_at(at, chance)
        version = VERSIONS[min(len(VERSIONS) - 1, int(len(VERSIONS) * number / predictions))]
        verdict = chance.choices(list(Verdict), (88, 8, 4))[0]
        top_class = chance.choices(CLASSES, (40, 25, 15, 10, 8, 2))[0]
        confidence = round(chance.betavariate(9, 1.2) if verdict == Verdict.IN_DOMAIN else chance.betavariate(3, 3), 6)
        client = chance.choice(clients)
        subject = people[chance.randrange(len(people))] if number % PREDICTIONS_OF_A_PERSON == 0 else None
        request_id = f"call-{number:08d}" if number % 10 == 0 else ""
        detail = _detail(chance, top_class, confidence)
        if number == predictions // 2:
            a_prediction = str(prediction)
        a_request_id = request_id or a_request_id
        copies.add(
            "predictions_prediction",
            (prediction, at, client, MODEL, version, int(verdict), top_class, confidence, subject,
             bytes.fromhex(detail.views[0].input_hash), request_id, "gateway-1", json.dumps(detail.render())),
        )  # fmt: skip
        event = _id_at(at, chance)
        copies.add("ingest_appliedevent", (event, at))
        told = {
            "event": str(event), "happened_at": at.isoformat(), "client": client, "gateway": "gateway-1",
            "model": MODEL, "version": version, "verdict": verdict.name, "class": top_class,
            "confidence": confidence, "inputs": [detail.views[0].input_hash], "policy": detail.policy_digest,
            "subject": str(subject) if subject else None, "photographs": ["not_asked"],
        }  # fmt: skip
        _enter(copies, log, at, "prediction.made", "gateway", ("prediction", str(prediction)), told)
        made.append(Tallied(at, MODEL, version, verdict, confidence))
        why = why_review(verdict=verdict, confidence=confidence, wants_review=chance.random() < 0.02)
        if why is not None:
            items += 1
            decided = age > timedelta(days=10) and chance.random() < 0.98
            open_items += not decided
            # Some are judged by two people, and where these differ by a third.
            wanted = 2 if items % DOUBLE_EVERY == 0 else 1
            who = chance.sample(experts, wanted + 1) if decided else []
            _review(copies, log, chance, items, prediction, why, at, who, top_class, wanted=wanted)
        if number % 100 == 0:
            kind = chance.choice(list(FeedbackKind))
            copies.add("predictions_feedback", (_id_at(at, chance), prediction, at, client, int(kind), "", ""))
        if number % 1000 == 0:
            actor = str(experts[-1].pseudonym)
            _enter(copies, log, at, "photograph.opened", actor, ("prediction", str(prediction)), {"kind": "photograph"})
        if number % 250 == 0:
            _request(copies, number, at, moment)
        if age < timedelta(days=SKETCHED_DAYS):
            _measure(pending, version, at, verdict, top_class, confidence, detail)
        if number % _ROWS_AT_ONCE == _ROWS_AT_ONCE - 1 or number == predictions - 1:
            with transaction.atomic():
                copies.write()
                tally(made)
                Head.objects.filter(pk=1).update(sequence=log.sequence, entry_hash=bytes.fromhex(log.previous))
            made.clear()
            tell(number + 1)
    if log.sequence % CHECKPOINT_EVERY:
        _sign(copies, log, moment)
        copies.write()
    Pending.objects.bulk_create(
        Pending(model=MODEL, version=version, hour=hour, document=document)
        for (version, hour), document in pending.items()
    )
    drift.fold()
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [ReviewItem, Consent, PrivacyRequest]):
            cursor.execute(statement)
        cursor.execute("VACUUM ANALYZE")
    return Filled(
        predictions, log.sequence, len(people), open_items, a_prediction, a_request_id, _name(len(people) // 2),
        f"consent-{len(people) // 2:08d}",
    )  # fmt: skip


def _log_so_far(key: Ed25519PrivateKey) -> _Log:
    log = _Log(key)
    for row in audit.rows(1, audit.last_sequence()):
        log.frontier.append(row.entry_hash)
        log.previous, log.sequence = row.entry_hash.hex(), row.sequence
    return log


def _person(copies: _Copies, number: int, at: datetime) -> UUID:
    """Somebody with a consent."""
    keys = vault.keys()
    subject = UUID(bytes=os.urandom(16), version=4)
    sealed = cipher.new_subject_key(keys, subject)
    copies.add("vault_subject", (subject, cipher.find_by(keys, _name(number)), sealed, at, None))
    withdrawn = number % 9 == 0
    purpose = "training" if number % 3 == 0 else "keep_photograph"
    copies.add(
        "vault_consent",
        (f"consent-{number:08d}", subject, purpose, "1", "web", at, None, at, at + timedelta(hours=1) if withdrawn
         else None, "web" if withdrawn else ""),
    )  # fmt: skip
    return subject


def _name(person: int) -> str:
    return f"person-{person:08d}"


def _request(copies: _Copies, number: int, at: datetime, moment: datetime) -> None:
    """What somebody asked; answered within three weeks."""
    closed = at + timedelta(days=20)
    done = closed < moment
    copies.add(
        "privacy_privacyrequest",
        ("access" if number % 500 else "erasure", "both", "done" if done else "received", None,
         b"" if done else os.urandom(32), "web", at, at, at + timedelta(days=30), None, "", "", None, "", "", None,
         "none", None, closed if done else None),
    )  # fmt: skip


def _review(
    copies: _Copies, log: _Log, chance: random.Random, item: int, prediction: UUID, why: Why, at: datetime,
    experts: Sequence[User], top_class: str, *, wanted: int,
) -> None:  # fmt: skip
    """experts: who gave the `wanted` opinions, and who settles where two differ; none: it waits."""
    said = [top_class if chance.random() < 0.8 else CLASSES[0] for _ in experts]
    differ = wanted > 1 and len(set(said[:wanted])) > 1
    rounds = (wanted + differ) if experts else 0
    ratio = 0.02 if why == Why.SAMPLED else 1.0
    with_photograph, blind = item % 4 == 0, item % 20 == 0
    withheld_until = (at + TAKE_BACK if experts else NOT_YET) if blind else None
    copies.add(
        "review_reviewitem",
        (item, prediction, "decided" if experts else "open", int(why), ratio, with_photograph, at, None, None, None,
         rounds, blind, withheld_until, wanted, min(rounds, wanted)),
    )  # fmt: skip
    for number in range(rounds):
        expert, word = experts[number], said[number]
        part = Part.ALONE if wanted == 1 else Part.OPINION if number < wanted else Part.SETTLEMENT
        copies.add(
            "review_expertdecision",
            (item, number + 1, expert.pk, "class", word, word == top_class, "", 8.5, at, blind, part.value),
        )
        told = {"decided": "class", "class": word, "agrees": word == top_class, "round": number + 1}
        _enter(copies, log, at, "review.decided", str(expert.pseudonym), ("prediction", str(prediction)), told)


def _enter(
    copies: _Copies, log: _Log, at: datetime, type_: str, actor: str, about: tuple[str, str], told: dict[str, Any]
) -> None:
    log.sequence += 1
    text = chain.canonical({"about": list(about), **told})
    (salt,) = chain.new_salts(1)
    commitment = chain.commitment_of(salt, text)
    found = chain.entry_hash(
        sequence=log.sequence, time=chain.time_text(at), type_=type_, actor=actor, previous=log.previous,
        commitment=commitment.hex(),
    )  # fmt: skip
    copies.add("audit_entry", (log.sequence, at, type_, actor, bytes.fromhex(log.previous), commitment, found))
    copies.add("audit_payload", (log.sequence, salt, text, *about))
    log.frontier.append(found)
    log.previous = found.hex()
    if log.sequence % CHECKPOINT_EVERY == 0:
        _sign(copies, log, at)


def _sign(copies: _Copies, log: _Log, at: datetime) -> None:
    note = sign_checkpoint(log.key, size=log.sequence, root=log.frontier.root())
    copies.add("audit_checkpoint", (log.sequence, at, note, log.frontier.to_bytes()))


def _detail(chance: random.Random, top_class: str, confidence: float) -> Detail:
    rest = [name for name in CLASSES if name != top_class]
    quality = {
        "sharpness_var": round(chance.lognormvariate(5.2, 0.5), 3),
        "brightness_ratio": round(chance.betavariate(9, 9), 4),
        "contrast_ratio": round(chance.betavariate(4, 14), 4),
    }
    scores = [OodScore(name, round(chance.gammavariate(8, 4), 4), 60.0, 75.0) for name in _DETECTORS]
    return Detail(
        candidates=(Candidate(top_class, confidence), *(Candidate(name, (1 - confidence) / 5) for name in rest)),
        ood_scores=tuple(scores),
        views=(View("front", 1200, 1600, 1.0, os.urandom(32).hex(), quality, "not_asked"),),
        reasons=(),
        prediction_set=(top_class,),
        shadows=(),
        total_ms=41.5,
        inference_ms=22.25,
        policy_digest="0f" * 32,
        idempotency_key_digest="",
    )


def _measure(
    pending: dict[tuple[str, datetime], dict[str, Any]], version: str, at: datetime, verdict: Verdict, top_class: str,
    confidence: float, detail: Detail,
) -> None:  # fmt: skip
    """What `drift.add` would have written for this prediction, by the day instead of by the batch."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    empty = {"samples": defaultdict(list), "counts": defaultdict(lambda: defaultdict(int))}
    document = pending.setdefault((version, day), empty)
    measured = measure(confidence=confidence, verdict=verdict, top_class=top_class, detail=detail)
    for name, value in measured.samples.items():
        document["samples"][name].append(value)
    for name, choice in measured.choices.items():
        document["counts"][name][choice] += 1


def _id_at(at: datetime, chance: random.Random) -> UUID:
    """A UUID version 7 of that time."""
    number = int(at.timestamp() * 1000) << 80 | chance.getrandbits(80)
    return UUID(int=number & ~(0xF << 76) & ~(0b11 << 62) | 0x7 << 76 | 0b10 << 62)


def _text(value: object) -> str:
    """A value as COPY reads it."""
    match value:
        case None:
            return r"\N"
        case bytes():
            return rf"\\x{value.hex()}"
        case bool():
            return "t" if value else "f"
        case datetime():
            return value.isoformat()
        case str():
            return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    return str(value)
