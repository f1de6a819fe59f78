"""Rare verdicts are found together with a class, a version or a client."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


def seldom(name: str, column: str) -> AddIndexUnblocked:
    return AddIndexUnblocked(
        model_name="prediction",
        index=models.Index(
            condition=models.Q(("verdict", 1), _negated=True),
            fields=["verdict", column, "happened_at"],
            name=f"prediction_seldom_by_{name}",
        ),
    )


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("predictions", "0003_count_history")]

    operations = [seldom("class", "top_class"), seldom("version", "version"), seldom("client", "client_id")]
