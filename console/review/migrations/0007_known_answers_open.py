"""Until when what an expert says of a known answer can change: as long, what would sway them is withheld."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("review", "0006_waiting_by_reason")]

    operations = [
        migrations.AddField(
            model_name="goldanswer",
            name="open_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
