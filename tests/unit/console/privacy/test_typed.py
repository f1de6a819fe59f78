"""What staff typed of a person's requests goes with the person, wherever it was written; what was done stays."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.utils.timezone import now

from console.audit.export import export
from console.audit.models import Entry
from console.audit.notes import load_public_key
from console.audit.queries import entries_about
from console.audit.services import record
from console.audit.signer import Signer
from console.audit.verifier import verify
from console.privacy import erasure, ledger, services
from console.privacy.models import Erasure, PrivacyRequest, State, Step
from console.privacy.stores import Traces, collect
from console.site.roles import Role
from console.staff.models import User
from console.vault.cipher import find_by
from console.vault.models import Subject
from console.vault.queries import keys
from tests.unit.console.people import browser, caller, member
from tests.unit.console.privacy.planted import PERSON, Planted, ask_erasure, plant

pytestmark = pytest.mark.django_db
TYPED = "canary-typed"


@pytest.fixture
def mine(officer: User) -> Planted:
    return plant(officer, member(Role.REVIEWER))


def begun(officer: User, kind: str, person: str = PERSON) -> PrivacyRequest:
    request = services.receive(actor=officer, pseudonym=person, kind=kind, laws="both", channel="letter")
    services.check_identity(actor=officer, request_id=request.pk, method="card at the counter")
    return services.start(actor=officer, request_id=request.pk)


def requests_with_text(officer: User, person: str = PERSON, tag: str = "") -> list[PrivacyRequest]:
    """One that was extended and done, one refused, one restricted and lifted, one that is paused."""
    text = f"{TYPED}{tag}"
    done, refused, restricted = (begun(officer, kind, person) for kind in ("access", "rectification", "restriction"))
    services.extend(actor=officer, request_id=done.pk, reason=f"{text}-extended")
    services.finish(actor=officer, request_id=done.pk, outcome=f"{text}-done")
    services.refuse(actor=officer, request_id=refused.pk, reason=f"{text}-refused")
    services.finish(actor=officer, request_id=restricted.pk, outcome=f"{text}-restricted")
    services.lift_restriction(actor=officer, request_id=restricted.pk, reason=f"{text}-lifted")
    paused = begun(officer, "portability", person)
    services.pause(actor=officer, request_id=paused.pk, reason=f"{text}-paused")
    return [done, refused, restricted, paused]


def everything() -> str:
    return repr([list(model._default_manager.values()) for model in apps.get_models()])


@pytest.mark.usefixtures("static_files")
def test_no_store_page_or_export_has_it_after_the_erasure_and_the_acts_are_all_there(
    officer: User, mine: Planted, tmp_path: Path
) -> None:
    requests = requests_with_text(officer)
    others = requests_with_text(officer, "somebody-else", "-other")
    request = ask_erasure(officer)
    services.extend(actor=officer, request_id=request.pk, reason=f"{TYPED}-why")
    types = [entry.type for each in requests for entry in entries_about("privacy_request", str(each.pk))]
    assert {"privacy.extended", "privacy.done", "privacy.refused", "privacy.paused"} <= set(types)
    assert everything().count(f"{TYPED}-") > 8

    assert erasure.carry_out(request.pk)

    left = everything().replace(f"{TYPED}-other", "")
    assert TYPED not in left
    assert everything().count(f"{TYPED}-other") > 8
    assert types == [entry.type for each in requests for entry in entries_about("privacy_request", str(each.pk))]
    states = {row.pk: (row.state, row.reason) for row in PrivacyRequest.objects.all()}
    assert [states[each.pk] for each in requests] == [
        (State.DONE, ""), (State.REFUSED, "[erased]"), (State.DONE, ""), (State.PAUSED, "[erased]"),
    ]  # fmt: skip
    assert states[others[1].pk] == (State.REFUSED, f"{TYPED}-other-refused")

    (tmp_path / "key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    Signer(tmp_path / "key", tmp_path / "checkpoints").sign(now())
    key = load_public_key(tmp_path / "checkpoints" / "audit_public.pem")
    lines = b"".join(export(key))
    assert TYPED.encode() not in lines.replace(f"{TYPED}-other".encode(), b"")
    assert verify(lines.splitlines(), key).whole

    desk, script = browser(officer), caller(Role.PRIVACY_OFFICER)
    for each in [*requests, request]:
        shown = desk.get(f"/admin/privacy/privacyrequest/{each.pk}/change/").content.decode()
        told = script.get(f"/api/v1/privacy/requests/{each.pk}/").content.decode()
        assert TYPED not in shown + told
    assert "(erased)" in desk.get(f"/admin/privacy/privacyrequest/{requests[1].pk}/change/").content.decode()


def test_what_was_typed_before_words_stood_apart_goes_too(officer: User, mine: Planted) -> None:
    request = begun(officer, "access")
    record(
        actor=officer,
        action="privacy.paused",
        subject_type="privacy_request",
        subject_id=str(request.pk),
        details={"reason": f"{TYPED}-old"},
    )
    assert erasure.carry_out(ask_erasure(officer).pk)
    assert TYPED not in everything()
    assert Entry.objects.filter(type="privacy.paused").count() == 1


def test_what_is_typed_while_the_erasure_goes_on_goes_too(officer: User, mine: Planted) -> None:
    request = ask_erasure(officer)
    for step in Step:
        if step in (Step.FINISH, Step.DONE):
            break
        services.pause(actor=officer, request_id=request.pk, reason=f"{TYPED}-{step}")
        services.resume(actor=officer, request_id=request.pk)
        erasure._advance(request.pk)
    while Erasure.objects.get(pk=request.pk).step < Step.FINISH:
        erasure._advance(request.pk)
    services.pause(actor=officer, request_id=request.pk, reason=f"{TYPED}-last")
    services.resume(actor=officer, request_id=request.pk)
    assert erasure.carry_out(request.pk)
    assert TYPED not in everything()
    assert Entry.objects.filter(type="privacy.paused").count() == 7


def test_of_somebody_who_is_not_known_here_it_goes_too(officer: User) -> None:
    paused = services.receive(actor=officer, pseudonym=PERSON, kind="access", laws="both", channel="letter")
    services.pause(actor=officer, request_id=paused.pk, reason=f"{TYPED}-unknown")
    other = services.receive(actor=officer, pseudonym="other", kind="access", laws="both", channel="letter")
    services.refuse(actor=officer, request_id=other.pk, reason="not theirs")
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    assert not Subject.objects.exists()
    assert TYPED not in everything()
    assert "not theirs" in everything()
    assert Erasure.objects.get(pk=request.pk).before["audit"] == 1


def test_a_restore_brings_none_of_it_back(officer: User, mine: Planted) -> None:
    requests_with_text(officer)
    ledger.enter(settings.AMULET.erasure_ledger, ledger.Line(mine.subject_id, now(), 99))
    assert erasure.replay() == 1
    assert TYPED not in everything()


def test_with_the_request_itself_what_was_typed_goes_from_the_audit_log(officer: User) -> None:
    """Nothing leads from there to a person any more, so that no erasure would find it."""
    request = begun(officer, "access", "somebody-else")
    twice = services.receive(actor=officer, pseudonym="somebody-else", kind="access", laws="both", channel="letter")
    services.finish(actor=officer, request_id=request.pk, outcome=f"{TYPED}-done")
    open_one = begun(officer, "access", "a third")
    services.extend(actor=officer, request_id=open_one.pk, reason="kept-open")
    assert services.discard_closed(before=now() + timedelta(seconds=1)) == 2
    assert not PrivacyRequest.objects.filter(pk__in=[request.pk, twice.pk]).exists()
    assert TYPED not in everything()
    assert "kept-open" in everything()


def test_an_erasure_that_began_before_this_goes_on(officer: User, mine: Planted) -> None:
    traces = collect(mine.subject_id, find_by(keys(), PERSON))
    before = traces.render()
    del before["requests"]
    assert Traces.parse(before).requests == ()
    assert Traces.parse(traces.render()) == traces


def test_of_who_was_erased_before_this_the_migration_takes_it(officer: User, mine: Planted) -> None:
    open_one = begun(officer, "access", "somebody-else")
    request = ask_erasure(officer)
    assert erasure.carry_out(request.pk)
    for number in (request.pk, open_one.pk):
        record(
            actor=officer,
            action="privacy.extended",
            subject_type="privacy_request",
            subject_id=str(number),
            details={"reason": f"{TYPED}-{number}"},
        )
    PrivacyRequest.objects.filter(pk=request.pk).update(extension_reason=f"{TYPED}-{request.pk}")
    said = [entry.type for entry in entries_about("privacy_request", str(request.pk))]
    migration = import_module("console.privacy.migrations.0005_typed_of_erased")
    for _ in range(2):  # a second run finds nothing left to do
        with transaction.atomic():
            migration.forget(apps, None)
        assert f"{TYPED}-{request.pk}" not in everything()
        assert f"{TYPED}-{open_one.pk}" in everything()
        assert [entry.type for entry in entries_about("privacy_request", str(request.pk))] == said[:-1]
