"""Lists of requests in the order of their urgency go along an index."""

from datetime import UTC, datetime

from django.db import migrations, models
from django.db.models.functions import Coalesce

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("privacy", "0002_after_erasures")]

    operations = [
        AddIndexUnblocked(
            model_name="privacyrequest",
            index=models.Index(
                Coalesce("closed_at", models.Value(datetime(9999, 1, 1, tzinfo=UTC))).desc(),
                "due_at",
                "id",
                name="privacy_request_urgent",
            ),
        ),
    ]
