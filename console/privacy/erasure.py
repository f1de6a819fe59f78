"""An erasure, step by step, each one a transaction that may be repeated: a process that dies anywhere loses nothing.

    shut ─▶ key ─▶ rows ─▶ subject ─▶ files ─▶ search ─▶ finish ─▶ done
                     ▲                            │
                     └──── something is found ────┘

What a person is found by is written down first and forgotten last, in the transaction that
sees the second search find nothing. Two workers at once take turns at the row's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils.timezone import now

from console.audit.services import erase_payloads, record
from console.datasets.queries import versions_that_learnt_from
from console.privacy import by_hand, certificate, late, ledger, queries, typed
from console.privacy.leftovers import compacted
from console.privacy.models import OPEN, Erasure, PrivacyRequest, State, Step
from console.privacy.stores import STORES, Traces, collect, find_all
from console.steady import latest
from console.vault import services as vault
from console.vault.models import Subject

_log = logging.getLogger(__name__)
_EMPTIED: Final = frozenset(store.name for store in STORES if store.erase is not None)
_FILES: Final = "files"  # deleted by ids, once their rows are gone


def carry_out(request_id: int) -> bool:
    """Take an erasure as far as it goes now. True when it is done, False when it waits for something.

    It waits while its request is paused, while a store that empties itself is not empty yet,
    and while readers keep the database from dropping what was deleted. Raises OSError,
    DatabaseError; then the next call goes on.
    """
    while True:
        before, after = _advance(request_id)
        if after == Step.DONE:
            return True
        if after <= before:
            return False


def erase_again(subject_id: UUID) -> bool:
    """Erase somebody whom a restore brought back. False when there is nobody."""
    # All or nothing: records that stayed shut would pass for those of an erasure that goes on by itself.
    with transaction.atomic():
        if not vault.shut(subject_id=subject_id):
            return False
        subject = Subject.objects.get(pk=subject_id)
        traces = collect(subject_id, bytes(subject.found_by))
        vault.destroy_key(subject_id=subject_id)
        _empty(traces)
        vault.erase(subject_id=subject_id, prediction_ids=traces.prediction_ids)
    vault.delete_files(traces.object_ids)
    return True


def replay() -> int:
    """Erase again everybody in the ledger who is there, and every text that was erased by hand. Before anybody is
    served. Returns how many people.

    Whose late events a restored database would not know for those of somebody erased is remembered again first: not
    everybody in the ledger was here when the backup was made. Raises OSError, DatabaseError; ValueError for a file
    beside the ledger that is none.
    """
    oldest = vault.forgotten_before(at=now())
    for erased in late.read(settings.AMULET.erasure_ledger):
        if erased.erased_at >= oldest:
            vault.remember_again(erased.found_by, erased_at=erased.erased_at)
    # Not those whose erasure is under way. That records are shut does not say so: rows that somebody put back are, too.
    wanted = sorted({line.subject_id for line in ledger.read(settings.AMULET.erasure_ledger)} - queries.being_erased())
    again = 0
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        for subject_id in Subject.objects.filter(pk__in=some).values_list("pk", flat=True):
            again += erase_again(subject_id)
        erase_payloads(subject_type="subject", subject_ids=[str(subject_id) for subject_id in some])
    by_hand.replay()
    if again:
        with transaction.atomic():
            record(
                actor=None, action="erasure.replayed", subject_type="privacy", subject_id="", details={"people": again}
            )
    return again


def forget() -> int:
    """Drop the memory of erasures from before which no event can still come, in database and beside the ledger.

    Returns of how many the database had it. Raises OSError, DatabaseError.
    """
    late.forget(settings.AMULET.erasure_ledger, before=vault.forgotten_before(at=now()))
    return vault.forget_erased()


def _advance(request_id: int) -> tuple[Step, Step]:
    """Do the next step. Returns it, and the one that comes after it."""
    step = Step(Erasure.objects.values_list("step", flat=True).get(pk=request_id))
    if step == Step.DONE:
        return step, step
    if step == Step.FINISH and not compacted():
        return step, step
    with transaction.atomic():
        erasure = Erasure.objects.select_for_update().select_related("request").get(pk=request_id)
        if erasure.step != step or erasure.request.state != State.IN_PROGRESS:
            return step, Step(erasure.step)
        following = _WORK[step](erasure)
        erasure.step = following
        erasure.save()
    return step, following


def _shut(erasure: Erasure) -> Step:
    request = erasure.request
    subject = Subject.objects.filter(found_by=bytes(request.found_by)).first()
    if subject is None:  # nobody is known by this name; what was refused may have it all the same
        nobody = collect(uuid4(), bytes(request.found_by))
        erasure.before = _with_more(erasure.before, find_all(nobody))
        _empty(nobody)
        _enter_late(nobody)
        vault.remember_erased(found_by=nobody.found_by)  # their events may still be on the way
        erasure.searched_at, erasure.remaining = now(), {name: n for name, n in find_all(nobody).items() if n}
        return Step.SHUT if erasure.remaining else Step.FINISH
    vault.shut(subject_id=subject.pk)
    traces = collect(subject.pk, bytes(request.found_by))
    erasure.traces = traces.render()
    erasure.before = find_all(traces)
    erasure.learnt = _learnt(traces)
    return Step.KEY


def _destroy_key(erasure: Erasure) -> Step:
    vault.destroy_key(subject_id=_traces(erasure).subject_id)
    erasure.key_destroyed_at = now()
    record(
        actor=None,
        action="erasure.key_destroyed",
        subject_type="privacy_request",
        subject_id=str(erasure.request_id),
        details={},
    )
    return Step.ROWS


def _delete_rows(erasure: Erasure) -> Step:
    _empty(_traces(erasure))
    return Step.SUBJECT


def _delete_subject(erasure: Erasure) -> Step:
    traces = _traces(erasure)
    # Whoever was adding something when the records were shut has committed by now, or will fail.
    list(Subject.objects.select_for_update().filter(pk=traces.subject_id).values_list("pk"))
    late = collect(traces.subject_id, traces.found_by)
    traces = traces.merged(late)
    found = find_all(traces)
    # What was emptied and has something again has it from them.
    erasure.before = _with_more(erasure.before, found)
    erasure.traces = traces.render()
    erasure.learnt = sorted({*erasure.learnt, *_learnt(traces)})
    _empty(traces)
    _enter_late(traces)
    ledger.enter(
        settings.AMULET.erasure_ledger,
        ledger.Line(subject_id=traces.subject_id, erased_at=now(), request_id=erasure.request_id),
    )
    vault.erase(subject_id=traces.subject_id, prediction_ids=traces.prediction_ids)
    return Step.FILES


def _delete_files(erasure: Erasure) -> Step:
    vault.delete_files(_traces(erasure).object_ids)
    return Step.SEARCH


def _search(erasure: Erasure) -> Step:
    """The second search: by everything that this person was ever found by, in every store."""
    traces = _traces(erasure)
    everywhere = find_all(traces)
    found = {name: count for name, count in everywhere.items() if count}
    erasure.searched_at, erasure.remaining = now(), found
    if found:
        _log.info("an erasure waits", extra={"request": erasure.request_id, "remaining": found})
        erasure.before = _with_more(erasure.before, everywhere)
        # Ours to empty: once more. Others empty themselves.
        if found.keys() & _EMPTIED:
            return Step.ROWS
        return Step.FILES if _FILES in found else Step.SEARCH  # a restore may bring files back behind their rows
    erasure.traces = {}
    return Step.FINISH


def _finish(erasure: Erasure) -> Step:
    moment = now()
    erasure.finished_at = moment
    erasure.statement = certificate.statement_of(erasure)
    erasure.entry_sequence = certificate.commit(erasure)
    # What somebody typed of why it took longer may name the person, and goes with them.
    closed = {
        "state": State.DONE,
        "closed_at": moment,
        "found_by": b"",
        "subject": None,
        "reason": "",
        "extension_reason": "",
    }
    # Typed while it waited: the second search was before that.
    duplicates = PrivacyRequest.objects.filter(duplicate_of=erasure.request_id)
    typed.erase_in_audit([erasure.request_id, *duplicates.values_list("pk", flat=True)])
    # First the request itself: who enters a duplicate of it at this moment holds it, and is seen afterwards.
    PrivacyRequest.objects.filter(pk=erasure.request_id, state=State.IN_PROGRESS).update(**closed)
    others = PrivacyRequest.objects.filter(duplicate_of=erasure.request_id, state__in=OPEN)
    for duplicate in others.values_list("pk", flat=True):
        record(
            actor=None,
            action="privacy.closed_with",
            subject_type="privacy_request",
            subject_id=str(duplicate),
            details={"first": erasure.request_id},
        )
    others.update(**closed)
    return Step.DONE


_WORK: Final[Mapping[Step, Callable[[Erasure], Step]]] = {
    Step.SHUT: _shut,
    Step.KEY: _destroy_key,
    Step.ROWS: _delete_rows,
    Step.SUBJECT: _delete_subject,
    Step.FILES: _delete_files,
    Step.SEARCH: _search,
    Step.FINISH: _finish,
}


def _enter_late(traces: Traces) -> None:
    found_by = vault.remembered_by(found_by=traces.found_by, prediction_ids=traces.prediction_ids)
    late.enter(settings.AMULET.erasure_ledger, late.Late(latest(now()), found_by))


def _empty(traces: Traces) -> None:
    for store in STORES:
        if store.erase is not None:
            store.erase(traces)


def _with_more(before: Mapping[str, int], found: Mapping[str, int]) -> dict[str, int]:
    """What was there, with what was found since: where we had emptied that comes on top, elsewhere it was there."""
    return {
        name: before.get(name, 0) + more if name in _EMPTIED else max(before.get(name, 0), more)
        for name, more in found.items()
    }


def _learnt(traces: Traces) -> list[str]:
    return sorted({str(version) for version in versions_that_learnt_from(traces.prediction_ids)})


def _traces(erasure: Erasure) -> Traces:
    return Traces.parse(erasure.traces)
