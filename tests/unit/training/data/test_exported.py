from __future__ import annotations

from pathlib import Path

import pytest

from console.datasets.services import FORM
from training.data.exported import MANIFEST, is_export


@pytest.mark.parametrize(
    ("manifest", "export"),
    [
        (f'{{"form": "{FORM}", "photographs": []}}', True),
        ('{"form": "amulet negatives 1"}', False),
        ("[]", False),
        ('{"form": "amu', True),  # cut short: the safe answer
        (None, False),
    ],
)
def test_a_folder_is_an_export_by_the_form_that_the_console_writes(
    tmp_path: Path, manifest: str | None, export: bool
) -> None:
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest, "utf-8")
    assert is_export(tmp_path) == export
