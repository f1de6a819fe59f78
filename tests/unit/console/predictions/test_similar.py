"""The references that an answer was given beside, on the pages where people judge it."""

from __future__ import annotations

import base64

import pytest
from django.conf import settings
from django.urls import reverse

from console.ingest.services import apply_batch
from console.predictions.detail import Neighbour
from console.predictions.models import Prediction
from console.predictions.similar import similar_of
from console.registry.models import ModelVersion, State
from console.review.models import ReviewItem
from console.review.services import NOT_YET
from console.site.roles import Role
from model_store import store
from protos.amulet.v1 import prediction_pb2 as pb
from tests import tiny_archive
from tests.console_events import prediction_event
from tests.unit.console.people import browser, member
from tests.unit.console.versions import a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
NEAREST = [
    pb.Example(example_id="0" * 15 + "1", class_id="green", similarity_ratio=0.912),
    pb.Example(example_id="0" * 16, class_id="red", similarity_ratio=-0.2),
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> store.StoredArchive:
    folder = tmp_path_factory.mktemp("archive")
    return store.place(tiny_archive.write_archive(folder, folder / "tiny.mar").path, settings.AMULET.model_store)


def answered_by(version: ModelVersion) -> Prediction:
    event = prediction_event(
        model=version.model, version=version.version, confidence=0.5, top_class="red", nearest_examples=NEAREST
    )
    assert apply_batch([event]).applied == 1
    return Prediction.objects.get(pk=event.prediction.prediction_id)


def test_they_come_with_the_pictures_of_the_archive_that_answered(archive: store.StoredArchive) -> None:
    version = a_version(member(Role.MODEL_ENGINEER), state=State.VERIFIED)
    ModelVersion.objects.filter(pk=version.pk).update(sha256=archive.sha256)
    prediction = answered_by(version)

    assert prediction.detail().nearest == (
        Neighbour("0" * 15 + "1", "green", pytest.approx(0.912)),  # type: ignore[arg-type]  # as pytest compares
        Neighbour("0" * 16, "red", pytest.approx(-0.2)),  # type: ignore[arg-type]
    )
    first, second = similar_of(prediction, prediction.detail(), {"green": "Green"})
    assert (first.name, first.percent, second.name, second.percent) == ("Green", "91%", "red", "0%")
    picture = base64.b64encode(tiny_archive.thumbnail_of("green")).decode()
    assert first.picture == f"data:image/jpeg;base64,{picture}"
    page = browser(member(Role.REVIEWER)).get(_page_of(prediction)).content.decode()
    assert first.picture in page
    assert "91% alike" in page


def test_where_the_archive_is_gone_they_are_named_without_pictures() -> None:
    prediction = answered_by(a_version(member(Role.MODEL_ENGINEER), state=State.VERIFIED))

    assert [(one.name, one.picture) for one in similar_of(prediction, prediction.detail(), {})] == [
        ("green", ""), ("red", "")
    ]  # fmt: skip


def test_whoever_answers_before_the_model_is_heard_does_not_see_them(archive: store.StoredArchive) -> None:
    prediction = answered_by(a_version(member(Role.MODEL_ENGINEER), state=State.VERIFIED))
    ReviewItem.objects.filter(prediction=prediction).update(blind=True, withheld_until=NOT_YET)

    page = browser(member(Role.REVIEWER)).get(_page_of(prediction)).content.decode()
    assert "alike" not in page
    assert "0" * 15 + "1" not in page


def _page_of(prediction: Prediction) -> str:
    return reverse("admin:review_reviewitem_change", args=[prediction.review.pk])
