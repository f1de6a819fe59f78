"""The pages of predictions, reviews, consents and the audit trail: who sees what, and what a page costs."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from console.audit.models import Entry
from console.audit.services import record
from console.ingest.services import apply_batch
from console.review.models import ExpertDecision, ReviewItem, State
from console.site.roles import Role
from console.vault.models import Consent, StoredObject
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.wording import DISCLAIMER
from tests.console_events import CLASSES, feedback_event, prediction_event
from tests.unit.console.people import browser, member
from tests.unit.console.shop import kept

pytestmark = pytest.mark.django_db
QUERIES_MAX = 15
LISTS = {
    "admin:predictions_prediction_changelist": Role.VIEWER,
    "admin:review_reviewitem_changelist": Role.REVIEWER,
    "admin:audit_entry_changelist": Role.AUDITOR,
    "admin:audit_checkpoint_changelist": Role.AUDITOR,
    "admin:vault_consent_changelist": Role.PRIVACY_OFFICER,
    "admin:vault_subject_changelist": Role.PRIVACY_OFFICER,
}


@pytest.fixture(autouse=True)
def _plain_static_files(settings: object) -> None:
    """Pages are asked for without a collected static folder."""
    settings.STORAGES = {  # type: ignore[attr-defined]
        **settings.STORAGES,  # type: ignore[attr-defined]
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


def change_page(event: pb.Event) -> str:
    return reverse("admin:predictions_prediction_change", args=[event.prediction.prediction_id])


def picture(name: str, event: pb.Event) -> str:
    return reverse(f"admin:predictions_prediction_{name}", args=[event.prediction.prediction_id, 0])


@pytest.mark.parametrize(("name", "role"), LISTS.items())
def test_a_full_list_page_costs_few_queries(
    name: str, role: Role, consent: Consent, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    apply_batch([prediction_event(confidence=0.5) for _ in range(60)])
    member(Role.ADMINISTRATOR)
    visitor = browser(member(role, "visitor"))
    visitor.get(reverse(name), follow=True)  # what is cached for the process is
    with django_assert_max_num_queries(QUERIES_MAX) as counted:
        page = visitor.get(reverse(name), {"state__exact": "open"} if "review" in name else {})
    assert page.status_code == 200
    assert not any("COUNT(*)" in query["sql"] for query in counted if 'FROM "audit_entry"' in query["sql"])


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("role", list(Role))
def test_each_role_opens_what_it_may_and_nothing_else(name: str, role: Role) -> None:
    permission = {
        "predictions": "predictions.view_prediction",
        "review": "review.view_reviewitem",
        "audit_entry": "audit.view_entry",
        "audit_checkpoint": "audit.view_checkpoint",
        "vault_consent": "vault.view_consent",
        "vault_subject": "vault.view_subject",
    }
    wanted = next(right for part, right in permission.items() if part in name)
    user = member(role)
    answer = browser(user).get(reverse(name), follow=True)
    assert answer.status_code == (200 if user.has_perm(wanted) else 403)


def test_without_the_second_factor_no_page_and_no_picture_opens(consent: Consent) -> None:
    event = kept()
    client = Client()
    client.force_login(member(Role.ADMINISTRATOR), "django.contrib.auth.backends.ModelBackend")
    for address in (*map(reverse, LISTS), change_page(event), picture("photograph", event)):
        assert client.get(address).status_code == 302


class TestPrediction:
    def test_it_shows_picture_candidates_scores_disclaimer_and_the_audit_entry(self, consent: Consent) -> None:
        event = kept(confidence=0.5, version_named=True)
        apply_batch([feedback_event(event.prediction.prediction_id, comment="a certificate says so")])
        page = browser(member(Role.ADMINISTRATOR)).get(change_page(event)).content.decode()
        for expected in (
            picture("photograph", event),
            picture("heat_map", event),
            DISCLAIMER["th"],
            DISCLAIMER["en"],
            "mahalanobis",
            "unsure from 40, out from 55",
            "a certificate says so",
            "prediction made",
            "Not drawn by share",
            *CLASSES,
        ):
            assert expected in page

    def test_a_page_costs_few_queries(
        self, consent: Consent, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        event = kept(confidence=0.5)
        admin = browser(member(Role.ADMINISTRATOR))
        with django_assert_max_num_queries(QUERIES_MAX):
            admin.get(change_page(event))

    def test_of_its_entries_the_newest_are_shown_and_the_way_to_all(self, consent: Consent) -> None:
        event = kept()
        auditor = member(Role.AUDITOR)
        number = str(event.prediction.prediction_id)
        written = [
            record(actor=auditor, action="vault.opened", subject_type="prediction", subject_id=number, details={})
            for _ in range(12)
        ]
        shown = browser(auditor).get(change_page(event))
        assert [sequence for _, sequence, _, _ in shown.context["entries"]] == written[::-1][:10]
        assert f"{reverse('admin:audit_entry_changelist')}?q={number}" in shown.content.decode()

    def test_pictures_are_opened_for_whoever_may_and_leave_an_audit_entry(self, consent: Consent) -> None:
        event, expert = kept(), member(Role.REVIEWER)
        for name in ("photograph", "heat_map"):
            answer = browser(expert).get(picture(name, event))
            assert answer.status_code == 200
            assert answer["Content-Type"] == "image/png"
            assert answer.content.startswith(b"\x89PNG")
            assert "no-store" in answer["Cache-Control"]
        opened = Entry.objects.filter(type="vault.opened", actor=str(expert.pseudonym))
        assert opened.count() == 2

    def test_a_viewer_sees_the_numbers_and_no_picture(self, consent: Consent) -> None:
        event, viewer = kept(), browser(member(Role.VIEWER))
        page = viewer.get(change_page(event)).content.decode()
        assert "somdej" in page
        assert picture("photograph", event) not in page
        assert viewer.get(picture("photograph", event)).status_code == 403
        assert not Entry.objects.filter(type="vault.opened").exists()

    def test_what_is_not_kept_is_not_found(self) -> None:
        event = prediction_event()
        apply_batch([event])
        expert = browser(member(Role.REVIEWER))
        assert "did not ask for it" in expert.get(change_page(event)).content.decode()
        assert expert.get(picture("photograph", event)).status_code == 404
        missing = reverse("admin:predictions_prediction_change", args=[uuid4()])
        assert expert.get(missing).status_code == 404

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ({}, 3),
            ({"verdict__exact": "2"}, 1),
            ({"class": "sivali"}, 1),
            ({"version": "v9"}, 1),
            ({"client": "nobody"}, 0),
            ({"q": "r-1"}, 1),
            ({"q": "unheard-of"}, 0),
        ],
    )
    def test_the_list_is_filtered_and_searched(self, query: dict[str, str], count: int) -> None:
        apply_batch(
            [
                prediction_event(verdict=words.VERDICT_UNSURE),
                prediction_event(top_class="sivali", request_id="r-1"),
                prediction_event(version="v9"),
            ]
        )
        page = browser(member(Role.VIEWER)).get(reverse("admin:predictions_prediction_changelist"), query)
        assert len(page.context["cl"].result_list) == count
        assert DISCLAIMER["th"] in page.content.decode()

    def test_it_is_found_by_its_id(self) -> None:
        event = prediction_event()
        apply_batch([event, prediction_event()])
        address = reverse("admin:predictions_prediction_changelist")
        page = browser(member(Role.VIEWER)).get(address, {"q": event.prediction.prediction_id})
        (found,) = page.context["cl"].result_list
        assert str(found.pk) == event.prediction.prediction_id

    @pytest.mark.parametrize("traced", [True, False])
    def test_its_page_names_the_trace_that_it_is_found_in(self, traced: bool) -> None:
        event = prediction_event()
        if traced:
            event.traceparent = f"00-{'a1' * 16}-{'b2' * 8}-01"
        apply_batch([event])
        page = browser(member(Role.VIEWER)).get(
            reverse("admin:predictions_prediction_change", args=[event.prediction.prediction_id])
        )
        assert ("a1" * 16 in page.content.decode()) == traced


class TestReview:
    next_page = "/admin/review/reviewitem/next/"

    def test_one_answer_leads_to_the_next_photograph(self, consent: Consent) -> None:
        kept(confidence=0.5)
        apply_batch([prediction_event(verdict=words.VERDICT_UNSURE)])
        expert = member(Role.REVIEWER)
        client = browser(expert)
        first = client.get(self.next_page, follow=True)
        page = first.content.decode()
        assert "What does the photograph show?" in page
        assert DISCLAIMER["th"] in page
        second = client.post(
            first.request["PATH_INFO"], {"answer": f"class:{CLASSES[1]}", "note": "by its base"}, follow=True
        )
        assert second.request["PATH_INFO"] != first.request["PATH_INFO"]
        done = client.post(second.request["PATH_INFO"], {"answer": "not_our_kind"}, follow=True)
        assert "Nothing waits for you" in done.content.decode()
        decisions = ExpertDecision.objects.order_by("pk")
        assert [(made.decided, made.class_id, made.note) for made in decisions] == [
            ("class", CLASSES[1], "by its base"),
            ("not_our_kind", "", ""),
        ]
        assert Entry.objects.filter(type="review.decided", actor=str(expert.pseudonym)).count() == 2

    def test_a_page_costs_few_queries(
        self, consent: Consent, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        kept(confidence=0.5)
        address = reverse("admin:review_reviewitem_change", args=[ReviewItem.objects.get().pk])
        client = browser(member(Role.REVIEWER))
        with django_assert_max_num_queries(QUERIES_MAX):
            client.get(address)

    def test_whoever_comes_second_is_told_who_reviews_it(self) -> None:
        apply_batch([prediction_event(confidence=0.5)])
        address = reverse("admin:review_reviewitem_change", args=[ReviewItem.objects.get().pk])
        browser(member(Role.REVIEWER)).get(address)
        page = browser(member(Role.REVIEWER, "ladda")).get(address).content.decode()
        assert "prasert is reviewing it" in page
        assert "data-review" not in page

    def test_what_is_skipped_is_free_again(self) -> None:
        apply_batch([prediction_event(confidence=0.5)])
        client = browser(member(Role.REVIEWER))
        first = client.get(self.next_page, follow=True)
        client.post(first.request["PATH_INFO"], {"skip": "1"})
        item = ReviewItem.objects.get()
        assert (item.state, item.held_by) == (State.OPEN, None)

    @pytest.mark.parametrize("answer", [{}, {"answer": "class:unheard-of"}, {"answer": "class:"}, {"answer": "\0"}])
    def test_an_unfit_answer_changes_nothing(self, answer: dict[str, str]) -> None:
        apply_batch([prediction_event(confidence=0.5)])
        client = browser(member(Role.REVIEWER))
        first = client.get(self.next_page, follow=True)
        again = client.post(first.request["PATH_INFO"], answer, follow=True)
        assert again.status_code == 200
        assert ReviewItem.objects.get().state == State.OPEN

    def test_somebody_who_may_only_look_holds_nothing(self) -> None:
        apply_batch([prediction_event(confidence=0.5)])
        item = ReviewItem.objects.get()
        engineer = browser(member(Role.MODEL_ENGINEER))
        address = reverse("admin:review_reviewitem_change", args=[item.pk])
        assert engineer.get(address).status_code == 200
        assert engineer.get(self.next_page).status_code == 403
        assert engineer.post(address, {"answer": "unsure"}, follow=True).status_code in (200, 403)
        item.refresh_from_db()
        assert (item.state, item.held_by) == (State.OPEN, None)


class TestAudit:
    @pytest.mark.usefixtures("fresh_checkpoints")
    def test_the_log_is_verified_and_exported_from_its_page(self) -> None:
        apply_batch([prediction_event() for _ in range(5)])
        auditor = browser(member(Role.AUDITOR))
        call_command("checkpoint")
        page = auditor.get("/admin/audit/entry/verify/").content.decode()
        assert "every hash, every link and every payload fits" in page
        exported = auditor.get("/admin/audit/entry/export/")
        assert exported.status_code == 200
        assert b"prediction.made" in exported.getvalue()

    def test_an_entry_shows_what_it_says_and_that_it_was_erased(self) -> None:
        event = prediction_event()
        apply_batch([event])
        entry = Entry.objects.get(payload__subject_id=event.prediction.prediction_id)
        auditor = browser(member(Role.AUDITOR))
        address = reverse("admin:audit_entry_change", args=[entry.pk])
        page = auditor.get(address).content.decode()
        assert bytes(entry.entry_hash).hex() in page
        assert change_page(event) in page
        entry.payload.delete()
        assert "Erased." in auditor.get(address).content.decode()

    @pytest.mark.parametrize(
        ("term", "found"), [("prasert", True), ("gateway", True), ("unheard-of", False), ("1", True)]
    )
    def test_entries_are_searched_by_number_and_by_name(self, term: str, found: bool) -> None:
        apply_batch([prediction_event(confidence=0.5)])
        expert = member(Role.REVIEWER)
        browser(expert).get("/admin/review/reviewitem/next/")
        item = ReviewItem.objects.get()
        browser(expert).post(reverse("admin:review_reviewitem_change", args=[item.pk]), {"answer": "unsure"})
        page = browser(member(Role.AUDITOR)).get(reverse("admin:audit_entry_changelist"), {"q": term})
        assert bool(page.context["cl"].result_list) is found


class TestVault:
    def test_a_consent_is_recorded_found_and_withdrawn(self, django_capture_on_commit_callbacks: object) -> None:
        officer = browser(member(Role.PRIVACY_OFFICER))
        asked = {"subject": "shop-17", "purpose": "keep_photograph", "text_version": "1", "channel": "web"}
        given = officer.post("/admin/vault/consent/give/", {**asked, "reference": "c-1"}, follow=True)
        assert "c-1 is recorded" in given.content.decode()
        kept()
        found = officer.get(reverse("admin:vault_consent_changelist"), {"q": "shop-17"})
        (row,) = found.context["cl"].result_list
        withdraw = f"/admin/vault/consent/{row.pk}/withdraw/"
        agreed = officer.get(f"/admin/vault/consent/{row.pk}/change/").content.decode()
        assert "It holds until it is withdrawn" in agreed
        assert withdraw in agreed
        looked_at = browser(member(Role.ADMINISTRATOR)).get(f"/admin/vault/consent/{row.pk}/change/")
        assert withdraw not in looked_at.content.decode()
        assert ": 2 photographs and heat maps." in officer.get(withdraw).context["consequence"]
        withdrawn = officer.post(f"/admin/vault/consent/{row.pk}/withdraw/", {"channel": "telephone"}, follow=True)
        assert "c-1 is withdrawn" in withdrawn.content.decode()
        assert "The person took it back" in withdrawn.content.decode()
        assert withdraw not in withdrawn.content.decode()
        assert not StoredObject.objects.exists()

    def test_a_wrong_consent_is_answered_beside_its_field(self) -> None:
        officer = browser(member(Role.PRIVACY_OFFICER))
        asked = {"subject": "shop-17", "purpose": "keep_photograph", "text_version": "1", "channel": "web"}
        answer = officer.post("/admin/vault/consent/give/", {**asked, "reference": "two words"})
        assert "A reference has 1 to 128 letters" in answer.content.decode()


@pytest.mark.parametrize(("role", "links"), [(Role.REVIEWER, True), (Role.MODEL_ENGINEER, True), (Role.VIEWER, False)])
def test_a_prediction_leads_to_its_review_item_where_that_may_be_seen(role: Role, links: bool) -> None:
    queued, unasked = prediction_event(confidence=0.5), prediction_event(confidence=0.99)
    apply_batch([queued, unasked])
    item = reverse("admin:review_reviewitem_change", args=[ReviewItem.objects.get().pk])
    desk = browser(member(role))
    assert (f'href="{item}"' in desk.get(change_page(queued)).content.decode()) is links
    assert "/review/reviewitem/1" not in desk.get(change_page(unasked)).content.decode()
    assert desk.get(item).status_code == (200 if links else 403)
