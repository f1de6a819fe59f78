"""What moves privacy requests: one function for each arrow of the drawing in `models`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.words import record_with_words
from console.celery_app import wake
from console.errors import Conflict, Invalid, NotFound
from console.privacy import clocks, queries, typed
from console.privacy.clocks import Escalation, Law
from console.privacy.models import OPEN, RESTRICTS, Erasure, Kind, Laws, PrivacyRequest, State, Step
from console.staff.models import User
from console.staff.services import require
from console.steady import earliest
from console.vault import queries as vault
from console.vault import restriction
from console.vault.cipher import find_by
from console.vault.models import Subject
from console.vault.services import CLOCKS_DIFFER_MAX, EARLIEST, TEXT_MAX

HANDLE: Final = "privacy.handle_privacyrequest"
REASON_MAX: Final = 500
_LEVELS: Final = tuple(Escalation)


@transaction.atomic
def receive(
    *,
    actor: User,
    pseudonym: str,
    kind: str,
    laws: str,
    channel: str,
    received_at: datetime | None = None,
) -> PrivacyRequest:
    """Enter what a person asks for. While another of this kind by the same person is open, it is its duplicate.

    Raises NotAllowed; Invalid naming the field.
    """
    require(actor, "privacy.add_privacyrequest")
    moment = now()
    received_at = received_at or earliest(moment)  # the law's limits, too, are the earlier ones then
    if not pseudonym or len(pseudonym) > TEXT_MAX or not pseudonym.isprintable():
        raise Invalid(_("A pseudonym has 1 to {most} printable characters.").format(most=TEXT_MAX), field="subject")
    if kind not in Kind.values:
        raise Invalid(_("{value} is not something to ask for.").format(value=repr(kind)), field="kind")
    if laws not in Laws.values:
        raise Invalid(_("{value} is not a law that we know.").format(value=repr(laws)), field="laws")
    if not channel or len(channel) > 40 or not channel.isprintable():
        raise Invalid(_("A channel has 1 to 40 printable characters."), field="channel")
    if received_at > moment + CLOCKS_DIFFER_MAX:
        raise Invalid(_("A request cannot come in in the time to come."), field="received_at")
    if received_at < EARLIEST:
        raise Invalid(_("A request cannot have come in before the year 2000."), field="received_at")
    digest = find_by(vault.keys(), pseudonym)
    # Held: were it closed at this moment, nobody would close its duplicate, nor could anybody work on that.
    same = queries.open_requests().filter(found_by=digest, kind=kind, duplicate_of=None)
    first = same.select_for_update(no_key=True).order_by("pk").first()
    request = PrivacyRequest(
        kind=kind,
        laws=laws,
        subject=vault.subject_of(pseudonym),
        found_by=digest,
        channel=channel,
        received_at=received_at,
        due_at=moment,
        duplicate_of=first,
    )
    request.due_at = request.limits().ends_at
    request.save()
    details: dict[str, Any] = {
        "kind": kind,
        "laws": laws,
        "channel": channel,
        "duplicate_of": first.pk if first else None,
    }
    _record(actor, "privacy.received", request.pk, **details)
    return request


def check_identity(*, actor: User, request_id: int, method: str) -> PrivacyRequest:
    """Note how it was made sure that the person is who they say. Raises NotAllowed, NotFound, Invalid, Conflict."""
    require(actor, HANDLE)
    _need_text(method, _("How it was checked"), field="method", most=200)
    return _move(
        actor,
        request_id,
        (State.RECEIVED,),
        "privacy.identity_checked",
        state=State.IDENTITY_CHECKED,
        identity_method=method,
        identity_checked_at=now(),
    )


@transaction.atomic
def start(*, actor: User, request_id: int) -> PrivacyRequest:
    """Begin the work; of an erasure a worker does it, and there is no way back.

    A restriction or an objection takes effect now: what is kept of the person is left alone until that is lifted.

    Raises NotAllowed, NotFound, Conflict.
    """
    request = _move(
        actor, request_id, (State.IDENTITY_CHECKED,), "privacy.started", state=State.IN_PROGRESS, handled_by=actor
    )
    link_person(request)
    if request.kind in RESTRICTS:
        _restrict(actor, request)
    if request.kind == Kind.ERASURE:
        Erasure.objects.create(request=request)
        transaction.on_commit(partial(wake, "console.privacy.tasks.carry_out", request.pk))
    return request


def link_person(request: PrivacyRequest) -> None:
    """Find the person of an open request by the hash that it was received with.

    Who was unknown then may have called since, and whoever was erased may have come back. Other open requests of the
    same person are linked along. While an erasure goes on everything stays as it is.
    """
    subject = Subject.objects.filter(found_by=bytes(request.found_by), shut_at=None).first()
    if subject is None or subject.pk == request.subject_id:
        return
    PrivacyRequest.objects.filter(found_by=bytes(request.found_by), state__in=OPEN).update(subject=subject)
    request.subject = subject


@transaction.atomic
def pause(*, actor: User, request_id: int, reason: str) -> PrivacyRequest:
    """Let it wait, for the person or for us; the clock of the law runs on. Raises as the others do."""
    require(actor, HANDLE)
    _need_text(reason, _("Reason"), field="reason")
    request = _open(request_id)
    states = (State.RECEIVED, State.IDENTITY_CHECKED, State.IN_PROGRESS)
    return _move(
        actor,
        request_id,
        states,
        "privacy.paused",
        words={"reason": reason},
        state=State.PAUSED,
        paused_from=request.state,
        reason=reason,
        only_from=request.state,
    )


@transaction.atomic
def resume(*, actor: User, request_id: int) -> PrivacyRequest:
    """Go on where it was. Raises as the others do."""
    require(actor, HANDLE)
    request = _open(request_id)
    back = State(request.paused_from) if request.paused_from else State.RECEIVED
    moved = _move(actor, request_id, (State.PAUSED,), "privacy.resumed", state=back, paused_from="", reason="")
    if moved.kind == Kind.ERASURE and back == State.IN_PROGRESS:
        transaction.on_commit(partial(wake, "console.privacy.tasks.carry_out", moved.pk))
    return moved


@transaction.atomic
def extend(*, actor: User, request_id: int, reason: str) -> PrivacyRequest:
    """Take the two further months that GDPR grants for a reason, which the person must be told within the first.

    The PDPA knows no extension: where both laws bind, its clock goes on. Raises as the others do.
    """
    require(actor, HANDLE)
    _need_text(reason, _("Reason"), field="reason")
    request = _open(request_id)
    if request.laws == Laws.PDPA:
        raise Conflict(_("The PDPA knows no extension."), reason="no_extension")
    moment = now()
    if not PrivacyRequest.objects.filter(pk=request_id, extended_at=None).update(extended_at=moment):
        raise Conflict(_("It is extended already."), reason="extended_already")
    if clocks.day_of(moment) > request.limits().by_law[Law.GDPR]:
        raise Conflict(_("An extension must be told within the first month."), reason="too_late")
    request.extended_at = moment
    return _move(
        actor,
        request_id,
        (State.RECEIVED, State.IDENTITY_CHECKED, State.IN_PROGRESS, State.PAUSED),
        "privacy.extended",
        words={"reason": reason},
        extension_reason=reason,
        due_at=request.limits().ends_at,
        told=Escalation.NONE,
    )


@transaction.atomic
def refuse(*, actor: User, request_id: int, reason: str) -> PrivacyRequest:
    """Close it without doing what it asks. Raises as the others do; Conflict for an erasure that has begun."""
    require(actor, HANDLE)
    _need_text(reason, _("Reason"), field="reason")
    before = PrivacyRequest.objects.filter(pk=request_id).values_list("state", flat=True).first()
    # A worker holds the row for the whole of its step, the first one included: what it came to is seen here.
    erasure = Erasure.objects.select_for_update().filter(pk=request_id).first()
    if erasure is not None and erasure.step > Step.SHUT:
        raise Conflict(_("This erasure has begun: it can only be finished."), reason="erasure_begun")
    if erasure is not None:
        erasure.delete()
    states = (State.RECEIVED, State.IDENTITY_CHECKED, State.IN_PROGRESS)
    request = _move(
        actor,
        request_id,
        states,
        "privacy.refused",
        words={"reason": reason},
        only_from=before or "",  # one that was started since has an erasure that was not looked at
        reason=reason,
        **_closed(State.REFUSED),
    )
    _close_duplicates(actor, request)
    if request.kind in RESTRICTS and not _restricted_by_others(request):
        _lift(actor, request, reason)
    return request


@transaction.atomic
def lift_restriction(*, actor: User, request_id: int, reason: str) -> PrivacyRequest:
    """Let what is kept of the person who asked for this be worked with again; the person must be told first.

    Raises NotAllowed, Invalid, NotFound; Conflict where nothing is restricted.
    """
    require(actor, HANDLE)
    _need_text(reason, _("Reason"), field="reason")
    request = PrivacyRequest.objects.filter(pk=request_id).first()
    if request is None:
        raise _why_not(request_id, ())
    if request.kind not in RESTRICTS or not _lift(actor, request, reason):
        raise Conflict(_("Nothing is restricted under this request."), reason="not_restricted")
    return request


@transaction.atomic
def finish(*, actor: User, request_id: int, outcome: str) -> PrivacyRequest:
    """Close it as done, with what was done. An erasure closes itself. Raises as the others do."""
    require(actor, HANDLE)
    _need_text(outcome, _("What was done"), field="outcome")
    if Erasure.objects.filter(pk=request_id).exists():
        raise Conflict(_("An erasure is done when nothing is found any more, and not before."), reason="is_erasure")
    request = _move(
        actor,
        request_id,
        (State.IN_PROGRESS,),
        "privacy.done",
        words={"outcome": outcome},
        reason=outcome,
        **_closed(State.DONE),
    )
    _close_duplicates(actor, request)
    return request


@transaction.atomic
def escalate(*, at: datetime) -> int:
    """Tell of every open request that came nearer to its limit, once for each level. Returns how many were told."""
    today, told = clocks.day_of(at), 0
    for request in queries.open_requests().filter(due_at__lt=at + timedelta(days=clocks.SOON_DAYS + 2)):
        left = request.days_left(today)
        level = clocks.escalation(left)
        lower = [each for each in _LEVELS if _LEVELS.index(each) < _LEVELS.index(level)]
        higher = [each for each in _LEVELS if _LEVELS.index(each) > _LEVELS.index(level)]
        # As it was read: of one that was extended since, nothing is near any more.
        as_read = PrivacyRequest.objects.filter(pk=request.pk, closed_at=None, due_at=request.due_at)
        if as_read.filter(told__in=lower).update(told=level):
            _record(None, "privacy.escalated", request.pk, level=level, days_left=left)
            told += 1
        # Told while the clock was ahead: when it comes to that it is told again.
        as_read.filter(told__in=higher).update(told=level)
    return told


@transaction.atomic
def discard_closed(*, before: datetime) -> int:
    """Delete requests that were closed before a time, with their certificates, duplicates first. Returns how many.

    What keeps a restriction in force stays. What was typed about them goes from the audit log, too: nothing leads from
    there to a person once they are gone.
    """
    going = queries.closed_before(before).exclude(pk__in=queries.keeping_restrictions())
    ids = set(PrivacyRequest.objects.filter(Q(pk__in=going) | Q(duplicate_of__in=going)).values_list("pk", flat=True))
    typed.erase_in_audit(ids)
    first = PrivacyRequest.objects.filter(duplicate_of__in=going).delete()[0]
    Erasure.objects.filter(request__in=going).delete()
    return first + going.delete()[0]


def _move(
    actor: User,
    request_id: int,
    states: tuple[State, ...],
    action: str,
    *,
    words: Mapping[str, str] | None = None,
    only_from: str = "",
    **changes: Any,
) -> PrivacyRequest:
    """One arrow: a conditional UPDATE with its audit entry. Raises NotAllowed, NotFound, Conflict."""
    require(actor, HANDLE)
    with transaction.atomic():
        rows = PrivacyRequest.objects.filter(pk=request_id, state__in=states, duplicate_of=None)
        if only_from:
            rows = rows.filter(state=only_from)
        if not rows.update(**changes):
            raise _why_not(request_id, states)
        _record(actor, action, request_id, words=words or {})
        return PrivacyRequest.objects.get(pk=request_id)


def _restrict(actor: User, request: PrivacyRequest) -> None:
    subject = restriction.restrict(actor=actor, found_by=bytes(request.found_by))
    PrivacyRequest.objects.filter(pk=request.pk).update(subject=subject)
    request.subject = subject


def _lift(actor: User, request: PrivacyRequest, reason: str) -> bool:
    return request.subject_id is not None and restriction.lift(
        actor=actor, subject_id=request.subject_id, reason=reason
    )


def _restricted_by_others(request: PrivacyRequest) -> bool:
    """Whether another request of this person keeps the restriction: one in work, or one done since it began."""
    subject = request.subject
    if subject is None or subject.restricted_at is None:
        return False
    others = PrivacyRequest.objects.filter(subject=subject, kind__in=RESTRICTS).exclude(pk=request.pk)
    return others.filter(
        Q(state=State.IN_PROGRESS)
        | Q(state=State.PAUSED, paused_from=State.IN_PROGRESS)
        | Q(state=State.DONE, closed_at__gte=subject.restricted_at)
    ).exists()


def _closed(state: State) -> dict[str, Any]:
    return {"state": state, "closed_at": now(), "found_by": b""}


def _close_duplicates(actor: User, request: PrivacyRequest) -> None:
    for duplicate in PrivacyRequest.objects.filter(duplicate_of=request, state__in=OPEN):
        changes = {"state": request.state, "closed_at": now(), "found_by": b"", "reason": request.reason}
        PrivacyRequest.objects.filter(pk=duplicate.pk).update(**changes)
        _record(actor, "privacy.closed_with", duplicate.pk, first=request.pk)


def _open(request_id: int) -> PrivacyRequest:
    request = PrivacyRequest.objects.filter(pk=request_id).first()
    if request is None or not request.is_open:
        raise _why_not(request_id, OPEN)
    return request


def _need_text(text: str, name: str, *, field: str, most: int = REASON_MAX) -> None:
    """name: of the field, in the reader's language."""
    if not text.strip() or len(text) > most:
        raise Invalid(_("{field} needs 1 to {most} characters.").format(field=name, most=most), field=field)


def _why_not(request_id: int, states: tuple[State, ...]) -> Exception:
    request = PrivacyRequest.objects.filter(pk=request_id).first()
    if request is None:
        return NotFound(_("There is no request {number}.").format(number=request_id))
    if request.duplicate_of_id is not None:
        return Conflict(
            _("It is a duplicate: work on request {number}.").format(number=request.duplicate_of_id), reason="duplicate"
        )
    wanted = ", ".join(str(state.label) for state in states)
    return Conflict(
        _("The request is {state}; this needs: {wanted}.").format(state=State(request.state).label, wanted=wanted),
        reason="not_in_this_state",
    )


def _record(
    actor: User | None, action: str, request_id: int, *, words: Mapping[str, str] | None = None, **details: Any
) -> None:
    record_with_words(
        actor=actor,
        action=action,
        subject_type="privacy_request",
        subject_id=str(request_id),
        details=details,
        words=words or {},
    )
