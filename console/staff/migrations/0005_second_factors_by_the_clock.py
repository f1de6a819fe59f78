"""Windows that moved with somebody's codes stand at the clock again: nothing moves them back now."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def by_the_clock(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("otp_totp", "TOTPDevice").objects.exclude(drift=0).update(drift=0)


class Migration(migrations.Migration):
    dependencies = [
        ("staff", "0004_tokens_made_with_tokens"),
        ("otp_totp", "0003_add_timestamps"),
    ]

    operations = [migrations.RunPython(by_the_clock, migrations.RunPython.noop)]
