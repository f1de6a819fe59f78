"""What must never be true of blind and double reviews: checked on every row that there is, and nobody waits meanwhile."""

from django.db import migrations, models

from console.constraints import AddConstraintUnblocked


class Migration(migrations.Migration):
    atomic = False  # added while people go on reading and writing

    dependencies = [("review", "0004_gold")]

    operations = [
        AddConstraintUnblocked(
            model_name="expertdecision",
            constraint=models.UniqueConstraint(
                condition=models.Q(("part", "alone"), _negated=True),
                fields=("item", "expert"),
                name="one_voice_per_expert_and_item",
            ),
        ),
        AddConstraintUnblocked(
            model_name="reviewitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("held_by", None),
                    models.Q(models.Q(("state", "decided"), _negated=True), ("held_until__isnull", False)),
                    _connector="OR",
                ),
                name="only_undecided_items_are_held",
            ),
        ),
        AddConstraintUnblocked(
            model_name="reviewitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("blind", True), ("withheld_until__isnull", False)),
                    models.Q(("blind", False), ("withheld_until", None)),
                    _connector="OR",
                ),
                name="blind_items_are_withheld",
            ),
        ),
        AddConstraintUnblocked(
            model_name="reviewitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("opinions_wanted__gte", 1), ("opinions__lte", models.F("opinions_wanted"))),
                name="no_more_opinions_than_wanted",
            ),
        ),
    ]
