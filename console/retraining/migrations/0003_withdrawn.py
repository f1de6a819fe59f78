from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("retraining", "0002_after_erasures")]

    operations = [
        migrations.AlterField(
            model_name="trainingjob",
            name="failure",
            field=models.CharField(
                blank=True,
                choices=[
                    ("no_key", "There is no key to sign with that the console trusts."),
                    ("no_program", "The program that trains is not there."),
                    ("export", "The labelled photographs could not be taken out."),
                    ("train", "The training failed."),
                    ("package", "The run could not be packed."),
                    ("upload", "The archive could not be handed in."),
                    ("time", "It took longer than it may."),
                    ("erased", "Somebody whose photographs it learnt from was erased meanwhile. Start it again."),
                    (
                        "withdrawn",
                        "A photograph that it learnt from may not be used any more: a consent was taken back or ran "
                        "out, or its person restricted it. Start it again without it.",
                    ),
                    ("worker_gone", "Its worker died each time that it was tried."),
                    ("disk", "The disk refused."),
                    ("unexpected", "An unexpected error: the worker's log says more."),
                ],
                max_length=12,
                verbose_name="why it failed",
            ),
        )
    ]
