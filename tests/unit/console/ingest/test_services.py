from __future__ import annotations

import json
import random
import resource
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.conf import settings
from django.test import Client
from django.utils.timezone import now

from console.audit.models import Entry, Payload
from console.ingest.models import AppliedEvent
from console.ingest.services import apply_batch
from console.ingest.views import FIELDS_MAX, PACKED_BYTES_MAX
from console.predictions.models import Feedback, Prediction
from console.review.models import Decided, ReviewItem, State, Why
from console.review.services import Decision, decide, take
from console.site.roles import Role
from console.vault import opening, restriction
from console.vault import queries as vault
from console.vault import services as vault_services
from console.vault.models import Consent, Kind, Subject
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, feedback_event, png, prediction_event
from tests.unit.console.people import member
from tests.unit.console.shop import sent

pytestmark = pytest.mark.django_db


def applied(*events: pb.Event) -> tuple[int, int, int]:
    receipt = apply_batch(events)
    return receipt.applied, receipt.known_before, len(receipt.rejected)


def queued(event: pb.Event) -> ReviewItem | None:
    return ReviewItem.objects.filter(prediction=event.prediction.prediction_id).first()


def test_a_prediction_becomes_a_record_and_one_audit_entry() -> None:
    event = prediction_event(
        request_id="r-1", subject=pb.Subject(pseudonym="canary-person"), reasons=[words.REASON_BLURRED]
    )
    assert applied(event) == (1, 0, 0)
    prediction = Prediction.objects.get(pk=event.prediction.prediction_id)
    assert (prediction.top_class, prediction.confidence, prediction.request_id) == ("somdej", 0.93, "r-1")
    detail = prediction.detail()
    assert detail.reasons == ("blurred",)
    assert len(detail.candidates) == len(CLASSES)
    assert detail.views[0].kept == "not_asked"
    entry = Entry.objects.get(payload__subject_id=event.prediction.prediction_id)
    assert (entry.type, entry.actor) == ("prediction.made", "gateway")
    told = json.loads(entry.payload.text)
    assert (told["version"], told["class"], told["confidence"]) == ("v20261123_tiny_0.900", "somdej", 0.93)
    assert told["inputs"] == [event.prediction.views[0].input_hash.hex()]
    assert told["subject"] == str(Subject.objects.get().pk)
    assert "canary" not in entry.payload.text + json.dumps(prediction.detail_document)


def test_an_event_counts_once_however_often_it_comes() -> None:
    events = [prediction_event() for _ in range(5)]
    assert applied(*events, events[0]) == (5, 1, 0)
    random.Random(7).shuffle(events)
    assert applied(*events, prediction_event()) == (1, 5, 0)
    assert Prediction.objects.count() == Entry.objects.count() == AppliedEvent.objects.count() == 6


def test_a_bad_event_is_named_and_the_others_are_applied() -> None:
    bad = prediction_event()
    bad.prediction.ClearField("verdict")
    good = prediction_event()
    receipt = apply_batch([bad, good])
    assert (receipt.applied, receipt.rejected) == (1, ((bad.event_id, "the prediction has no verdict"),))


def test_an_event_that_the_database_refuses_holds_up_nobody() -> None:
    first = prediction_event()
    usurper = prediction_event(prediction_id=first.prediction.prediction_id)
    others = [prediction_event() for _ in range(3)]
    receipt = apply_batch([first, others[0], usurper, *others[1:]])
    assert receipt.applied == 4
    assert receipt.rejected == ((usurper.event_id, "a prediction of this id was reported by another event"),)
    assert Entry.objects.filter(type="prediction.made").count() == 4
    assert [entry.sequence for entry in Entry.objects.order_by("sequence")] == [1, 2, 3, 4]


def test_an_empty_batch_is_nothing() -> None:
    assert applied() == (0, 0, 0)


@pytest.mark.parametrize(
    ("changes", "why", "ratio"),
    [
        ({"verdict": words.VERDICT_UNSURE, "confidence": 0.5, "wants_review": True}, Why.UNSURE, 1.0),
        ({"verdict": words.VERDICT_OUT_OF_DISTRIBUTION, "wants_review": True}, Why.OUT_OF_DISTRIBUTION, 1.0),
        ({"confidence": 0.749}, Why.LOW_CONFIDENCE, 1.0),
        ({"confidence": 0.75}, None, None),
        ({"confidence": 0.99, "wants_review": True, "review_sampling_ratio": 0.02}, Why.SAMPLED, 0.02),
        ({"confidence": 0.99, "wants_review": True, "review_sampling_ratio": 0.0}, Why.SAMPLED, 1.0),
        ({"confidence": 0.99}, None, None),
    ],
)
def test_what_a_person_should_see_is_queued_with_the_reason(
    changes: dict[str, object], why: Why | None, ratio: float | None
) -> None:
    event = prediction_event(**changes)  # type: ignore[arg-type]
    applied(event)
    item = queued(event)
    assert (item and item.why) == why
    assert (item and item.sampling_ratio) == ratio


@pytest.mark.parametrize("feedback_first", [True, False])
def test_a_contradicted_prediction_is_flagged_in_whichever_order_they_come(feedback_first: bool) -> None:
    event = prediction_event(confidence=0.99)
    contradiction = feedback_event(event.prediction.prediction_id)
    for batch in ([contradiction], [event]) if feedback_first else ([event], [contradiction]):
        assert applied(*batch) == (1, 0, 0)
    item = queued(event)
    assert item is not None
    assert item.why == Why.FLAGGED
    assert Feedback.objects.get().true_class == CLASSES[1]
    assert Entry.objects.filter(payload__subject_id=event.prediction.prediction_id).count() == 2


def test_a_contradiction_in_the_same_batch_flags_too() -> None:
    event = prediction_event(confidence=0.99)
    assert applied(feedback_event(event.prediction.prediction_id), event) == (2, 0, 0)
    assert queued(event)


@pytest.mark.parametrize(
    "changes",
    [{"kind": prediction_pb2.SubmitFeedbackRequest.KIND_CONFIRMED}, {"client_id": "somebody else"}],
)
def test_a_confirmation_and_a_stranger_flag_nothing(changes: dict[str, object]) -> None:
    event = prediction_event(confidence=0.99)
    assert applied(event, feedback_event(event.prediction.prediction_id, **changes)) == (2, 0, 0)
    assert queued(event) is None


def test_a_contradiction_brings_a_decided_item_back() -> None:
    event = prediction_event(confidence=0.6)
    applied(event)
    expert = member(Role.REVIEWER)
    item = queued(event)
    assert item is not None
    take(actor=expert, item_id=item.pk)
    decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, CLASSES[0]))
    applied(feedback_event(event.prediction.prediction_id))
    item.refresh_from_db()
    assert (item.state, item.why, item.rounds) == (State.OPEN, Why.FLAGGED, 1)


def files_kept() -> set[Path]:
    return set(settings.AMULET.storage_dir.glob("*/*.bin"))


class TestRetention:
    def outcome(self, event: pb.Event) -> str:
        assert applied(event) == (1, 0, 0)
        prediction = Prediction.objects.get(pk=event.prediction.prediction_id)
        kept = vault.kept_of([str(prediction.pk)])
        view = prediction.detail().views[0]
        assert bool(kept) == (view.kept == "kept")
        return view.kept

    def test_with_a_valid_consent_photograph_and_heat_map_are_kept_encrypted(self, consent: Consent) -> None:
        photo = png()
        event = sent(photo=photo, confidence=0.5)
        assert self.outcome(event) == "kept"
        owner = event.prediction.prediction_id
        assert vault.kept_of([owner]) == {owner: vault.Kept(photographs=(0,), heat_maps=(0,))}
        expert = member(Role.REVIEWER)
        assert opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=owner, part=0) == photo
        item = queued(event)
        assert item is not None
        assert item.with_photograph
        assert Prediction.objects.get(pk=owner).subject_id == consent.subject_id

    def test_a_batch_that_comes_twice_keeps_once(self, consent: Consent) -> None:
        event = sent()
        assert self.outcome(event) == "kept"
        assert applied(event) == (0, 1, 0)

    def test_a_batch_that_finds_the_disk_full_leaves_no_file_of_it(self, consent: Consent) -> None:
        before = files_kept()
        fits, does_not = sent(), sent(photo=png() + bytes(2**20))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                apply_batch([fits, does_not])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, ignored)
        assert files_kept() == before
        assert applied(fits, does_not) == (2, 0, 0)
        assert len(files_kept()) == len(before) + 4

    def test_without_the_pseudonym_the_consent_names_the_person(self, consent: Consent) -> None:
        event = sent(pseudonym="")
        assert self.outcome(event) == "kept"
        assert Prediction.objects.get().subject_id == consent.subject_id

    @pytest.mark.parametrize(
        "changes",
        [
            {"consent": "unknown"},
            {"pseudonym": "somebody-else"},
            {"happened_at": now() - timedelta(hours=2)},
        ],
    )
    def test_without_a_consent_of_this_person_at_that_instant_nothing_is_kept(
        self, consent: Consent, changes: dict[str, object]
    ) -> None:
        assert self.outcome(sent(**changes)) == "no_consent"

    def test_a_consent_withdrawn_meanwhile_keeps_nothing(self, consent: Consent) -> None:
        event = sent(happened_at=now())
        vault_services.withdraw_consent(
            actor=member(Role.PRIVACY_OFFICER, "second-officer"), reference="c-1", channel="web"
        )
        assert self.outcome(event) == "no_consent"

    @pytest.mark.parametrize("pseudonym", ["shop-17", ""])
    def test_of_somebody_who_restricted_it_nothing_is_added_and_the_record_says_why(
        self, consent: Consent, pseudonym: str
    ) -> None:
        officer = member(Role.PRIVACY_OFFICER, "second-officer")
        restriction.restrict(actor=officer, found_by=bytes(consent.subject.found_by))
        assert self.outcome(sent(pseudonym=pseudonym)) == "restricted"
        assert Prediction.objects.get().subject_id == consent.subject_id
        restriction.lift(actor=officer, subject_id=consent.subject_id, reason="it was agreed")
        assert self.outcome(sent(pseudonym=pseudonym)) == "kept"

    def test_a_photograph_sealed_for_somebody_else_is_recorded_as_unreadable(self, consent: Consent) -> None:
        event = sent(recipient=X25519PrivateKey.generate().public_key())
        assert self.outcome(event) == "unreadable"

    def test_what_is_no_picture_is_not_kept(self, consent: Consent) -> None:
        assert self.outcome(sent(photo=b"<svg onload=alert(1)>")) == "unreadable"

    def test_without_the_wish_nothing_is_kept(self, consent: Consent) -> None:
        event = sent()
        event.prediction.subject.retention = prediction_pb2.RETENTION_NONE
        assert self.outcome(event) == "not_asked"


class TestTheDoor:
    path = "/internal/events"

    def post(self, body: bytes, **headers: str) -> object:
        token = settings.AMULET.control_token().decode()
        headers = {"Authorization": f"Bearer {token}", **headers}
        return Client().post(self.path, body, content_type="application/x-protobuf", headers=headers)

    def test_a_batch_is_answered_with_a_receipt(self) -> None:
        import gzip

        bad = prediction_event()
        bad.event_id = "x"
        body = pb.EventBatch(events=[prediction_event(), bad]).SerializeToString()
        for expected in ((1, 0), (0, 1)):
            response = self.post(gzip.compress(body), **{"Content-Encoding": "gzip"})
            assert response.status_code == 200  # type: ignore[attr-defined]
            receipt = pb.EventReceipt.FromString(response.content)  # type: ignore[attr-defined]
            assert (receipt.applied, receipt.known_before) == expected
            assert [(row.event_id, row.why) for row in receipt.rejected] == [("x", "event_id is no UUID")]

    @pytest.mark.parametrize(
        ("body", "headers", "status"),
        [
            (b"", {"Authorization": "Bearer wrong"}, 401),
            (b"", {"Authorization": ""}, 401),
            (b"", {"Content-Encoding": "br"}, 415),
            (b"no gzip", {"Content-Encoding": "gzip"}, 400),
            (b"\xff\xff", {}, 400),
            (pb.EventBatch(events=[pb.Event()] * 10_001).SerializeToString(), {}, 413),
        ],
    )
    def test_anything_else_is_refused_and_nothing_is_applied(
        self, body: bytes, headers: dict[str, str], status: int
    ) -> None:
        assert self.post(body, **headers).status_code == status  # type: ignore[attr-defined]
        assert not Payload.objects.exists()

    def test_a_batch_of_too_many_parts_is_refused_before_it_is_parsed(self) -> None:
        # Each candidate has two bytes here, and some sixty once it is parsed; each reason one, and four.
        candidates = pb.Event(prediction=pb.PredictionMade(candidates=[prediction_pb2.Candidate()] * (FIELDS_MAX + 1)))
        reasons = pb.Event(prediction=pb.PredictionMade(reasons=[words.REASON_UNSPECIFIED] * (PACKED_BYTES_MAX + 1)))
        for event, said in ((candidates, "fields"), (reasons, "numbers")):
            response = self.post(pb.EventBatch(events=[event]).SerializeToString())
            assert (response.status_code, response.json()["reason"]) == (413, "too_large")  # type: ignore[attr-defined]
            assert said in response.json()["detail"]  # type: ignore[attr-defined]

    @pytest.mark.usefixtures("static_files")
    def test_only_post_is_offered(self) -> None:
        assert Client().get(self.path).status_code == 405
