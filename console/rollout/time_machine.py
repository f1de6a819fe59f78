"""What answered a client at an instant, and who had let it: from routes, which never change, and the audit trail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Q
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _

from console.audit.queries import entries_about
from console.clients.models import Client
from console.errors import Invalid, NotFound
from console.predictions.models import Prediction
from console.rollout.models import Mode, PolicyRecord, Route
from protos.verdict import DecisionLimits

ANSWERS_MOST: Final = 5
NEARBY: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Part:
    """One version's part at that instant."""

    version_id: int
    version: str
    mode: Mode
    share_ratio: float  # of the model's calls; 0 for a shadow
    sha256: str  # of the archive
    temperature: float
    limits: DecisionLimits
    approved_by: str
    approved_at: datetime | None
    approval_reason: str
    route_id: int
    since: datetime
    started_by: str  # "" where a guardrail brought it back
    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was really given about then: what the parts must agree with."""

    prediction_id: UUID
    happened_at: datetime
    model: str
    version: str
    policy: int | None  # revision of the policy that the gateway followed; None where no record has its digest


@dataclass(frozen=True, slots=True)
class Then:
    client: str
    at: datetime
    model: str
    permitted: bool | None  # whether the client might ask this model; None where its trail was not kept
    parts: Sequence[Part]  # production first; empty: nothing was in production
    policy: tuple[int, str, datetime] | None  # revision, digest, when it was issued
    answers: Sequence[Answered]


def look(*, client: str, at: datetime, model: str = "") -> Then:
    """client: name or id. at: aware, not in the future. model: needed where there were several.

    Raises Invalid, NotFound. Six queries at most, whatever lies before and after.
    """
    if at > now():
        raise Invalid(_("This instant has not come yet."), field="at")
    known = _client(client)
    if at < known.created_at:
        raise Invalid(
            # With its zone: whoever wrote an instant without one meant another, as like as not.
            _("{client} did not exist then: it was made at {moment}.").format(
                client=known.name, moment=localtime(known.created_at).isoformat(timespec="seconds")
            ),
            field="at",
        )
    then = Q(ended_at=None) | Q(ended_at__gt=at)
    routes = list(
        Route.objects.filter(then, started_at__lte=at)
        .select_related("version__approved_by", "started_by")
        .order_by("model", "pk")
    )
    permitted = _models_of(known, at)
    chosen = model or _only_model(routes, permitted)
    return Then(
        client=known.name,
        at=at,
        model=chosen,
        permitted=None if permitted is None else not permitted or chosen in permitted,
        parts=_parts([route for route in routes if route.model == chosen]),
        policy=_policy(at),
        answers=_answers(known, at),
    )


def _client(client: str) -> Client:
    try:
        wanted = Q(client_id=UUID(client))
    except ValueError:
        wanted = Q(name=client)
    found = None if "\x00" in client else Client.objects.filter(wanted).first()  # PostgreSQL reads no such text
    if found is None:
        raise NotFound(_("There is no client {client}.").format(client=client), field="client")
    return found


def _only_model(routes: Sequence[Route], permitted: Sequence[str] | None) -> str:
    names = sorted({route.model for route in routes if not permitted or route.model in permitted})
    if len(names) > 1:
        raise Invalid(
            _("Several models were in use; name one of {models}.").format(models=", ".join(names)), field="model"
        )
    return names[0] if names else ""


def _models_of(client: Client, at: datetime) -> Sequence[str] | None:
    """The models that the client might ask then (none named: all), as the audit trail has it."""
    found: Sequence[str] | None = None
    for entry in entries_about("client", str(client.client_id)):
        if entry.recorded_at > at or entry.type not in ("clients.client_created", "clients.client_changed"):
            continue
        payload = getattr(entry, "payload", None)
        if payload is not None:
            said = json.loads(payload.text)
            found = said["after"]["models"] if "after" in said else said["models"]
    return found


def _parts(routes: Sequence[Route]) -> Sequence[Part]:
    canary = next((route.canary_ratio for route in routes if route.mode == Mode.CANARY), 0.0)
    order = list(Mode)
    shares = {Mode.PRODUCTION: 1.0 - canary, Mode.CANARY: canary, Mode.SHADOW: 0.0}
    return [
        _part(route, shares[Mode(route.mode)])
        for route in sorted(routes, key=lambda route: (order.index(Mode(route.mode)), route.pk))
    ]


def _part(route: Route, share: float) -> Part:
    version, card = route.version, route.version.card()
    return Part(
        version_id=version.pk,
        version=version.version,
        mode=Mode(route.mode),
        share_ratio=share,
        sha256=version.sha256,
        temperature=card.temperature,
        limits=card.decision.limits,
        approved_by=version.approved_by.get_username() if version.approved_by else "",
        approved_at=version.approved_at,
        approval_reason=version.approval_reason,
        route_id=route.pk,
        since=route.started_at,
        started_by=route.started_by.get_username() if route.started_by else "",
        reason=route.reason,
    )


def _policy(at: datetime) -> tuple[int, str, datetime] | None:
    record = PolicyRecord.objects.filter(issued_at__lte=at).order_by("-issued_at", "-revision").first()
    return None if record is None else (record.revision, record.digest, record.issued_at)


def _answers(client: Client, at: datetime) -> Sequence[Answered]:
    """The client's last answers up to that instant."""
    rows = list(
        Prediction.objects.filter(
            client_id=str(client.client_id), happened_at__lte=at, happened_at__gt=at - NEARBY
        ).order_by("-happened_at")[:ANSWERS_MOST]
    )
    digests = {row.pk: row.detail_document.get("policy", "") for row in rows}
    revisions = dict(PolicyRecord.objects.filter(digest__in=set(digests.values())).values_list("digest", "revision"))
    return [Answered(row.pk, row.happened_at, row.model, row.version, revisions.get(digests[row.pk])) for row in rows]
