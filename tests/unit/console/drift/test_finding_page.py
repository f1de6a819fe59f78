"""The page of a finding: the photographs that moved most, to whom they are shown, and a measure day by day."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.drift import moved, tasks
from console.drift.course import course_of_choice, course_of_number
from console.drift.models import EVERYBODY, Against, Finding
from console.drift.queries import Day
from console.ingest.services import apply_batch
from console.review.models import ReviewItem
from console.site.roles import Role
from console.vault.models import Consent
from console.vault.services import withdraw_consent
from model_store.reference import Reference, Sketch
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import prediction_event
from tests.unit.console.people import browser, caller, member
from tests.unit.console.shop import agreed, sent

WEEK = timedelta(days=7)


@pytest.fixture
def consent() -> Consent:
    return agreed(ago=timedelta(days=30))


def a_worse_week(*, side_px: int = 1200) -> list[pb.Event]:
    """220 sure answers last week, 220 half-sure ones now, of which two have a photograph, as have two sure ones."""
    before = [prediction_event(confidence=0.9 + n / 5000, happened_at=now() - WEEK) for n in range(220)]
    after = [prediction_event(confidence=0.4 + n / 2000, happened_at=now() - timedelta(hours=2)) for n in range(216)]
    shown = [sent(confidence=confidence) for confidence in (0.42, 0.31, 0.93, 0.95)]
    for event in (*after, shown[0]):
        event.prediction.views[0].width_px = side_px
    apply_batch([*before, *after, *shown])
    tasks.watch()
    return shown


def page_of(measure: str, role: Role = Role.ADMINISTRATOR) -> str:
    row = Finding.objects.get(client=EVERYBODY, measure=measure, against=Against.PREVIOUS)
    address = reverse("admin:drift_finding_change", args=[row.pk])
    person = member(role, f"{role.name}-{measure}")
    return browser(person).get(address).content.decode()


def picture(event: pb.Event) -> str:
    return reverse("admin:predictions_prediction_photograph", args=[event.prediction.prediction_id, 0])


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files", "consent")
class TestPhotographsThatMoved:
    def test_those_in_the_part_that_grew_are_shown_the_furthest_out_first(self) -> None:
        low, lowest, high, highest = a_worse_week()
        ReviewItem.objects.update(blind=False, withheld_until=None)
        page = page_of("confidence")
        assert "more values up to" in page
        assert 0 < page.index(picture(lowest)) < page.index(picture(low))
        for event in (high, highest):
            assert picture(event) not in page
        assert f'<img src="{picture(low)}"' in page
        row = Finding.objects.get(client=EVERYBODY, measure="confidence", against=Against.PREVIOUS)
        script = caller(Role.ADMINISTRATOR)
        told = script.get(f"/api/v1/drift/findings/{row.pk}/").json()["moved"]
        assert [(each["prediction_id"], each["value"]) for each in told] == [
            (lowest.prediction.prediction_id, 0.31), (low.prediction.prediction_id, 0.42),
        ]  # fmt: skip
        assert script.get(told[0]["photograph"]).content.startswith(b"\x89PNG")
        assert caller(Role.VIEWER).get(f"/api/v1/drift/findings/{row.pk}/").json()["moved"] == []

    def test_who_may_not_see_photographs_sees_none(self) -> None:
        shown = a_worse_week()
        ReviewItem.objects.update(blind=False, withheld_until=None)
        page = page_of("confidence", Role.VIEWER)
        assert "Your roles do not let you see photographs." in page
        assert not any(picture(event) in page for event in shown)

    def test_a_photograph_whose_answer_is_withheld_is_shown_to_nobody(self) -> None:
        low, lowest, *_ = a_worse_week()
        ReviewItem.objects.update(blind=False, withheld_until=None)
        hidden = ReviewItem.objects.filter(prediction=lowest.prediction.prediction_id)
        assert hidden.update(blind=True, withheld_until=now() + timedelta(minutes=5)) == 1
        for role in (Role.ADMINISTRATOR, Role.PRIVACY_OFFICER):
            page = page_of("confidence", role)
            assert picture(low) in page
            assert picture(lowest) not in page

    def test_a_photograph_without_consent_is_not_shown(self, consent: Consent) -> None:
        shown = a_worse_week()
        ReviewItem.objects.update(blind=False, withheld_until=None)
        Consent.objects.update(expires_at=now() - timedelta(minutes=1))  # its daily deletion has not come yet
        page = page_of("confidence")
        assert "no photograph is kept" in page
        withdraw_consent(actor=member(Role.PRIVACY_OFFICER, "wipa-2"), reference="c-1", channel="web")
        assert not any(picture(event) in page for event in shown)

    def test_smaller_photographs_are_found_by_their_shorter_side(self) -> None:
        low, *others = a_worse_week(side_px=300)
        ReviewItem.objects.update(blind=False, withheld_until=None)
        page = page_of("shorter_side_px")
        assert "more values up to 300" in page
        assert picture(low) in page
        assert not any(picture(event) in page for event in others)  # as large as ever

    def test_of_a_clients_answers_those_of_the_version_since_that_instant_are_looked_at(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        since, instant = now() - timedelta(hours=1), timedelta(microseconds=1)
        [oldest, _, newest, _] = made = [sent(confidence=confidence) for confidence in (0.1, 0.2, 0.3, 0.4)]
        for event, at in zip(made, (since, since - instant, since + instant, now()), strict=True):
            event.happened_at.FromDatetime(at)
        made[3].prediction.version = "v0"
        apply_batch(made)
        ReviewItem.objects.update(blind=False, withheld_until=None)
        asked = made[0].prediction
        row = Finding(model=asked.model, version=asked.version, client=asked.client_id, measure="confidence")
        tail, person = moved.Tail(0.5, is_low=True, before=0.0, now=1.0), member(Role.ADMINISTRATOR)

        def found() -> list[str]:
            told = moved.moved(row, tail, person=person, since=since, at=now())
            return [str(each.prediction_id) for each in told]

        assert found() == [oldest.prediction.prediction_id, newest.prediction.prediction_id]
        monkeypatch.setattr(moved, "SHOWN", 1)
        assert found() == [oldest.prediction.prediction_id]

    def test_a_page_costs_as_much_however_many_photographs_there_are(
        self, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        a_worse_week()
        row = Finding.objects.get(client=EVERYBODY, measure="confidence", against=Against.PREVIOUS)
        desk = browser(member(Role.ADMINISTRATOR))
        address = reverse("admin:drift_finding_change", args=[row.pk])
        with django_assert_max_num_queries(15):
            desk.get(address)
        monkeypatch.setattr(moved, "LOOKED_AT", 3)  # of the newest four, that are kept, the oldest is not looked at
        ReviewItem.objects.update(blind=False, withheld_until=None)
        assert desk.get(address).content.decode().count("<img src=") <= 3


def test_the_tail_that_grew_is_where_distributions_lie_furthest_apart() -> None:
    found = moved.tail_that_grew(Sketch([0.1, 0.9, 0.9, 0.9]), Sketch([0.1, 0.2, 0.3, 0.9]))
    assert found == moved.Tail(bound=0.3, is_low=True, before=0.25, now=0.75)
    assert [found.has(value) for value in (0.3, 0.31)] == [True, False]
    found = moved.tail_that_grew(Sketch([1.0, 2.0]), Sketch([2.0, 3.0]))
    assert found == moved.Tail(bound=1.0, is_low=False, before=0.5, now=1.0)
    assert found.depth(3.0) > found.depth(2.0)
    assert moved.tail_that_grew(Sketch([1.0]), Sketch([1.0])) is None


def test_the_choice_that_grew_is_the_one_with_more_of_the_whole() -> None:
    found = moved.choice_that_grew({"a": 8, "b": 2}, {"a": 50, "b": 30, "c": 20})
    assert found == moved.Grown("c", 0.0, 0.2)
    assert moved.choice_that_grew({"a": 1}, {"a": 9}) is None
    assert moved.choice_that_grew({}, {"a": 1}) is None


def test_a_course_draws_each_day_on_one_scale_with_what_it_is_compared_with() -> None:
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    today = at.replace(hour=0)
    days = [
        Day(today - timedelta(days=2), Reference({"x": Sketch([0.0, 5.0, 10.0])}, {"c": {"a": 3, "b": 1}})),
        Day(today, Reference({"x": Sketch([5.0])}, {"c": {"b": 2}})),
    ]
    before = Reference({"x": Sketch([0.0, 2.5, 10.0])}, {"c": {"a": 1, "b": 1}})
    # Days are those of UTC, whatever day it is where somebody looks: there it is tomorrow.
    there = (at + timedelta(hours=6)).astimezone(ZoneInfo("Asia/Bangkok"))
    drawn = course_of_number("x", days, before=before, at=there)
    assert drawn is not None
    assert drawn.ticks == ("10", "5", "0")
    assert drawn.before == (0.0, 100.0, 75.0)
    assert [(round(y), text[-14:]) for _x, y, text in drawn.ribbon.points] == [
        (50, " 3 predictions"),
        (50, " 1 predictions"),
    ]
    share = course_of_choice("c", "b", days, before=before, at=at)
    assert share is not None
    assert "25.0% of 4" in share.ribbon.points[0][2]
    assert share.ticks == ("100.0%", "50.0%", "0.0%")  # from nothing on, however large the shares are
    flat = course_of_number("x", days[1:], before=None, at=at)
    assert flat is not None
    assert flat.ticks == ("5.5", "5", "4.5")
    assert course_of_number("y", days, before=before, at=at) is None
    assert course_of_choice("y", "b", days, before=None, at=at) is None


FOLD = re.compile(r'<details class="c-numbers">(.*?)</details>', re.DOTALL)
FIGURES = re.compile(r"<th scope=\"row\">(.*?)</th>((?:<td class=\"is-number\">.*?</td>)+)", re.DOTALL)


def table_of(page: str) -> list[tuple[str, list[str]]]:
    """The rows of the first table under a plot."""
    fold = next(found for found in FOLD.findall(page) if "<table" in found)
    return [(name, re.findall(r">([^<]+)</td>", figures)) for name, figures in FIGURES.findall(fold)]


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files", "consent")
class TestDistributionsInNumbers:
    def test_a_line_is_a_table_from_its_one_end_to_the_other(self) -> None:
        a_worse_week()
        rows = table_of(page_of("confidence"))
        assert len(rows) == 17
        shares = [[float(share.rstrip("%")) for share in figures] for _value, figures in rows]
        for side in (0, 1):
            assert [row[side] for row in shares] == sorted(row[side] for row in shares)
        assert shares[-1][0] >= 99
        # Half-sure now and sure a week ago: at each value at least as much of this week lies below.
        assert all(now_share >= before for now_share, before in shares)
        assert any(now_share - before > 90 for now_share, before in shares)
        values = [float(value) for value, _figures in rows]
        assert values == sorted(values)

    def test_bars_are_a_table_with_every_name_in_full(self) -> None:
        a_worse_week()
        rows = dict(table_of(page_of("verdict")))
        assert rows == {"in domain": ["100.0%", "100.0%"]}


@pytest.mark.django_db
def test_a_drift_says_what_it_may_come_from_and_where_to_go_on(static_files: None) -> None:
    a_worse_week(side_px=300)
    page = page_of("confidence")
    assert "The version sees what it did not learn from" in page
    assert f"{reverse('admin:predictions_prediction_changelist')}?version=" in page
    assert reverse("admin:retraining_trainingjob_changelist") in page.partition("c-consequence")[2]
    assert "ask who sends them about cameras" in page_of("shorter_side_px")
    of_a_viewer = page_of("margin", Role.VIEWER)
    assert f'href="{reverse("admin:retraining_trainingjob_changelist")}"' not in of_a_viewer
