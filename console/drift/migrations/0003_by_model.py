"""A version's name is its model's alone: two models that learnt on one day shared their distributions."""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models import Max, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce

_OF_VERSIONS = ("Pending", "Distribution", "Finding")


def name_models(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Of a name that several models have, the one that was uploaded last: whose reference they were compared with."""
    uploaded = apps.get_model("registry", "ModelVersion").objects.filter(version=OuterRef("version")).order_by("-pk")
    for name in _OF_VERSIONS:
        apps.get_model("drift", name).objects.update(model=Coalesce(Subquery(uploaded.values("model")[:1]), Value("")))


def keep_one_of_each_name(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Before there were models a name stood once."""
    unique = {
        "Distribution": ("version", "client", "span", "begins_at"),
        "Finding": ("version", "client", "against", "measure"),
    }
    for name, fields in unique.items():
        rows = apps.get_model("drift", name).objects
        kept = rows.values(*fields).annotate(last=Max("pk")).values("last")
        rows.exclude(pk__in=list(kept.values_list("last", flat=True))).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("drift", "0002_by_client"),
        ("registry", "0001_initial"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="distribution",
            name="one_distribution_per_version_client_and_span",
        ),
        migrations.RemoveConstraint(
            model_name="finding",
            name="one_finding_per_measure_and_client",
        ),
        migrations.AddField(
            model_name="distribution",
            name="model",
            field=models.CharField(db_default="", max_length=100, verbose_name="model"),
        ),
        migrations.AddField(
            model_name="finding",
            name="model",
            field=models.CharField(db_default="", max_length=100, verbose_name="model"),
        ),
        migrations.AddField(
            model_name="pending",
            name="model",
            field=models.CharField(db_default="", max_length=100),
        ),
        migrations.RunPython(name_models, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="distribution",
            constraint=models.UniqueConstraint(
                fields=("model", "version", "client", "span", "begins_at"), name="one_distribution_of_each"
            ),
        ),
        migrations.AddConstraint(
            model_name="finding",
            constraint=models.UniqueConstraint(
                fields=("model", "version", "client", "against", "measure"), name="one_finding_of_each"
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, keep_one_of_each_name),
    ]
