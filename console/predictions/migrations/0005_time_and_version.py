"""The index by time holds model and version too, so that counting weeks reads no row."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked, RemoveIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("predictions", "0004_seldom_verdicts")]

    operations = [
        AddIndexUnblocked(
            model_name="prediction",
            index=models.Index(
                fields=["happened_at", "prediction_id", "model", "version"], name="prediction_by_time_version"
            ),
        ),
        RemoveIndexUnblocked(model_name="prediction", name="prediction_by_time"),
    ]
