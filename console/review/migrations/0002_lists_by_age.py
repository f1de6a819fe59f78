"""Every list of review items runs along an index."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("review", "0001_initial")]

    operations = [
        AddIndexUnblocked(
            model_name="reviewitem",
            index=models.Index(fields=["-created_at"], name="review_by_age"),
        ),
        AddIndexUnblocked(
            model_name="reviewitem",
            index=models.Index(fields=["why", "-created_at"], name="review_by_why"),
        ),
        AddIndexUnblocked(
            model_name="reviewitem",
            index=models.Index(
                condition=models.Q(("with_photograph", True)), fields=["-created_at"], name="review_with_photograph"
            ),
        ),
    ]
