"""What waits is counted along an index of its own."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("review", "0005_constraints_unblocked")]

    operations = [
        AddIndexUnblocked(
            model_name="reviewitem",
            index=models.Index(
                condition=models.Q(("state__in", ["open", "disputed"])),
                fields=["state", "why", "withheld_until"],
                name="review_waiting",
            ),
        ),
    ]
