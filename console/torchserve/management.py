"""The one door to TorchServe's management API: which models it holds, and changing that.

Speaks gRPC on loopback with the management token. Models are registered by the bare name of
a file in the model store; nothing else can be said through this interface.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import grpc

from console.torchserve.errors import BackendAway, BackendError, BackendRefused
from console.torchserve.tokens import Purpose, Tokens
from model_store import store
from model_store.errors import ArchiveRefused
from protos.torchserve import management_pb2 as pb
from protos.torchserve.management_pb2_grpc import ManagementAPIsServiceStub

CALL_S_MAX: Final = 5.0
LOADING_S_MAX: Final = 20.0
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.mar")
_AWAY: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNKNOWN,  # a TorchServe that is still starting or already stopping
}
_Answer = TypeVar("_Answer")
_Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, order=True)
class BackendVersion:
    """A version as TorchServe knows it."""

    name: str
    version: str
    file_name: str  # bare name in the model store


@dataclass(frozen=True, slots=True)
class Loaded:
    """What TorchServe says of a version that it holds."""

    key: BackendVersion
    workers_ready: int
    workers: int


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How TorchServe runs a version."""

    workers: int = 1
    # The gateway joins the calls that come together. TorchServe's own batches would have a lone request wait for
    # company, a millisecond at the least.
    batch_size: int = 1
    response_timeout_s: int = 10
    # TorchServe ends a worker that takes longer and starts it anew: too short a time on a machine that others load, and
    # none ever comes up.
    startup_timeout_s: int = 60


class Backend(Protocol):
    """What the reconciler and the smoke test need of TorchServe."""

    def loaded(self) -> list[Loaded]: ...
    def describe(self, name: str, version: str) -> Loaded | None: ...
    def register(self, key: BackendVersion) -> None: ...
    def unregister(self, key: BackendVersion) -> None: ...


class Management:
    """TorchServe's management API. Safe for threads; keeps one channel open."""

    def __init__(
        self, *, address: str, tokens: Tokens, options: ServingOptions | None = None, model_store: Path | None = None
    ) -> None:
        """model_store: where TorchServe takes archives from, to look at each before it does; None: it is not here."""
        self._model_store = model_store
        # Files that are not what their names say, as they were seen: the reconciler asks again every second.
        self._wrong: dict[str, tuple[tuple[int, int, int], str]] = {}
        self._tokens = tokens
        self._options = options or ServingOptions()
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.enable_http_proxy", 0),
                # A TorchServe that comes back is found within a second, not after gRPC's two minutes.
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._stub = ManagementAPIsServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def loaded(self) -> list[Loaded]:
        """Every version of every model that TorchServe holds. Raises BackendError."""
        found: list[Loaded] = []
        page = 0
        while True:
            request = pb.ListModelsRequest(limit=100, next_page_token=page)
            listing = self._json(partial(self._list, request))
            for model in listing.get("models", []):
                found += self._versions_of(model["modelName"])
            if not listing.get("nextPageToken"):
                return found
            page = int(listing["nextPageToken"])

    def describe(self, name: str, version: str) -> Loaded | None:
        """One version; None when TorchServe does not hold it. Raises BackendError."""
        return next((loaded for loaded in self._versions_of(name) if loaded.key.version == version), None)

    def register(self, key: BackendVersion) -> None:
        """Have TorchServe load a version and start its worker; returns before the worker is ready.

        The name and version that the archive itself carries must be those of the key, else it
        is unregistered again. Raises ValueError for anything but a bare file name, BackendError;
        BackendRefused, too, for a file that is not what its name says.
        """
        if not _FILE_NAME.fullmatch(key.file_name):
            raise ValueError(f"{key.file_name!r} is not the bare name of an archive")
        self._check_file(key.file_name)
        options = self._options
        request = pb.RegisterModelRequest(
            url=key.file_name,
            initial_workers=options.workers,
            batch_size=options.batch_size,
            response_timeout=options.response_timeout_s,
            startup_timeout=options.startup_timeout_s,
            synchronous=False,
        )
        try:
            self._call(lambda metadata: self._stub.RegisterModel(request, timeout=LOADING_S_MAX, metadata=metadata))
        except BackendRefused:
            found = self.describe(key.name, key.version)
            if found is None or found.key != key:
                raise
            return  # somebody else was first: the reconciler or a smoke test
        if self.describe(key.name, key.version) is None:
            raise BackendRefused(
                f"TorchServe loaded {key.file_name}, but not as {key.name} {key.version}, which was signed"
            )

    def _check_file(self, file_name: str) -> None:
        """What was verified is to run, and not what a bad disk, a restore or somebody made of the file since."""
        if self._model_store is None:
            return
        path = self._model_store / file_name
        try:
            found = path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._wrong.get(file_name, (seen, ""))[0] != seen:
                del self._wrong[file_name]
            if file_name not in self._wrong:
                store.check(path)
        except ArchiveRefused as refusal:
            self._wrong[file_name] = (seen, str(refusal))
        except OSError:
            return  # TorchServe says that it is not there
        if file_name in self._wrong:
            raise BackendRefused(self._wrong[file_name][1])

    def unregister(self, key: BackendVersion) -> None:
        """Have TorchServe drop a version; dropping one that it does not hold is done already. Raises BackendError."""
        others = [loaded.key.version for loaded in self._versions_of(key.name) if loaded.key.version != key.version]
        try:
            if others and self._describe(key.name, "")[0]["modelVersion"] == key.version:
                # TorchServe keeps its default version as long as there are others.
                self._call(
                    lambda metadata: self._stub.SetDefault(
                        pb.SetDefaultRequest(model_name=key.name, model_version=others[0]),
                        timeout=CALL_S_MAX,
                        metadata=metadata,
                    )
                )
            self._call(
                lambda metadata: self._stub.UnregisterModel(
                    pb.UnregisterModelRequest(model_name=key.name, model_version=key.version),
                    timeout=LOADING_S_MAX,
                    metadata=metadata,
                )
            )
        except _NotHeld:
            return

    def _list(self, request: pb.ListModelsRequest, metadata: _Metadata) -> pb.ManagementResponse:
        return self._stub.ListModels(request, timeout=CALL_S_MAX, metadata=metadata)

    def _versions_of(self, name: str) -> list[Loaded]:
        try:
            return [_loaded(document) for document in self._describe(name, "all")]
        except _NotHeld:
            return []

    def _describe(self, name: str, version: str) -> Any:
        """TorchServe's own description; version "" is its default one, "all" every one."""
        return self._json(
            lambda metadata: self._stub.DescribeModel(
                pb.DescribeModelRequest(model_name=name, model_version=version),
                timeout=CALL_S_MAX,
                metadata=metadata,
            )
        )

    def _json(self, call: Callable[[_Metadata], pb.ManagementResponse]) -> Any:
        answer = self._call(call)
        try:
            return json.loads(answer.msg)
        except ValueError:
            raise BackendError("TorchServe's answer is not JSON") from None

    def _call(self, call: Callable[[_Metadata], _Answer]) -> _Answer:
        token = self._tokens.current(Purpose.MANAGEMENT)
        try:
            return _translated(call, token.text)
        except _TokenRefused:
            token = self._tokens.refused(Purpose.MANAGEMENT, token)
            try:
                return _translated(call, token.text)
            except _TokenRefused as error:
                raise BackendAway(str(error)) from None


class _TokenRefused(BackendAway):
    """The token has expired, or TorchServe was restarted and has new ones."""


class _NotHeld(BackendRefused):
    """TorchServe does not hold this model or version."""


def _translated(call: Callable[[_Metadata], _Answer], token: str) -> _Answer:
    try:
        return call((("protocol", "gRPC"), ("authorization", f"Bearer {token}")))
    except grpc.RpcError as error:
        code, details = error.code(), (error.details() or "").split("\n")[0]
        if code is grpc.StatusCode.PERMISSION_DENIED:
            raise _TokenRefused(f"TorchServe: {details}") from None
        if code is grpc.StatusCode.NOT_FOUND:
            raise _NotHeld(f"TorchServe: {details}") from None
        if code in _AWAY:
            raise BackendAway(f"TorchServe does not answer: {code.name.lower()} {details}".rstrip()) from None
        raise BackendRefused(f"TorchServe: {details or code.name.lower()}") from None


def _loaded(document: dict[str, Any]) -> Loaded:
    workers = document.get("workers", [])
    return Loaded(
        key=BackendVersion(
            name=document["modelName"],
            version=document["modelVersion"],
            file_name=document["modelUrl"].rsplit("/", 1)[-1],
        ),
        workers_ready=sum(worker.get("status") == "READY" for worker in workers),
        workers=len(workers),
    )
