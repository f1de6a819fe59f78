from __future__ import annotations

from tests.console_ready import ready

ready()
