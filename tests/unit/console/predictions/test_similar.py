"""The references that an answer was given beside, on the pages where people judge it."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest
from django.conf import settings
from django.urls import reverse

from console.ingest.services import apply_batch
from console.predictions.detail import Neighbour
from console.predictions.models import Prediction
from console.predictions.similar import similar_of
from console.registry.models import ModelVersion, State
from console.review.models import Decided, GoldAnswer, GoldItem, ReviewItem
from console.review.models import State as Reviewed
from console.review.services import NOT_YET
from console.site.roles import Role
from model_store import store
from protos.amulet.v1 import prediction_pb2 as pb
from tests import tiny_archive
from tests.console_events import prediction_event
from tests.unit.console.people import browser, caller, member
from tests.unit.console.versions import a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
NEAREST = [
    pb.Example(example_id="0" * 15 + "1", class_id="green", similarity_ratio=0.912),
    pb.Example(example_id="0" * 16, class_id="red", similarity_ratio=-0.2),
]
UNSEEN = pb.Example(example_id="f" * 16, class_id="red", similarity_ratio=0.5)  # no picture of it may be shown


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> store.StoredArchive:
    folder = tmp_path_factory.mktemp("archive")
    return store.place(tiny_archive.write_archive(folder, folder / "tiny.mar").path, settings.AMULET.model_store)


def answered_by(version: ModelVersion, nearest: Sequence[pb.Example] = NEAREST) -> Prediction:
    event = prediction_event(
        model=version.model, version=version.version, confidence=0.5, top_class="red", nearest_examples=nearest
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


class TestByRest:
    @pytest.fixture
    def prediction(self, archive: store.StoredArchive) -> Prediction:
        version = a_version(member(Role.MODEL_ENGINEER), state=State.VERIFIED)
        ModelVersion.objects.filter(pk=version.pk).update(sha256=archive.sha256)
        return answered_by(version, [NEAREST[0], UNSEEN])

    def test_an_answer_says_what_it_was_given_beside_and_where_the_pictures_are(self, prediction: Prediction) -> None:
        viewer = caller(Role.VIEWER)  # as the page, which shows them to whoever may see the answer
        first, second = viewer.get(f"/api/v1/predictions/{prediction.pk}/").json()["similar"]
        assert (first["class_id"], first["similarity_ratio"]) == ("green", pytest.approx(0.912))
        picture = viewer.get(first["picture"])
        assert (picture.status_code, picture["Content-Type"]) == (200, "image/jpeg")
        assert picture.content == tiny_archive.thumbnail_of("green")
        assert picture["Cache-Control"] == "no-store, private"
        assert (second["example_id"], second["picture"]) == (UNSEEN.example_id, None)  # its owner did not allow it

    @pytest.mark.parametrize("number", [0, 2, 3])
    def test_what_may_not_be_shown_and_what_never_was_look_the_same(self, prediction: Prediction, number: int) -> None:
        refused = caller(Role.VIEWER).get(f"/api/v1/predictions/{prediction.pk}/similar/{number}/")
        assert (refused.status_code, refused.json()["reason"]) == (404, "not_found")

    def test_where_the_archive_is_gone_there_is_no_picture(self) -> None:
        prediction = answered_by(a_version(member(Role.MODEL_ENGINEER), state=State.VERIFIED))
        viewer = caller(Role.VIEWER)
        told = viewer.get(f"/api/v1/predictions/{prediction.pk}/").json()["similar"]
        assert [(each["class_id"], each["picture"]) for each in told] == [("green", None), ("red", None)]
        assert viewer.get(f"/api/v1/predictions/{prediction.pk}/similar/1/").status_code == 404

    def test_a_review_item_has_them_where_its_page_shows_them(self, prediction: Prediction) -> None:
        expert = caller(Role.REVIEWER)
        item = f"/api/v1/reviews/{prediction.review.pk}/"
        address = expert.get(item).json()["similar"][0]["picture"]
        assert expert.get(address).status_code == 200
        ReviewItem.objects.filter(prediction=prediction).update(blind=True, withheld_until=NOT_YET)
        assert expert.get(item).json()["similar"] is None
        refused = expert.get(address)
        assert (refused.status_code, refused.json()["reason"]) == (404, "withheld")
        # Who does not judge is not swayed: as the page of the prediction has it.
        assert caller(Role.VIEWER).get(address).status_code == 200

    def test_who_is_asked_a_known_answer_before_the_model_is_heard_gets_none(self, prediction: Prediction) -> None:
        asked, lead = member(Role.REVIEWER), member(Role.ADMINISTRATOR)
        ReviewItem.objects.filter(prediction=prediction).update(state=Reviewed.DECIDED)
        gold = GoldItem.objects.create(item=prediction.review, decided=Decided.CLASS, class_id="red", made_by=lead)
        GoldAnswer.objects.create(gold=gold, expert=asked, blind=True, open_until=NOT_YET)
        address = f"/api/v1/predictions/{prediction.pk}/similar/1/"
        assert browser(asked).get(f"/api/v1/reviews/{prediction.review.pk}/").json()["similar"] is None
        assert browser(asked).get(address).status_code == 404
        assert browser(lead).get(address).status_code == 200


def _page_of(prediction: Prediction) -> str:
    return reverse("admin:review_reviewitem_change", args=[prediction.review.pk])
