"""What can be wrong with photographs on a disk, worded for whoever collected them.

DataWrong             the folder cannot be used as it is; the message is for a person
├── FolderMissing     there is no such folder, or no photograph in it
├── ClassesWrong      one class only, an empty class, or a name that cannot be a class
├── PhotoBroken       a file that is no readable photograph, or one that no server takes
├── DataChanged       a photograph that is not what it was when the folder was read
├── NamesWrong        classes.yaml does not say what it should
└── SplitImpossible   too few independent photographs for the parts asked for
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any, Final

REPLACE: Final = "replace it or move it out of the folder"


class DataWrong(ValueError):
    """Photographs that cannot be used as they are: one sentence on what is wrong and what would be right."""

    def __init__(self, sentence: str) -> None:
        super().__init__(in_one_line(sentence))

    def __reduce__(self) -> tuple[Any, ...]:
        """To the process that waits for this one, where its sentence is said: kinds have arguments of their own."""
        return _again, (type(self), self.args, self.__dict__)


class FolderMissing(DataWrong):
    """No such folder, or nothing in it that could be a photograph."""


class ClassesWrong(DataWrong):
    """The folders inside do not make at least two classes."""


class PhotoBroken(DataWrong):
    """A file that is no readable photograph, or one of a size that no server takes.

    path: the file, as it can be printed.  why: what is wrong with it, without the file's name.  mend: what to do.
    """

    def __init__(self, path: Path, why: str, *, others: int = 0, mend: str = REPLACE) -> None:
        more = f" ({others} more files cannot be used; `amulet data check` lists them)" if others else ""
        super().__init__(f"{path} {why}{more}: {mend}")
        self.path, self.why, self.mend = Path(in_one_line(str(path))), why, mend

    def beside(self, others: int) -> PhotoBroken:
        """The same, of the first of several files."""
        return PhotoBroken(self.path, self.why, others=others, mend=self.mend)


class DataChanged(DataWrong):
    """A photograph that changed after the folder was read: split and fingerprint no longer speak of it."""

    def __init__(self, path: Path, how: str) -> None:
        super().__init__(f"{path} {how} after the folder was read: start again, and leave the folder alone meanwhile")


class NamesWrong(DataWrong):
    """A classes.yaml that cannot be read or names what is not there."""


class SplitImpossible(DataWrong):
    """Too few independent photographs of a class for the parts asked for."""


def _again(kind: type[DataWrong], args: tuple[object, ...], own: dict[str, object]) -> DataWrong:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(own)
    return error


def printable(text: str) -> str:
    r"""With the bytes of a file name that are no UTF-8 as \udcNN: neither a page nor JSON can hold them as they are."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def in_one_line(text: str) -> str:
    r"""As `printable`, and line breaks and other control characters as \n or \x1b: a terminal would obey them."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) == "Cc" else character
        for character in printable(text)
    )
