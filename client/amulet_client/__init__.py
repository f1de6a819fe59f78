"""The typed Python client of an Amulet gateway.

    from amulet_client import Client

    with Client("127.0.0.1:7443", api_key=key, ca_file="ca.pem") as client:
        answer = client.predict([photo])

Answers are frozen values; refusals are `Refused` with the reason, the field to blame and
when to try again. "Unsure" and "out of distribution" are answers. Knows the contract and
nothing of the servers behind it.
"""

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
