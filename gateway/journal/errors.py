"""What can go wrong with the journal, worded for whoever has to act on it.

JournalError
├── JournalFull         too much is waiting for the disk: come back shortly
├── JournalUnavailable  nothing can be made durable now (disk full or broken, closing)
├── JournalLocked       another process has this folder
└── JournalFormatError  a file that this version cannot read
"""

from __future__ import annotations


class JournalError(Exception):
    """Nothing was made durable. The text is a sentence for an operator."""


class JournalFull(JournalError):
    """More records wait for the disk than allowed; nothing is wrong with what is on disk."""


class JournalUnavailable(JournalError):
    """The record is not durable and will not become so: its answer must not leave."""


class JournalLocked(JournalError):
    """The folder belongs to another running process."""


class JournalFormatError(JournalError):
    """A segment written by another version of this code; it is left untouched."""
