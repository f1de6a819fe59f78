"""Double reviews, found among all decisions."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("review", "0010_decisions_by_expert")]

    operations = [
        AddIndexUnblocked(
            model_name="expertdecision",
            index=models.Index(
                condition=models.Q(("part__in", ("opinion", "settlement"))),
                fields=["decided_at"],
                name="decision_of_several",
            ),
        ),
    ]
