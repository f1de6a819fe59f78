"""The operators' port: /metrics, /healthz and /readyz over plain HTTP.

    /healthz  200 while the event loop turns; otherwise there is no answer
    /readyz   200 {"ready": true, ...} or 503 {"ready": false, "problems": {SUBJECT: SENTENCE}, ...};
              "models" lists every version that the policy names, and whether it is ready
    /metrics  Prometheus text

Answered from threads, so that a stuck event loop shows as a time-out here and not as a
healthy process; what they tell is read on the loop, where it belongs, but for what the kernel
says of the process: that is read from files.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from gateway.health import Health

_LOOP_S_MAX: Final = 2.0
_IDLE_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    status: HTTPStatus
    content_type: str
    content: bytes
    more: Callable[[], bytes] = bytes  # what follows it; called on the thread that answers, and may block


def pages(health: Health, registry: CollectorRegistry) -> dict[str, Callable[[], Page]]:
    """Path -> what it answers; called on the event loop."""
    process = CollectorRegistry()
    ProcessCollector(registry=process)

    def healthz() -> Page:
        return _json(HTTPStatus.OK, {"alive": True})

    def readyz() -> Page:
        problems = health.problems()
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        return _json(
            status,
            {
                "ready": not problems,
                "problems": problems,
                "remarks": health.remarks(),
                "models": health.versions(),
            },
        )

    def metrics() -> Page:
        return Page(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry), partial(generate_latest, process))

    return {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


def _json(status: HTTPStatus, document: object) -> Page:
    return Page(status, "application/json", json.dumps(document, ensure_ascii=False).encode())


class OpsServer:
    """Listens from `start` to `stop`; both block for a moment only."""

    def __init__(self, host: str, port: int, answers: dict[str, Callable[[], Page]]) -> None:
        """Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()

        class Handler(BaseHTTPRequestHandler):
            timeout = _IDLE_S_MAX
            server_version, sys_version = "amulet", ""

            def do_GET(self) -> None:
                answer = answers.get(self.path.partition("?")[0])
                if answer is None:
                    self.send_error(HTTPStatus.NOT_FOUND)
                    return
                try:
                    page = asyncio.run_coroutine_threadsafe(_on_loop(answer), loop).result(_LOOP_S_MAX)
                except TimeoutError:
                    self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "the event loop does not turn")
                    return
                content = page.content + page.more()
                self.send_response(page.status)
                self.send_header("Content-Type", page.content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                return None  # scrapes are no news

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

        self._server = Server((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="ops", daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


async def _on_loop(answer: Callable[[], Page]) -> Page:
    return answer()
