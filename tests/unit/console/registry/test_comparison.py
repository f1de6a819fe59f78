"""Two versions side by side, and the order by a metric: what may be said of which, and what may not."""

from __future__ import annotations

from typing import Any

import pytest

from console.errors import Invalid
from console.registry.comparison import Better, best, compare
from console.registry.models import ModelVersion, State
from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import caller, member
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db
SAME = "the same photographs"


@pytest.fixture
def malee() -> User:
    return member(Role.MODEL_ENGINEER)


def measured(uploader: User, number: int, *, model: str = "tiny", **metrics: tuple[float, float, float, str]) -> Any:
    version = a_version(uploader, number=number, model=model)
    document = {
        **(version.card_document or {}),
        "metrics": [
            {"name": name, "value": value, "low": low, "high": high, "data": data}
            for name, (value, low, high, data) in metrics.items()
        ],
    }
    ModelVersion.objects.filter(pk=version.pk).update(card_document=document)
    version.refresh_from_db()
    return version


def test_better_is_said_only_of_intervals_apart_on_the_same_photographs(malee: User) -> None:
    one = measured(
        malee, 1, accuracy=(0.9, 0.88, 0.92, SAME), brier=(0.1, 0.09, 0.11, SAME), f1=(0.9, 0.8, 0.95, SAME),
        auroc=(0.9, 0.8, 0.95, "others"), only=(1.0, 1.0, 1.0, SAME),
    )  # fmt: skip
    other = measured(
        malee, 2, accuracy=(0.8, 0.78, 0.82, SAME), brier=(0.2, 0.19, 0.21, SAME), f1=(0.91, 0.85, 0.97, SAME),
        auroc=(0.99, 0.98, 1.0, SAME),
    )  # fmt: skip
    found = {pair.name: pair.better for pair in compare(one, other).metrics}
    assert found == {
        "accuracy": Better.FIRST,
        "brier": Better.FIRST,  # lower is better
        "f1": Better.LUCK,
        "auroc": Better.OTHER_DATA,
        "only": Better.ONE_ONLY,
    }
    assert {pair.name: pair.better for pair in compare(other, one).metrics}["brier"] == Better.SECOND


def test_what_cannot_be_compared_is_refused(malee: User) -> None:
    one, other = measured(malee, 1), measured(malee, 2, model="coins")
    with pytest.raises(Invalid, match="different"):
        compare(one, one)
    with pytest.raises(Invalid, match="different models"):
        compare(one, other)
    with pytest.raises(Invalid, match="card"):
        compare(one, a_version(malee, number=3, state=State.REFUSED))


def test_versions_in_the_order_of_a_metric_say_which_may_be_the_best(malee: User) -> None:
    measured(malee, 1, ece=(0.05, 0.04, 0.06, SAME))
    measured(malee, 2, ece=(0.02, 0.01, 0.045, SAME))
    measured(malee, 3, ece=(0.2, 0.1, 0.3, SAME))
    measured(malee, 4, ece=(0.03, 0.01, 0.05, "others"))
    ranked = best("ece", model="tiny")
    assert [(item.version.version[5:9], item.may_be_best) for item in ranked] == [
        ("0102", True),
        ("0104", False),  # on other photographs: not to be told from here
        ("0101", True),
        ("0103", False),
    ]


def test_rest_compares_and_ranks(malee: User) -> None:
    one, other = measured(malee, 1, ece=(0.05, 0.04, 0.06, SAME)), measured(malee, 2, ece=(0.2, 0.1, 0.3, SAME))
    client = caller(Role.VIEWER)
    told = client.get(f"/api/v1/versions/compare/?a={one.pk}&b={other.pk}").json()
    assert (told["metrics"][0]["name"], told["metrics"][0]["better"]) == ("ece", "first")
    assert set(told["photographs"]) == {item.id for item in one.card().classes}
    ranked = client.get("/api/v1/versions/best/?model=tiny&metric=ece").json()
    assert [row["version"] for row in ranked] == [one.version, other.version]
    unknown = client.get("/api/v1/versions/best/?model=tiny&metric=beauty")
    assert (unknown.status_code, unknown.json()["field"]) == (400, "metric")
    assert client.get("/api/v1/versions/compare/?a=x&b=1").json()["field"] == "a"
