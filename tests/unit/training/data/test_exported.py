from __future__ import annotations

from pathlib import Path

import pytest

from training.data.exported import MANIFEST, is_export


@pytest.mark.parametrize(
    ("manifest", "export"),
    [
        ('{"form": "amulet labels 1", "photographs": []}', True),
        ('{"form": "amulet negatives 1"}', False),
        ("[]", False),
        ('{"form": "amu', True),  # cut short: the safe answer
        (None, False),
    ],
)
def test_a_folder_is_an_export_by_the_form_of_its_manifest(tmp_path: Path, manifest: str | None, export: bool) -> None:
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest, "utf-8")
    assert is_export(tmp_path) == export
