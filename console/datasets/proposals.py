"""When a model should learn anew: enough new labels, or what it is asked has drifted from what it learnt."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import transaction

from console.audit.services import record
from console.datasets.models import Dataset, Proposal
from console.drift.models import EVERYBODY
from console.drift.queries import alerts
from console.registry.queries import models_known
from console.review.models import TAKE_BACK
from console.review.queries import labels_of
from console.vault.models import Purpose
from console.vault.queries import consents_in_force


def propose_all(*, at: datetime) -> int:
    """Look at every model. Returns how many proposals stand. May run twice."""
    for model in models_known():
        propose(model=model, at=at)
    return Proposal.objects.count()


@transaction.atomic
def propose(*, model: str, at: datetime) -> Proposal | None:
    """Open, renew or withdraw the proposal of a model, with an audit entry when it opens or goes."""
    labels = new_labels(model, at=at)
    drifting = alerts().filter(client=EVERYBODY, model=model).count()
    if labels < settings.AMULET.retrain_labels and not drifting:
        if Proposal.objects.filter(model=model).delete()[0]:
            _record("retraining.proposal_closed", model, labels, drifting)
        return None
    standing, opened = Proposal.objects.update_or_create(
        model=model,
        defaults={"labels": labels, "alerts": drifting},
        create_defaults={"model": model, "since": at, "labels": labels, "alerts": drifting},
    )
    if opened:
        _record("retraining.proposed", model, labels, drifting)
    return standing


def new_labels(model: str, *, at: datetime) -> int:
    """Labels that came since the newest export of a model, and can be taken back no more; counted up to the setting."""
    agreed = consents_in_force(purpose=Purpose.TRAINING, at=at).filter(subject__restricted_at=None).values("subject")
    settled = labels_of(model, decided_before=at - TAKE_BACK).filter(item__prediction__subject__in=agreed)
    newest = Dataset.objects.filter(model=model).order_by("-pk").values_list("made_at", flat=True).first()
    if newest is not None:
        settled = settled.filter(decided_at__gte=newest - TAKE_BACK)  # what that export could not have yet
    return settled.order_by()[: settings.AMULET.retrain_labels].count()


def _record(action: str, model: str, labels: int, drifting: int) -> None:
    record(
        actor=None,
        action=action,
        subject_type="model",
        subject_id=model,
        details={"labels": labels, "alerts": drifting},
    )
