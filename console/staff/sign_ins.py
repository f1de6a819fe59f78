"""Who came in, who went, and who was kept out, in the audit trail.

Entries of failures are bounded: of one account at most one of failed attempts and one of a lockout in WINDOW, each
with how many failures no entry had told of, so that every failure is counted once and nobody fills the log. Names
that nobody here has are counted together and never written down: one may be a password in the wrong field.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.utils.timezone import now

from console.audit.services import record
from console.staff.models import FailedSignIns, User

WINDOW: Final = timedelta(minutes=15)  # as long as a lockout lasts
NOBODY: Final = ""  # the account of names that nobody has


def watch() -> None:
    """Hear Django's and django-axes' signals from now on."""
    from axes.signals import user_locked_out

    user_logged_in.connect(_came_in, dispatch_uid="console.staff.came_in")
    user_logged_out.connect(_went, dispatch_uid="console.staff.went")
    user_login_failed.connect(_failed, dispatch_uid="console.staff.failed")
    user_locked_out.connect(_locked_out, dispatch_uid="console.staff.locked_out")


def forget_attempts(*, before: datetime) -> int:
    """Drop names and addresses of failed sign-ins that count for no lockout any more. Returns how many."""
    from axes.models import AccessAttempt, AccessLog

    AccessLog.objects.filter(attempt_time__lt=before).delete()  # of the time before the audit trail told of sign-ins
    return int(AccessAttempt.objects.filter(attempt_time__lt=before).delete()[0])


def forget_attempts_of(user: User) -> None:
    """Let this person in again from wherever they were locked out."""
    from axes.models import AccessAttempt

    AccessAttempt.objects.filter(username=user.get_username()).delete()


def _came_in(*, user: User, **_named: Any) -> None:
    account = str(user.pseudonym)
    with transaction.atomic():
        row = FailedSignIns.objects.select_for_update().filter(account=account).first()
        untold = row.untold if row else 0
        FailedSignIns.objects.filter(account=account).delete()
        record(
            actor=user,
            action="staff.signed_in",
            subject_type="user",
            subject_id=account,
            details={"failures": untold} if untold else {},
        )


def _went(*, user: User | None, **_named: Any) -> None:
    if isinstance(user, User):
        with transaction.atomic():
            record(
                actor=user, action="staff.signed_out", subject_type="user", subject_id=str(user.pseudonym), details={}
            )


def _failed(*, credentials: dict[str, Any], **_named: Any) -> None:
    account = _account_of(credentials.get("username"))
    with transaction.atomic():
        row = _counted(account)
        row.untold += 1
        if _told(row, row.failed_told_at, "staff.sign_in_failed"):
            row.failed_told_at = now()
        row.save()


def _locked_out(*, username: str | None = None, **_named: Any) -> None:
    with transaction.atomic():
        row = _counted(_account_of(username))
        if _told(row, row.lockout_told_at, "staff.locked_out"):
            row.lockout_told_at = now()
            row.save()


def _account_of(name: object) -> str:
    pseudonym = User.objects.filter(username=str(name or "")).values_list("pseudonym", flat=True).first()
    return NOBODY if pseudonym is None else str(pseudonym)


def _counted(account: str) -> FailedSignIns:
    """The account's row, locked until the caller's transaction ends."""
    row, _made = FailedSignIns.objects.select_for_update().get_or_create(account=account)
    return row


def _told(row: FailedSignIns, last: datetime | None, action: str) -> bool:
    """Write an entry with what no entry has told of, unless one of its kind was written within the window."""
    if last is not None and abs(now() - last) < WINDOW:  # one ahead is from before the clock was set back
        return False
    record(
        actor=None,
        action=action,
        subject_type="user",
        subject_id=row.account,
        details={"failures": row.untold} if row.account else {"failures": row.untold, "account": "unknown"},
    )
    row.untold = 0
    return True
