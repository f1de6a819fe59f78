"""Who is restricted is found without reading everybody."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("vault", "0005_restriction")]

    operations = [
        AddIndexUnblocked(
            model_name="subject",
            index=models.Index(
                fields=["restricted_at"],
                condition=models.Q(restricted_at__isnull=False),
                name="vault_subject_restricted",
            ),
        ),
    ]
