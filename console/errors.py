"""What the console refuses to do, worded for whoever asked. No status number of any transport.

Refusal
├── NotAllowed       the actor's roles do not permit it
├── NotFound         there is no such thing
├── Invalid          a value is not of the form that it must have
├── Conflict         right in itself, but not in the present state
├── Outdated         said of what whoever asks saw, which is otherwise by now
├── TooLarge         past a limit of size
└── NotAvailable     another process is needed and does not answer
"""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """Something that we will not do, worded for whoever asked. Never our own fault.

    message: one sentence.  reason: a stable word for programs.  field: the part of the
    request that is wrong, "" for the whole.
    """

    default_reason: ClassVar[str] = "refused"

    def __init__(self, message: str, *, reason: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field


class NotAllowed(Refusal):
    default_reason = "not_allowed"


class NotFound(Refusal):
    default_reason = "not_found"


class Invalid(Refusal):
    default_reason = "invalid"


class Conflict(Refusal):
    default_reason = "conflict"


class Outdated(Refusal):
    default_reason = "changed_meanwhile"


class TooLarge(Refusal):
    default_reason = "too_large"


class NotAvailable(Refusal):
    default_reason = "not_available"
