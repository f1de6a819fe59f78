"""The code that may travel inside an archive: the SHA-256 of every accepted version.

The list is `handlers_allowed.json` beside this file and changes only with the repository:
whoever may merge there decides what TorchServe runs. `python -m model_store.allow_handler`
adds the handler of the working tree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from model_store.contents import CODE
from model_store.errors import ArchiveRefused
from model_store.manifest import HANDLER
from protos.amulet.v1 import vocabulary_pb2 as words

LIST_FILE: Final = "handlers_allowed.json"


@dataclass(frozen=True, slots=True)
class HandlerList:
    """Member name -> SHA-256 of its content -> why it is accepted."""

    accepted: Mapping[str, Mapping[str, str]]

    @staticmethod
    def load() -> HandlerList:
        """The list of this repository."""
        text = resources.files("model_store").joinpath(LIST_FILE).read_text("utf-8")
        return HandlerList(json.loads(text))

    def check(self, digests: Mapping[str, str]) -> str:
        """digests: name -> SHA-256.  Raises ArchiveRefused with REASON_ARCHIVE_HANDLER_NOT_ALLOWED."""
        for name in CODE:
            if digests[name] not in self.accepted.get(name, {}):
                raise ArchiveRefused(
                    words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED,
                    f"{name} (SHA-256 {digests[name]}) is none of the reviewed versions in model_store/{LIST_FILE}",
                )
        return f"{self.accepted[HANDLER][digests[HANDLER]]}"
