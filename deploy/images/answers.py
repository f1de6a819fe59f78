"""Exit 0 when a page of a process on this machine answers 200: the probe of the images, which have no curl.

    python answers.py 7445 /healthz
    python answers.py /var/lib/amulet/torchserve/tmp/inference.sock /ping any

With `any` every answer will do: TorchServe wants a token for all its pages, and one that refuses a stranger is alive.
"""

from __future__ import annotations

import http.client
import socket
import sys
from typing import Final

ANSWER_S_MAX: Final = 4.0
HOST: Final = "127.0.0.1"


class _Socket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S_MAX)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S_MAX)
        self.sock.connect(self._path)


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3) or arguments[2:] not in ([], ["any"]):
        print("usage: answers.py PORT|SOCKET PATH [any]", file=sys.stderr)
        return 2
    where, path = arguments[:2]
    connection = (
        http.client.HTTPConnection(HOST, int(where), timeout=ANSWER_S_MAX) if where.isdecimal() else _Socket(where)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"{where}{path} does not answer: {error}", file=sys.stderr)
        return 1
    print(f"{answer.status} {said}")
    return int(len(arguments) == 2 and answer.status != http.HTTPStatus.OK)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
