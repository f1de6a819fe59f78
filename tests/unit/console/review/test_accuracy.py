from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.urls import reverse
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.predictions.models import Span
from console.predictions.tallies import begin_of
from console.review import queries, services
from console.review.accuracy import Group, Stratum, accuracy
from console.review.agreement import score_interval
from console.review.models import Decided, ReviewItem, Why
from console.review.services import Decision
from console.site.roles import Role
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, feedback_event, prediction_event
from tests.unit.console.people import caller, member
from tests.unit.console.predictions.test_pages import browser

WORLDS = 3000


def test_a_sampled_answer_stands_for_those_that_were_not_drawn() -> None:
    """100 hard answers, 60 of 100 right; 900 easy ones, of which a tenth was drawn and 81 of 90 are right."""
    hard = Stratum(100, (Group(1.0, 100, 100, 60),))
    easy = Stratum(900, (Group(0.1, 90, 90, 81),))
    found = accuracy([hard, easy])
    assert found is not None
    assert found.value == pytest.approx(0.1 * 0.6 + 0.9 * 0.9)
    # Nothing is estimated of the hard ones; of the easy ones a tenth of the population is known.
    part = score_interval(0.9, 90 / 0.9)
    assert (found.low, found.high) == pytest.approx(
        (found.value - 0.9 * (0.9 - part.low), found.value + 0.9 * (part.high - 0.9))
    )
    assert found.n == 190


def test_probabilities_that_changed_meanwhile_are_weights() -> None:
    """20 drawn at 0.1 stand for 200 answers, 20 drawn at 0.5 for 40; half and all of them are right."""
    found = accuracy([Stratum(240, (Group(0.1, 20, 20, 10), Group(0.5, 20, 10, 10)))])
    assert found is not None
    assert found.value == pytest.approx((200 * 0.5 + 40 * 1.0) / 240)


def test_what_nobody_reviewed_widens_the_interval_by_all_that_it_may_be() -> None:
    found = accuracy([Stratum(50, (Group(1.0, 50, 50, 40),)), Stratum(50, ())])
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.4, 0.9))
    assert accuracy([Stratum(50, (Group(1.0, 50, 0, 0),))]) is None
    assert accuracy([]) is None


@pytest.mark.parametrize(
    "stratum",
    [
        Stratum(10, (Group(0.0, 1, 1, 1),)),
        Stratum(10, (Group(1.1, 1, 1, 1),)),
        Stratum(10, (Group(1.0, 2, 3, 1),)),
        Stratum(10, (Group(1.0, 3, 2, 3),)),
        Stratum(10, (Group(1.0, 11, 2, 1),)),
    ],
)
def test_counts_that_cannot_be_are_refused(stratum: Stratum) -> None:
    with pytest.raises(ValueError, match=r"ratio|counts|queued"):
        accuracy([stratum])


@pytest.mark.parametrize(
    ("easy_right", "ratios", "reviewed"),
    [(0.97, (0.02,), 1.0), (0.97, (0.05,), 0.5), (0.90, (0.02, 0.05), 0.8), (0.80, (0.02,), 0.3)],
    ids=["all reviewed", "half reviewed", "the ratio was changed", "few reviewed"],
)
def test_the_interval_covers_the_truth_in_93_to_97_worlds_of_100(
    easy_right: float, ratios: tuple[float, ...], reviewed: float
) -> None:
    """Each world: 20,000 answers, of which 3,000 are hard and all queued; of the rest a sample is."""
    chance = np.random.default_rng(20261126)
    hard_of, easy_of = 3000, 17_000 // len(ratios)
    covered, errors, naive = 0, [], []
    for _world in range(WORLDS):
        hard_true = int(chance.binomial(hard_of, 0.65))
        seen = int(chance.binomial(hard_of, reviewed * 0.9))
        hard = Group(1.0, hard_of, seen, int(chance.hypergeometric(hard_true, hard_of - hard_true, seen)))
        groups, easy_true = [], 0
        for ratio in ratios:
            right = int(chance.binomial(easy_of, easy_right))
            easy_true += right
            queued = int(chance.binomial(easy_of, ratio))
            seen = int(chance.binomial(queued, reviewed))
            groups.append(Group(ratio, queued, seen, int(chance.hypergeometric(right, easy_of - right, seen))))
        truth = (hard_true + easy_true) / (hard_of + easy_of * len(ratios))
        found = accuracy([Stratum(hard_of, (hard,)), Stratum(easy_of * len(ratios), tuple(groups))])
        assert found is not None
        covered += found.low <= truth <= found.high
        errors.append(found.value - truth)
        everything = (hard, *groups)
        naive.append(sum(g.agreed for g in everything) / sum(g.compared for g in everything) - truth)
    assert 0.93 <= covered / WORLDS <= 0.97
    assert abs(float(np.mean(errors))) < 4 * float(np.std(errors)) / WORLDS**0.5  # unbiased
    assert float(np.mean(naive)) < -0.1  # and what it corrects is large


@pytest.mark.django_db
class TestInTheDatabase:
    def test_each_reason_is_a_stratum_and_the_rest_of_the_traffic_is_the_sampled_one(self) -> None:
        expert = member(Role.REVIEWER)
        sampled = [prediction_event(confidence=0.99, wants_review=True, review_sampling_ratio=0.25) for _ in range(5)]
        hard = [prediction_event(confidence=0.5) for _ in range(4)]
        unsure = prediction_event(verdict=words.VERDICT_UNSURE)
        rest = [prediction_event(confidence=0.99) for _ in range(12)]
        other = prediction_event(confidence=0.99, version="v20261124_tiny_0.910")
        apply_batch([*sampled, *hard, unsure, *rest, other])
        apply_batch([feedback_event(sampled[4].prediction.prediction_id)])  # drawn, and contradicted: certain now

        def decide(event: object, class_id: str = CLASSES[0]) -> None:
            item = ReviewItem.objects.get(prediction=event.prediction.prediction_id)  # type: ignore[attr-defined]
            services.take(actor=expert, item_id=item.pk)
            services.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, class_id))

        for event in (*sampled[:3], hard[0], unsure):
            decide(event)
        for event in (hard[1], sampled[4]):
            decide(event, CLASSES[1])
        item = ReviewItem.objects.get(prediction=hard[2].prediction.prediction_id)
        services.take(actor=expert, item_id=item.pk)
        services.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.UNSURE))  # no comparison
        assert ReviewItem.objects.filter(why=Why.FLAGGED, sampling_ratio=1.0).count() == 1
        (found,) = queries.accuracy_since(begin_of(Span.DAY, now() - timedelta(days=1)))
        assert (found.version, found.answers, found.in_queue.n) == ("v20261123_tiny_0.900", 22, 7)
        assert found.in_queue.value == pytest.approx(5 / 7)
        expected = accuracy(
            [
                Stratum(16, (Group(0.25, 4, 3, 3),)),
                Stratum(4, (Group(1.0, 4, 2, 1),)),
                Stratum(1, (Group(1.0, 1, 1, 1),)),
                Stratum(1, (Group(1.0, 1, 1, 0),)),
            ]
        )
        assert found.accuracy == pytest.approx(expected)
        assert found.accuracy is not None
        assert found.accuracy.value == pytest.approx((16 + 2 + 1) / 22)

    def test_the_page_shows_each_version_with_its_interval(self, static_files: None) -> None:
        expert = member(Role.REVIEWER)
        address = reverse("admin:review_reviewitem_accuracy")
        apply_batch([prediction_event(confidence=0.5)])
        desk = browser(expert)
        assert "Nothing was reviewed in this time yet." in desk.get(address).content.decode()
        item = ReviewItem.objects.get()
        services.take(actor=expert, item_id=item.pk)
        services.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, CLASSES[0]))
        page = desk.get(address).content.decode()
        assert "v20261123_tiny_0.900" in page
        assert "100.0%" in page
        assert "1 answers, 1 of them judged by experts" in page

    def test_a_script_reads_the_same_figures(self) -> None:
        expert, script = member(Role.REVIEWER), caller(Role.MODEL_ENGINEER)
        apply_batch([prediction_event(confidence=0.5) for _ in range(2)])
        assert script.get("/api/v1/reviews/accuracy/").json() == []
        item = ReviewItem.objects.first()
        assert item is not None
        services.take(actor=expert, item_id=item.pk)
        services.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, CLASSES[1]))
        (told,) = script.get("/api/v1/reviews/accuracy/").json()
        (found,) = queries.accuracy_lately()
        assert (told["version"], told["answers"]) == ("v20261123_tiny_0.900", 2)
        assert found.accuracy is not None
        assert told["accuracy"] == {name: getattr(found.accuracy, name) for name in ("value", "low", "high", "n")}
        assert told["in_queue"]["value"] == 0
