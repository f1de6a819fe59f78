"""Why an archive is not accepted.

ArchiveRefused        the archive, or the run it would be made from, breaks a rule
└── ReferenceInvalid  a reference.json that is not one
KeyUnusable           a signing or trusted key that cannot be read or is of another kind
"""

from __future__ import annotations

from typing import Final

from protos.amulet.v1 import vocabulary_pb2 as words

MESSAGE_CHARACTERS_MAX: Final = 1000


def printable(text: str) -> str:
    """Fit for a terminal, a log and a database: what does not print is escaped, and the middle of a long text left out.

    Messages quote names and values out of archives, which strangers write.
    """
    half = MESSAGE_CHARACTERS_MAX // 2
    short = text if len(text) <= MESSAGE_CHARACTERS_MAX else f"{text[: half - 2]} … {text[1 - half :]}"
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in short)
    return shown if len(shown) <= MESSAGE_CHARACTERS_MAX else shown[: MESSAGE_CHARACTERS_MAX - 1] + "…"


class ArchiveRefused(Exception):
    """An archive that breaks a rule: which one, in words for whoever made or sent it."""

    def __init__(self, reason: words.Reason.ValueType, message: str) -> None:
        super().__init__(printable(message))
        self.reason = reason


class ReferenceInvalid(ArchiveRefused, ValueError):
    """A reference.json whose distributions cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(words.REASON_ARCHIVE_CARD_INVALID, message)


class KeyUnusable(ValueError):
    """A key file that cannot be used, with what was expected of it."""
