import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("datasets", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Proposal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("model", models.CharField(max_length=100, unique=True, verbose_name="model")),
                ("since", models.DateTimeField(default=django.utils.timezone.now, verbose_name="since")),
                ("labels", models.PositiveIntegerField(verbose_name="new labels")),
                ("alerts", models.PositiveIntegerField(verbose_name="drift alerts")),
            ],
            options={
                "verbose_name": "proposal to train anew",
                "verbose_name_plural": "proposals to train anew",
                "ordering": ["model"],
                "default_permissions": (),
            },
        ),
    ]
