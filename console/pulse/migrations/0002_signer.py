from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pulse", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="pulse",
            name="service",
            field=models.CharField(
                choices=[
                    ("gateway", "Gateway"),
                    ("torchserve", "Torchserve"),
                    ("worker", "Worker"),
                    ("signer", "Signer"),
                ],
                max_length=20,
                primary_key=True,
                serialize=False,
            ),
        ),
    ]
