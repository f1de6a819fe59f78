"""Servers that speak S3, for tests: each with one empty bucket, on a port of its own, gone afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3  # type: ignore[import-untyped]

from cli.layout import HOST
from tests.ports import free_ports

BUCKET: Final = "photographs"
_USER: Final = "amulet-tests"
_PASSWORD: Final = "correct horse battery staple"  # of a server that lives as long as a test
_START_S_MAX: Final = 30.0
# One request at a time: two that come together end with 500 now and then, for its memory has no locks.
_MOTO: Final = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple(sys.argv[1], int(sys.argv[2]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


@dataclass(frozen=True, slots=True)
class ObjectServer:
    """A server of S3, and what its callers are told."""

    url: str  # as AMULET_STORAGE_URL has it
    key_file: Path
    process: subprocess.Popen[bytes]

    @property
    def variables(self) -> dict[str, str]:
        return {"AMULET_STORAGE_URL": self.url, "AMULET_STORAGE_KEY_FILE": str(self.key_file)}

    def client(self) -> Any:
        """Amazon's own client, let in, to look past what is tested."""
        endpoint = self.url.split("endpoint=")[1]
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=_USER,
            aws_secret_access_key=_PASSWORD,
        )


@contextmanager
def rclone(folder: Path) -> Iterator[ObjectServer]:
    """rclone's: checks signatures, and has no versions. folder: where the bucket is one, made here."""
    (folder / "served" / BUCKET).mkdir(parents=True)
    (port,) = free_ports(1)
    command = [
        *(shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone", "serve", "s3"),
        *("--addr", f"{HOST}:{port}", "--auth-key", f"{_USER},{_PASSWORD}", "--config", str(folder / "no.conf")),
        *("--vfs-cache-mode", "off", str(folder / "served")),
    ]
    with _running(command, folder, port) as server:
        yield server


@contextmanager
def moto(folder: Path, *, versioned: bool = True) -> Iterator[ObjectServer]:
    """moto's: keeps versions as Amazon does, and lets everybody in."""
    (port,) = free_ports(1)
    with _running([sys.executable, "-c", _MOTO, HOST, str(port)], folder, port) as server:
        client = server.client()
        client.create_bucket(Bucket=BUCKET)
        if versioned:
            client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield server


@contextmanager
def _running(command: Sequence[str], folder: Path, port: int) -> Iterator[ObjectServer]:
    key_file = folder / "credentials"
    key_file.write_text(f"[default]\naws_access_key_id = {_USER}\naws_secret_access_key = {_PASSWORD}\n")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        begin_s = time.monotonic()
        while not _listens(port):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() - begin_s < _START_S_MAX, f"{command[0]} does not listen"
            time.sleep(0.05)
        yield ObjectServer(f"s3://{BUCKET}/kept?endpoint=http://{HOST}:{port}", key_file, process)
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
