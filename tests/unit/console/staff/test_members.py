"""Who can be made a member of staff, under which name and in which role, and who may change that."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from console.errors import Conflict, Invalid, NotAllowed
from console.site.roles import Role
from console.staff import services
from console.staff.models import User
from console.staff.services import NewStaff, create_user
from tests.unit.console.people import member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.mark.parametrize(
    ("name", "role", "error"), [("a b", "viewer", Invalid), ("", "viewer", Invalid), ("somsak", "king", Invalid)]
)
def test_an_unfit_name_or_role_is_refused(name: str, role: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        create_user(name=name, role=role)


def test_a_name_that_is_too_long_is_one_sentence_before_the_database_is_asked() -> None:
    """PostgreSQL would break off the transaction, and SQLite would take it."""
    with CaptureQueriesContext(connection) as asked, pytest.raises(CommandError) as refused:
        call_command("create_staff", "n" * 151, role="viewer")
    assert str(refused.value) == "A name has at most 150 characters."
    assert not any("staff_user" in query["sql"] for query in asked)
    assert create_user(name="n" * 150, role="viewer").user.pk


def test_a_name_is_given_once(anong: NewStaff) -> None:
    with pytest.raises(Conflict):
        create_user(name="anong", role=Role.APPROVER)


@pytest.mark.parametrize("spelling", ["model engineer", "model-engineer", "model_engineer"])
def test_a_role_may_be_spelled_as_the_shell_likes_it(spelling: str) -> None:
    made = create_user(name="malee", role=spelling)
    assert made.role == "model engineer"
    assert made.user.has_perm("registry.upload_modelversion")


def test_nobody_changes_their_own_access_and_somebody_stays_administrator() -> None:
    suda, second = member(Role.ADMINISTRATOR), member(Role.ADMINISTRATOR, "second")
    with pytest.raises(NotAllowed):
        services.set_role(actor=suda, user_id=suda.pk, role="viewer")
    services.set_role(actor=suda, user_id=second.pk, role="viewer")
    second.refresh_from_db()
    assert not User.objects.get(pk=second.pk).has_perm("staff.change_user")
    with pytest.raises(NotAllowed):
        services.set_active(actor=User.objects.get(pk=second.pk), user_id=suda.pk, active=False)
