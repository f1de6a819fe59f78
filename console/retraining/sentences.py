"""What a job says of why it failed, where the words are ours (`console.said`)."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_noop

from console import said as written

NO_PROGRAM: Final = gettext_noop(
    "AMULET_TRAINING_COMMAND must name an `amulet` installed with its `training` extra; {path} cannot be run."
)
NO_KEY: Final = gettext_noop(
    "AMULET_TRAINING_KEY_FILE names {path}, which is not there: `amulet signing-key create --out {path}` makes one, "
    "and its .pub belongs among AMULET_TRUSTED_KEYS."
)
NOT_TRUSTED: Final = gettext_noop(
    "{path} is not trusted: put its .pub into {folder}, and take it out of revoked.txt if it stands there."
)
ENDED: Final = gettext_noop("It was ended by signal {number}: AMULET_TRAINING_MIB_MAX may be too low.")
SENTENCES: Final = (NO_PROGRAM, NO_KEY, NOT_TRUSTED, ENDED)


def for_reader(said: str) -> str:
    """As `console.said` has it."""
    return written.for_reader(said, SENTENCES)
