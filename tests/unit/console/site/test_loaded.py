"""What a console process carries before it has done anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from django.core.management import get_commands, load_command_class

START_OF_A_WORKER = """
import sys
from console.celery_app import app
app.loader.import_default_modules()
print(*{"numpy", "datasketches", "scipy", "PIL", "fpdf", "fontTools"} & set(sys.modules))
"""


def test_a_process_without_sketches_and_pictures_carries_no_numpy() -> None:
    """Twenty megabytes in each of five processes."""
    done = subprocess.run([sys.executable, "-c", START_OF_A_WORKER], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


FIRST_REQUEST = """
import sys
from console.serve import Server
from console.site.configuration import load
Server(load()).load()
loaded = set(sys.modules)
from django.test import Client
assert Client(headers={"host": "localhost"}).get("/healthz").status_code == 200
print(*(name for name in set(sys.modules) - loaded if name.startswith("console.")))
"""


def test_the_first_request_waits_for_no_view_to_be_imported(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    for name in ("control_token", "key_secret", "django_secret", "photo_seal.key", "vault.key"):
        (tmp_path / "secrets" / name).write_text(("secret" * 6)[:32])
    environment = {"AMULET_STATE_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "console.site.settings", "PATH": ""}

    done = subprocess.run(
        [sys.executable, "-c", FIRST_REQUEST], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []


def test_migrate_alone_reads_every_page_and_view_before_it_begins() -> None:
    """A second and a half of each process that does: Django's checks. It comes before all others."""
    ours = {name: app for name, app in get_commands().items() if str(app).startswith("console.")}

    assert {"create_staff", "keep"} <= ours.keys()
    assert [name for name, app in ours.items() if load_command_class(app, name).requires_system_checks] == ["migrate"]
