"""Restrictions and objections that were begun or done before those took effect by themselves: they take effect now."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F, Q
from django.utils.timezone import now

from console.audit.services import record


def restrict(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Whom the audit trail calls restricted once is left alone: theirs was lifted since, by somebody who had a reason.

    A person who was unknown when the work began has nothing here that could be left alone, and is passed over.
    """
    begun = Q(state="in_progress") | Q(state="paused", paused_from="in_progress") | Q(state="done")
    rows = apps.get_model("privacy", "PrivacyRequest").objects.filter(
        begun,
        kind__in=("restriction", "objection"),
        subject__isnull=False,
        subject__shut_at=None,
        subject__restricted_at=None,
    )
    subjects, told = apps.get_model("vault", "Subject").objects, apps.get_model("audit", "Payload").objects
    # Those that were done first: what was done holds since then, and a later request of the person goes by that.
    for request in rows.order_by(F("closed_at").asc(nulls_last=True), "pk"):
        subject_id = str(request.subject_id)
        acts = told.filter(subject_type="subject", subject_id=subject_id).values_list("entry__type", flat=True)
        if "vault.restricted" in acts:
            continue
        subjects.filter(pk=request.subject_id).update(restricted_at=request.closed_at or now())
        record(
            actor=None,
            action="vault.restricted",
            subject_type="subject",
            subject_id=subject_id,
            details={"request": request.pk},
        )


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0003_urgent_first"),
        ("vault", "0006_restricted"),
        ("audit", "0002_rare_kinds"),
    ]

    operations = [migrations.RunPython(restrict, migrations.RunPython.noop)]
