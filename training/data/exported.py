"""Whether a folder is an export of a console: photographs that people lent, and may take back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from training import documents

MANIFEST: Final = "manifest.json"
_FORM: Final = "amulet labels 1"  # as `console.datasets` writes it


def is_export(folder: Path) -> bool:
    """By its manifest. One that cannot be read counts too: whoever takes it for an export shows nobody's photograph.

    Raises OSError.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return False
    try:
        manifest = documents.of_json(content)
    except ValueError:
        return True
    return isinstance(manifest, dict) and manifest.get("form") == _FORM
