"""Large files that come in by a page, on disk without a name: what a killed process held is gone with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.files.uploadhandler import TemporaryFileUploadHandler


class UnnamedFile(TemporaryFileUploadHandler):
    """Django's, whose files have names, and stay with the photographs in them when their process is killed."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        Path(self.file.temporary_file_path()).unlink()  # its content is read and written on; nothing holds a byte yet
