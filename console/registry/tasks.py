"""Work on versions that takes longer than a request. Every task may run twice and may be lost: beat finds it again."""

from __future__ import annotations

import logging

from celery import shared_task

from console.celery_app import wake
from console.errors import NotAvailable
from console.pulse.models import Service
from console.pulse.services import beat
from console.registry import queries, services, uploads
from console.registry.models import ModelVersion
from console.registry.smoke import SmokeReport
from console.registry.smoke import smoke_test as try_golden_photographs
from console.torchserve import connections
from console.torchserve.errors import BackendAway, BackendError
from model_store.errors import ArchiveRefused

_log = logging.getLogger(__name__)


@shared_task
def verify(version_id: int) -> None:
    """Verify a version whose first verification was cut off."""
    try:
        services.verify_version(version_id=version_id)
    except NotAvailable as error:
        _log.warning("not verified", extra={"version_id": version_id, "error": str(error)})


@shared_task
def smoke_test(version_id: int) -> None:
    """Ask a verified version its golden photographs through a real worker."""
    if not services.claim_smoke_test(version_id=version_id):
        return
    services.hold(version_id=version_id, seconds=services.SMOKE_TEST_S_MAX)
    version = ModelVersion.objects.get(pk=version_id)
    try:
        report = try_golden_photographs(
            version.card(),
            queries.backend_version(version),
            queries.golden_photographs(version.file_name),
            backend=connections.management(),
            worker=connections.inference(),
        )
    except BackendAway as error:
        _log.warning("torchserve is away, smoke test later", extra={"version_id": version_id, "error": str(error)})
        services.release_claim(version_id=version_id)
        return
    except (BackendError, ArchiveRefused, OSError, ValueError) as error:
        report = SmokeReport((), 0.0, 0.0, str(error))
    services.settle_smoke_test(version_id=version_id, report=report.as_document(), passed=report.passed)


@shared_task
def find_work() -> None:
    """Wake what nobody is working on: after a lost message, a killed worker, a TorchServe that was away."""
    beat(Service.WORKER)
    unverified, untested = queries.work_due()
    for version_id in unverified:
        wake("console.registry.tasks.verify", version_id)
    for version_id in untested:
        wake("console.registry.tasks.smoke_test", version_id)


@shared_task
def discard_abandoned_uploads() -> None:
    """Forget unfinished uploads that nobody touched for a day."""
    count = uploads.discard_abandoned()
    if count:
        _log.info("abandoned uploads discarded", extra={"count": count})
