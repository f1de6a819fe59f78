"""A row for each of several gateways and TorchServes. Rows come back within seconds: the old ones are not kept."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pulse", "0002_signer")]

    operations = [
        migrations.DeleteModel(name="Pulse"),
        migrations.CreateModel(
            name="Pulse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "service",
                    models.CharField(
                        choices=[
                            ("gateway", "Gateway"),
                            ("torchserve", "Torchserve"),
                            ("worker", "Worker"),
                            ("signer", "Signer"),
                        ],
                        max_length=20,
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=128)),
                ("beaten_at", models.DateTimeField()),
                ("problem", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("service", "name"), name="one_pulse_each")],
            },
        ),
    ]
