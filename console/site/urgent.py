"""What home lists of drift alerts and of privacy requests: both by one query, however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from django.db.models import CharField, F, QuerySet, Value
from django.db.models.functions import Concat
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.drift.models import EVERYBODY, Against, Finding
from console.drift.names import name_of
from console.drift.queries import alerts
from console.privacy.clocks import days_until
from console.privacy.models import Kind, PrivacyRequest
from console.privacy.queries import open_requests
from console.staff.models import User
from model_store.reference import is_confidence_in_a_class

_ALERT, _REQUEST = "alert", "request"
_VERSION = Concat("model", Value(" "), "version", output_field=CharField())
_SINCE, _UNTIL = itemgetter(6, 1), itemgetter(7, 1)


@dataclass(frozen=True, slots=True)
class Alert:
    """An open alert of drift."""

    key: int
    version: str  # with its model's name
    measure: str
    of_one_client: bool
    against: Against
    since: datetime

    @property
    def needs_class_names(self) -> bool:
        return is_confidence_in_a_class(self.measure)

    def text(self, class_names: Mapping[str, str]) -> str:
        return f"{self.version}: {name_of(self.measure, class_names)}"

    def why(self) -> str:
        if self.of_one_client:
            return _("drift of one client, compared with: {against}").format(against=self.against.label)
        return _("drift, compared with: {against}").format(against=self.against.label)

    def url(self) -> str:
        return reverse("admin:drift_finding_change", args=[self.key])


@dataclass(frozen=True, slots=True)
class Request:
    """An open privacy request. Nothing of it says whose it is."""

    key: int
    kind: Kind
    since: datetime
    days_left: int  # 0 on the last day, negative after it

    def text(self) -> str:
        return _("Privacy request {number}: {kind}").format(number=self.key, kind=self.kind.label)

    def why(self) -> str:
        if self.days_left < 0:
            return ngettext("{days} day too late", "{days} days too late", -self.days_left).format(days=-self.days_left)
        return ngettext("{days} day left", "{days} days left", self.days_left).format(days=self.days_left)

    def url(self) -> str:
        return reverse("admin:privacy_privacyrequest_change", args=[self.key])


def urgent(person: User, most: int) -> tuple[Sequence[Request], Sequence[Alert]]:
    """The most urgent requests and the longest open alerts that this person may see, so many of each. One query."""
    asked = []
    if person.has_perm("privacy.view_privacyrequest"):
        asked.append(_requests(most))
    if person.has_perm("drift.view_finding"):
        asked.append(_alerts(most))
    if not asked:
        return (), ()
    rows = list(asked[0].union(*asked[1:], all=True))
    at = now()
    requests = [
        Request(key, Kind(name), since, days_until(until, at))
        for what, key, name, _measure, _client, _against, since, until in sorted(rows, key=_UNTIL)
        if what == _REQUEST
    ]
    found = [
        Alert(key, name, measure, client != EVERYBODY, Against(against), since)
        for what, key, name, measure, client, against, since, _until in sorted(rows, key=_SINCE)
        if what == _ALERT
    ]
    return requests, found


# The first so many by a subquery: SQLite takes no limit in the parts of a union.
def _requests(most: int) -> QuerySet[Any, Any]:
    first = PrivacyRequest.objects.filter(pk__in=open_requests().values("pk")[:most]).order_by()
    nothing = Value("", CharField())
    return first.values_list(
        Value(_REQUEST, CharField()), "pk", "kind", nothing, nothing, nothing, "received_at", "due_at"
    )


def _alerts(most: int) -> QuerySet[Any, Any]:
    first = Finding.objects.filter(pk__in=alerts().order_by("since", "-effect", "pk").values("pk")[:most]).order_by()
    return first.values_list(
        Value(_ALERT, CharField()), "pk", _VERSION, "measure", "client", "against", "since", F("since")
    )
