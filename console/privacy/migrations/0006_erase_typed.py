"""Officers may erase free text by hand: a permission, and no change to any table."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("privacy", "0005_typed_of_erased")]

    operations = [
        migrations.AlterModelOptions(
            name="privacyrequest",
            options={
                "default_permissions": ("view", "add"),
                "ordering": ["due_at", "pk"],
                "permissions": [
                    ("handle_privacyrequest", "Can work on privacy requests"),
                    ("export_privacyrequest", "Can hand out what is known of a person"),
                    ("erase_typed", "Can look for and erase free text that names somebody"),
                ],
                "verbose_name": "privacy request",
                "verbose_name_plural": "privacy requests",
            },
        )
    ]
