"""What one person decided lately, found at once."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("review", "0009_known_answers_index")]

    operations = [
        AddIndexUnblocked(
            model_name="expertdecision",
            index=models.Index(fields=["expert", "decided_at", "blind", "took_s"], name="decision_by_expert"),
        ),
    ]
