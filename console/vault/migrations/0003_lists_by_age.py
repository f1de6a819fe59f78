"""Lists of people and consents run along indexes."""

from django.db import migrations, models

from console.indexes import AddIndexUnblocked


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("vault", "0002_erasure")]

    operations = [
        AddIndexUnblocked(
            model_name="subject",
            index=models.Index(fields=["-created_at"], name="vault_subject_by_age"),
        ),
        AddIndexUnblocked(
            model_name="consent",
            index=models.Index(fields=["-recorded_at", "-id"], name="vault_consent_by_age"),
        ),
        AddIndexUnblocked(
            model_name="consent",
            index=models.Index(fields=["purpose", "-recorded_at"], name="vault_consent_by_purpose"),
        ),
    ]
