"""What few entries are about is found without reading all."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("audit", "0001_initial")]

    operations = [
        AddIndexUnblocked(
            model_name="payload",
            index=models.Index(
                condition=models.Q(("subject_type", "prediction"), _negated=True),
                fields=["subject_type", "-entry"],
                name="audit_payload_by_kind",
            ),
        ),
    ]
