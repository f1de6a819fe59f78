"""Whether a date is 543 years late: typed in the Buddhist era into a form that read the years of others.

Forms read either era now. What they stored before is evidence, and is named here and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cli import supervision
from cli.checks.database import Unasked, read
from cli.checks.finding import Finding, right, wrong
from cli.layout import Layout
from protos.environment import PREFIX

NAMED_MAX: Final = 5
# The last day of what is in force, where nobody means it: forms read such a year as one of the Buddhist era.
_LATE: Final = """
    SELECT 'API key amk_' || key_id, expires_at FROM clients_apikey
        WHERE revoked_at IS NULL AND expires_at >= '2400-01-01'
    UNION ALL SELECT 'token amt_' || key_id, expires_at FROM staff_apitoken
        WHERE revoked_at IS NULL AND expires_at >= '2400-01-01'
    UNION ALL SELECT 'consent number ' || id, expires_at FROM vault_consent
        WHERE withdrawn_at IS NULL AND expires_at >= '2400-01-01'
    ORDER BY 2, 1
"""


def dates(layout: Layout, outer: Mapping[str, str]) -> Finding:
    """Keys, tokens and consents in force that end after the year 2400. Changes nothing."""
    url = supervision.environment(layout, outer).get(f"{PREFIX}DATABASE_URL", "")
    try:
        late = [f"{what} ({str(ends)[:10]})" for what, ends in read(layout, url, _LATE)]
    except Unasked:  # said by the checks of folder, database and server
        return right("dates", "cannot be looked at: the database cannot be read, or has no tables yet")
    if not late:
        return right("dates", "no key, token or consent in force ends after the year 2400")
    named = ", ".join(late[:NAMED_MAX]) + (f" and {len(late) - NAMED_MAX} more" if len(late) > NAMED_MAX else "")
    return wrong(
        "dates",
        f"{len(late)} in force that end in centuries: {named}. Such a day was typed in the Buddhist era and stored 543 "
        "years late, before the console's forms read both eras",
        "in the console revoke such a key or token and make another; a consent is withdrawn by a privacy officer, and "
        "recorded anew where the person still agrees",
    )
