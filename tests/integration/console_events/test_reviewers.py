"""Several reviewers at one queue."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import prediction_event
from tests.integration.console_events.processes import Crew

EXPERTS = ("prasert", "ladda", "chai", "nok")


@pytest.fixture(scope="module")
def experts(crew: Crew) -> tuple[str, ...]:
    crew.shell(
        "from console.staff.services import create_user\n"
        f"answer = [create_user(name=name, role='reviewer').user.pk for name in {EXPERTS!r}]"
    )
    return EXPERTS


def enqueue(crew: Crew, folder: Path, count: int) -> list[int]:
    file = folder / "events"
    events = [prediction_event(confidence=0.5) for _ in range(count)]
    file.write_bytes(pb.EventBatch(events=events).SerializeToString())
    crew.run([("ship", {"seed": 1, "events": str(file), "times": 1, "batch_max": 500})])
    return [row[0] for row in crew.query("SELECT id FROM review_reviewitem WHERE state = 'open'")]


def _decided(crew: Crew) -> tuple[int, int]:
    """Decisions, and what the audit log says of them."""
    return crew.count("review_expertdecision"), crew.count("audit_entry WHERE type = 'review.decided'")


def test_of_those_who_reach_for_one_item_at_once_one_holds_it(
    crew: Crew, experts: tuple[str, ...], tmp_path: Path
) -> None:
    (item, *_) = enqueue(crew, tmp_path, 1)
    told = crew.run([("take_one", {"expert": name, "item": item}) for name in experts])
    assert Counter(each["outcome"] for each in told) == {"held": 1, "held_by_another": 3}
    crew.shell("from console.review.models import ReviewItem\nanswer = ReviewItem.objects.update(held_by=None)")


def test_a_queue_is_worked_off_with_each_item_decided_once(
    crew: Crew, experts: tuple[str, ...], tmp_path: Path
) -> None:
    waiting = enqueue(crew, tmp_path, 40)
    decisions, entries = _decided(crew)  # of other tests of this crew
    told = crew.run([("review", {"expert": name}) for name in experts])
    decided = Counter(item for each in told for item in each["decided"])
    assert decided == dict.fromkeys(waiting, 1)
    assert crew.count("review_reviewitem WHERE state = 'open'") == 0
    assert _decided(crew) == (decisions + len(waiting), entries + len(waiting))
