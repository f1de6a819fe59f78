"""What holds for every test: no bound on an example's time, which a busy machine would break."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("amulet", deadline=None)
settings.load_profile("amulet")
