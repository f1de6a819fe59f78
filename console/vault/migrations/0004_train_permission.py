from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("vault", "0003_lists_by_age"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="storedobject",
            options={
                "default_permissions": (),
                "permissions": [
                    ("open_storedobject", "Can open kept photographs"),
                    ("train_storedobject", "Can take kept photographs for training"),
                ],
            },
        ),
    ]
