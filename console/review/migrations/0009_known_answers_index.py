"""What is asked of one person, found at once."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("review", "0008_known_answers_asked")]

    operations = [
        AddIndexUnblocked(
            model_name="goldanswer",
            index=models.Index(
                condition=models.Q(("open_until__isnull", False)),
                fields=["expert", "open_until"],
                name="gold_answer_open",
            ),
        ),
    ]
