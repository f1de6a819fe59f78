"""The console's web process: `python -m console.serve` answers on AMULET_CONSOLE_LISTEN.

One process with threads by default, since a whole stack has to fit beside a model on a small machine;
AMULET_CONSOLE_PROCESSES of them where events come faster than the interpreter's lock lets them in.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication

from console.privacy import erased_texts, late
from console.site.configuration import ConfigurationWrong, ConsoleSettings, load

if TYPE_CHECKING:
    from django.core.handlers.wsgi import WSGIHandler

THREADS: Final = 8
_GARBAGE_AFTER: Final = 20_000  # new objects; some megabytes at most
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_APP_LOAD_ERROR: Final = 4  # as gunicorn has it


class Server(BaseApplication):
    """Gunicorn, configured from our settings."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        wanted: dict[str, Any] = {
            "bind": self._settings.console_listen,
            "workers": self._settings.console_processes,
            "threads": THREADS,
            "worker_class": "gthread",
            "timeout": 60,
            "graceful_timeout": 10,
            "keepalive": 30,
            "limit_request_line": 8190,
            "loglevel": self._settings.log_level.lower(),
            "control_socket_disable": True,
            "post_fork": _end_with_master,
            "post_worker_init": lambda _worker: settle_memory(),
        }
        for name, value in wanted.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIHandler:
        """Called in the process that answers: its master keeps no Django in memory.

        Every view is imported here and not by the first request: it would wait for that in a thread of its own, and
        what is loaded would stay in every search for garbage.
        """
        from django.conf import settings
        from django.core.wsgi import get_wsgi_application
        from django.db import connections

        application = get_wsgi_application()
        import_module(settings.ROOT_URLCONF)
        from console.vault.queries import key_complaint  # has tables: not before Django is set up

        complaint = key_complaint()
        connections.close_all()  # this thread answers nobody
        if complaint is not None:
            sys.stderr.write(f"{complaint}\n")
            raise SystemExit(_APP_LOAD_ERROR)  # the master ends, and tries no other worker
        return application


def _end_with_master(master: Any, worker: Any) -> None:
    """Let the kernel end this worker when its master is killed.

    By itself it would notice only after seconds, and hold the address meanwhile: the next
    master gives up binding after five tries.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != master.pid:  # killed before the kernel was told
        os._exit(1)


def settle_memory() -> None:
    """Keep what was loaded at the start out of every later search for garbage.

    Each batch of events makes some hundred thousand short-lived objects; looking through all of
    Django for them again and again was a third of what ingest costs (`amulet bench console --rows`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER, 10, 10)


def main() -> int:
    """Serve until told to stop. Returns 2 with one sentence when a setting is wrong.

    Whom the ledger of erasures names is erased again before the port opens: a restore may have
    brought them back. Returns 1 when that cannot be done.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.site.settings")
    try:
        settings = load()
        if unusable := settings.unusable_files():
            raise ConfigurationWrong(unusable[0])
    except ConfigurationWrong as error:
        sys.stderr.write(f"{error}\n")
        return 2
    ledger = settings.erasure_ledger
    if ledger.exists() or late.is_there(ledger) or erased_texts.is_there(ledger):
        # In a process of its own: this one keeps no Django in memory. Nothing listens yet.
        done = subprocess.run([sys.executable, "-m", "console.manage", "replay_erasures"], check=False)
        if done.returncode:
            return done.returncode
    Server(settings).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
