"""Outcomes as JSON lines, one an object, and the file of them that an interrupted run goes on with."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from shutil import copymode
from types import TracebackType
from typing import IO, Any, Self

from amulet_client.answers import Prediction
from amulet_client.bulk import Outcome
from amulet_client.errors import Refused


def document_of(outcome: Outcome, **further: Any) -> dict[str, Any]:
    """`file` and every field of the answer, or `file` and `error`; further: fields in place of the answer's."""
    if not isinstance(outcome.result, Prediction):
        return {"file": outcome.name, "error": _error(outcome.result)}
    answer = outcome.result
    document = {"file": outcome.name, **asdict(answer), "answered_at": answer.answered_at.isoformat(), "heat_maps": []}
    del document["audit_checkpoint"]
    for example in document["nearest_examples"]:
        example["thumbnail_jpeg"] = base64.b64encode(example["thumbnail_jpeg"]).decode("ascii")
    return document | further


def line_of(document: Mapping[str, Any]) -> str:
    """The document as JSON on one line, which any encoding of Unicode can hold.

    A byte of a file's name that is no UTF-8 stands as the half of a character that `os.fsdecode` makes of it, escaped
    ("\\udce9"): whoever reads the line with Python has the name again.
    """
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def _error(error: Refused | OSError | ValueError) -> dict[str, str]:
    if isinstance(error, Refused):
        return {"reason": error.reason, "code": error.code, "field": error.field, "message": error.message}
    return {"reason": "", "code": "", "field": "", "message": worded(error)}


def worded(error: Exception) -> str:
    """One sentence for people."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or 'it is no photograph that can be opened'}"
    return str(error)


class ResultsFile:
    """A file of JSON lines that grows. What it holds an answer for need not be asked again."""

    def __init__(self, path: Path) -> None:
        """Keep the answers of an earlier run, without its refusals and a line that was cut off.

        A pipe or a device (`/dev/stdout`, `/dev/null`) is written to as it is. A link is followed.
        Raises ValueError when the file holds something else, which is left alone, or when another run writes into it;
        OSError.
        """
        self.answered: frozenset[str] = frozenset()
        self._path = path
        with ExitStack() as earlier:
            if path.is_file():
                path = path.resolve()
                if sys.platform != "win32":  # which replaces no file that is open
                    _take(earlier.enter_context(path.open("rb")), self._path)  # until the new file is ours, too
                kept = dict(_answers(path, self._path))
                _replace(path, "".join(kept.values()))
                self.answered = frozenset(kept)
            self._file = path.open("a", encoding="utf-8")
            if path.is_file():
                _take(self._file, self._path)

    def write(self, document: Mapping[str, Any]) -> None:
        """In the file when it returns, whatever becomes of this process. Raises OSError that names the file."""
        try:
            self._file.write(line_of(document) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what a full disk did not take was said by `write`
            self._file.close()


def _take(file: IO[Any], named: Path) -> None:
    """Nobody else's until it is closed. Two runs in one file would each put aside what the other writes."""
    if sys.platform == "win32":  # it has no such locks
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError(f"another run writes into {named}: wait for its end, or name another file") from None
    except OSError:
        return  # some file systems know no locks


def _replace(path: Path, text: str) -> None:
    """The same file with another content, whole at any moment, and for nobody who might not read it before."""
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.touch(0o600)
        copymode(path, beside)
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(beside)) from error


def _answers(path: Path, named: Path) -> list[tuple[str, str]]:
    """The lines that hold an answer, by what it is an answer for."""
    found = []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
            name = document["file"]
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and not line.endswith(b"\n"):
                break  # the writer was killed in the midst of it
            raise ValueError(f"{named} holds something else than results in line {number}: name another file") from None
        if "error" not in document and line.endswith(b"\n"):
            found.append((str(name), line.decode("utf-8")))
    return found
