"""Sessions of staff: in the database as Django's own, and over once they were.

Django leaves the row of a session that has run out where it is, until somebody tidies. Setting the clock back would let
it live again, and one from times to come for as long as the clock had been ahead.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as Stored
from django.contrib.sessions.models import Session
from django.utils.timezone import now

from console.leases import over


class SessionStore(Stored):
    """The first call under a session that is over deletes it. For one that goes on it costs nothing."""

    def load(self) -> dict[str, Any]:
        moment, longest = now(), timedelta(seconds=settings.SESSION_COOKIE_AGE)
        found = Session.objects.filter(session_key=self.session_key).first()
        if found is not None and moment < found.expire_date <= moment + 2 * longest:
            return self.decode(found.session_data)
        if found is not None:  # by the row as it is now: another call may have prolonged it
            Session.objects.filter(over("expire_date", longest=longest, at=moment), pk=found.pk).delete()
        self._session_key = None
        return {}
