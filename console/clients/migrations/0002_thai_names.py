from django.core.validators import RegexValidator
from django.db import migrations, models


class Migration(migrations.Migration):
    """The names that are taken now; nothing in the database changes."""

    dependencies = [
        ("clients", "0001_initial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="client",
            name="name",
            field=models.CharField(
                max_length=100,
                unique=True,
                validators=[
                    RegexValidator(
                        "^\\w[\\w\\u0E31\\u0E34-\\u0E3A\\u0E47-\\u0E4E .@/+-]*\\Z",
                        "Letters, digits, spaces and . @ / + - only.",
                    )
                ],
                verbose_name="name",
            ),
        ),
    ]
