"""Two versions side by side, and the order by a metric: what may be said of which, and what may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import translation

from console.errors import Invalid
from console.registry.comparison import Better, Data, TablePair, best, compare
from console.registry.models import ModelVersion, State
from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import browser, caller, member
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


def test_a_class_in_two_spellings_is_one(malee: User) -> None:
    one, other = (a_version(malee, number=number) for number in (1, 2))
    for version, spelt, photographs in ((one, "cafe\u0301", 40), (other, "caf\u00e9", 50)):
        document = json.loads(json.dumps(version.card_document).replace('"red"', json.dumps(spelt)))
        document["data"]["per_class"] = {spelt: photographs}
        ModelVersion.objects.filter(pk=version.pk).update(card_document=document)
        version.refresh_from_db()
    found = [(pair.class_id, pair.first, pair.second) for pair in compare(one, other).classes]
    assert [pair for pair in found if pair[1:] != (0, 0)] == [("caf\u00e9", 40, 50)]
    assert len(found) == len(one.card().classes)


def with_tables(version: Any, data: str, *, fingerprint: str = "") -> Any:
    """A version whose card says what was called what, and how sure it was, on these photographs."""
    document = {
        **version.card_document,
        "confusion": {"data": data, "counts": {"red": {"red": 8, "blue": 2}, "blue": {"blue": 5}}},
        "reliability": {
            "data": data,
            "bins": [{"low": 0.8, "high": 1.0, "photos": 15, "confidence": 0.9, "accuracy": 0.8}],
        },
    }
    if fingerprint:
        document["data"] = {**document["data"], "fingerprint": fingerprint}
    ModelVersion.objects.filter(pk=version.pk).update(card_document=document)
    version.refresh_from_db()
    return version


def test_tables_of_other_photographs_are_told_from_another_split_of_the_same(malee: User) -> None:
    one = with_tables(a_version(malee, number=1), SAME)
    twin = with_tables(a_version(malee, number=2), SAME)
    divided = with_tables(a_version(malee, number=3), "another seed")
    elsewhere = with_tables(a_version(malee, number=4), "others", fingerprint="f" * 64)
    older = a_version(malee, number=5)
    for other, data in ((twin, Data.SAME), (divided, Data.OTHER_SPLIT), (elsewhere, Data.OTHER_PHOTOGRAPHS)):
        found = compare(one, other)
        assert (found.confusion.data, found.reliability.data) == (data, data)
    assert compare(one, older).confusion == TablePair(SAME, None, None)


@pytest.mark.usefixtures("static_files")
@pytest.mark.parametrize(
    ("language", "warning", "says"),
    [
        ("en", "measured on different photographs", "Red, called Blue: 2 photographs of 10"),
        ("th", "วัดจากภาพคนละชุด", "แดง ถูกเรียกว่า น้ำเงิน: 2 จาก 10 ภาพ"),
    ],
)
def test_the_page_draws_both_and_warns_of_other_photographs(
    malee: User, language: str, warning: str, says: str
) -> None:
    one = with_tables(a_version(malee, number=1), SAME)
    twin = with_tables(a_version(malee, number=2), SAME)
    elsewhere = with_tables(a_version(malee, number=3), "others", fingerprint="f" * 64)
    older = a_version(malee, number=4)
    desk = browser(malee)

    def page(other: Any) -> str:
        address = f"/admin/registry/modelversion/compare?a={one.pk}&b={other.pk}"
        shown = desk.get(address, headers={"Accept-Language": language}, follow=True)
        return str(shown.content.decode())

    with translation.override(language):  # what a request sets, the next test must not find
        same, others, alone = page(twin), page(elsewhere), page(older)
        card = desk.get(f"/admin/registry/modelversion/{one.pk}/change/", headers={"Accept-Language": language})
    for shown in (same, others):
        assert shown.count('class="r-matrix"') == 2
        assert shown.count("h-area r-reliable") == 2
        assert shown.count(says) == 2
    assert warning not in same
    assert others.count(warning) == 2
    assert alone.count('class="r-matrix"') == 1
    assert says in card.content.decode()


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
    assert told["confusion"] == {"measured_on": None, "a": None, "b": None}
    with_tables(one, SAME), with_tables(other, "others", fingerprint="f" * 64)
    told = client.get(f"/api/v1/versions/compare/?a={one.pk}&b={other.pk}").json()
    assert (told["confusion"]["measured_on"], told["reliability"]["measured_on"]) == (
        "other photographs",
        "other photographs",
    )
    assert told["confusion"]["a"] == {
        "measured_on": SAME,
        "counts": {"red": {"red": 8, "blue": 2}, "blue": {"blue": 5}},
    }
    assert told["reliability"]["b"]["bins"][0]["accuracy"] == 0.8
    ranked = client.get("/api/v1/versions/best/?model=tiny&metric=ece").json()
    assert [row["version"] for row in ranked] == [one.version, other.version]
    unknown = client.get("/api/v1/versions/best/?model=tiny&metric=beauty")
    assert (unknown.status_code, unknown.json()["field"]) == (400, "metric")
    assert client.get("/api/v1/versions/compare/?a=x&b=1").json()["field"] == "a"
