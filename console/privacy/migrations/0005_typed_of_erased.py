"""What was typed about requests of people who were erased before it went with them: it goes now."""

import json

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Q

_TYPED = {"reason", "outcome"}
_AT_ONCE = 500
_DONE = 8  # the step of an erasure that nothing is left of


def forget(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Of the erasures themselves and their duplicates. Nothing leads from an erased person to their other requests."""
    requests = apps.get_model("privacy", "PrivacyRequest").objects
    payloads = apps.get_model("audit", "Payload").objects
    done = Q(erasure__step=_DONE) | Q(duplicate_of__erasure__step=_DONE)
    ids = list(requests.filter(done).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        requests.filter(pk__in=some).exclude(extension_reason="").update(extension_reason="")
        about = payloads.filter(subject_type="privacy_request", subject_id__in=[str(number) for number in some])
        said = about.values_list("pk", "text")
        payloads.filter(pk__in=[number for number, text in said if _is_typed(text)]).delete()


def _is_typed(text: str) -> bool:
    try:
        return not _TYPED.isdisjoint(json.loads(text))
    except (TypeError, ValueError):
        return False


class Migration(migrations.Migration):
    dependencies = [("privacy", "0004_restrictions_from_before"), ("audit", "0002_rare_kinds")]

    operations = [migrations.RunPython(forget, migrations.RunPython.noop)]
