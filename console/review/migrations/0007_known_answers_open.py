"""Until when what an expert says of a known answer can change: as long, what would sway them is withheld."""

from datetime import UTC, datetime

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from console.indexes import AddIndexUnblocked


def leave_open(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """What is asked and not answered. Of what is answered, the ten minutes are over by the time that pages are up."""
    asked = apps.get_model("review", "GoldAnswer").objects.filter(answered_at=None)
    asked.update(open_until=datetime(9999, 1, 1, tzinfo=UTC))


class Migration(migrations.Migration):
    atomic = False  # built while people go on reading and writing

    dependencies = [("review", "0006_waiting_by_reason")]

    operations = [
        migrations.AddField(
            model_name="goldanswer",
            name="open_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.RunPython(leave_open, migrations.RunPython.noop),
        AddIndexUnblocked(
            model_name="goldanswer",
            index=models.Index(
                condition=models.Q(("open_until__isnull", False)),
                fields=["expert", "open_until"],
                name="gold_answer_open",
            ),
        ),
    ]
