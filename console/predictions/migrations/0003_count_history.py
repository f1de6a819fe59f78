"""Counts what was there before tallies were: one pass over the predictions, then few rows."""

from collections import Counter

from django.db import migrations
from django.db.models import Count, F, IntegerField
from django.db.models.functions import Cast, Floor, Least, TruncHour
from django.utils.timezone import localtime

BINS = 20


def count(apps, schema_editor):
    prediction, tally = apps.get_model("predictions", "Prediction"), apps.get_model("predictions", "Tally")
    if tally.objects.exists():
        return
    hours = (
        prediction.objects.annotate(
            begins_at=TruncHour("happened_at"),
            confidence_bin=Least(Cast(Floor(F("confidence") * BINS), IntegerField()), BINS - 1),
        )
        .values_list("begins_at", "model", "version", "verdict", "confidence_bin")
        .annotate(Count("pk"))
        .order_by()
    )
    counted = Counter()
    for begins_at, *rest, number in hours.iterator():
        counted["hour", begins_at, *rest] += number
        counted["day", localtime(begins_at).replace(hour=0), *rest] += number
    names = ("span", "begins_at", "model", "version", "verdict", "confidence_bin")
    rows = (tally(**dict(zip(names, key, strict=True)), count=number) for key, number in counted.items())
    tally.objects.bulk_create(rows, batch_size=500)


def forget(apps, schema_editor):
    apps.get_model("predictions", "Tally").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("predictions", "0002_tallies")]

    operations = [migrations.RunPython(count, forget)]
