"""Why an archive is not accepted.

ArchiveRefused        the archive, or the run it would be made from, breaks a rule
└── ReferenceInvalid  a reference.json that is not one
KeyUnusable           a signing or trusted key that cannot be read or is of another kind
"""

from __future__ import annotations

from protos.amulet.v1 import vocabulary_pb2 as words


class ArchiveRefused(Exception):
    """An archive that breaks a rule: which one, in words for whoever made or sent it."""

    def __init__(self, reason: words.Reason.ValueType, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ReferenceInvalid(ArchiveRefused, ValueError):
    """A reference.json whose distributions cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(words.REASON_ARCHIVE_CARD_INVALID, message)


class KeyUnusable(ValueError):
    """A key file that cannot be used, with what was expected of it."""
