"""One console in which every list of the REST interface has rows, and every number in an address can lead somewhere."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from console.audit.models import Entry
from console.clients.models import ApiKey, Client
from console.datasets.models import Dataset, Proposal
from console.predictions.models import Prediction
from console.privacy.models import PrivacyRequest
from console.registry.models import ModelVersion, Upload
from console.registry.uploads import start_upload
from console.retraining.models import TrainingJob
from console.review.models import ReviewItem
from console.rollout.models import Experiment, Firing, Route
from console.sheets.models import Sheet
from console.staff.models import ApiToken, User
from console.vault.models import Consent, Subject
from console.webhooks.models import Delivery, Endpoint
from model_store import signing
from tests.browser.seed import MODEL, seed

# Where an address names something: the part before the parameter, and what there is.
NAMED = {
    "clients": lambda: Client.objects.values_list("pk", flat=True),
    "keys": lambda: ApiKey.objects.values_list("key_id", flat=True),
    "uploads": lambda: Upload.objects.values_list("pk", flat=True),
    "versions": lambda: ModelVersion.objects.values_list("pk", flat=True),
    "experiments": lambda: Experiment.objects.values_list("pk", flat=True),
    "models": lambda: ModelVersion.objects.exclude(model="").values_list("model", flat=True),
    "routes": lambda: Route.objects.values_list("pk", flat=True),
    "guardrails": lambda: Firing.objects.values_list("pk", flat=True),
    "consents": lambda: Consent.objects.values_list("reference", flat=True),
    "entries": lambda: Entry.objects.order_by("sequence").values_list("pk", flat=True),
    "requests": lambda: PrivacyRequest.objects.values_list("pk", flat=True),
    "subjects": lambda: Subject.objects.values_list("pk", flat=True),
    "predictions": lambda: Prediction.objects.values_list("pk", flat=True),
    "reviews": lambda: ReviewItem.objects.values_list("pk", flat=True),
    "datasets": lambda: Dataset.objects.values_list("pk", flat=True),
    "training-jobs": lambda: TrainingJob.objects.values_list("pk", flat=True),
    "staff": lambda: User.objects.order_by("pk").values_list("pk", flat=True),
    "tokens": lambda: ApiToken.objects.order_by("pk").values_list("key_id", flat=True),
    "sheets": lambda: Sheet.objects.values_list("pk", flat=True),
    "webhooks": lambda: Endpoint.objects.values_list("pk", flat=True),
}


def fill(folder: Path) -> None:
    """A fortnight of work, and an upload that is not finished."""
    key = folder / "release.key"
    signing.generate_key(key)
    trusted = settings.AMULET.trusted_keys / "of-this-test.pem"
    trusted.write_bytes(signing.public_pem(key))
    try:
        seed(key)
    finally:
        trusted.unlink()
    assert Delivery.objects.exists()
    boss = User.objects.get(username="suda")
    start_upload(actor=boss, filename="a.mar", size_bytes=100, sha256="0" * 64, note="")
    Proposal.objects.create(model=MODEL, labels=3, alerts=1)
