"""What becomes of photographs on sheets whose people do not let them be learnt from any more.

Apart from what reads sheets, which carries pictures' libraries: every worker applies the rules of retention.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.timezone import now

from console.audit.services import record
from console.predictions.models import Prediction
from console.sheets.models import SheetItem
from console.vault.models import Purpose
from console.vault.queries import consents_in_force
from console.vault.restriction import hold


def shown(items: QuerySet[SheetItem]) -> QuerySet[SheetItem]:
    """Those that may be looked at: a photograph of somebody whom the console knows, while that person lets it be learnt
    from.
    """
    return items.exclude(prediction__subject__restricted_at__isnull=False).exclude(pk__in=withdrawn().values("pk"))


def withdrawn() -> QuerySet[SheetItem]:
    """Items of people who agree no longer, restricted ones among them."""
    agreed = consents_in_force(purpose=Purpose.TRAINING, at=now()).filter(subject=OuterRef("prediction__subject"))
    return SheetItem.objects.filter(~Exists(agreed), prediction__subject__isnull=False)


def discard_withdrawn() -> int:
    """Delete what sheets hold of people who do not agree to training any more. Returns how many items.

    What its person restricted stays, and is shown to nobody: that may be what it is needed for.
    """
    with transaction.atomic():
        ended = withdrawn().filter(prediction__subject__restricted_at=None)
        hold(Prediction.objects.filter(pk__in=ended.values("prediction")))
        gone = list(ended.values_list("pk", flat=True))
        SheetItem.objects.filter(pk__in=gone).delete()
        if gone:
            details = {"items": len(gone)}
            record(actor=None, action="sheets.discarded", subject_type="vault", subject_id="", details=details)
    return len(gone)
