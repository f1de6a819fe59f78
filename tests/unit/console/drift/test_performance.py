"""How right a version is, from its confidence and from reviews: by hand, by simulation, and in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple
from datetime import timedelta

import numpy as np
import pytest
from django.db.models import F
from django.urls import reverse
from django.utils.timezone import now
from numpy.typing import NDArray
from pytest_django import DjangoAssertNumQueries

from console.drift import expectations, queries
from console.drift.performance import Fitted, Judged, Part, estimate, fit, from_confidence
from console.ingest.services import apply_batch
from console.predictions.models import Span, Tally
from console.predictions.tallies import begin_of
from console.registry.models import ModelVersion
from console.review import services
from console.review.accuracy import Group, Stratum, accuracy
from console.review.agreement import Share, score_interval
from console.review.models import Decided, ReviewItem, Why
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from model_store.reference import Reference, Sketch
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, feedback_event, prediction_event
from tests.unit.console.people import browser, member

WORLDS = 1000
MIDDLES = (np.arange(Tally.BINS) + 0.5) / Tally.BINS
SURE = 15  # twentieths of confidence from there on are only sampled
Numbers = NDArray[np.float64]


def whole(parts: Sequence[Part], fitted: Fitted) -> Share | None:
    return estimate([part.cells for part in parts], fitted)


def test_what_reviews_say_is_moved_by_how_much_surer_the_rest_is() -> None:
    """Of 100 answers, half at 0.525 and half at 0.975, 20 of each are judged: 10 and 19 are right."""
    part = Part({10: 50, 19: 50}, (Judged(1.0, 10, 20, 10), Judged(1.0, 19, 20, 19)))
    (found,) = fit([part]).corrections
    assert found is not None
    assert (found.right, found.confidence) == pytest.approx((29 / 40, 0.75))
    # The covariance is (19 - 10) / 40 * 0.225, the variance of confidence 0.225²: the factor is 1.
    assert fit([part]).factor == pytest.approx(min(1.0, 9 / 40 / 0.225))
    # The variance of right is 0.725 · 0.275; confidence explains as much as its own is.
    assert found.spread == pytest.approx((0.725 * 0.275 - 0.225**2) / (0.725 * 0.275))
    surer = estimate([{19: 10}], fit([part]).elsewhere())
    assert surer is not None
    assert surer.value == pytest.approx(29 / 40 + 1.0 * (0.975 - 0.75))
    assert whole([part], fit([part])) is not None
    assert estimate([{}], fit([part]).elsewhere()) is None  # a day on which nobody asked


def test_confidence_is_believed_by_what_it_tells_in_each_part() -> None:
    def part(answers: int, judged: int, *agreed: int) -> Part:
        return Part(
            {10: answers, 19: answers}, tuple(Judged(1.0, n, judged, k) for n, k in zip((10, 19), agreed, strict=True))
        )

    assert fit([part(50, 20, 20, 10)]).factor == 0.0  # the surer, the more often wrong
    assert fit([part(50, 20, 0, 20)]).factor == 1.0
    # Slopes of 1 and of 2/9, weighed by squared share, what is left and how few reviews there are.
    some, most = 0.25**2 * 0.6 / 40, 0.75**2 * (280 / 300) / 20
    found = fit([part(50, 20, 10, 19), part(150, 10, 8, 9)]).factor
    assert found == pytest.approx((some + most * 2 / 9) / (some + most))


def test_an_estimate_stays_a_share_however_much_surer_the_others_are() -> None:
    told = Part({10: 50, 19: 50}, (Judged(1.0, 10, 20, 10), Judged(1.0, 19, 20, 19)))  # a factor of 1, nearly
    for judged, elsewhere, value in ((Judged(1.0, 10, 20, 20), {19: 9}, 1.0), (Judged(1.0, 19, 20, 0), {0: 9}, 0.0)):
        fitted = fit([told, Part({judged.confidence_bin: 90}, (judged,))])
        found = estimate([{}, elsewhere], fitted.elsewhere())
        assert found is not None
        wilson = score_interval(value, 20)
        assert (found.value, found.low, found.high) == pytest.approx((value, wilson.low, wilson.high))


def test_what_came_to_no_judgement_is_not_judged() -> None:
    assert fit([Part({1: 5}, (Judged(1.0, 1, 0, 0),))]).corrections == (None,)


def test_a_few_reviews_that_confidence_foretells_count_at_most_five_times() -> None:
    (found,) = fit([Part({0: 100, 19: 100}, (Judged(1.0, 0, 10, 0), Judged(1.0, 19, 10, 10)))]).corrections
    assert found is not None
    assert (found.spread, found.effective, found.n, found.left) == (0.2, 20.0, 20, 0.9)


def test_without_belief_in_confidence_it_is_what_the_labels_alone_say() -> None:
    parts = [
        Part({5: 40, 12: 60}, (Judged(1.0, 5, 20, 5), Judged(1.0, 12, 30, 21))),
        Part({19: 900}, (Judged(0.1, 19, 90, 81),)),
    ]
    found = whole(parts, fit(parts, believed=False))
    labels = accuracy([Stratum(100, (Group(1.0, 100, 50, 26),)), Stratum(900, (Group(0.1, 90, 90, 81),))])
    assert found is not None
    assert labels is not None
    assert astuple(found) == pytest.approx(astuple(labels))


def test_a_part_that_nobody_judged_is_as_far_off_as_the_others_and_widens_the_interval() -> None:
    parts = [Part({19: 50}, (Judged(1.0, 19, 50, 45),)), Part({9: 50})]
    found = whole(parts, fit(parts))
    assert found is not None
    assert found.value == pytest.approx((0.9 + 0.475 - 0.075) / 2)
    assert (found.low, found.high) == pytest.approx((found.value - 0.2, found.value + 0.3))
    assert whole([Part({9: 50})], fit([Part({9: 50})])) is None


def test_what_was_all_right_has_wilsons_limits() -> None:
    part = Part({19: 1000}, (Judged(0.1, 19, 50, 50),))
    found = whole([part], fit([part]))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((score_interval(1.0, 50 / 0.95).low, 1.0))


@pytest.mark.parametrize(
    "part",
    [
        Part({1: 5}, (Judged(0.0, 1, 1, 1),)),
        Part({1: 5}, (Judged(1.0, 1, 1, 2),)),
        Part({1: 5}, (Judged(1.0, 1, 6, 2),)),
    ],
)
def test_counts_that_cannot_be_are_refused(part: Part) -> None:
    with pytest.raises(ValueError, match=r"ratio|counts|judged"):
        fit([part])


def test_a_version_that_is_less_sure_than_in_training_is_expected_to_be_right_less_often() -> None:
    training = {19: 80, 9: 20}  # 0.875 sure on average
    assert from_confidence({19: 40, 9: 60}, training=training, training_accuracy=0.9) == pytest.approx(0.7)
    assert from_confidence(training, training=training, training_accuracy=0.9) == pytest.approx(0.9)
    assert from_confidence({0: 10}, training=training, training_accuracy=0.1) == 0.0
    assert from_confidence({19: 10}, training=training, training_accuracy=0.95) == 1.0
    assert from_confidence({}, training=training, training_accuracy=0.9) is None
    assert from_confidence({19: 10}, training={}, training_accuracy=0.9) is None


def test_how_sure_and_how_right_it_was_in_training_is_read_from_its_archive_and_its_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = Reference({"confidence": Sketch([0.01, 0.02, 0.51, 0.99])}, {})
    assert expectations._cells_of(reference) == {0: 2, 10: 1, 19: 1}
    metrics = [{"name": "macro_f1", "value": 0.1}, {"name": "accuracy", "value": 0.9}]
    trained = ModelVersion(card_document={"metrics": metrics})
    monkeypatch.setattr(queries, "reference_in", lambda _row: reference)
    found = expectations._from_confidence(trained, Counter({5: 1}))
    assert found == pytest.approx(0.9 + 0.275 - (2 * 0.025 + 0.525 + 0.975) / 4)


def calibrated(confidence: Numbers) -> Numbers:
    return confidence


def too_sure(confidence: Numbers) -> Numbers:
    return np.asarray(np.clip(1.3 * confidence - 0.35, 0, 1))


def steep(confidence: Numbers) -> Numbers:
    return np.asarray(0.97 / (1 + np.exp(-14 * (confidence - 0.45))))


def says_nothing(confidence: Numbers) -> Numbers:
    return np.full_like(confidence, 0.8)


@pytest.mark.parametrize(
    ("right_at", "ratio", "reviewed", "narrower"),
    [
        (calibrated, 0.02, 1.0, 0.99),
        (too_sure, 0.05, 0.5, 0.99),
        (steep, 0.5, 0.05, 0.95),
        (says_nothing, 0.02, 0.3, 1.0),
    ],
)
def test_the_interval_covers_the_truth_and_is_narrower_than_that_of_labels_alone(
    right_at: Callable[[Numbers], Numbers], ratio: float, reviewed: float, narrower: float
) -> None:
    """Each world: 20,000 answers; all below 0.75 are queued and of the rest a sample, and of that a part is judged."""
    chance = np.random.default_rng(20261126)
    shares = np.histogram(chance.beta(3, 1.2, 100_000), Tally.BINS, (0, 1))[0] / 100_000
    drawn = np.where(np.arange(Tally.BINS) < SURE, 1.0, ratio)
    covered, widths, of_labels, errors = 0, [], [], []
    for _world in range(WORLDS):
        cells = chance.multinomial(20_000, shares)
        right = chance.binomial(cells, right_at(MIDDLES))
        queued = chance.binomial(right, drawn), chance.binomial(cells - right, drawn)
        agreed, against = (chance.binomial(each, reviewed) for each in queued)
        judged = [
            Judged(float(drawn[place]), place, int(agreed[place] + against[place]), int(agreed[place]))
            for place in range(Tally.BINS)
        ]
        sides = (slice(0, SURE), slice(SURE, None))
        parts = [Part(dict(list(enumerate(map(int, cells)))[side]), tuple(judged[side])) for side in sides]
        found = whole(parts, fit(parts))
        labels = accuracy(
            [
                Stratum(
                    int(cells[side].sum()),
                    (
                        Group(
                            ratio if side.start else 1.0,
                            int((queued[0] + queued[1])[side].sum()),
                            int((agreed + against)[side].sum()),
                            int(agreed[side].sum()),
                        ),
                    ),
                )
                for side in sides
            ]
        )
        assert found is not None
        assert labels is not None
        truth = right.sum() / cells.sum()
        covered += found.low <= truth <= found.high
        errors.append(found.value - truth)
        widths.append(found.high - found.low)
        of_labels.append(labels.high - labels.low)
    assert 0.93 <= covered / WORLDS <= 0.97
    assert abs(float(np.mean(errors))) < 4 * float(np.std(errors)) / WORLDS**0.5
    assert float(np.mean(widths)) <= narrower * float(np.mean(of_labels))


@pytest.mark.django_db
class TestInTheDatabase:
    @pytest.fixture
    def expert(self) -> User:
        return member(Role.REVIEWER)

    @staticmethod
    def decide(expert: User, event: pb.Event, class_id: str) -> None:
        item = ReviewItem.objects.get(prediction=event.prediction.prediction_id)
        services.take(actor=expert, item_id=item.pk)
        services.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, class_id))

    def test_parts_are_told_from_tallies_and_corrected_by_decisions(self, expert: User) -> None:
        sampled = [prediction_event(confidence=0.99, wants_review=True, review_sampling_ratio=0.25) for _ in range(5)]
        hard = [prediction_event(confidence=0.5) for _ in range(4)]
        unsure = prediction_event(confidence=0.9, verdict=words.VERDICT_UNSURE)
        rest = [prediction_event(confidence=0.99) for _ in range(12)]
        yesterday = prediction_event(confidence=0.99, happened_at=now() - timedelta(days=1))
        apply_batch([*sampled, *hard, unsure, *rest, yesterday])
        apply_batch([feedback_event(sampled[4].prediction.prediction_id)])
        for event in (*sampled[:3], hard[0], unsure):
            self.decide(expert, event, CLASSES[0])
        for event in (hard[1], sampled[4]):
            self.decide(expert, event, CLASSES[1])
        assert ReviewItem.objects.filter(why=Why.FLAGGED).count() == 1
        (found,) = expectations.expected_since(expectations.window_begins(now()))
        parts = [
            Part({19: 1}, (Judged(1.0, 19, 1, 0),)),
            Part({18: 1}, (Judged(1.0, 18, 1, 1),)),
            Part({10: 4}, (Judged(1.0, 10, 2, 1),)),
            Part({}),
            Part({19: 17}, (Judged(0.25, 19, 3, 3),)),
        ]
        assert (found.version, found.answers) == ("v20261123_tiny_0.900", 23)
        assert found.corrected == pytest.approx(whole(parts, fit(parts)))
        assert found.from_reviews == pytest.approx(whole(parts, fit(parts, believed=False)))
        assert found.from_confidence is None  # its archive is not here
        assert len(found.days) == 2
        assert found.days[min(found.days)].value == pytest.approx(1.0)

    def test_what_is_older_or_was_decided_anew_counts_for_nothing(
        self, expert: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begins = expectations.window_begins(now())
        assert begin_of(Span.DAY, now()) - begins == timedelta(days=29)
        monkeypatch.setattr(expectations, "VERSIONS_MAX", 1)
        old = prediction_event(confidence=0.5, happened_at=begins - timedelta(microseconds=1))
        fresh = [prediction_event(confidence=0.5) for _ in range(3)]
        apply_batch([old, *fresh, prediction_event(version="v0")])
        for event, class_id in ((old, CLASSES[1]), (fresh[0], CLASSES[0]), (fresh[1], CLASSES[1])):
            self.decide(expert, event, class_id)
        ReviewItem.objects.filter(prediction=fresh[1].prediction.prediction_id).update(rounds=F("rounds") + 1)
        (found,) = expectations.expected_since(begins)
        parts = [Part({}), Part({}), Part({10: 3}, (Judged(1.0, 10, 1, 1),)), Part({}), Part({})]
        assert (found.answers, found.corrected) == (3, pytest.approx(whole(parts, fit(parts))))
        (day,) = found.days.values()
        assert day == pytest.approx(whole(parts, fit(parts).elsewhere()))
        Tally.objects.filter(version="v0").delete()
        Tally.objects.update(count=0)  # they are read before what was decided since
        assert expectations.expected_since(begins)[0].corrected is None

    def test_the_page_shows_it_and_costs_as_much_whatever_the_traffic(
        self, expert: User, static_files: None, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        address = reverse("admin:drift_finding_performance")
        desk = browser(member(Role.VIEWER))
        assert "Nobody has asked in this time." in desk.get(address).content.decode()
        events = [prediction_event(confidence=0.5, version=f"v2026112{n}_tiny_0.900") for n in range(9) for _ in (1, 2)]
        apply_batch(events)
        assert "Nothing was reviewed in this time" in desk.get(address).content.decode()
        for event in events:
            self.decide(expert, event, CLASSES[0])
        with django_assert_max_num_queries(15):
            page = desk.get(address).content.decode()
        assert page.count('class="d-course"') == expectations.VERSIONS_MAX
        assert "From confidence, corrected by what experts said" in page
