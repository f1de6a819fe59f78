"""A second opinion on every member, from picklescan. What it did not scan counts as refused."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from picklescan.scanner import scan_bytes

from model_store.errors import ArchiveRefused
from protos.amulet.v1 import vocabulary_pb2 as words


def scan(folder: Path) -> str:
    """Scan every file below the folder; returns one sentence. Raises ArchiveRefused with REASON_ARCHIVE_SCANNER."""
    # It warns about every file that is no pickle, which is what we hope for.
    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    scanned = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        try:
            # Without an extension: it must look into every file, whatever its name.
            result = scan_bytes(io.BytesIO(path.read_bytes()), name)
        except Exception as error:  # whatever stops a scanner leaves the file unscanned
            raise _refused(f"picklescan could not scan {name}: {str(error)[:200] or type(error).__name__}") from None
        if result.scanned_files != 1 or result.scan_err:
            raise _refused(f"picklescan did not scan {name} as one file")
        if result.globals or result.issues_count or result.infected_files or result.suspicious_count:
            raise _refused(f"picklescan finds imports in {name}")
        scanned += 1
    return f"picklescan read {scanned} members and found no imports"


def _refused(message: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_SCANNER, message)
