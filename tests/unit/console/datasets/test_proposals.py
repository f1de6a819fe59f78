"""When training anew is proposed, and when the proposal goes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils.timezone import now
from pytest_django import Settings

from console.audit.models import Entry
from console.datasets.models import Dataset, Proposal
from console.datasets.proposals import new_labels
from console.datasets.services import export_zip
from console.datasets.tasks import propose
from console.drift.models import Against, Finding, Outcome
from console.review.models import ExpertDecision
from console.site.roles import Role
from console.staff.models import User
from console.vault.services import withdraw_consent
from tests.console_events import CLASSES
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import caller, member
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER)


@pytest.fixture(autouse=True)
def malee(settings: Settings) -> User:
    """Two labels are enough here. The model is known by a version of it."""
    settings.AMULET = settings.AMULET.model_copy(update={"retrain_labels": 2})
    malee = member(Role.MODEL_ENGINEER)
    a_version(malee, model=MODEL)
    return malee


def standing() -> list[tuple[str, int, int]]:
    propose()
    return list(Proposal.objects.values_list("model", "labels", "alerts"))


def kinds() -> list[str]:
    return list(Entry.objects.filter(type__startswith="retraining.").order_by("pk").values_list("type", flat=True))


def test_enough_new_labels_propose_it_once_and_an_export_begins_to_count_anew(
    officer: User, expert: User, malee: User
) -> None:
    consenting(officer, "shop-1")
    labelled(expert, "shop-1", is_a(CLASSES[0]))
    assert standing() == []
    labelled(expert, "shop-1", is_a(CLASSES[1]))
    assert standing() == [(MODEL, 2, 0)]
    (told,) = caller(Role.APPROVER).get("/api/v1/retraining-proposals/").json()["results"]
    assert (told["model"], told["labels"], told["alerts"]) == (MODEL, 2, 0)
    since = Proposal.objects.get().since
    assert standing() == [(MODEL, 2, 0)]
    assert Proposal.objects.get().since == since
    export_zip(actor=malee, model=MODEL)[1].close()
    assert standing() == []
    assert kinds() == ["retraining.proposed", "retraining.proposal_closed"]


def test_a_label_that_the_export_could_not_have_yet_counts_after_it(officer: User, expert: User, malee: User) -> None:
    consenting(officer, "shop-1")
    labelled(expert, "shop-1", is_a(CLASSES[0]))
    fresh = labelled(expert, "shop-1", is_a(CLASSES[0]), settled=False)
    export_zip(actor=malee, model=MODEL)[1].close()
    assert Dataset.objects.get().photographs == 1
    assert new_labels(MODEL, at=now() + timedelta(hours=1)) == 1
    assert ExpertDecision.objects.filter(item__prediction=fresh).exists()


def test_what_must_not_be_learnt_from_does_not_count(officer: User, expert: User) -> None:
    consenting(officer, "shop-1")
    consenting(officer, "shop-2", training=False)
    for person in ("shop-1", "shop-1", "shop-2", "shop-2"):
        labelled(expert, person, is_a(CLASSES[0]))
    assert standing() == [(MODEL, 2, 0)]
    withdraw_consent(actor=officer, reference="train-shop-1", channel="web")
    assert standing() == []


def test_drift_proposes_it_for_the_model_that_it_was_found_in() -> None:
    a_version(User.objects.get(), model="coins", number=2)
    drifted = {
        "outcome": Outcome.DRIFT, "test": "ks", "statistic": 0.2, "effect": 0.2, "psi": 0.1, "p": 0.001, "q": 0.01,
        "n_reference": 500, "n_window": 500, "error": 0.0, "since": now(), "looked_at": now(),
    }  # fmt: skip
    found = {"version": "v20260101_tiny_1.000", "against": Against.REFERENCE, "measure": "confidence", **drifted}
    Finding.objects.create(model=MODEL, **found)
    assert standing() == [(MODEL, 0, 1)]
    Finding.objects.update(outcome=Outcome.NONE, since=None)
    assert standing() == []
