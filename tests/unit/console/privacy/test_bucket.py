"""A person's photographs in a bucket that keeps versions: kept, opened, withdrawn, erased, and the bucket away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from console.errors import NotAvailable
from console.ingest.retention import photo_key
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.privacy import erasure, tasks
from console.privacy.models import Erasure, PrivacyRequest, State, Step
from console.staff.models import User
from console.vault import opening, queries, services
from console.vault.bucket import Bucket
from console.vault.models import Kind, StoredObject
from console.vault.ownership import mark_of
from tests.console_events import kept_event
from tests.object_servers import BUCKET, ObjectServer, moto
from tests.unit.console.privacy.planted import ask_erasure, plant

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with moto(tmp_path_factory.mktemp("bucket")) as running:
        yield running


@pytest.fixture(autouse=True)
def kept_in_the_bucket(server: ObjectServer, settings: Settings) -> Iterator[None]:
    with_bucket = {"storage_url": server.url, "storage_key_file": server.key_file}
    settings.AMULET = django_settings.AMULET.model_copy(update=with_bucket)
    queries.store.cache_clear()
    assert isinstance(queries.store(), Bucket)
    yield
    queries.store.cache_clear()


@pytest.fixture
def gone(settings: Settings, server: ObjectServer) -> Any:
    """Call it, and the bucket is one that is not there; again, and it is back."""

    def turn(*, away: bool) -> None:
        url = server.url.replace(BUCKET, "nobodys") if away else server.url
        settings.AMULET = django_settings.AMULET.model_copy(update={"storage_url": url})
        queries.store.cache_clear()

    return turn


def everything_in(server: ObjectServer) -> list[bytes]:
    """Every version of every object, and an empty one for every mark of a deleted one."""
    client = server.client()
    listed = client.list_object_versions(Bucket=BUCKET)
    return [
        client.get_object(Bucket=BUCKET, Key=each["Key"], VersionId=each["VersionId"])["Body"].read()
        for each in listed.get("Versions", ())
    ] + [b"" for _ in listed.get("DeleteMarkers", ())]


def test_what_is_kept_lies_sealed_in_the_bucket_and_nowhere_on_the_disk(
    officer: User, expert: User, server: ObjectServer
) -> None:
    on_disk = set(django_settings.AMULET.storage_dir.glob("*/*.bin"))
    mine = plant(officer, expert)

    photograph = opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=str(mine.prediction_ids[0]), part=0)

    assert photograph.startswith(b"\x89PNG")
    objects = everything_in(server)
    assert len(objects) == StoredObject.objects.count() == 6  # three photographs, each with its heat map
    assert not any(photograph[:100] in each or b"PNG" in each[:64] for each in objects)
    assert set(django_settings.AMULET.storage_dir.glob("*/*.bin")) == on_disk
    services.shut(subject_id=mine.subject_id)
    services.delete_files(list(StoredObject.objects.values_list("pk", flat=True)))


def test_a_withdrawal_leaves_no_version(
    officer: User,
    expert: User,
    server: ObjectServer,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    plant(officer, expert)
    assert len(everything_in(server)) == 6

    with django_capture_on_commit_callbacks(execute=True):
        services.withdraw_consent(actor=officer, reference="canary-consent-7701", channel="web")

    assert everything_in(server) == []


def test_an_erasure_waits_for_a_bucket_that_is_away_and_leaves_no_version(
    officer: User, expert: User, server: ObjectServer, gone: Any
) -> None:
    plant(officer, expert)
    request = ask_erasure(officer)
    gone(away=True)
    with pytest.raises(OSError, match="NoSuchBucket"):
        erasure.carry_out(request.pk)
    tasks.find_work()  # as by the clock: it says so, and goes on the next time
    assert Erasure.objects.get(pk=request.pk).step < Step.SEARCH
    assert len(everything_in(server)) == 6

    gone(away=False)
    tasks.find_work()

    assert PrivacyRequest.objects.get(pk=request.pk).state == State.DONE
    assert Erasure.objects.get(pk=request.pk).before["files"] == 6
    assert everything_in(server) == []


def test_a_batch_that_finds_the_bucket_away_is_not_applied_and_comes_again(
    officer: User, server: ObjectServer, gone: Any
) -> None:
    services.give_consent(
        actor=officer, pseudonym="shop-17", purpose="keep_photograph", text_version="1", channel="web", reference="c-1"
    )
    event = kept_event(pseudonym="shop-17", consent="c-1", recipient=photo_key().public_key())
    gone(away=True)
    with pytest.raises(OSError, match="NoSuchBucket"):
        apply_batch([event])
    assert not Prediction.objects.exists()

    gone(away=False)
    assert apply_batch([event]).applied == 1
    assert apply_batch([event]).known_before == 1
    assert len(everything_in(server)) == StoredObject.objects.count() == 2
    services.delete_files(list(StoredObject.objects.values_list("pk", flat=True)))


def test_who_opens_a_photograph_while_the_bucket_is_away_is_told_so(
    officer: User, expert: User, server: ObjectServer, gone: Any
) -> None:
    mine = plant(officer, expert)
    gone(away=True)
    with pytest.raises(NotAvailable, match="cannot be reached now"):
        opening.open_kept(actor=expert, kind=Kind.PHOTOGRAPH, owner=str(mine.prediction_ids[0]), part=0)
    gone(away=False)
    services.delete_files([*StoredObject.objects.values_list("pk", flat=True), uuid4()])
    assert everything_in(server) == []


def test_the_sweep_finds_what_no_row_names(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = uuid4()
    queries.store().write([(orphan, b"noise")])
    mine = orphan.bytes[0] % services.SWEEP_TURNS
    assert services.sweep(turn=mine) == 0  # it may be being written
    monkeypatch.setattr(services, "ORPHAN_AGE_S", -60.0)

    assert services.sweep(turn=mine) == 1

    assert everything_in(server) == [mark_of(queries.keys())]
