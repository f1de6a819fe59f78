"""The time machine: every instant has the versions, thresholds, policy and people that it had then."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.utils.timezone import now

from console.clients import services as clients
from console.clients.models import Client
from console.errors import Conflict, Invalid, NotFound
from console.ingest.services import apply_batch
from console.registry.models import ModelVersion
from console.rollout import policy, queries, services
from console.rollout.models import Mode, PolicyRecord, Route
from console.rollout.time_machine import look
from console.site.roles import Role
from tests import chance
from tests.console_events import prediction_event
from tests.unit.console.people import caller, member
from tests.unit.console.rollout.desk import Desk

pytestmark = pytest.mark.django_db


@pytest.fixture
def began() -> datetime:
    return now() - timedelta(days=3)


@pytest.fixture
def shop(began: datetime) -> Client:
    made = clients.create_client(actor=member(Role.ADMINISTRATOR), name="web-shop", models=["tiny"])
    Client.objects.update(created_at=began)
    return made


@pytest.fixture
def desk(began: datetime) -> Desk:
    """Day 0: the first version; day 1: the second as a canary of a fifth; day 2: in production; now: rolled back."""
    desk = Desk()
    first = desk.roll_out(desk.first)
    canary = desk.roll_out(desk.second, Mode.CANARY, 0.2)
    production = desk.roll_out(desk.second)
    desk.roll_back()
    for route, start, end in ((first, 0, 2), (canary, 1, 2), (production, 2, 2.5)):
        Route.objects.filter(pk=route.pk).update(
            started_at=began + timedelta(days=start), ended_at=began + timedelta(days=end)
        )
    Route.objects.filter(ended_at=None).update(started_at=began + timedelta(days=2.5))
    return desk


def test_each_instant_has_the_parts_that_were_in_force_then(desk: Desk, shop: Client, began: datetime) -> None:
    def parts(days: float) -> list[tuple[str, str, float]]:
        then = look(client=str(shop.client_id), at=began + timedelta(days=days))
        return [(part.version, str(part.mode), part.share_ratio) for part in then.parts]

    first, second = desk.first.version, desk.second.version
    assert parts(0.5) == [(first, "production", 1.0)]
    assert parts(1.5) == [(first, "production", 0.8), (second, "canary", 0.2)]
    assert parts(2) == [(second, "production", 1.0)]  # an end is not part of what it ends
    assert parts(2.4) == [(second, "production", 1.0)]
    assert parts(3) == [(first, "production", 1.0)]
    part = look(client="web-shop", at=began + timedelta(days=2)).parts[0]
    assert (part.approved_by, part.sha256) == ("somchai", desk.second.sha256)
    assert part.limits == desk.second.card().decision.limits


def test_what_the_client_might_ask_is_read_from_the_audit_trail(desk: Desk, shop: Client, began: datetime) -> None:
    desk.roll_out(desk.approved(8, model="coins"))
    then = look(client="web-shop", at=now())
    assert (then.model, then.permitted) == ("tiny", True)  # which is the only one that it might ask
    suda = member(Role.ADMINISTRATOR, "suda-2")
    clients.change_client(actor=suda, client_id=shop.pk, calls_per_minute=5, models=["coins"])
    assert look(client="web-shop", at=now(), model="tiny").permitted is False
    # Its trail begins with the test and not with its making, so of before there is none.
    assert look(client="web-shop", at=began + timedelta(days=1), model="tiny").permitted is None


def test_an_answer_leads_to_the_policy_that_its_gateway_followed(desk: Desk, shop: Client) -> None:
    policy.snapshots.cache_clear()
    snapshot = policy.snapshots().newest()
    record = PolicyRecord.objects.get()
    assert f'"{record.digest}"' == snapshot.etag
    policy.snapshots.cache_clear()
    policy.snapshots().newest()  # another process builds the same bytes
    assert PolicyRecord.objects.count() == 1
    apply_batch(
        [
            prediction_event(
                model="tiny", version=desk.first.version, client_id=str(shop.client_id),
                policy_digest=bytes.fromhex(record.digest),
            )
        ]
    )  # fmt: skip
    then = look(client="web-shop", at=now())
    assert then.policy is not None
    assert then.policy[:2] == (record.revision, record.digest)
    assert [(answer.version, answer.policy) for answer in then.answers] == [(desk.first.version, record.revision)]


def test_of_a_clients_answers_and_of_policies_the_last_up_to_that_instant_are_told(
    desk: Desk, shop: Client, began: datetime
) -> None:
    at, minute, instant = began + timedelta(days=1), timedelta(minutes=1), timedelta(microseconds=1)
    given = [at - minutes * minute for minutes in (-1, 0, 1, 2, 3, 4, 5, 20)]
    mine, ours = {"client_id": str(shop.client_id)}, {"model": "tiny", "version": desk.first.version}
    apply_batch([prediction_event(happened_at=moment, **mine, **ours) for moment in given])
    apply_batch([prediction_event(happened_at=at, **ours)])
    for revision, age in ((1, 2), (2, 1), (3, 1)):
        PolicyRecord.objects.create(digest=f"{revision}", revision=revision, issued_at=at - age * 60 * minute)

    def told(moment: datetime) -> tuple[list[datetime], int | None]:
        then = look(client="web-shop", at=moment)
        return [answer.happened_at for answer in then.answers], then.policy[0] if then.policy else None

    assert told(at) == (given[1:6], 3)
    assert told(given[-1] + 10 * minute - instant) == (given[-1:], 3)
    assert told(given[-1] + 10 * minute) == ([], 3)
    assert told(at - 60 * minute - instant) == ([], 1)
    assert told(at - 120 * minute - instant) == ([], None)


def test_what_cannot_be_answered_is_refused_in_words(desk: Desk, shop: Client, began: datetime) -> None:
    with pytest.raises(NotFound):
        look(client="nobody", at=now())
    with pytest.raises(Invalid, match="not come"):
        look(client="web-shop", at=now() + timedelta(hours=1))
    with pytest.raises(Invalid, match="did not exist"):
        look(client="web-shop", at=began - timedelta(hours=1))
    Client.objects.update(created_at=datetime(2026, 1, 30, 17, 30, tzinfo=UTC))
    with pytest.raises(Invalid, match=r"web-shop did not exist then: it was made at 2026-01-31T00:30:00\+07:00\."):
        look(client="web-shop", at=datetime(2026, 1, 30, 17, 29, tzinfo=UTC))
    desk.roll_out(desk.approved(8, model="coins"))
    clients.change_client(actor=member(Role.ADMINISTRATOR, "suda-3"), client_id=shop.pk, calls_per_minute=5, models=[])
    with pytest.raises(Invalid, match="coins, tiny"):
        look(client="web-shop", at=now())


def test_rest_tells_the_same(desk: Desk, shop: Client, began: datetime) -> None:
    at = (began + timedelta(days=1.5)).isoformat().replace("+", "%2B")
    told = caller(Role.VIEWER).get(f"/api/v1/routes/then/?client=web-shop&at={at}").json()
    assert [(part["version"], part["share_ratio"], part["approved_by"]) for part in told["parts"]] == [
        (desk.first.version, 0.8, "somchai"),
        (desk.second.version, 0.2, "somchai"),
    ]
    wrong = caller(Role.MODEL_ENGINEER).get("/api/v1/routes/then/?client=web-shop&at=yesterday")
    assert (wrong.status_code, wrong.json()["field"]) == (400, "at")


@dataclass(frozen=True)
class Moment:
    """What was in force, as it was told to gateways when it was so."""

    at: datetime
    parts: frozenset[tuple[str, str, float]]  # version, mode, share
    permitted: bool

    @classmethod
    def now(cls, models: list[str]) -> Moment:
        try:
            served = queries.served_model("tiny")
        except NotFound:
            return cls(now(), frozenset(), not models or "tiny" in models)
        parts = {
            (route.version.version, str(route.mode), round(served.weight_ratio(route), 9)) for route in served.routes
        }
        return cls(now(), frozenset(parts), not models or "tiny" in models)

    def seen(self) -> Moment:
        """What the time machine says of it."""
        then = look(client="web-shop", at=self.at, model="tiny")
        assert then.permitted is not None
        parts = {(part.version, str(part.mode), round(part.share_ratio, 9)) for part in then.parts}
        return Moment(self.at, frozenset(parts), then.permitted)


def test_a_random_history_is_told_as_it_was() -> None:
    dice, desk, suda = random.Random(chance.seed()), Desk(), member(Role.ADMINISTRATOR)
    shop = clients.create_client(actor=suda, name="web-shop", models=["tiny"])
    permitted, moments = ["tiny"], []

    def change_what_may_be_asked() -> None:
        permitted[:] = dice.choice([[], ["tiny"], ["coins"], ["coins", "tiny"]])
        clients.change_client(actor=suda, client_id=shop.pk, calls_per_minute=5, models=permitted)

    def end_a_route() -> None:
        if routes := list(Route.objects.filter(ended_at=None)):
            services.end_route(actor=desk.somchai, route_id=dice.choice(routes).pk, reason="enough")

    def version() -> ModelVersion:
        return dice.choice([desk.first, desk.second, desk.third])

    acts: list[Callable[[], object]] = [
        lambda: desk.roll_out(version()),
        lambda: desk.roll_out(version(), Mode.CANARY, dice.choice([0.05, 0.2, 0.5])),
        lambda: desk.roll_out(version(), Mode.SHADOW, None),
        desk.roll_back,
        end_a_route,
        change_what_may_be_asked,
    ]
    for _ in range(90):
        with suppress(Conflict, Invalid, NotFound):  # what cannot be done now changes nothing
            dice.choice(acts)()
        moments.append(Moment.now(permitted))

    assert len({moment.parts for moment in moments}) > 8
    assert [moment.seen() for moment in moments] == moments

    spoilt = dice.choice(list(Route.objects.exclude(ended_at=None)))
    Route.objects.filter(pk=spoilt.pk).update(started_at=spoilt.ended_at)
    assert [moment.seen() for moment in moments] != moments  # the control: a history that was changed is noticed
