"""The state machine of model versions: which arrow leads where, for whom, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from console.audit.queries import entries_about
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.registry import services
from console.registry.models import ModelVersion, State
from console.registry.queries import CLAIM_MAX, HOLD_MAX, held, work_due
from console.rollout import services as rollout
from console.site.roles import Role
from console.staff.models import User
from tests.unit.console.people import member
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db
REPORT: dict[str, Any] = {"passed": True, "problem": "", "photos": []}


@pytest.fixture
def malee() -> User:
    return member(Role.MODEL_ENGINEER)


@pytest.fixture
def somchai() -> User:
    return member(Role.APPROVER)


def approve(actor: User, version_id: int) -> object:
    return services.approve_version(actor=actor, version_id=version_id, reason="looked at it")


def retire(actor: User, version_id: int) -> object:
    return services.retire_version(actor=actor, version_id=version_id, reason="too old")


def retry(actor: User, version_id: int) -> object:
    return services.retry_smoke_test(actor=actor, version_id=version_id)


ARROWS: dict[str, tuple[Callable[[User, int], object], Role, State, State]] = {
    "approve": (approve, Role.APPROVER, State.SMOKE_TESTED, State.APPROVED),
    "retire": (retire, Role.APPROVER, State.APPROVED, State.RETIRED),
    "retry": (retry, Role.MODEL_ENGINEER, State.FAILED, State.VERIFIED),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("arrow", ARROWS)
def test_each_arrow_leads_from_its_own_state_only(arrow: str, state: State, malee: User, somchai: User) -> None:
    move, role, source, target = ARROWS[arrow]
    version = a_version(malee, state=state, approver=somchai if state is State.APPROVED else None)
    actor = {Role.APPROVER: somchai, Role.MODEL_ENGINEER: malee}[role]
    if state is source:
        move(actor, version.pk)
        version.refresh_from_db()
        assert version.state == target
        assert entries_about("model_version", str(version.pk)).count() == 1
    else:
        with pytest.raises(Conflict):
            move(actor, version.pk)
        version.refresh_from_db()
        assert version.state == state
        assert entries_about("model_version", str(version.pk)).count() == 0


@pytest.mark.parametrize("arrow", ARROWS)
def test_no_arrow_moves_without_its_permission(arrow: str, malee: User, somchai: User) -> None:
    move, _, source, _ = ARROWS[arrow]
    version = a_version(malee, state=source, approver=somchai if source is State.APPROVED else None)
    with pytest.raises(NotAllowed):
        move(member(Role.VIEWER), version.pk)


def test_whoever_uploaded_a_version_may_not_approve_it() -> None:
    suda = member(Role.ADMINISTRATOR)  # has both permissions
    version = a_version(suda)
    with pytest.raises(NotAllowed) as refused:
        approve(suda, version.pk)
    assert refused.value.reason == "approver_is_uploader"


def test_the_database_itself_refuses_an_uploader_as_approver(malee: User) -> None:
    version = a_version(malee)
    with pytest.raises(IntegrityError, match="approved_by_second_person"), transaction.atomic():
        ModelVersion.objects.filter(pk=version.pk).update(state=State.APPROVED, approved_by=malee)


def test_the_database_itself_refuses_a_second_archive_of_one_name(malee: User) -> None:
    a_version(malee, state=State.VERIFIED)
    with pytest.raises(IntegrityError), transaction.atomic():
        a_version(malee, state=State.VERIFIED)
    a_version(malee, state=State.FAILED)  # its name was never given


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2001])
def test_a_decision_needs_a_reason_of_bearable_length(reason: str, malee: User, somchai: User) -> None:
    version = a_version(malee)
    with pytest.raises(Invalid) as refused:
        services.approve_version(actor=somchai, version_id=version.pk, reason=reason)
    assert refused.value.field == "reason"


def test_what_is_not_there_is_not_found(somchai: User) -> None:
    with pytest.raises(NotFound):
        approve(somchai, 12345)


def test_only_one_of_two_workers_gets_a_smoke_test(malee: User) -> None:
    version = a_version(malee, state=State.VERIFIED)
    assert services.claim_smoke_test(version_id=version.pk)
    assert not services.claim_smoke_test(version_id=version.pk)
    services.release_claim(version_id=version.pk)
    assert services.claim_smoke_test(version_id=version.pk)


def test_a_smoke_test_is_settled_once(malee: User) -> None:
    version = a_version(malee, state=State.VERIFIED)
    services.settle_smoke_test(version_id=version.pk, report=REPORT, passed=True)
    services.settle_smoke_test(version_id=version.pk, report={**REPORT, "passed": False}, passed=False)
    version.refresh_from_db()
    assert (version.state, version.smoke_report) == (State.SMOKE_TESTED, REPORT)
    assert entries_about("model_version", str(version.pk)).count() == 1


def test_work_that_nobody_does_is_found(malee: User) -> None:
    uploaded = a_version(malee, state=State.UPLOADED, number=1)
    verified = a_version(malee, state=State.VERIFIED, number=2)
    a_version(malee, state=State.SMOKE_TESTED, number=3)
    assert work_due() == ([uploaded.pk], [verified.pk])
    services.claim_smoke_test(version_id=verified.pk)
    assert work_due() == ([uploaded.pk], [])


def test_a_claim_and_a_hold_from_before_the_clock_was_set_back_are_over(malee: User) -> None:
    version = a_version(malee, state=State.VERIFIED)
    tomorrow = now() + timedelta(days=1)
    ModelVersion.objects.update(claimed_until=tomorrow, held_until=tomorrow)
    assert (held(), work_due()) == ([], ([], [version.pk]))
    services.hold(version_id=version.pk, seconds=60)
    assert [each.version for each in held()] == [version.version]
    assert services.claim_smoke_test(version_id=version.pk)
    assert not services.claim_smoke_test(version_id=version.pk)


def test_no_claim_and_no_hold_is_taken_for_longer_than_any_may_last() -> None:
    claims = services.VERIFICATION_S_MAX, services.SMOKE_TEST_S_MAX
    assert max(claims) <= CLAIM_MAX.total_seconds()
    assert max(claims[1], rollout.HOLD_S, rollout._leaving_s()) <= HOLD_MAX.total_seconds()


def test_a_version_is_held_for_its_time_and_no_longer(malee: User) -> None:
    version = a_version(malee, state=State.VERIFIED)
    services.hold(version_id=version.pk, seconds=60)
    services.hold(version_id=version.pk, seconds=1)  # who needs it for less does not end what another needs
    version.refresh_from_db()
    assert version.held_until is not None
    assert version.held_until > now() + timedelta(seconds=50)
    assert [key.version for key in held()] == [version.version]
    ModelVersion.objects.update(held_until=now() - timedelta(seconds=1))
    assert held() == []


def test_a_failed_version_whose_name_was_taken_is_not_tried_again(malee: User) -> None:
    failed = a_version(malee, state=State.FAILED)
    a_version(malee, state=State.VERIFIED)
    with pytest.raises(Conflict) as refused:
        retry(malee, failed.pk)
    assert refused.value.reason == "name_taken"
