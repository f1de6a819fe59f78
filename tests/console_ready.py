"""Makes Django usable in a test process: a state folder of its own, secrets in it, Django set up.

The `conftest.py` files of console tests call `ready()` while they are imported, before any
test module imports a model. With AMULET_DATABASE_URL set the same tests run on that server.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path


def write_secrets(state_dir: Path) -> None:
    """Write every secret file that a console process needs into STATE/secrets."""
    folder = state_dir / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("control_token", "key_secret", "input_hash_secret", "django_secret"):
        (folder / name).write_text(secrets.token_urlsafe(48))
    for name in ("audit_signing.key", "photo_seal.key", "vault.key"):
        (folder / name).write_bytes(secrets.token_bytes(32))
    (state_dir / "console").mkdir(exist_ok=True)


def ready() -> None:
    """Set Django up once in this process."""
    if os.environ.get("AMULET_STATE_DIR"):
        return
    state_dir = Path(tempfile.mkdtemp(prefix="amulet-test-"))
    atexit.register(shutil.rmtree, state_dir, ignore_errors=True)
    write_secrets(state_dir)
    os.environ["AMULET_STATE_DIR"] = str(state_dir)
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.site.settings"
    import django

    django.setup()
