"""Two who work on one person's photograph at the same moment, on PostgreSQL; run by `test_meanwhile`.

    AMULET_DATABASE_URL=postgresql://… python -m tests.integration.console.meanwhile restricts | withdraws

Prints one JSON object: what became of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any, Final

from tests.console_ready import ready

ready()

from django.db import connection, transaction  # noqa: E402
from django.utils.timezone import now  # noqa: E402

from console.datasets import services as exports  # noqa: E402
from console.datasets.models import Dataset  # noqa: E402
from console.errors import Conflict  # noqa: E402
from console.site.roles import Role  # noqa: E402
from console.vault import restriction, services  # noqa: E402
from console.vault.models import Consent, StoredObject  # noqa: E402
from tests.console_events import CLASSES  # noqa: E402
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled  # noqa: E402
from tests.unit.console.people import member  # noqa: E402

# Not from pg_stat_activity, which stays as it was first read until a transaction ends.
_WAITING: Final = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"


def main() -> None:
    officer = member(Role.PRIVACY_OFFICER)
    consenting(officer, "shop")
    labelled(member(Role.REVIEWER), "shop", is_a(CLASSES[0]))
    said = {"restricts": restricts, "withdraws": withdraws}[sys.argv[1]](officer)
    print(json.dumps(said))


def restricts(officer: Any) -> dict[str, Any]:
    """A restriction is there and not committed when the photograph's time is over."""
    Consent.objects.filter(reference="keep-shop").update(expires_at=now() - timedelta(minutes=1))
    kept, subject = StoredObject.objects.count(), Consent.objects.get(reference="keep-shop").subject
    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            restriction.restrict(actor=officer, found_by=bytes(subject.found_by))
            discarded = other.submit(_in_a_thread(services.discard_expired))
            waited = _is_waiting(discarded)
        return {"waited": waited, "discarded": discarded.result(), "lost": kept - StoredObject.objects.count()}


def withdraws(officer: Any) -> dict[str, Any]:
    """A consent to training is withdrawn, and that not committed, when all photographs of a data set were read."""
    engineer, read, withdrawn = member(Role.MODEL_ENGINEER), Event(), Event()
    fingerprint_of = exports.fingerprint_of

    def pausing(files: Any) -> str:
        read.set()
        assert withdrawn.wait(60)
        return fingerprint_of(files)

    def exported() -> str:
        try:
            exports.export(actor=engineer, model=MODEL, write=lambda _path, _content: None)
        except Conflict as conflict:
            return str(conflict.reason)
        return "exported"

    exports.fingerprint_of = pausing
    with ThreadPoolExecutor(1) as other:
        export = other.submit(_in_a_thread(exported))
        assert read.wait(60)
        with transaction.atomic():
            services.withdraw_consent(actor=officer, reference="train-shop", channel="letter")
            withdrawn.set()
            waited = _is_waiting(export)
        return {"waited": waited, "export": export.result(), "datasets": Dataset.objects.count()}


def _in_a_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    def worked() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return worked


def _is_waiting(work: Future[Any]) -> bool:
    """Whether it comes to wait for a lock; False when it ends first."""
    with connection.cursor() as cursor:
        while not work.done():
            cursor.execute(_WAITING)
            if cursor.fetchone()[0]:
                return True
    return False


if __name__ == "__main__":
    main()
