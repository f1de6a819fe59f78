"""Free text that names somebody whom nothing leads to is found by what it says, and erased by hand with its copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.utils.timezone import now
from pytest_django import DjangoCaptureOnCommitCallbacks

from console.audit.export import export
from console.audit.models import Entry
from console.audit.notes import load_public_key
from console.audit.queries import entries_about
from console.audit.services import record
from console.audit.signer import Signer
from console.audit.verifier import verify
from console.datasets.models import Dataset
from console.errors import Conflict, Invalid, NotAllowed
from console.privacy import by_hand, erased_texts, erasure, inventory, services
from console.privacy.by_hand import Ground
from console.privacy.erased_texts import ErasedText
from console.privacy.leftovers import compacted
from console.privacy.models import PrivacyRequest
from console.privacy.places import PLACES
from console.registry.services import retire_version
from console.review import gold
from console.review.models import ReviewItem
from console.rollout import services as rollout
from console.rollout.experiments import Plan, start
from console.rollout.models import Experiment, Measure, Mode, Route
from console.sheets.models import Kind, Sheet
from console.sheets.services import remove_sheet
from console.site.roles import Role
from console.staff.models import User
from console.vault import queries as queries_of_vault
from console.vault import restriction
from tests.console_events import CLASSES
from tests.unit.console.datasets.labelled import consenting, is_a, labelled
from tests.unit.console.people import browser, caller, member
from tests.unit.console.rollout.desk import Desk

pytestmark = pytest.mark.django_db
NAME = "canary-somchai"
WHY = f"Khun {NAME} of the shop said that it was wrong"


def everything() -> str:
    return repr([list(model._default_manager.values()) for model in apps.get_models()])


def rolled_out(reason: str = WHY) -> Desk:
    """A version whose rollout has this reason, beside one that has another."""
    desk = Desk()
    desk.roll_out(desk.first)
    rollout.roll_out(
        actor=desk.somchai,
        version_id=desk.second.pk,
        mode=Mode.PRODUCTION,
        weight_ratio=None,
        reason=reason,
        backend=lambda: desk.backend,
    )
    return desk


def found_in(officer: User, part: str = NAME) -> list[tuple[str, str]]:
    found, more = by_hand.find(actor=officer, part=part)
    assert not more
    return [(each.place, each.text) for each in found]


def test_a_name_is_found_wherever_it_was_typed_and_goes_with_every_copy(officer: User, tmp_path: Path) -> None:
    desk = rolled_out()
    found, _more = by_hand.find(actor=officer, part="KHUN canary")
    assert [each.place for each in found] == ["audit_entry", "route.reason", "route.end_reason"]
    copies = by_hand.erase(actor=officer, place="route.reason", key=found[1].key, ground="names")

    assert NAME not in everything()
    (words,) = (typed.sequence for typed in copies.entries)
    act = Entry.objects.get(pk=words - 1)
    assert (act.type, json.loads(act.payload.text)["version"]) == ("rollout.rolled_out", desk.second.version)
    assert Route.objects.get(pk=found[1].key).reason == "[erased]"
    assert Route.objects.filter(end_reason="[erased]").count() == 1
    told = {
        (entry.payload.subject_type, entry.payload.subject_id, entry.actor, entry.payload.text)
        for entry in Entry.objects.filter(type="privacy.typed_erased")
    }
    assert {each[:3] for each in told} == {
        ("audit_entry", str(words), str(officer.pseudonym)),
        ("typed_text", f"route.reason:{found[1].key}", str(officer.pseudonym)),
        ("typed_text", f"route.end_reason:{found[2].key}", str(officer.pseudonym)),
    }
    assert all('"ground":"names"' in each[3] for each in told)
    assert found_in(officer) == []
    with pytest.raises(Conflict):
        by_hand.erase(actor=officer, place="route.reason", key=found[1].key, ground="names")

    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    Signer(tmp_path / "key", tmp_path / "checkpoints").sign(now())
    key = load_public_key(tmp_path / "checkpoints" / "audit_public.pem")
    lines = b"".join(export(key))
    assert NAME.encode() not in lines
    report = verify(lines.splitlines(), key)
    assert (report.whole, report.erased, report.erased_by_hand) == (True, 1, 1)


def test_reasons_about_models_versions_experiments_and_sheets_stand_apart(officer: User, tmp_path: Path) -> None:
    desk = rolled_out("other")
    rollout.roll_back(actor=desk.somchai, model="tiny", reason=f"{WHY}-back")
    plan = Plan(f"{WHY}-hypothesis", Measure.IN_DOMAIN, 0.8, 0.1, 0.5)
    start(actor=desk.somchai, version_id=desk.second.pk, plan=plan, reason="asked", backend=lambda: desk.backend)
    rollout.roll_back(actor=desk.somchai, model="tiny", reason=f"{WHY}-canary")
    desk.roll_out(desk.third, Mode.SHADOW)
    shadow = Route.objects.get(version=desk.third, ended_at=None)
    rollout.end_route(actor=desk.somchai, route_id=shadow.pk, reason=f"{WHY}-ended")
    retire_version(actor=desk.somchai, version_id=desk.third.pk, reason=f"{WHY}-retired")
    sheet = Sheet.objects.create(kind=Kind.HEAT_MAPS, sha256="0" * 64, size=0, imported_by=desk.malee)
    remove_sheet(actor=desk.malee, sheet_id=sheet.pk, reason=f"{WHY}-removed")
    acts = list(Entry.objects.exclude(type="audit.words").values_list("type", flat=True))

    for text in {text for _place, text in found_in(officer)}:
        place, key = next((each.place, each.key) for each in by_hand.find(actor=officer, part=text)[0])
        copies = by_hand.erase(actor=officer, place=place, key=key, ground=Ground.NAMES)
        assert all(typed.alone for typed in copies.entries), text
    assert NAME not in everything()
    assert Experiment.objects.get().hypothesis == "[erased]"
    left = Entry.objects.exclude(type__in=("audit.words", "privacy.typed_erased")).select_related("payload")
    assert [entry.type for entry in left if entry.payload] == acts


def test_of_an_entry_from_before_all_that_it_says_goes_and_the_log_says_so(officer: User) -> None:
    with transaction.atomic():
        old = record(
            actor=member(Role.APPROVER),
            action="registry.version_approved",
            subject_type="model_version",
            subject_id="7",
            details={"reason": WHY},
        )
    copies = by_hand.copies_of(actor=officer, place="audit_entry", key=str(old))
    assert (copies.whole, [typed.sequence for typed in copies.entries]) == (1, [old])
    by_hand.erase(actor=officer, place="audit_entry", key=str(old), ground=Ground.SECRET)
    assert NAME not in everything()
    (telling,) = entries_about("audit_entry", str(old))
    assert json.loads(telling.payload.text)["whole"] is True


def test_reasons_about_a_known_answer_and_a_lifted_restriction_are_found_and_erased(officer: User) -> None:
    """They name others than the person of the photograph, with whom all of them would go."""
    lead = member(Role.ADMINISTRATOR)
    consenting(officer, "shop")
    item = ReviewItem.objects.get(prediction=labelled(member(Role.REVIEWER), "shop", is_a(CLASSES[0])))
    known = gold.make_gold(actor=lead, item_id=item.pk, reason=f"{WHY}-made")
    gold.retire_gold(actor=lead, gold_id=known.pk, wrong=True, reason=f"{WHY}-retired")
    subject = queries_of_vault.subject_of("shop")
    assert subject is not None
    restriction.restrict(actor=lead, found_by=bytes(subject.found_by))
    restriction.lift(actor=lead, subject_id=subject.pk, reason=f"{WHY}-lifted")

    texts = found_in(officer)
    assert {text.removeprefix(WHY) for _place, text in texts} == {"-made", "-retired", "-lifted"}
    for _place, text in texts:
        place, key = next((each.place, each.key) for each in by_hand.find(actor=officer, part=text)[0])
        by_hand.erase(actor=officer, place=place, key=key, ground=Ground.NAMES)
    assert NAME not in everything()
    assert Entry.objects.filter(type="privacy.typed_erased").count() == 3


def test_the_number_of_the_act_leads_to_what_was_typed_with_it(officer: User) -> None:
    rolled_out()
    words = Entry.objects.filter(type="audit.words").latest("sequence").sequence
    for number in (words, words - 1):
        copies = by_hand.copies_of(actor=officer, place="audit_entry", key=str(number))
        assert copies.text == WHY
    with pytest.raises(Conflict, match="Nothing that somebody typed"):
        by_hand.copies_of(actor=officer, place="audit_entry", key="1")


def test_who_typed_it_is_not_who_erases_it(officer: User) -> None:
    request = services.receive(actor=officer, pseudonym="nobody", kind="access", laws="both", channel="letter")
    services.refuse(actor=officer, request_id=request.pk, reason=WHY)
    place = {"place": "privacyrequest.reason", "key": str(request.pk), "ground": "names"}
    with pytest.raises(NotAllowed, match="typed this yourself") as refused:
        by_hand.erase(actor=officer, **place)
    assert refused.value.reason == "own_words"
    assert NAME in everything()
    by_hand.erase(actor=member(Role.PRIVACY_OFFICER, "second"), **place)
    assert NAME not in everything()
    assert PrivacyRequest.objects.get().reason == "[erased]"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"ground": "because"}, "ground"),
        ({"ground": "asked"}, "request"),
        ({"ground": "asked", "request_id": 999}, "request"),
        ({"ground": "names", "request_id": 999}, "request"),
        ({"ground": "names", "place": "user.password"}, "place"),
        ({"ground": "names", "key": "x"}, ""),
    ],
)
def test_what_does_not_fit_is_refused_and_erases_nothing(officer: User, given: dict[str, Any], field: str) -> None:
    desk = rolled_out()
    made = Dataset.objects.create(
        model="tiny",
        fingerprint="0" * 64,
        photographs=0,
        per_class={},
        outside=0,
        left_out=0,
        note=WHY,
        made_by=desk.malee,
    )
    place = {"place": "dataset.note", "key": str(made.pk), **given}
    with pytest.raises((Conflict, Invalid)) as refused:
        by_hand.erase(actor=officer, **place)
    assert (refused.value.field or "") == field
    made.refresh_from_db()
    assert made.note == WHY
    assert not Entry.objects.filter(type="privacy.typed_erased").exists()


@pytest.mark.parametrize("part", ["", " x ", "a" * 201, "a\nb"])
def test_what_would_find_everything_or_nothing_is_refused(officer: User, part: str) -> None:
    with pytest.raises(Invalid, match="2 to 200"):
        by_hand.find(actor=officer, part=part)


def files() -> list[Path]:
    return sorted(settings.AMULET.erasure_ledger.parent.glob("erasures.typed-*"))


def test_a_restore_brings_none_of_it_back_and_takes_nothing_that_was_typed_since(officer: User) -> None:
    desk = rolled_out()
    lost = ErasedText(now(), by_hand._digest(WHY), "asked", 12, entry=999_999, commitment=bytes(32))
    erased_texts.enter(settings.AMULET.erasure_ledger, lost)  # as of a log that went on further than this backup
    erasure.replay()
    assert NAME not in everything()
    told = Entry.objects.filter(type="privacy.typed_erased").select_related("payload")
    assert {(entry.actor, '"request":12' in entry.payload.text) for entry in told} == {("system", True)}
    assert len(told) == 3
    (path,) = files()
    assert NAME not in path.read_text()

    rollout.roll_back(actor=desk.somchai, model="tiny", reason=WHY)  # the same words, typed anew
    erasure.replay()
    assert NAME in everything()
    assert files() == [path]


def test_what_was_erased_stands_beside_the_ledger_and_is_applied_once(officer: User) -> None:
    desk = rolled_out()
    found, _more = by_hand.find(actor=officer, part=NAME)
    by_hand.erase(actor=officer, place=found[0].place, key=found[0].key, ground="names")
    (path,) = files()
    ((_path, erased),) = erased_texts.read(settings.AMULET.erasure_ledger)
    assert Entry.objects.get(pk=erased.entry).type == "privacy.typed_erased"
    rollout.roll_back(actor=desk.somchai, model="tiny", reason=WHY)
    assert by_hand.replay() == 0
    assert NAME in everything()
    path.write_text("{}")
    with pytest.raises(ValueError, match="does not say what was erased"):
        erasure.replay()


def test_what_a_process_wrote_is_no_text_of_anybodys(officer: User) -> None:
    desk = Desk()
    route = desk.roll_out(desk.first)
    Route.objects.filter(pk=route.pk).update(started_by=None, reason=f"guardrail-{NAME}")
    assert found_in(officer) == []


def test_every_field_of_free_text_is_a_place() -> None:
    """`inventory` says what is free text; what things are called by is changed where they are."""
    free = {inventory._NOTE.what, inventory._WRITTEN.what}
    called = {"name", "filename", "object_repr", "change_message"}
    said = {
        f"{table.label.partition('.')[2].lower()}.{name}"
        for table in inventory.TABLES
        for name, holds in table.field_holds().items()
        if holds is not None and holds.what in free and name not in called
    }
    assert said | {"privacyrequest.identity_method"} == set(PLACES)


@pytest.mark.usefixtures("static_files")
def test_the_pages_find_it_show_where_it_stands_and_erase_it(officer: User) -> None:
    desk = rolled_out()
    page = browser(officer)
    assert page.get("/admin/privacy/privacyrequest/typed/").status_code == 200
    listed = page.post("/admin/privacy/privacyrequest/typed/", {"part": NAME}).content.decode()
    words = Entry.objects.filter(type="audit.words").latest("sequence").sequence
    address = f"/admin/privacy/privacyrequest/typed/audit_entry/{words}/erase/"
    assert (WHY in listed, address in listed) == (True, True)
    asked = page.get(address).content.decode()
    assert WHY in asked
    assert f"audit entry · {words}" in asked
    assert NAME in everything()
    done = page.post(address, {"ground": "names", "request": ""}, follow=True).content.decode()
    assert "Erased; the audit trail says of each place that it was (3)" in done
    assert NAME not in everything()
    assert page.get(address).status_code == 409

    auditor = browser(member(Role.AUDITOR))
    shown = auditor.get(f"/admin/audit/entry/{words - 1}/change/").content.decode()
    telling = entries_about("audit_entry", str(words)).get().sequence
    assert f"/admin/audit/entry/{telling}/change/" in shown
    assert desk.second.version in shown


def test_scripts_do_the_same(officer: User) -> None:
    rolled_out()
    script, auditor = caller(Role.PRIVACY_OFFICER), caller(Role.AUDITOR)
    told = script.post("/api/v1/privacy/typed/find/", {"part": NAME}, format="json").json()
    assert (told["more"], [each["text"] for each in told["found"]]) == (False, [WHY, WHY, WHY])
    first = told["found"][0]
    words = int(first["key"])
    assert auditor.get(f"/api/v1/audit/entries/{words - 1}/").json()["erased_by"] is None
    body = {"place": first["place"], "key": first["key"], "ground": "names"}
    erased = script.post("/api/v1/privacy/typed/erase/", body, format="json").json()["erased"]
    assert [each["place"] for each in erased] == ["audit_entry", "route.reason", "route.end_reason"]
    whole = auditor.get(f"/api/v1/audit/entries/{words - 1}/").json()
    assert whole["words"] == {"sequence": words, "payload": None}
    assert whole["erased_by"] == entries_about("audit_entry", str(words)).get().sequence
    again = script.post("/api/v1/privacy/typed/erase/", body, format="json")
    assert (again.status_code, again.json()["reason"]) == (409, "nothing_typed")


def test_sqlite_is_told_to_drop_the_pages_that_still_have_it(
    officer: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    rolled_out()
    found, _more = by_hand.find(actor=officer, part=NAME)
    with django_capture_on_commit_callbacks() as after:
        by_hand.erase(actor=officer, place=found[0].place, key=found[0].key, ground="names")
    assert compacted in after
