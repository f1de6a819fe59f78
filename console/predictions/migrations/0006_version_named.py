"""Keeps whether a weight chose the version. Of what is there already nobody knows: a column without a value."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0005_time_and_version")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="version_named",
            field=models.BooleanField(null=True, verbose_name="version named"),
        ),
    ]
