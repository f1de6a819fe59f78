"""The home page: what it shows, to whom, and that its cost does not grow with the history."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import localtime, now
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import DjangoAssertNumQueries

from console.drift.models import EVERYBODY, Against, Finding, Outcome
from console.ingest.services import apply_batch
from console.predictions.detail import Detail
from console.predictions.models import Span, Tally, Verdict
from console.predictions.services import NewPrediction, add_predictions
from console.predictions.tallies import Tallied, tally
from console.privacy import services as privacy
from console.privacy.clocks import day_of
from console.privacy.models import Kind, PrivacyRequest
from console.pulse import services as pulse
from console.pulse.models import Pulse, Service
from console.pulse.queries import Health, service_states
from console.registry.models import State
from console.review.models import ReviewItem, Why
from console.site.roles import Role
from console.site.traffic import DAYS, traffic
from console.staff.models import User
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import caller, member
from tests.unit.console.versions import a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
ROWS = 20_000


@pytest.fixture(autouse=True)
def _nothing_was_beaten_before() -> None:
    pulse._written.clear()


def at_home(user: User) -> Client:
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = TOTPDevice.objects.get(user=user).persistent_id
    session.save()
    return client


def shown(client: Client) -> str:
    return client.get("/admin/").content.decode()


def test_what_waits_longest_for_ones_role_is_first() -> None:
    malee, approver = member(Role.MODEL_ENGINEER), member(Role.APPROVER)
    mine = a_version(malee, state=State.SMOKE_TESTED)
    apply_batch([prediction_event(confidence=0.5) for _ in range(7)])
    for days, item in enumerate(ReviewItem.objects.order_by("pk")):
        ReviewItem.objects.filter(pk=item.pk).update(created_at=now() - timedelta(days=days))
    for user, expected in ((approver, [mine.pk]), (malee, [])):
        found = re.findall(r'class="h-link" href="/admin/registry/modelversion/(\d+)/change/"', shown(at_home(user)))
        assert found == [str(pk) for pk in expected]
    waiting = re.findall(r"/admin/review/reviewitem/(\d+)/change/", shown(at_home(member(Role.REVIEWER))))
    oldest_first = ReviewItem.objects.order_by("created_at").values_list("pk", flat=True)[:5]
    assert waiting == [str(pk) for pk in oldest_first]


def test_an_uploader_is_not_sent_to_approve_what_she_uploaded() -> None:
    suda = member(Role.ADMINISTRATOR)
    a_version(suda, state=State.SMOKE_TESTED)
    assert 'class="h-link" href="/admin/registry/modelversion/' not in shown(at_home(suda))


def test_every_prediction_is_counted_once_by_hour_and_day_however_often_it_comes() -> None:
    moment = now()
    events = [
        prediction_event(confidence=0.93, happened_at=moment),
        prediction_event(confidence=0.93, happened_at=moment),
        prediction_event(confidence=0.42, verdict=words.VERDICT_UNSURE, happened_at=moment),
        prediction_event(confidence=1.0, happened_at=moment - timedelta(days=3)),
    ]
    apply_batch(events[:2])
    apply_batch(events)
    for span in Span:
        rows = Tally.objects.filter(span=span)
        assert {(row.verdict, row.confidence_bin): row.count for row in rows} == {
            (Verdict.IN_DOMAIN, 18): 2,
            (Verdict.UNSURE, 8): 1,
            (Verdict.IN_DOMAIN, 19): 1,
        }
    drawn = traffic()
    assert drawn.whole == 4
    assert drawn.today == 3
    assert drawn.calls_by_version == {"v20261123_tiny_0.900": 3}
    assert [count for _kind, _name, count in drawn.legend] == [3, 1, 0]
    assert len(drawn.days.bars) == DAYS
    assert sum(bool(bar.pieces) for bar in drawn.days.bars) == 2
    in_numbers = re.findall(r'class="c-numbers".*?<ul>(.*?)</ul>', shown(at_home(member(Role.VIEWER))), re.DOTALL)
    assert [numbers.count("<li>") for numbers in in_numbers] == [1, 2, 2]  # the plots of hours, days and confidence
    assert all(f"<li>{bar.text}</li>" in in_numbers[1] for bar in drawn.days.bars if bar.pieces)


def test_what_came_a_moment_ago_has_waited_no_minutes() -> None:
    apply_batch([prediction_event(confidence=0.5)])
    reviewer = at_home(member(Role.REVIEWER))
    assert ">just now</time>" in shown(reviewer)
    ReviewItem.objects.update(created_at=now() - timedelta(minutes=5))
    assert "just now" not in shown(reviewer)


def test_a_script_reads_what_home_draws(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    moment = now()
    sure = [prediction_event(confidence=0.95, happened_at=moment) for _ in range(9)]
    doubtful = prediction_event(confidence=0.35, verdict=words.VERDICT_UNSURE, happened_at=moment)
    apply_batch([*sure, doubtful, prediction_event(version="v2", confidence=0.55, happened_at=moment)])
    script = caller(Role.VIEWER)
    with django_assert_max_num_queries(5):
        told = script.get("/api/v1/traffic/").json()
    for span in ("hours", "days"):
        by_name = {row["version"]: row for row in told[span]}
        first = by_name.pop("v20261123_tiny_0.900")
        assert first["verdicts"] == {"IN_DOMAIN": 9, "UNSURE": 1, "OUT_OF_DISTRIBUTION": 0}
        assert first["low"] < first["middle"] <= first["high"]
        assert (first["low"], first["middle"]) == pytest.approx((0.4, 0.95), abs=0.06)
        assert [row["verdicts"]["IN_DOMAIN"] for row in by_name.values()] == [1]


def test_a_day_begins_at_midnight_where_the_console_stands() -> None:
    evening = localtime(now()).replace(hour=23, minute=59) - timedelta(days=2)
    tally([Tallied(evening, "m", "v", 1, 0.5), Tallied(evening + timedelta(minutes=2), "m", "v", 1, 0.5)])
    days = sorted(localtime(row.begins_at) for row in Tally.objects.filter(span=Span.DAY))
    assert [(day.day, day.hour) for day in days] == [(evening.day, 0), ((evening + timedelta(minutes=2)).day, 0)]


def test_predictions_from_before_there_were_tallies_are_counted_by_the_migration() -> None:
    from importlib import import_module

    from django.apps import apps

    happened = [now() - timedelta(hours=hours) for hours in (0, 0, 1, 30)]
    apply_batch([prediction_event(confidence=0.93 if n else 1.0, happened_at=at) for n, at in enumerate(happened)])
    kept = set(Tally.objects.values_list("span", "begins_at", "version", "verdict", "confidence_bin", "count"))
    Tally.objects.all().delete()
    migration = import_module("console.predictions.migrations.0003_count_history")
    migration.count(apps, None)
    migration.count(apps, None)  # a second run counts nothing twice
    again = set(Tally.objects.values_list("span", "begins_at", "version", "verdict", "confidence_bin", "count"))
    assert again == kept


def test_home_costs_the_same_with_a_hundred_predictions_as_with_twenty_thousand() -> None:
    home = at_home(member(Role.ADMINISTRATOR))
    add_history(100)
    shown(home)  # what is cached for the process is
    with CaptureQueriesContext(connection) as few:
        shown(home)
    add_history(ROWS)
    with CaptureQueriesContext(connection) as many:
        shown(home)
    assert traffic().whole == ROWS + 100
    assert len(many) == len(few) <= 15
    # The plots read tallies; of predictions themselves only the newest is looked at.
    over_predictions = [query["sql"] for query in many if 'FROM "predictions_prediction"' in query["sql"]]
    assert all("LIMIT" in sql for sql in over_predictions), over_predictions


def add_history(rows: int) -> None:
    """Predictions of the last ten days, as ingest writes them."""
    moment = now()
    made = [
        NewPrediction(
            prediction_id=uuid.uuid4(),
            happened_at=moment - timedelta(minutes=14_400 * index / rows),
            client_id="c",
            model="tablets",
            version=f"v{index % 2}",
            verdict=Verdict(1 + index % 3),
            top_class="a",
            confidence=(index % 100) / 100,
            subject_id=None,
            input_hash=b"",
            request_id="",
            gateway_id="g",
            detail=Detail((), (), (), (), (), (), 0.0, 0.0, "", ""),
            version_named=False,
        )
        for index in range(rows)
    ]
    add_predictions(made)
    tally(Tallied(row.happened_at, row.model, row.version, row.verdict, row.confidence) for row in made)


def test_home_says_which_service_is_silent_and_which_has_a_problem() -> None:
    pulse.beat(Service.GATEWAY)
    pulse.beat(Service.TORCHSERVE, "TorchServe does not answer")
    assert [state.health for state in service_states()] == [Health.WELL, Health.UNWELL, Health.UNKNOWN, Health.UNKNOWN]
    Pulse.objects.filter(service=Service.GATEWAY).update(beaten_at=now() - timedelta(minutes=5))
    assert service_states()[0].health is Health.SILENT
    # Heard of before a clock was set back, and never since.
    Pulse.objects.filter(service=Service.GATEWAY).update(beaten_at=now() + timedelta(hours=1))
    assert service_states()[0].health is Health.SILENT
    page = shown(at_home(member(Role.VIEWER)))
    for words_ in ("silent", "TorchServe does not answer", "never heard of"):
        assert words_ in page


def test_of_several_each_is_told_of_by_its_name_until_it_is_long_gone() -> None:
    def told() -> list[tuple[str, Health, str]]:
        return [(state.name, state.health, state.problem) for state in service_states() if state.name]

    def heard_of_before(name: str, age: timedelta) -> None:
        Pulse.objects.filter(name=name).update(beaten_at=now() - age)

    viewer = member(Role.VIEWER)
    pulse.beat(Service.GATEWAY, name="gateway-0")
    assert "gateway-0" not in shown(at_home(viewer))  # the only one
    pulse.beat(Service.GATEWAY, name="gateway-1")
    pulse.beat(Service.TORCHSERVE, "tablets v2: no room", name="gateway-1")
    pulse.beat(Service.TORCHSERVE, name="gateway-0")  # later, and well: that of the other is no less true
    heard_of_before("gateway-0", timedelta(hours=23))
    assert told() == [
        ("gateway-0", Health.SILENT, ""), ("gateway-1", Health.WELL, ""),
        ("gateway-0", Health.SILENT, ""), ("gateway-1", Health.UNWELL, "tablets v2: no room"),
    ]  # fmt: skip
    page = shown(at_home(viewer))
    for words_ in ("gateway-0", "gateway-1", "tablets v2: no room", "silent"):
        assert words_ in page
    heard_of_before("gateway-0", timedelta(hours=25))
    assert told() == [("gateway-1", Health.WELL, ""), ("gateway-1", Health.UNWELL, "tablets v2: no room")]
    heard_of_before("gateway-1", timedelta(hours=26))
    assert [(name, health) for name, health, _ in told()] == [
        ("gateway-0", Health.SILENT)
    ] * 2  # the last that was heard
    pulse.beat(Service.GATEWAY, name="gateway-2")
    assert set(Pulse.objects.filter(service=Service.GATEWAY).values_list("name", flat=True)) == {"gateway-2"}


def test_one_of_several_that_ends_as_it_was_told_to_is_missed_by_nobody_and_the_only_one_is() -> None:
    pulse.beat(Service.TORCHSERVE, name="console-a")
    pulse.farewell(Service.TORCHSERVE, name="console-a")
    assert [each.name for each in Pulse.objects.all()] == ["console-a"]
    pulse.beat(Service.TORCHSERVE, name="console-b")
    pulse.farewell(Service.TORCHSERVE, name="console-a")
    assert [each.name for each in Pulse.objects.all()] == ["console-b"]


def test_a_script_hears_the_same(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    moment = now()
    pulse.beat(Service.GATEWAY, name="gateway-0")
    pulse.beat(Service.TORCHSERVE, "TorchServe does not answer")
    Pulse.objects.create(service=Service.WORKER, beaten_at=moment - timedelta(minutes=5), problem="the broker is away")
    script = caller(Role.VIEWER)
    with django_assert_max_num_queries(5):
        told = script.get("/api/v1/health/").json()["services"]
    assert [(each["service"], each["name"], each["health"], each["problem"]) for each in told] == [
        ("gateway", "gateway-0", "well", ""),
        ("torchserve", "", "unwell", "TorchServe does not answer"),
        ("worker", "", "silent", ""),  # of then
        ("signer", "", "unknown", ""),
    ]
    assert [each["heard_at"] and datetime.fromisoformat(each["heard_at"]) >= moment for each in told] == [
        True, True, False, None,
    ]  # fmt: skip


def test_signs_of_life_are_written_now_and_then_and_at_once_when_something_changes() -> None:
    def heard() -> list[str]:
        return list(Pulse.objects.values_list("problem", flat=True))

    pulse.beat(Service.WORKER)
    first = Pulse.objects.get().beaten_at
    pulse.beat(Service.WORKER)
    assert Pulse.objects.get().beaten_at == first
    pulse.beat(Service.WORKER, "x" * 1000)
    assert heard() == ["x" * 300]
    pulse.beat(Service.WORKER)
    assert heard() == [""]


def test_the_gateway_s_look_at_the_policy_is_its_sign_of_life() -> None:
    from django.conf import settings

    token = settings.AMULET.control_token().decode()
    for query, name in (({}, ""), ({"gateway": "ประตู 1"}, "ประตู 1"), ({"gateway": "x" * 1000}, "x" * 128)):
        Pulse.objects.all().delete()
        answer = Client().get("/internal/policy", query, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert [(each.service, each.name) for each in Pulse.objects.all()] == [(Service.GATEWAY, name)]


def test_an_empty_console_says_what_comes_first() -> None:
    page = shown(at_home(member(Role.ADMINISTRATOR)))
    assert "Nobody has asked in 30 days" in page
    assert "Nothing waits for you." in page
    assert reverse("admin:review_reviewitem_changelist") in page
    assert str(Why.UNSURE.label) not in page


def an_alert(measure: str = "confidence", *, client: str = EVERYBODY) -> Finding:
    return Finding.objects.create(
        model="amulets",
        version="v20261123_tiny_0.900",
        client=client,
        against=Against.PREVIOUS,
        measure=measure,
        outcome=Outcome.DRIFT,
        test="ks",
        statistic=0.5,
        effect=0.5,
        psi=1,
        p=0,
        q=0,
        n_reference=300,
        n_window=300,
        error=0,
        since=now() - timedelta(days=3),
        looked_at=now(),
    )


def a_request(*, received_days_ago: int) -> PrivacyRequest:
    return privacy.receive(
        actor=member(Role.PRIVACY_OFFICER, f"wipa-{received_days_ago}"),
        pseudonym=f"shop-{received_days_ago}",
        kind=Kind.ACCESS,
        laws="both",
        channel="web",
        received_at=now() - timedelta(days=received_days_ago),
    )


def test_open_alerts_stand_on_home_with_their_version_and_measure() -> None:
    alert, by_class = an_alert(), an_alert(f"confidence.{CLASSES[0]}", client="c-1")
    Finding.objects.filter(pk=alert.pk).update(since=now() - timedelta(days=5))
    page = shown(at_home(member(Role.VIEWER)))
    assert "amulets v20261123_tiny_0.900: confidence</a>" in page
    assert "drift, compared with: the seven days before" in page
    assert f"amulets v20261123_tiny_0.900: confidence in {CLASSES[0]}</a>" in page
    assert "drift of one client" in page
    order = [page.index(reverse("admin:drift_finding_change", args=[row.pk])) for row in (alert, by_class)]
    assert order == sorted(order)


def test_privacy_requests_stand_on_home_with_their_days_for_those_who_answer_them() -> None:
    late, urgent, fresh = (a_request(received_days_ago=days) for days in (40, 25, 1))
    page = shown(at_home(member(Role.PRIVACY_OFFICER)))
    places = [
        page.index(reverse("admin:privacy_privacyrequest_change", args=[row.pk])) for row in (late, urgent, fresh)
    ]
    assert places == sorted(places)
    for row in (late, urgent, fresh):
        left = row.days_left(day_of(now()))
        assert (f"{-left} days too late" if left < 0 else f"{left} days left") in page
    assert "shop-25" not in page
    assert "/admin/privacy/privacyrequest/" not in shown(at_home(member(Role.REVIEWER)))


def test_a_full_home_costs_few_queries() -> None:
    suda = member(Role.ADMINISTRATOR)
    a_version(suda, state=State.SMOKE_TESTED)
    apply_batch([prediction_event(confidence=0.5) for _ in range(7)])
    an_alert(f"confidence.{CLASSES[0]}")
    for days in range(1, 8):
        a_request(received_days_ago=days)
    home = at_home(suda)
    page = shown(home)
    assert page.count('href="/admin/privacy/privacyrequest/') >= 5
    with CaptureQueriesContext(connection) as queries:
        shown(home)
    assert len(queries) <= 15


@pytest.mark.parametrize(("count", "said"), [(1, "photograph waits for"), (2, "photographs wait for")])
def test_a_text_goes_by_its_number(count: int, said: str) -> None:
    apply_batch([prediction_event(confidence=0.5) for _ in range(count)])
    page = re.sub(r"\s+", " ", shown(at_home(member(Role.REVIEWER))))
    assert f">{count}</span> <span>{said} an expert<" in page
