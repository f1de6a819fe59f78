"""What is asked and not answered stays open. By itself: a change of columns would hold its table meanwhile."""

from datetime import UTC, datetime

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def leave_open(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Of what is answered, the ten minutes are over by the time that pages are up."""
    asked = apps.get_model("review", "GoldAnswer").objects.filter(answered_at=None)
    asked.update(open_until=datetime(9999, 1, 1, tzinfo=UTC))


class Migration(migrations.Migration):
    dependencies = [("review", "0007_known_answers_open")]

    operations = [migrations.RunPython(leave_open, migrations.RunPython.noop)]
