"""A client in a process of its own that streams without end, and says what it received.

    python -m tests.fault.streaming_client ADDRESS KEY_FILE CA_FILE

One line for each answer: its prediction id.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from amulet_client import Client, Refused
from protos.amulet.v1 import prediction_pb2 as pb
from tests import tiny_archive


def requests() -> Iterator[pb.PredictRequest]:
    for number in itertools.count():
        photo = tiny_archive.photo_of(tiny_archive.CLASSES[number % 3], seed=number % 10)
        yield pb.PredictRequest(request_id=f"stream-{number}", views=[pb.View(photo=photo)])


def main(address: str, key_file: str, ca_file: str) -> None:
    with Client(address, api_key=Path(key_file).read_text(), ca_file=ca_file) as client:
        for outcome in client.predict_stream(requests()):
            if not isinstance(outcome, Refused):
                os.writev(1, [f"{outcome.prediction_id}\n".encode()])


if __name__ == "__main__":
    main(*sys.argv[1:])
