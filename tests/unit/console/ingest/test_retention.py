"""What happens between the writing of a photograph and the keeping of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.test import Client
from django.utils.timezone import now

from console.ingest.models import AppliedEvent
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.site.roles import Role
from console.vault import awaited_keys, cipher, queries, services
from console.vault.awaited_keys import AwaitedKeys, KeyAwaited
from console.vault.folder import Folder
from console.vault.models import Consent, Erased, StoredObject, Subject
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import prediction_event
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


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The shop's key is wrapped under a master key that this process has not. Called: so many seconds pass."""
    agree("c-1")
    Subject.objects.update(wrapped_key=under_another())
    passed = [0.0]
    monkeypatch.setattr(awaited_keys, "AWAITED", AwaitedKeys(clock=lambda: passed[0]))

    def pass_by(seconds: float) -> None:
        passed[0] += seconds

    return pass_by


def under_another() -> bytes:
    """A subject's key under the rotated master key 07c4e2."""
    return b"\x02" + bytes.fromhex("07c4e2") + bytes(60)


def test_a_key_that_this_process_lacks_is_waited_for_and_then_holds_up_nobody(
    lacking: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    hers, others = sent(), prediction_event()
    with pytest.raises(KeyAwaited, match=r"lacks the master key 07c4e2.*amulet vault add --from FILE"):
        apply_batch([hers, others])
    assert not AppliedEvent.objects.exists()  # the whole batch comes again, and the gateway sends it in halves
    assert apply_batch([others]).applied == 1

    lacking(awaited_keys.WAIT_S)
    receipt = apply_batch([hers, others])

    assert (receipt.applied, receipt.known_before, receipt.rejected) == (1, 1, ())
    assert kept(hers) == "no_key"
    assert not StoredObject.objects.exists()
    assert apply_batch([hers]).known_before == 1
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert ["wait for it" in each for each in told] == [True, False]
    assert not any("shop-17" in each for each in told)


def test_several_keys_that_are_missing_are_waited_for_at_once(lacking: Callable[[float], None]) -> None:
    services.give_consent(
        actor=member(Role.PRIVACY_OFFICER, "second-officer"), pseudonym="shop-18", purpose="keep_photograph",
        text_version="1", channel="web", reference="c-2", given_at=now() - timedelta(hours=1),
    )  # fmt: skip
    Subject.objects.filter(pk=Consent.objects.get(reference="c-2").subject_id).update(
        wrapped_key=b"\x02" + bytes.fromhex("3f9a1c") + bytes(60)
    )
    batch = [sent(), sent(pseudonym="shop-18", consent="c-2")]
    with pytest.raises(KeyAwaited):
        apply_batch(batch)
    lacking(awaited_keys.WAIT_S)

    assert apply_batch(batch).applied == 2

    assert [kept(event) for event in batch] == ["no_key", "no_key"]


def test_a_key_that_comes_within_the_wait_costs_no_photograph(lacking: Callable[[float], None]) -> None:
    event = sent()
    with pytest.raises(KeyAwaited):
        apply_batch([event])
    subject = Subject.objects.get()
    subject.wrapped_key = cipher.new_subject_key(queries.keys(), subject.pk)
    subject.save()

    assert apply_batch([event]).applied == 1

    assert kept(event) == "kept"


def test_a_spoilt_key_of_a_person_is_not_waited_for() -> None:
    agree("c-1")
    Subject.objects.update(wrapped_key=b"\x03" + bytes(60))
    event = sent()

    assert apply_batch([event]).applied == 1

    assert kept(event) == "no_key"


def test_what_is_waited_for_is_said_where_it_is_asked_whether_all_is_ready(
    client: Client, lacking: Callable[[float], None]
) -> None:
    hers = pb.EventBatch(events=[sent()]).SerializeToString()

    def deliver() -> int:
        header = f"Bearer {settings.AMULET.control_token().decode()}"
        answer = client.post(
            "/internal/events", hers, content_type="application/x-protobuf", headers={"Authorization": header}
        )
        return answer.status_code

    assert deliver() == 503
    waits = client.get("/readyz")
    assert waits.status_code == 503
    assert "the master key 07c4e2" in waits.json()["vault"]

    lacking(awaited_keys.WAIT_S)
    assert deliver() == 200
    goes_on = client.get("/readyz")
    assert goes_on.status_code == 200
    assert "the master key 07c4e2" in goes_on.json()["vault"]
