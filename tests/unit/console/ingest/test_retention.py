"""What happens between the writing of a photograph and the keeping of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.site.roles import Role
from console.vault import cipher, queries, services
from console.vault.folder import Folder
from console.vault.models import Consent, Erased, StoredObject, Subject
from protos.amulet.events.v1 import events_pb2 as pb
from tests.unit.console.people import member
from tests.unit.console.shop import sent

pytestmark = pytest.mark.django_db


class Watched(Folder):
    """A folder that lets something happen once objects are in it."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__(settings.AMULET.storage_dir)
        self.then = then
        self.written: list[UUID] = []
        self.transactions: int | None = None  # that were open, besides the test's own

    def write(self, objects: Iterable[tuple[UUID, bytes]]) -> None:
        self.transactions = len(connection.savepoint_ids)
        for object_id, content in objects:
            self.written.append(object_id)
            super().write([(object_id, content)])
        self.then()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], Watched]:
    def begin(then: Callable[[], object]) -> Watched:
        store = Watched(then)
        monkeypatch.setattr(queries, "store", lambda: store)
        return store

    return begin


def agree(reference: str, *, before: str = "officer") -> None:
    """before: the officer before whom it is done."""
    services.give_consent(
        actor=member(Role.PRIVACY_OFFICER, before), pseudonym="shop-17", purpose="keep_photograph", text_version="1",
        channel="web", reference=reference, given_at=now() - timedelta(hours=1),
    )  # fmt: skip


def erase_shop(*, ago: timedelta = timedelta()) -> None:
    services.remember_erased(found_by=cipher.find_by(queries.keys(), "shop-17"))
    Erased.objects.update(erased_at=F("erased_at") - ago)


def kept(event: pb.Event) -> str:
    return Prediction.objects.get(pk=event.prediction.prediction_id).detail().views[0].kept


def test_nobody_who_writes_to_the_database_waits_for_the_store(watch: Callable[..., Watched]) -> None:
    agree("c-1")
    store = watch(lambda: None)
    event = sent()

    assert apply_batch([event]).applied == 1

    assert store.transactions == 0
    assert kept(event) == "kept"
    assert store.held(store.written) == StoredObject.objects.count() == 2


def test_an_open_transaction_is_seen(watch: Callable[..., Watched]) -> None:
    store = watch(lambda: None)
    with transaction.atomic():
        store.write([])
    assert store.transactions == 1


def test_a_consent_that_is_withdrawn_between_writing_and_keeping_leaves_nothing(watch: Callable[..., Watched]) -> None:
    agree("c-1")
    officer = member(Role.PRIVACY_OFFICER, "second-officer")
    store = watch(lambda: services.withdraw_consent(actor=officer, reference="c-1", channel="web"))
    event = sent()

    assert apply_batch([event]).applied == 1

    assert kept(event) == "no_consent"
    assert len(store.written) == 2
    assert store.held(store.written) == StoredObject.objects.count() == 0


def test_a_consent_that_is_given_between_writing_and_keeping_is_too_late_for_the_photograph(
    watch: Callable[..., Watched],
) -> None:
    agree("c-1")
    store = watch(lambda: agree("c-2", before="second-officer"))
    first, second = sent(), sent(consent="c-2", pseudonym="")

    assert apply_batch([first, second]).applied == 2

    assert (kept(first), kept(second)) == ("kept", "no_consent")
    assert store.held(store.written) == StoredObject.objects.count() == 2


def test_a_batch_that_comes_again_writes_nothing(watch: Callable[..., Watched]) -> None:
    agree("c-1")
    event, fresh = sent(), sent()
    assert apply_batch([event]).applied == 1
    store = watch(lambda: None)

    receipt = apply_batch([event, fresh])

    assert (receipt.applied, receipt.known_before) == (1, 1)
    assert len(store.written) == 2  # of the fresh one: a photograph and its heat map


def test_two_shippers_that_bring_one_batch_at_once_keep_it_once(watch: Callable[..., Watched]) -> None:
    agree("c-1")
    event = sent()
    plain = queries.store()

    def other() -> None:
        store.then = lambda: None
        assert apply_batch([event]).applied == 1

    store = watch(other)
    receipt = apply_batch([event])

    assert receipt.known_before == 1
    assert len(store.written) == 4
    assert plain.held(store.written) == StoredObject.objects.count() == 2


def test_of_two_events_about_one_prediction_the_refused_one_leaves_nothing(watch: Callable[..., Watched]) -> None:
    agree("c-1")
    store = watch(lambda: None)
    event = sent()
    usurper = pb.Event()
    usurper.CopyFrom(event)
    usurper.event_id = sent().event_id

    receipt = apply_batch([event, usurper])

    assert (receipt.applied, len(receipt.rejected)) == (1, 1)
    assert kept(event) == "kept"
    assert len(store.written) == 4
    assert store.held(store.written) == StoredObject.objects.count() == 2


def test_an_event_of_a_clock_that_was_ahead_brings_no_erased_person_back() -> None:
    erase_shop(ago=timedelta(minutes=6))
    ahead, hardly, now_at = (
        sent(consent="", happened_at=now() + later) for later in (timedelta(days=1), -timedelta(minutes=2), timedelta())
    )

    assert apply_batch([ahead, hardly]).applied == 2
    assert not Subject.objects.exists()
    assert apply_batch([now_at]).applied == 1
    assert Subject.objects.exists()  # who comes again is somebody new


def test_an_erasure_under_a_clock_that_was_set_back_counts_from_when_it_would_have_been(
    clock_was_set: Callable[[timedelta], None],
) -> None:
    clock_was_set(-timedelta(days=1))
    erase_shop()
    clock_was_set(timedelta())
    Erased.objects.update(erased_at=F("erased_at") - timedelta(days=1, minutes=1))  # it is a day later, and set right
    before = sent(consent="", happened_at=now() - timedelta(minutes=20))

    assert apply_batch([before]).applied == 1

    assert not Subject.objects.exists()


def test_an_event_from_before_every_erasure_that_is_remembered_brings_nobody(consent: Consent) -> None:
    long_ago = now() - services.LATE_EVENTS_MAX
    old = sent(consent="", pseudonym="shop-18", happened_at=long_ago)
    known = sent(consent="", happened_at=long_ago)
    Subject.objects.update(created_at=long_ago - timedelta(days=1))  # and was not erased since

    assert apply_batch([old, known]).applied == 2

    assert Subject.objects.get().pk == consent.subject_id
    owners = dict(Prediction.objects.values_list("pk", "subject"))
    assert owners[UUID(old.prediction.prediction_id)] is None
    assert owners[UUID(known.prediction.prediction_id)] == consent.subject_id


def test_a_photograph_of_a_clock_that_was_ahead_has_no_consent_that_can_be_shown_to_be_before_it() -> None:
    agree("c-1")
    ahead, now_at = sent(happened_at=now() + timedelta(hours=1)), sent()

    assert apply_batch([ahead, now_at]).applied == 2

    assert (kept(ahead), kept(now_at)) == ("no_consent", "kept")
