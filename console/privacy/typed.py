"""What staff typed about a person's requests, in their rows and in the audit log: it goes with the person."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet

from console.audit.words import erase_typed, typed_about
from console.privacy.models import PrivacyRequest, State

# In place of what a refusal or a pause said, which have to say something.
ERASED: Final = "[erased]"
IN_AUDIT: Final = ("reason", "outcome")
_SAYS_WHY: Final = (State.REFUSED, State.PAUSED)


def requests_of(subject_id: UUID, found_by: bytes) -> tuple[int, ...]:
    """Numbers of the requests that lead to a person, in order. Only open ones know the keyed hash."""
    mine = Q(subject=subject_id)
    if found_by:
        mine |= Q(found_by=found_by, closed_at=None)
    return tuple(PrivacyRequest.objects.filter(mine).order_by("pk").values_list("pk", flat=True))


def with_text(request_ids: Collection[int]) -> QuerySet[PrivacyRequest]:
    """Those of these requests in whose rows something typed is left."""
    return PrivacyRequest.objects.filter(~Q(reason__in=("", ERASED)) | ~Q(extension_reason=""), pk__in=request_ids)


def count_in_audit(request_ids: Collection[int]) -> int:
    """How many audit entries hold what was typed about these requests."""
    return len(typed_about("privacy_request", _keys(request_ids), fields=IN_AUDIT))


def erase_in_audit(request_ids: Collection[int]) -> int:
    """Let the audit log forget it; what was done, about which request, by whom and when stays."""
    return erase_typed("privacy_request", _keys(request_ids), fields=IN_AUDIT)


def erase_in_rows(request_ids: Collection[int]) -> None:
    rows = with_text(request_ids)
    # Each by its own statement: what is left after the first has a reason no more, or the word in its place.
    rows.filter(state__in=_SAYS_WHY).update(reason=ERASED, extension_reason="")
    rows.exclude(state__in=_SAYS_WHY).update(reason="", extension_reason="")


def _keys(request_ids: Collection[int]) -> list[str]:
    return [str(number) for number in request_ids]
