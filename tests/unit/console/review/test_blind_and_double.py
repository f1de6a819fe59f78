"""The expert answers before the model is heard; several experts answer without each other; a third one settles it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_totp.models import TOTPDevice

from console.audit.models import Entry
from console.audit.queries import public_key
from console.audit.verifier import verify
from console.errors import Conflict, NotFound
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.review import queries, services
from console.review.models import TAKE_BACK, Decided, ExpertDecision, Part, ReviewItem, State, Why
from console.review.services import NOT_YET, Decision, new_item
from console.site.roles import Role
from console.staff.models import User
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, feedback_event, uuid7
from tests.unit.console import shop
from tests.unit.console.people import caller, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files", "consent")]
SOMDEJ, SIVALI = Decision(Decided.CLASS, CLASSES[0]), Decision(Decided.CLASS, CLASSES[1])
MODEL_SAYS = "phong_suphan"


@pytest.fixture
def experts() -> tuple[User, User, User]:
    return member(Role.REVIEWER), member(Role.REVIEWER, "ladda"), member(Role.REVIEWER, "chai")


def queued(*, blind: bool = False, opinions: int = 1, **changes: object) -> ReviewItem:
    return shop.queued(blind=blind, opinions=opinions, **{"confidence": 0.5137, "top_class": MODEL_SAYS, **changes})


def say(expert: User, item: ReviewItem, decision: Decision) -> ExpertDecision:
    services.take(actor=expert, item_id=item.pk)
    return services.decide(actor=expert, item_id=item.pk, decision=decision)


def later() -> None:
    """What was decided can be taken back no more, and is told."""
    moment = now() - TAKE_BACK - timedelta(seconds=1)
    ExpertDecision.objects.update(decided_at=moment)
    ReviewItem.objects.filter(blind=True).update(withheld_until=moment)


def state_of(item: ReviewItem) -> State:
    return State(ReviewItem.objects.get(pk=item.pk).state)


def at_the_desk(user: User) -> Client:
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = TOTPDevice.objects.get(user=user).persistent_id
    session.save()
    return client


def sent(client: Client, url: str) -> str:
    """Everything that reaches the browser: head and body, of the page that it ends at."""
    answer = client.get(url, follow=True)
    return str(answer.headers) + answer.content.decode()


class TestBlind:
    def test_no_page_sends_the_model_s_answer_before_the_expert_s(self, experts: tuple[User, User, User]) -> None:
        item = queued(blind=True, verdict=words.VERDICT_UNSURE, reasons=[words.REASON_LOW_CONFIDENCE])
        desk = at_the_desk(experts[0])
        review = reverse("admin:review_reviewitem_change", args=[item.pk])
        told = sent(desk, review)
        assert f'value="class:{CLASSES[0]}"' in told  # what it can be is said, in an order that says nothing
        offered = [told.index(f'value="class:{name}"') for name in sorted(CLASSES)]
        assert offered == sorted(offered)
        for name in ("51.4", "51%", "unsure</", "low confidence", "probable enough", "mahalanobis", "heat-map"):
            assert name not in told, name
        prediction = reverse("admin:predictions_prediction_change", args=[item.prediction_id])
        heat_map = reverse("admin:predictions_prediction_heat_map", args=[item.prediction_id, 0])
        # Lists leave it out, so that no filter or place in them says anything; their filters name every class.
        for url in (reverse("admin:predictions_prediction_changelist"), reverse("admin:review_reviewitem_changelist")):
            assert "51" not in re.findall(r"(\d+)(?:\.\d)?%", sent(desk, url)), url
            assert f"/{item.pk}/change/" not in sent(desk, url), url
            assert str(item.prediction_id) not in sent(desk, url), url
        for url in (prediction, "/admin/", heat_map):
            assert MODEL_SAYS not in sent(desk, url), url
        assert desk.get(heat_map).status_code == 404
        desk.post(review, {"answer": f"class:{CLASSES[0]}"})
        assert MODEL_SAYS not in sent(desk, prediction)  # it can still be taken back
        ReviewItem.objects.update(withheld_until=now())
        assert MODEL_SAYS in sent(desk, prediction)
        assert MODEL_SAYS in sent(desk, review)

    def test_nor_do_the_numbers_over_the_list(self, experts: tuple[User, User, User]) -> None:
        """With one item waiting, a count by reason would say its verdict."""
        queued(blind=True, verdict=words.VERDICT_UNSURE)
        assert queries.waiting(experts[0]).by_why == {}
        told = sent(at_the_desk(experts[0]), reverse("admin:review_reviewitem_changelist"))
        assert "<strong>1</strong> to answer before the model is heard" in told
        assert "<strong>1</strong> unsure" not in told
        engineer = member(Role.MODEL_ENGINEER)
        assert queries.waiting(engineer).by_why == {Why.UNSURE: 1}
        for person, waiting in ((experts[0], {}), (engineer, {"UNSURE": 1})):
            assert at_the_desk(person).get("/api/v1/reviews/agreement/").json()["waiting"]["by_why"] == waiting
        told = sent(at_the_desk(engineer), reverse("admin:review_reviewitem_changelist"))
        assert "<strong>1</strong> unsure" in told
        assert "before the model is heard" not in told

    def test_nor_does_the_rest_interface(self) -> None:
        item = queued(blind=True)
        expert, engineer = caller(Role.REVIEWER), caller(Role.MODEL_ENGINEER)
        told = expert.post("/api/v1/reviews/next/").json()
        assert (told["id"], told["blind"], told["prediction_id"]) == (item.pk, True, str(item.prediction_id))
        assert (told["prediction"], told["why"], told["sampling_ratio"]) == (None, None, None)
        assert expert.get("/api/v1/reviews/").json()["results"] == []
        assert expert.get("/api/v1/predictions/?class_id=" + MODEL_SAYS).json()["results"] == []
        one = f"/api/v1/predictions/{item.prediction_id}/"
        assert expert.get(one).status_code == 404
        assert engineer.get(one).json()["class_id"] == MODEL_SAYS  # who has no say is not swayed
        decided = expert.post(f"/api/v1/reviews/{item.pk}/decide/", {"decided": "class", "class_id": CLASSES[0]})
        assert decided.status_code == 201
        assert expert.get(one).status_code == 404

    def test_a_blind_answer_is_kept_as_one_and_stays_one_when_taken_back(
        self, experts: tuple[User, User, User]
    ) -> None:
        item = queued(blind=True)
        made = say(experts[0], item, SOMDEJ)
        assert (made.blind, made.agrees) == (True, False)
        assert '"blind":true' in Entry.objects.get(type="review.decided").payload.text
        assert services.take_back(actor=experts[0], item_id=item.pk).withheld_until == NOT_YET

    @pytest.mark.usefixtures("fresh_checkpoints")
    def test_nor_does_the_audit_trail(self) -> None:
        item = queued(blind=True)
        about = f"/api/v1/audit/entries/?subject_id={item.prediction_id}"
        reviewing, auditor = caller(Role.ADMINISTRATOR), caller(Role.AUDITOR)
        (entry,) = auditor.get(about).json()["results"]
        assert entry["payload"]["class"] == MODEL_SAYS
        (kept,) = reviewing.get(about).json()["results"]
        assert kept == {**entry, "payload": None}
        page = reverse("admin:audit_entry_change", args=[entry["sequence"]])
        desk = at_the_desk(member(Role.ADMINISTRATOR))
        assert MODEL_SAYS not in sent(desk, page)
        call_command("checkpoint")
        withheld = reviewing.get("/api/v1/audit/export/").getvalue()
        assert MODEL_SAYS.encode() not in withheld
        assert MODEL_SAYS.encode() in auditor.get("/api/v1/audit/export/").getvalue()
        assert verify(withheld.splitlines(keepends=True), public_key()).whole
        ReviewItem.objects.update(withheld_until=now())
        assert MODEL_SAYS in sent(desk, page)
        assert reviewing.get(about).json()["results"] == [entry]

    def test_what_is_opened_again_is_not_blind(self, experts: tuple[User, User, User]) -> None:
        item = queued(blind=True)
        say(experts[0], item, SOMDEJ)
        apply_batch([feedback_event(str(item.prediction_id))])
        item.refresh_from_db()
        assert (item.state, item.blind, item.withheld_until) == (State.OPEN, False, None)
        assert say(experts[1], item, SOMDEJ).blind is False

    def test_shares_are_kept_and_drawn_alike_twice(self, settings: object) -> None:
        settings.AMULET = settings.AMULET.model_copy(  # type: ignore[attr-defined]
            update={"review_blind_ratio": 0.25, "review_double_ratio": 0.5, "review_opinions": 3}
        )
        ids = [Prediction(prediction_id=uuid7()).pk for _ in range(2000)]

        def draw(with_photograph: bool) -> list[tuple[bool, int]]:
            made = [new_item(key, why=Why.UNSURE, sampling_ratio=1.0, with_photograph=with_photograph) for key in ids]
            return [(item.blind, item.opinions_wanted) for item in made]

        drawn = draw(True)
        assert drawn == draw(True)
        # Five standard errors: wrong once in a million runs.
        assert sum(blind for blind, _ in drawn) / 2000 == pytest.approx(0.25, abs=0.05)
        assert sum(wanted == 3 for _, wanted in drawn) / 2000 == pytest.approx(0.5, abs=0.06)
        assert sum(blind and wanted == 3 for blind, wanted in drawn) / 2000 == pytest.approx(0.125, abs=0.04)
        assert set(draw(False)) == {(False, 1)}

    def test_the_database_keeps_blind_items_withheld(self) -> None:
        item = queued(blind=True)
        with pytest.raises(IntegrityError), transaction.atomic():
            ReviewItem.objects.filter(pk=item.pk).update(withheld_until=None)


class TestDouble:
    def test_two_who_agree_decide_it(self, experts: tuple[User, User, User]) -> None:
        item = queued(opinions=2)
        first = say(experts[0], item, SOMDEJ)
        assert (state_of(item), first.part) == (State.OPEN, Part.OPINION)
        with pytest.raises(Conflict, match="another person"):
            services.take(actor=experts[0], item_id=item.pk)
        assert services.take_next(actor=experts[0]) is None
        assert services.take_next(actor=experts[1]) == item
        services.decide(actor=experts[1], item_id=item.pk, decision=SOMDEJ)
        assert state_of(item) == State.DECIDED
        later()
        assert queries.concord_since(now() - timedelta(days=1)).agreed == 1

    def test_who_has_spoken_of_one_is_asked_of_another(self, experts: tuple[User, User, User]) -> None:
        one, other = queued(opinions=2), queued(opinions=2)
        say(experts[0], one, Decision(Decided.UNSURE))
        with pytest.raises(Conflict, match="another person is asked"):
            services.take(actor=experts[0], item_id=one.pk)
        assert services.take_next(actor=experts[0]) == other
        say(experts[0], other, Decision(Decided.UNSURE))
        assert services.take_next(actor=experts[0]) is None
        assert services.take_next(actor=experts[1]) == one

    def test_the_second_does_not_see_the_first(self, experts: tuple[User, User, User]) -> None:
        item = queued(opinions=2)
        services.take(actor=experts[0], item_id=item.pk)
        services.decide(actor=experts[0], item_id=item.pk, decision=Decision(Decided.UNUSABLE, note="torn in half"))
        desk = at_the_desk(experts[1])
        for name, key in (("review_reviewitem", item.pk), ("predictions_prediction", item.prediction_id)):
            assert "torn in half" not in sent(desk, reverse(f"admin:{name}_change", args=[key]))

    def test_a_disagreement_is_settled_by_a_third_person_only(self, experts: tuple[User, User, User]) -> None:
        item = queued(opinions=2)
        desk = at_the_desk(experts[2])
        early = desk.get(reverse("admin:review_reviewitem_settle_one"), follow=True).content.decode()
        assert "No disagreement waits for you." in early  # and no more: the item waits
        assert "Nothing waits for you." not in early
        say(experts[0], item, SOMDEJ)
        say(experts[1], item, SIVALI)
        assert (state_of(item), queries.waiting(experts[2]).disputed, queries.open_count()) == (State.DISPUTED, 1, 0)
        for one_of_the_two in experts[:2]:
            assert services.take_next(actor=one_of_the_two, state=State.DISPUTED) is None
            with pytest.raises(Conflict, match="another person"):
                services.take(actor=one_of_the_two, item_id=item.pk)
        page = desk.get(reverse("admin:review_reviewitem_settle_one"), follow=True)
        shown = page.content.decode()
        assert "Your answer settles it" in shown
        assert shown.count("An expert") == 2
        assert "ladda" not in shown  # what was said counts, not who said it
        desk.post(page.redirect_chain[-1][0], {"answer": f"class:{CLASSES[1]}"})
        assert state_of(item) == State.DECIDED
        final = queries.decisions_on(item.prediction_id)[0]
        assert (final.part, final.class_id, final.expert) == (Part.SETTLEMENT, CLASSES[1], experts[2])
        assert services.take_back(actor=experts[2], item_id=item.pk).state == State.DISPUTED

    def test_a_script_of_a_third_person_settles_it_and_is_told_what_was_said_and_not_by_whom(
        self, experts: tuple[User, User, User]
    ) -> None:
        item, third = queued(opinions=2), caller(Role.ADMINISTRATOR)
        assert third.post("/api/v1/reviews/settle/").status_code == 204
        say(experts[0], item, SOMDEJ)
        say(experts[1], item, SIVALI)
        later()
        told = third.get("/api/v1/reviews/agreement/").json()
        assert (told["waiting"], told["with_model"]["decisions"]) == (
            {"by_why": {}, "withheld": 0, "disputed": 1}, 2,
        )  # fmt: skip
        assert (told["among_experts"]["cases"], told["among_experts"]["agreed"]) == (1, 0)
        assert at_the_desk(experts[0]).post("/api/v1/reviews/settle/").status_code == 204  # has a part in it
        taken = third.post("/api/v1/reviews/settle/")
        assert (taken.status_code, taken.json()["id"], taken.json()["state"]) == (200, item.pk, "disputed")
        assert [said["class_id"] for said in taken.json()["opinions"]] == [CLASSES[1], CLASSES[0]]
        assert "ladda" not in taken.content.decode()
        settled = third.post(f"/api/v1/reviews/{item.pk}/decide/", {"decided": "class", "class_id": CLASSES[1]})
        assert settled.status_code == 201
        assert state_of(item) == State.DECIDED

    def test_the_database_itself_refuses_a_second_voice_of_one_person(self, experts: tuple[User, User, User]) -> None:
        made = say(experts[0], queued(opinions=2), SOMDEJ)
        with pytest.raises(IntegrityError), transaction.atomic():
            ExpertDecision.objects.create(
                item=made.item, round=3, expert=experts[0], decided=Decided.UNSURE, part=Part.SETTLEMENT
            )

    def test_an_opinion_is_taken_back_while_it_is_the_newest(self, experts: tuple[User, User, User]) -> None:
        item = queued(opinions=2)
        say(experts[0], item, SOMDEJ)
        services.take_back(actor=experts[0], item_id=item.pk)
        services.decide(actor=experts[0], item_id=item.pk, decision=SIVALI)
        say(experts[1], item, SOMDEJ)
        with pytest.raises(Conflict, match="Somebody else"):
            services.take_back(actor=experts[0], item_id=item.pk)
        services.take_back(actor=experts[1], item_id=item.pk)
        item.refresh_from_db()
        assert (item.state, item.opinions, item.rounds, item.held_by) == (State.OPEN, 1, 1, experts[1])

    def test_who_holds_it_meanwhile_keeps_it(self, experts: tuple[User, User, User]) -> None:
        item = queued(opinions=2)
        say(experts[0], item, SOMDEJ)
        services.take(actor=experts[1], item_id=item.pk)
        with pytest.raises(Conflict, match="reviewing"):
            services.take_back(actor=experts[0], item_id=item.pk)
        assert ExpertDecision.objects.count() == 1

    def test_a_blind_item_stays_withheld_until_it_is_settled(self, experts: tuple[User, User, User]) -> None:
        item = queued(blind=True, opinions=2)
        say(experts[0], item, SOMDEJ)
        say(experts[1], item, SIVALI)
        item.refresh_from_db()
        assert item.withheld_until == NOT_YET
        say(experts[2], item, SIVALI)
        item.refresh_from_db()
        assert item.withheld_until is not None
        assert now() < item.withheld_until <= now() + TAKE_BACK


def test_sway_compares_what_could_have_been_either(experts: tuple[User, User, User]) -> None:
    agreeing = Decision(Decided.CLASS, MODEL_SAYS)
    for blind, decision in ((True, SOMDEJ), (True, agreeing), (False, agreeing), (False, agreeing)):
        say(experts[0], queued(blind=blind), decision)
    flagged = queued()
    apply_batch([feedback_event(str(flagged.prediction_id))])
    say(experts[0], flagged, SOMDEJ)
    later()
    sway = queries.sway_since(now() - timedelta(days=1))
    assert (sway.blind.n, sway.seen.n, sway.blind.value, sway.seen.value) == (2, 2, 0.5, 1.0)
    assert sway.difference == 0.5


def test_an_unknown_item_is_still_not_found(experts: tuple[User, User, User]) -> None:
    with pytest.raises(NotFound):
        services.take(actor=experts[0], item_id=999)
