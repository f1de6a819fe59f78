"""What a list asks the database does not depend on how many rows there are."""

from __future__ import annotations

from typing import Final

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from pytest_django import Settings

from console.clients import services as clients
from console.datasets.models import Dataset
from console.drift.models import Against, Finding, Outcome
from console.ingest.services import apply_batch
from console.privacy.services import receive
from console.registry.models import ModelVersion
from console.retraining import models as training
from console.review.models import Decided, GoldItem, ReviewItem
from console.rollout.models import Experiment, Measure, Mode, Route
from console.sheets.models import Kind, Sheet
from console.site.roles import Role
from console.staff.models import User
from console.staff.services import create_token
from console.vault.services import give_consent
from console.webhooks.models import Delivery, Endpoint
from tests.console_events import prediction_event
from tests.console_pages import ROLES, ROWS
from tests.unit.console.people import browser, member
from tests.unit.console.versions import a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
FEW, MANY = 5, 50
# As many as the product has rules, and what is signed now and then by a process of its own: neither grows by work.
OF_ONE_SIZE: Final = {"retention/applied", "audit/checkpoint"}


def one_of_each(number: int, boss: User, officer: User) -> None:
    """One more row of every kind, each of another person, client, version or subject."""
    person = member(Role.VIEWER, f"viewer-{number}")
    create_token(user=person, name="nightly", actor=None)
    client = clients.create_client(actor=boss, name=f"kiosk {number}")
    clients.create_key(actor=boss, client_id=client.pk)
    give_consent(
        actor=officer, pseudonym=f"customer-{number}", reference=f"c-{number}", purpose="keep_photograph",
        text_version="1", channel="web", given_at=now(),
    )  # fmt: skip
    receive(actor=officer, pseudonym=f"customer-{number}", kind="erasure", laws="both", channel="letter")
    version = a_version(person, number=number)
    event = prediction_event(client_id=str(client.client_id), version=version.version, confidence=0.5)
    assert apply_batch([event]).applied == 1
    item = ReviewItem.objects.get(prediction=event.prediction.prediction_id)
    GoldItem.objects.create(item=item, decided=Decided.NOT_OUR_KIND, made_by=person)
    _of_models(number, person, version)
    hears = Endpoint.objects.create(
        url=f"https://{number}.listener.example", events=[], nonce=bytes(16), told_through=0, created_by=person
    )
    Delivery.objects.create(endpoint=hears, sequence=number, type="version.approved", body="{}")


def _of_models(number: int, person: User, version: ModelVersion) -> None:
    data = Dataset.objects.create(
        model=version.model, made_by=person, fingerprint=f"{number:064x}", photographs=1, outside=0, left_out=0,
        per_class={},
    )  # fmt: skip
    training.TrainingJob.objects.create(
        model=version.model, asked_by=person, cancelled_by=person, state=training.State.UPLOADED, ended_at=now(),
        dataset=data, version=version,
    )  # fmt: skip
    Sheet.objects.create(kind=Kind.SYNTHETIC, sha256=f"{number:064x}", size=2, imported_by=person)
    route = Route.objects.create(
        model=version.model, version=version, mode=Mode.SHADOW, started_by=person, reason="", ended_at=now(),
        ended_by=person,
    )  # fmt: skip
    Experiment.objects.create(
        route=route, hypothesis="", measure=Measure.AGREED, baseline_ratio=0.8, effect_ratio=0.1, size=9
    )
    Finding.objects.create(
        model=version.model, version=version.version, against=Against.REFERENCE, measure="confidence",
        outcome=Outcome.DRIFT, since=now(), looked_at=now(), test="", statistic=0, effect=0, psi=0, p=0, q=0,
        n_reference=1, n_window=1, error=0,
    )  # fmt: skip


def asked_by(person: Browser, kind: str, *, rows: int) -> int:
    """Statements that the list of one kind takes, which shows so many rows at least."""
    with CaptureQueriesContext(connection) as captured:
        answer = person.get(f"/admin/{kind}/", {"p": "1"})  # without a page the queue leads to what is open
    assert answer.status_code == 200, kind
    assert len(answer.context["cl"].result_list) >= rows, kind
    return len(captured)


def test_no_list_asks_more_of_fifty_rows_than_of_five(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    boss, officer = member(Role.ADMINISTRATOR), member(Role.PRIVACY_OFFICER)
    desk = browser(boss)
    seen = [kind for kind, may in ROWS.items() if kind not in OF_ONE_SIZE and _letter(Role.ADMINISTRATOR) in may.see]
    assert len(seen) == len(ROWS) - len(OF_ONE_SIZE)
    for number in range(1, FEW + 1):
        one_of_each(number, boss, officer)
    few = {kind: asked_by(desk, kind, rows=FEW) for kind in seen}
    for number in range(FEW + 1, MANY + 1):
        one_of_each(number, boss, officer)
    many = {kind: asked_by(desk, kind, rows=MANY) for kind in seen}
    assert {kind: (few[kind], many[kind]) for kind in seen if many[kind] > few[kind]} == {}


def _letter(role: Role) -> str:
    return next(letter for letter, name in ROLES.items() if name == role)
