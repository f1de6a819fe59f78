"""Known answers are mixed unmarked into other people's queues, measure without ranking, and leave no other trace."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.audit.models import Entry
from console.audit.queries import withheld_from
from console.errors import Conflict, NotAllowed
from console.predictions.models import Prediction
from console.review import desk, gold, gold_figures, queries, services
from console.review.models import TAKE_BACK, Decided, ExpertDecision, GoldAnswer, GoldItem, ReviewItem
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from console.vault.services import withdraw_consent
from tests.console_events import CLASSES
from tests.unit.console.people import browser, caller, member
from tests.unit.console.shop import REFERENCE, queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files", "consent")]
TRUTH, OTHER = Decision(Decided.CLASS, CLASSES[1]), Decision(Decided.CLASS, CLASSES[2])


@pytest.fixture(autouse=True)
def _every_second_photograph_would_be_too_few(settings: Any) -> None:
    """Whoever can be asked about what is known, is."""
    settings.AMULET = django_settings.AMULET.model_copy(update={"review_gold_ratio": 1.0})


@pytest.fixture
def lead() -> User:
    return member(Role.ADMINISTRATOR)


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER, "chai")


def decided(by: User, decision: Decision = TRUTH) -> ReviewItem:
    item = queued()
    services.take(actor=by, item_id=item.pk)
    services.decide(actor=by, item_id=item.pk, decision=decision)
    return item


def known(lead: User, decision: Decision = TRUTH) -> GoldItem:
    return gold.make_gold(actor=lead, item_id=decided(lead, decision).pk, reason="its certificate of 2019")


def say(expert: User, decision: Decision) -> int:
    """What comes next, answered."""
    number = desk.next_item(actor=expert)
    assert number is not None
    at = desk.seat(expert, ReviewItem.objects.get(pk=number))
    desk.decide(actor=expert, at=at, decision=decision)
    return number


class TestMaking:
    def test_only_who_leads_makes_one_and_the_trail_says_how_it_is_known(self, lead: User, expert: User) -> None:
        item = decided(lead)
        with pytest.raises(NotAllowed):
            gold.make_gold(actor=expert, item_id=item.pk, reason="because")
        made = gold.make_gold(actor=lead, item_id=item.pk, reason="its certificate of 2019")
        assert (made.decided, made.class_id) == (Decided.CLASS, CLASSES[1])
        assert "its certificate of 2019" in Entry.objects.get(type="review.gold_made").payload.text
        with pytest.raises(Conflict, match="known answers already"):
            gold.make_gold(actor=lead, item_id=item.pk, reason="again")

    @pytest.mark.parametrize("decision", [Decision(Decided.UNSURE), Decision(Decided.UNUSABLE)])
    def test_what_nobody_could_tell_is_not_known(self, lead: User, decision: Decision) -> None:
        with pytest.raises(Conflict, match="decided for a class"):
            gold.make_gold(actor=lead, item_id=decided(lead, decision).pk, reason="because")

    def test_what_waits_is_not_known(self, lead: User) -> None:
        with pytest.raises(Conflict, match="decided for a class"):
            gold.make_gold(actor=lead, item_id=queued().pk, reason="because")


class TestAsking:
    def test_it_comes_unmarked_between_what_waits(self, lead: User, expert: User) -> None:
        made, item = known(lead), queued()
        desk_of = browser(expert)
        page = desk_of.get(reverse("admin:review_reviewitem_next_one"), follow=True)
        assert page.redirect_chain[-1][0] == _page(made.item)
        asked = page.content.decode()
        ordinary = desk_of.get(_page(item)).content.decode()
        assert "data-review" in asked
        assert _without_what_differs(asked, made.item) == _without_what_differs(ordinary, item)
        for word in ("its certificate", "known", "What was decided before", lead.get_username()):
            assert word not in asked, word

    def test_a_right_answer_and_a_wrong_one_count_and_neither_decides_anything(self, lead: User, expert: User) -> None:
        first, second = known(lead), known(lead, Decision(Decided.NOT_OUR_KIND))
        queued()
        before = (list(ExpertDecision.objects.values()), list(ReviewItem.objects.values()))
        assert {say(expert, TRUTH), say(expert, TRUTH)} == {first.item_id, second.item_id}
        assert (list(ExpertDecision.objects.values()), list(ReviewItem.objects.values())) == before
        assert dict(GoldAnswer.objects.values_list("gold", "right")) == {first.pk: True, second.pk: False}
        trail = [entry.payload.text for entry in Entry.objects.filter(type="review.gold_answered")]
        assert sorted('"right":true' in text for text in trail) == [False, True]

    def test_nobody_is_asked_twice_nor_about_what_they_decided(self, lead: User, expert: User) -> None:
        made, item = known(lead), queued()
        assert say(expert, TRUTH) == made.item_id
        assert desk.next_item(actor=expert) == item.pk
        services.give_back(actor=expert, item_id=item.pk)
        assert desk.next_item(actor=lead) == item.pk

    def test_nobody_is_asked_while_nothing_waits(self, lead: User, expert: User) -> None:
        known(lead)
        assert desk.next_item(actor=expert) is None

    def test_a_question_stands_until_it_is_answered_or_skipped(self, lead: User, expert: User, settings: Any) -> None:
        made, item = known(lead), queued()
        assert desk.next_item(actor=expert) == made.item_id
        settings.AMULET = django_settings.AMULET.model_copy(update={"review_gold_ratio": 0.0})
        assert desk.next_item(actor=expert) == made.item_id
        desk_of = browser(expert)
        answer = desk_of.post(_page(made.item), {"skip": "1"})
        assert answer.headers["Location"] == _page(item)
        assert not GoldAnswer.objects.exists()

    def test_what_is_asked_before_the_model_is_heard_says_nothing_of_it(
        self, lead: User, expert: User, settings: Any
    ) -> None:
        settings.AMULET = django_settings.AMULET.model_copy(
            update={"review_gold_ratio": 1.0, "review_blind_ratio": 1.0}
        )
        known(lead)
        queued()
        told = browser(expert).get(reverse("admin:review_reviewitem_next_one"), follow=True).content.decode()
        assert "You answer first" in told
        assert "What the model says stays away" in told

    def test_a_photograph_that_is_no_longer_kept_is_asked_about_no_more(self, lead: User, expert: User) -> None:
        made, officer = known(lead), User.objects.get(username="wipa")
        withdraw_consent(actor=officer, reference=REFERENCE, channel="letter")
        assert not queries.withholds(made.item)
        queued()
        assert desk.next_item(actor=expert) != made.item_id

    def test_a_class_that_the_version_does_not_have_is_refused(self, lead: User, expert: User) -> None:
        made = known(lead)
        queued()
        desk.next_item(actor=expert)
        answer = browser(expert).post(_page(made.item), {"answer": "class:unheard_of"}, follow=True)
        assert "is no class of" in answer.content.decode()
        assert GoldAnswer.objects.get().answered_at is None

    def test_it_can_be_taken_back_while_it_is_fresh(self, lead: User, expert: User) -> None:
        made = known(lead)
        queued()
        say(expert, OTHER)
        again = browser(expert).post(_page(made.item), {"take-back": "1"}, follow=True).content.decode()
        assert "data-review" in again
        assert GoldAnswer.objects.get().answered_at is None
        say(expert, TRUTH)
        GoldAnswer.objects.update(answered_at=now() - TAKE_BACK - timedelta(seconds=1))
        told = browser(expert).post(_page(made.item), {"take-back": "1"}, follow=True).content.decode()
        assert "Somebody else decided it." in told
        assert GoldAnswer.objects.get().right

    def test_an_erasure_takes_it_along(self, lead: User, expert: User) -> None:
        made = known(lead)
        queued()
        say(expert, TRUTH)
        Prediction.objects.filter(pk=made.item.prediction_id).delete()
        assert not GoldItem.objects.exists()
        assert not GoldAnswer.objects.exists()


class TestWithheld:
    """What the page of a known answer keeps back from whoever is asked, no other address tells."""

    @pytest.fixture
    def asked(self, lead: User, expert: User, settings: Any, request: pytest.FixtureRequest) -> ReviewItem:
        """What the expert is asked: before the model is heard, where `request.param` is 1."""
        settings.AMULET = django_settings.AMULET.model_copy(
            update={"review_gold_ratio": 1.0, "review_blind_ratio": float(request.param)}
        )
        item = known(lead).item
        queued()
        assert desk.next_item(actor=expert) == item.pk
        return item

    @pytest.mark.parametrize("asked", [1], indirect=True)
    def test_before_the_model_is_heard_no_address_has_its_answer(self, asked: ReviewItem, expert: User) -> None:
        prediction_id, others = str(asked.prediction_id), browser(member(Role.REVIEWER, "ladda"))
        page, script = reverse("admin:predictions_prediction_changelist"), "/api/v1/predictions/"
        heat_maps = (f"{page}{prediction_id}/heat-map/0.png", f"{script}{prediction_id}/heat-maps/0/")
        photographs = (f"{page}{prediction_id}/photograph/0.png", f"{script}{prediction_id}/photographs/0/")
        answers = (f"{page}{prediction_id}/change/", f"{script}{prediction_id}/")
        lists = (page, script, "/api/v1/reviews/")

        def told(client: Client) -> tuple[list[int], list[bool]]:
            pages = [client.get(address).content.decode() for address in lists]
            listed = [f"/{prediction_id}/" in page or f'"{prediction_id}"' in page for page in pages]
            return [client.get(address).status_code for address in (*heat_maps, *answers)], listed

        assert told(others) == ([200] * 4, [True] * 3)
        mine, away = browser(expert), ([404] * 4, [False] * 3)
        assert told(mine) == away
        assert mine.get(heat_maps[1]).json()["reason"] == "withheld"
        assert [mine.get(address).status_code for address in photographs] == [200, 200]
        say(expert, TRUTH)
        assert told(mine) == away  # they could take it back and say something else
        _later()
        assert told(mine) == ([200] * 4, [True] * 3)

    @pytest.mark.parametrize("asked", [1], indirect=True)
    def test_nor_does_the_audit_trail(self, asked: ReviewItem, lead: User) -> None:
        boss = member(Role.ADMINISTRATOR, "boonmee")
        entries = {entry.pk for entry in Entry.objects.filter(payload__subject_id=str(asked.prediction_id))}
        assert entries
        assert not {entry for entry in entries if _is_withheld(boss, entry)}
        assert desk.next_item(actor=boss) == asked.pk
        assert {entry for entry in entries if _is_withheld(boss, entry)} == entries

    @pytest.mark.parametrize("asked", [0, 1], indirect=True)
    def test_what_others_decided_is_told_nowhere_while_the_answer_can_change(
        self, asked: ReviewItem, expert: User
    ) -> None:
        mine, script = browser(expert), f"/api/v1/reviews/{asked.pk}/"

        def told() -> tuple[bool, bool, bool]:
            pages = [
                _page(asked), reverse("admin:predictions_prediction_change", args=[asked.prediction_id])
            ]  # fmt: skip
            on_pages = any("suda" in mine.get(address, follow=True).content.decode() for address in pages)
            listed = asked.pk in [row["id"] for row in mine.get("/api/v1/reviews/").json()["results"]]
            return on_pages, bool(mine.get(script).json()["decisions"]), listed

        assert told() == (False, False, False)
        assert mine.get(script).json()["state"] == "open"
        say(expert, OTHER)
        assert mine.get(script).json()["state"] == "decided"
        assert told()[:2] == (False, False)
        _later()
        assert told() == (True, True, True)

    @pytest.mark.parametrize("asked", [0, 1], indirect=True)
    def test_a_script_is_answered_as_of_any_open_item(self, asked: ReviewItem, expert: User) -> None:
        mine, plain = browser(expert), queued(blind=bool(asked.gold.answers.get().blind))
        answers: dict[int, list[Any]] = {asked.pk: [], plain.pk: []}
        said = {"decided": "class", "class_id": CLASSES[2], "note": "by its base"}
        for item, found in answers.items():
            for verb, body in (("take", {}), ("decide", said), ("take-back", {}), ("give-back", {})):
                answer = mine.post(f"/api/v1/reviews/{item}/{verb}/", json.dumps(body), content_type="application/json")
                found.append((answer.status_code, answer.json() if answer.content else None))
        differ = {"id", "item", "created_at", "prediction_id", "prediction", "held_until", "took_s", "decided_at"}

        def alike(found: list[Any]) -> list[Any]:
            return [(status, {key: body[key] for key in (body or {}).keys() - differ}) for status, body in found]

        assert alike(answers[asked.pk]) == alike(answers[plain.pk])
        assert [status for status, _body in answers[plain.pk]] == [200, 201, 200, 204]
        assert list(asked.decisions.values_list("expert__username", flat=True)) == ["suda"]
        assert not GoldAnswer.objects.exists()  # given back: asked some other time


def _later() -> None:
    """The time in which an answer can be taken back is over."""
    GoldAnswer.objects.update(answered_at=now() - TAKE_BACK - timedelta(seconds=1), open_until=now())


def _is_withheld(person: User, entry: int) -> bool:
    return bool(withheld_from(person, Entry.objects.select_related("payload").filter(pk=entry)))


class TestFigures:
    def test_one_s_own_page_shows_the_share_and_what_was_missed_but_not_at_once(self, lead: User, expert: User) -> None:
        known(lead)
        known(lead, OTHER)
        queued()
        say(expert, TRUTH)
        say(expert, TRUTH)
        figures = reverse("admin:review_reviewitem_own_figures")
        assert "the answer was known" not in browser(expert).get(figures).content.decode()
        GoldAnswer.objects.update(answered_at=now() - TAKE_BACK - timedelta(seconds=1))
        told = browser(expert).get(figures).content.decode()
        assert "Of 2 photographs in your queue the answer was known; you said the same of 1." in told
        assert "That is 50%; with 95% certainty between 9% and 91%." in told
        [missed] = gold_figures.own_since(now() - timedelta(days=1), expert=expert).missed
        assert (missed.class_id, missed.gold.class_id) == (CLASSES[1], CLASSES[2])
        assert "person by person" not in told

    def test_a_script_reads_the_same_and_no_sooner(self, lead: User, expert: User) -> None:
        known(lead)
        made = known(lead, OTHER)
        queued()
        say(expert, TRUTH)
        say(expert, TRUTH)
        address, script = "/api/v1/reviews/figures/", browser(expert)
        fresh = script.get(address).json()
        assert (fresh["known"], fresh["missed"]) == (None, [])
        GoldAnswer.objects.update(answered_at=now() - TAKE_BACK - timedelta(seconds=1))
        told = script.get(address).json()
        assert (told["known"]["n"], told["known"]["value"]) == (2, 0.5)
        [missed] = told["missed"]
        assert (missed["item"], missed["class_id"], missed["known_class_id"]) == (made.item_id, CLASSES[1], CLASSES[2])
        assert browser(lead).get(address).json()["missed"] == []

    def test_who_leads_sees_everybody_with_answers_enough_and_what_most_contradict(
        self, lead: User, expert: User, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        made = [known(lead) for _ in range(gold_figures.PERSON_MIN)]
        queued()
        for _gold in made:
            say(expert, TRUTH)
        since = now() - timedelta(days=1)
        [person] = gold_figures.people_since(since)
        assert (person.name, person.right.n, person.right.value) == ("chai", gold_figures.PERSON_MIN, 1.0)
        [told] = browser(lead).get("/api/v1/reviews/people/").json()["people"]
        assert (told["name"], told["right"]["n"], told["right"]["value"]) == ("chai", gold_figures.PERSON_MIN, 1.0)
        for name in ("ladda", "malee", "nok"):
            other = member(Role.REVIEWER, name)
            GoldAnswer.objects.create(
                gold=made[0], expert=other, decided=Decided.UNSURE, right=False, answered_at=now()
            )
        row = gold_figures.known_answers().get(pk=made[0].pk)
        assert (row.answered, row.agreed, gold_figures.is_doubtful(row)) == (4, 1, True)
        page = browser(lead)
        with django_assert_max_num_queries(15):
            told = page.get(reverse("admin:review_golditem_changelist")).content.decode()
        assert "1 / 4" in told
        assert "most say something else" in told
        with django_assert_max_num_queries(15):
            told = page.get(reverse("admin:review_reviewitem_own_figures")).content.decode()
        assert "person by person" in told

    def test_what_was_wrong_counts_for_nobody(self, lead: User, expert: User) -> None:
        made = known(lead)
        queued()
        say(expert, OTHER)
        GoldAnswer.objects.update(answered_at=now() - TAKE_BACK - timedelta(seconds=1))
        gold.retire_gold(actor=lead, gold_id=made.pk, wrong=True, reason="the certificate was forged")
        assert gold_figures.own_since(now() - timedelta(days=1), expert=expert).right.n == 0
        with pytest.raises(Conflict, match="retired already"):
            gold.retire_gold(actor=lead, gold_id=made.pk, wrong=False, reason="again")

    def test_retiring_on_the_page_asks_nobody_any_more(self, lead: User, expert: User) -> None:
        made = known(lead)
        queued()
        desk.next_item(actor=expert)
        retire = reverse("admin:review_golditem_retire", args=[made.pk])
        told = browser(lead).post(retire, {"reason": "too hard"}, follow=True).content.decode()
        assert "Nobody is asked about it any more." in told
        assert not GoldAnswer.objects.exists()
        assert desk.next_item(actor=expert) != made.item_id

    def test_scripts_make_list_and_retire_them(self, lead: User) -> None:
        item, script = decided(lead), caller(Role.ADMINISTRATOR)
        made = script.post(f"/api/v1/reviews/{item.pk}/gold/", {"reason": "its certificate"})
        assert made.status_code == 201
        assert (made.json()["class_id"], made.json()["answered"]) == (CLASSES[1], 0)
        [listed] = script.get("/api/v1/reviews/gold/").json()["results"]
        assert listed == made.json()
        gone = script.post(f"/api/v1/reviews/gold/{listed['id']}/retire/", {"wrong": True, "reason": "forged"})
        assert gone.status_code == 204
        [listed] = script.get("/api/v1/reviews/gold/").json()["results"]
        assert listed["wrong"]
        assert listed["retired_at"]


def _page(item: ReviewItem) -> str:
    return reverse("admin:review_reviewitem_change", args=[item.pk])


def _without_what_differs(page: str, item: ReviewItem) -> str:
    """The page as it would be of any item of its kind."""
    for own in (str(item.prediction_id), f"/{item.pk}/", f'after={item.pk}"'):
        page = page.replace(own, "")
    page = re.sub(r'csrfmiddlewaretoken" value="[^"]+"', "", page)
    return re.sub(r'nonce="[^"]*"', "", page)
