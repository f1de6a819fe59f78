import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("predictions", "0004_seldom_verdicts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Sheet",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("heat_maps", "heat maps"), ("synthetic", "synthetic photographs")],
                        max_length=12,
                        verbose_name="kind",
                    ),
                ),
                ("model", models.CharField(blank=True, max_length=300, verbose_name="version")),
                ("sha256", models.CharField(max_length=64, unique=True)),
                ("size", models.PositiveIntegerField(verbose_name="items")),
                ("imported_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="time")),
                (
                    "imported_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="imported by",
                    ),
                ),
            ],
            options={
                "verbose_name": "review sheet",
                "verbose_name_plural": "review sheets",
                "ordering": ["-pk"],
                "permissions": [
                    ("answer_sheet", "Can judge what is on a review sheet"),
                    ("import_sheet", "Can import review sheets and see what was said"),
                ],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="SheetItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("name", models.CharField(max_length=300)),
                ("photo", models.BinaryField()),
                ("overlay", models.BinaryField(default=b"")),
                ("label", models.CharField(blank=True, max_length=300)),
                ("predicted", models.CharField(blank=True, max_length=300)),
                ("confidence", models.FloatField(default=0.0)),
                ("origin", models.CharField(blank=True, max_length=10)),
                (
                    "prediction",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="predictions.prediction",
                    ),
                ),
                (
                    "sheet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="items", to="sheets.sheet"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="SheetAnswer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("yes", "yes, at the right place"),
                            ("no", "no, at a wrong place"),
                            ("plausible", "plausible"),
                            ("not", "not plausible"),
                            ("unsure", "cannot tell"),
                        ],
                        max_length=10,
                    ),
                ),
                ("problems", models.JSONField(default=list)),
                ("note", models.CharField(blank=True, max_length=500)),
                ("answered_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "expert",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "item",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="answers", to="sheets.sheetitem"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddConstraint(
            model_name="sheetitem",
            constraint=models.UniqueConstraint(fields=("sheet", "number"), name="one_item_per_number"),
        ),
        migrations.AddConstraint(
            model_name="sheetanswer",
            constraint=models.UniqueConstraint(fields=("item", "expert"), name="one_answer_per_expert"),
        ),
    ]
