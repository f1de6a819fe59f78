"""The typed Python client of an Amulet gateway.

    from amulet_client import Client

    with Client("127.0.0.1:7443", api_key=key, ca_file="ca.pem") as client:
        answer = client.predict([photo])

Answers are frozen values; refusals are `Refused` with the reason, the field to blame and
when to try again. "Unsure" and "out of distribution" are answers. Knows the contract and
nothing of the servers behind it.

Nothing is loaded before it is asked for: gRPC reads its own variables as soon as it is imported, and the command
line (`amulet_client.__main__`) has one to set before.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from amulet_client.answers import (
        Candidate,
        Example,
        Finding,
        HeatMap,
        OodScore,
        Prediction,
        Quality,
        Timings,
        View,
        ViewReport,
        Wishes,
        request_of,
    )
    from amulet_client.asynchronous import AsyncClient
    from amulet_client.connection import ConnectionOptions
    from amulet_client.errors import AmuletError, ClientClosed, Refused, Unreachable
    from amulet_client.models import Detector, Group, Level, Metric, ModelCard, ServedModel, ServedVersion
    from amulet_client.synchronous import Client

__all__ = [
    "AmuletError",
    "AsyncClient",
    "Candidate",
    "Client",
    "ClientClosed",
    "ConnectionOptions",
    "Detector",
    "Example",
    "Finding",
    "Group",
    "HeatMap",
    "Level",
    "Metric",
    "ModelCard",
    "OodScore",
    "Prediction",
    "Quality",
    "Refused",
    "ServedModel",
    "ServedVersion",
    "Timings",
    "Unreachable",
    "View",
    "ViewReport",
    "Wishes",
    "request_of",
]

_HOME: Final = MappingProxyType(
    {
        "Candidate": "answers",
        "Example": "answers",
        "Finding": "answers",
        "HeatMap": "answers",
        "OodScore": "answers",
        "Prediction": "answers",
        "Quality": "answers",
        "Timings": "answers",
        "View": "answers",
        "ViewReport": "answers",
        "Wishes": "answers",
        "request_of": "answers",
        "AsyncClient": "asynchronous",
        "ConnectionOptions": "connection",
        "AmuletError": "errors",
        "ClientClosed": "errors",
        "Refused": "errors",
        "Unreachable": "errors",
        "Detector": "models",
        "Group": "models",
        "Level": "models",
        "Metric": "models",
        "ModelCard": "models",
        "ServedModel": "models",
        "ServedVersion": "models",
        "Client": "synchronous",
    }
)


def __getattr__(name: str) -> Any:
    """One of the names above, from the module that it is in."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
