"""What is known about model versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from console.leases import over
from console.registry.models import NAMED, ModelVersion, State, Upload
from console.torchserve.management import BackendVersion
from model_store.errors import ArchiveRefused
from model_store.examples import ExamplesInvalid
from model_store.store import name_for, open_stored

# No claim and no hold is taken for longer.
CLAIM_MAX: Final = timedelta(minutes=5)
HOLD_MAX: Final = timedelta(minutes=30)


def versions() -> QuerySet[ModelVersion]:
    """Versions, newest first, with the people concerned, in one query."""
    return ModelVersion.objects.select_related("uploaded_by", "approved_by").order_by("-pk")


def models_known() -> list[str]:
    """Names of the models that versions were uploaded of, in order. One query over the registry."""
    return sorted(set(ModelVersion.objects.exclude(model="").values_list("model", flat=True)))


def has_version_of(model: str, day: date) -> bool:
    """Whether a version of a model bears this day in its name."""
    return ModelVersion.objects.filter(model=model, version__startswith=f"v{day:%Y%m%d}_").exists()


def uploads_of(user_id: int) -> QuerySet[Upload]:
    """Unfinished uploads of a person, newest first."""
    return Upload.objects.filter(created_by=user_id, model_version=None).order_by("-created_at")


def held() -> list[BackendVersion]:
    """Versions that TorchServe must hold although no route may lead to them yet."""
    loaded = ModelVersion.objects.exclude(held_until=None).exclude(over("held_until", longest=HOLD_MAX, at=now()))
    rows = loaded.values_list("model", "version", "sha256")
    return [BackendVersion(model, version, name_for(sha256)) for model, version, sha256 in rows]


def backend_version(version: ModelVersion) -> BackendVersion:
    """How TorchServe knows a version."""
    return BackendVersion(version.model, version.version, version.file_name)


def unclaimed(at: datetime) -> Q:
    """Versions that nobody is working on."""
    return Q(claimed_until=None) | over("claimed_until", longest=CLAIM_MAX, at=at)


def work_due() -> tuple[list[int], list[int]]:
    """Versions whose verification, and whose smoke test, nobody is working on."""
    free = ModelVersion.objects.filter(unclaimed(now()))
    return (
        list(free.filter(state=State.UPLOADED).values_list("pk", flat=True)),
        list(free.filter(state=State.VERIFIED).values_list("pk", flat=True)),
    )


def waiting_in(state: State) -> QuerySet[ModelVersion]:
    """Versions in a state in which they wait for somebody."""
    return ModelVersion.objects.filter(state=state)


def waiting_for_approval(most: int) -> list[ModelVersion]:
    """Smoke-tested versions, the longest waiting first, with their uploader. One query."""
    waiting = ModelVersion.objects.filter(state=State.SMOKE_TESTED).select_related("uploaded_by")
    return list(waiting.order_by("smoke_tested_at", "pk")[:most])


def example_pictures(model: str, version: str) -> Mapping[str, bytes]:
    """Id -> JPEG of the references of a version that may be shown; empty where its archive is not here. One query."""
    rows = ModelVersion.objects.filter(model=model, version=version, state__in=NAMED)
    sha256 = rows.values_list("sha256", flat=True).first()
    try:
        return _example_pictures(name_for(sha256)) if sha256 else {}
    except (OSError, ArchiveRefused, ExamplesInvalid):
        return {}  # pictures beside an answer: the answer is shown without them


@lru_cache(maxsize=8)  # some hundred small pictures each
def _example_pictures(file_name: str) -> Mapping[str, bytes]:
    examples = open_stored(settings.AMULET.model_store / file_name).examples()
    return {example.id: example.thumbnail_jpeg for example in examples if example.thumbnail_jpeg}


@lru_cache(maxsize=32)
def golden_photographs(file_name: str) -> Mapping[str, bytes]:
    """Name -> PNG of an archive in the model store, which never changes under its name.

    Raises ArchiveRefused, OSError when the store has lost it.
    """
    return open_stored(settings.AMULET.model_store / file_name).golden()
