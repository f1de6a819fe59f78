"""The same runs in MLflow, through its own client and only where somebody asked for it (decision 0024).

Parameters, figures, tags. No artefact is sent: reports hold photographs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from training.experiments.tracking import Place, TrackedRun, TrackingFailed

if TYPE_CHECKING:
    from mlflow import MlflowClient

VARIABLE: Final = "MLFLOW_TRACKING_URI"
EXPERIMENT: Final = "amulet"
_EXTRA: Final = "mlflow"
_BATCH: Final = 100  # of one request: what the server allows of parameters
_VALUE_LENGTH_MAX: Final = 6000
_NOT_IN_KEYS: Final = re.compile(r"[^\w\-. :/]")
# Where the user says nothing else. A server that is away costs seconds and not minutes, nothing is reported to
# MLflow's makers, and stderr is ours.
_CLIENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
    }
)
# Else it prints the run's address, password and all, into what a command prints.
_QUIET: Final = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
_Item = TypeVar("_Item")


def into_mlflow(uri: str, experiment: str = EXPERIMENT) -> Place:
    """uri: as MLflow's client takes it; its user and password show nowhere.  experiment: made where it is missing."""
    opened: list[tuple[MlflowClient, str]] = []

    def keep(run: TrackedRun) -> None:
        try:
            if not opened:
                opened.append(_opened(uri, experiment))
            _send(*opened[0], run)
        except ModuleNotFoundError as error:
            raise TrackingFailed(
                f"{VARIABLE} is set, but runs are not noted in MLflow: the Python module {error.name} is not "
                f"installed; install this project with its `{_EXTRA}` extra, or unset the variable"
            ) from None
        except Exception as error:  # of a client that is not ours; its message may hold the password
            why = getattr(error, "error_code", type(error).__name__)
            raise TrackingFailed(
                f"runs are not noted in MLflow at {_place(uri)} ({why}): see that it answers, or unset {VARIABLE}"
            ) from None

    return keep


def _opened(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)
    os.environ[_QUIET] = "true"
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    return client, found.experiment_id if found else client.create_experiment(experiment)


def _send(client: MlflowClient, experiment_id: str, run: TrackedRun) -> None:
    from mlflow.entities import Metric, Param

    began_ms = round(run.started_at.timestamp() * 1000)
    ended_ms = began_ms + round(run.seconds * 1000)
    made = client.create_run(experiment_id, start_time=began_ms, tags=_tags(run), run_name=run.name or run.id)
    figures: dict[str, Any] = {**run.figures, "seconds": run.seconds, "peak_mib": run.peak_mib}
    parameters: dict[str, Any] = {**run.parameters, **({} if run.seed is None else {"seed": run.seed})}
    for metrics in _batches([Metric(_key(name), value, ended_ms, 0) for name, value in figures.items()]):
        client.log_batch(made.info.run_id, metrics=metrics)
    for params in _batches([Param(_key(name), str(value)[:_VALUE_LENGTH_MAX]) for name, value in parameters.items()]):
        client.log_batch(made.info.run_id, params=params)
    client.set_terminated(made.info.run_id, "FINISHED", end_time=ended_ms)


def _tags(run: TrackedRun) -> dict[str, str]:
    return {
        "mlflow.source.name": f"amulet {run.command}",
        "amulet.run": run.id,
        "amulet.group": run.group,
        "amulet.data": run.data.name,
        "amulet.fingerprint": run.data.fingerprint,
        "amulet.photos": str(run.data.photos),
        "amulet.code_version": run.code_version,
        **({"amulet.remark": run.remark} if run.remark else {}),
        **{f"amulet.package.{name}": version for name, version in run.packages.items()},
        **{f"amulet.artefact.{_key(path)}": digest for path, digest in run.artefacts.items()},
    }


def _key(name: str) -> str:
    return _NOT_IN_KEYS.sub("_", name)


def _batches(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    waiting = iter(items)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def _place(uri: str) -> str:
    """Scheme, host and port; of what has no host, the scheme."""
    try:
        parts = urlsplit(uri)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return VARIABLE
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else parts.scheme or VARIABLE
