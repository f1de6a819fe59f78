"""A change of one's own password: told, whole, and the end of the other sessions."""

from __future__ import annotations

from typing import ClassVar

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import DatabaseError, connection
from django.test import Client as Browser
from pytest_django import Settings

from console.audit.models import Entry
from console.errors import NotAllowed
from console.site.roles import Role
from console.staff import services
from console.staff.models import User
from console.staff.services import NewStaff
from tests.unit.console.people import browser as at_the_desk
from tests.unit.console.people import member
from tests.unit.console.staff.signing_in import NEW_PASSWORD, change_password, log_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


class WatchedHasher(MD5PasswordHasher):
    """Notes in how many blocks inside the test's own transaction it hashes."""

    blocks: ClassVar[list[int]] = []

    def encode(self, password: str, salt: str) -> str:
        self.blocks.append(len(connection.savepoint_ids))
        return super().encode(password, salt)


def test_a_change_of_ones_own_password_is_in_the_audit_trail_and_ends_the_other_sessions(anong: NewStaff) -> None:
    browser, other = at_the_desk(anong.user), at_the_desk(anong.user)
    assert change_password(browser, "guess") == 200
    assert not Entry.objects.filter(type="staff.password_changed").exists()
    assert change_password(browser, anong.password) == 302
    entry = Entry.objects.get(type="staff.password_changed")
    assert (entry.actor, entry.payload.subject_id) == (str(anong.user.pseudonym), str(anong.user.pseudonym))
    assert NEW_PASSWORD not in entry.payload.text
    assert (browser.get("/admin/").status_code, other.get("/admin/").status_code) == (200, 302)
    assert User.objects.get(pk=anong.user.pk).check_password(NEW_PASSWORD)


def test_no_password_is_changed_by_who_was_let_in_before_a_change_of_access(anong: NewStaff) -> None:
    let_in = User.objects.get(pk=anong.user.pk)
    fresh = services.reset_access(actor=member(Role.ADMINISTRATOR), user_id=anong.user.pk)
    with pytest.raises(NotAllowed):
        services.change_password(user=let_in, password=NEW_PASSWORD)
    assert log_in(Browser(), fresh) == 302


def test_a_password_without_its_entry_is_not_changed(anong: NewStaff) -> None:
    let_in = User.objects.get(pk=anong.user.pk)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_payload RENAME TO audit_payload_away")
    with pytest.raises(DatabaseError):
        services.change_password(user=let_in, password=NEW_PASSWORD)
    assert User.objects.get(pk=anong.user.pk).check_password(anong.password)


def test_a_password_is_hashed_before_the_write_that_others_wait_for(anong: NewStaff, settings: Settings) -> None:
    lead = member(Role.ADMINISTRATOR)
    settings.PASSWORD_HASHERS = [f"{__name__}.WatchedHasher"]
    WatchedHasher.blocks = []
    services.reset_access(actor=lead, user_id=anong.user.pk)
    assert WatchedHasher.blocks == [len(connection.savepoint_ids)]
