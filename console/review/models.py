"""The queue and the decisions.

    (prediction is unsure, out of distribution, below the limit, sampled or flagged)
                     │ enqueue
                     ▼
            ┌────── open ◀──────────┐
            │      ▲ │ ▲            │ reopen: its caller contradicts a decision
     take:  │      │ │ │ give back  │
     a hold │      │ ▼ │            │
     until  └──▶ (held by one person)
     its time runs │ │ decide       │
     out           │ ├─────────────▶│ the only opinion wanted, or the last and all say the same
                   └─┤ another      │
                     │ opinion is   │
                     │ wanted       │
                     ▼              │
                 disputed ────▶ decided   a person who gave none of the opinions settles it
                                          or take back: whoever decided finds it wrong at once

A hold is a name and a time on an item that is not decided, no state: whoever's time ran out may
still decide, unless somebody else has taken the item meanwhile.

An item is blind when its experts answer before the model is heard: until `withheld_until` nothing
that the model said of it is sent to a person who may decide.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from console.predictions.models import TEXT_MAX, Prediction
from console.staff.models import User

TAKE_BACK: Final = timedelta(minutes=10)  # as long, who said something can say something else


class State(models.TextChoices):
    OPEN = "open", _("open")
    DISPUTED = "disputed", _("experts disagree")
    DECIDED = "decided", _("decided")


class Why(models.IntegerChoices):
    """Why a person should look; the smaller, the sooner."""

    FLAGGED = 1, _("flagged by its caller")
    UNSURE = 2, _("unsure")
    LOW_CONFIDENCE = 3, _("low confidence")
    OUT_OF_DISTRIBUTION = 4, _("out of distribution")
    SAMPLED = 5, _("sampled")


class Decided(models.TextChoices):
    """What an expert can say."""

    CLASS = "class", _("it is this class")
    UNSURE = "unsure", _("cannot be told from this photograph")
    NOT_OUR_KIND = "not_our_kind", _("not one of our kinds")
    UNUSABLE = "unusable", _("the photograph is unusable")


class Part(models.TextChoices):
    """What a decision was one of."""

    ALONE = "alone", _("alone")
    OPINION = "opinion", _("one of several opinions")
    SETTLEMENT = "settlement", _("settles a disagreement")


# One person has at most one of these on an item: whoever gave an opinion never settles it.
VOICES: Final = (Part.OPINION, Part.SETTLEMENT)


class ReviewItem(models.Model):
    """A prediction that waits, or waited, for a person."""

    prediction = models.OneToOneField(
        Prediction, on_delete=models.CASCADE, related_name="review", verbose_name=_("prediction")
    )
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.OPEN)
    why = models.PositiveSmallIntegerField(_("why"), choices=Why)
    # With which probability an item of its kind reaches the queue: what estimates from reviews are weighted by.
    sampling_ratio = models.FloatField(_("sampling ratio"), default=1.0)
    with_photograph = models.BooleanField(_("photograph kept"), default=False)
    created_at = models.DateTimeField(_("since"), default=now)
    held_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("held by"),
    )
    held_since = models.DateTimeField(null=True)
    held_until = models.DateTimeField(_("held until"), null=True)
    rounds = models.PositiveSmallIntegerField(_("decisions"), default=0)
    blind = models.BooleanField(_("blind"), default=False)
    withheld_until = models.DateTimeField(null=True, editable=False)
    opinions_wanted = models.PositiveSmallIntegerField(default=1)
    opinions = models.PositiveSmallIntegerField(default=0)  # of those wanted, how many were given

    class Meta:
        verbose_name = _("review item")
        verbose_name_plural = _("review queue")
        ordering: ClassVar = ["why", "created_at"]
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("decide_reviewitem", "Can decide what a photograph shows"),
            ("lead_reviewitem", "Can see how each reviewer fares"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["-with_photograph", "why", "created_at"], condition=Q(state="open"), name="review_queue"
            ),
            # What waits is counted by reason on every page of the queue: from here alone, whatever was decided before.
            models.Index(
                fields=["state", "why", "withheld_until"],
                condition=Q(state__in=["open", "disputed"]),
                name="review_waiting",
            ),
            models.Index(fields=["state", "-created_at"], name="review_by_state"),
            models.Index(fields=["-created_at"], name="review_by_age"),
            models.Index(fields=["why", "-created_at"], name="review_by_why"),
            models.Index(fields=["-created_at"], condition=Q(with_photograph=True), name="review_with_photograph"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(sampling_ratio__gt=0) & Q(sampling_ratio__lte=1), name="sampling_ratio_is_a_probability"
            ),
            models.CheckConstraint(
                condition=Q(held_by=None) | ~Q(state="decided") & Q(held_until__isnull=False),
                name="only_undecided_items_are_held",
            ),
            models.CheckConstraint(
                condition=Q(blind=True, withheld_until__isnull=False) | Q(blind=False, withheld_until=None),
                name="blind_items_are_withheld",
            ),
            models.CheckConstraint(
                condition=Q(opinions_wanted__gte=1) & Q(opinions__lte=F("opinions_wanted")),
                name="no_more_opinions_than_wanted",
            ),
        ]

    def __str__(self) -> str:
        return str(self.prediction_id)

    def hides_opinions_from(self, person: User) -> bool:
        """Whether what was said so far would sway who is asked next, or this person, who can still say something else.

        At most one query.
        """
        if self.state == State.OPEN:
            return self.opinions > 0
        return self.opinions_wanted > 1 and ExpertDecision.fresh_opinions(person).filter(item=self.pk).exists()


class ExpertDecision(models.Model):
    """What one expert said about one item. Never changed; a later round stands over an earlier one."""

    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="decisions")
    round = models.PositiveSmallIntegerField()
    expert = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("expert")
    )
    decided = models.CharField(_("decision"), max_length=12, choices=Decided)
    class_id = models.CharField(_("class"), max_length=TEXT_MAX, blank=True)
    # None: an expert who cannot tell, or holds the photograph unusable, neither agrees nor disagrees.
    agrees = models.BooleanField(_("agrees with the model"), null=True)
    part = models.CharField(max_length=10, choices=Part, default=Part.ALONE)
    blind = models.BooleanField(_("blind"), default=False)  # given before the model was heard
    note = models.CharField(_("note"), max_length=500, blank=True)
    took_s = models.FloatField(_("seconds"), null=True)
    decided_at = models.DateTimeField(_("time"), default=now)

    class Meta:
        verbose_name = _("expert decision")
        verbose_name_plural = _("expert decisions")
        ordering: ClassVar = ["-decided_at"]
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["item", "round"], name="one_decision_per_round"),
            models.UniqueConstraint(
                fields=["item", "expert"], condition=~Q(part="alone"), name="one_voice_per_expert_and_item"
            ),
            models.CheckConstraint(
                condition=Q(decided="class") & ~Q(class_id="") | ~Q(decided="class") & Q(class_id=""),
                name="class_named_exactly_when_chosen",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["decided_at"], name="decision_by_time"),
            # What one person did lately, without what they did in all the years before, and from the index alone.
            models.Index(fields=["expert", "decided_at", "blind", "took_s"], name="decision_by_expert"),
            # Double reviews are few among all: how far people agree is asked of these alone.
            models.Index(fields=["decided_at"], condition=Q(part__in=VOICES), name="decision_of_several"),
        ]

    def __str__(self) -> str:
        return f"{self.decided} {self.class_id}".strip()

    @classmethod
    def fresh_opinions(cls, person: User) -> models.QuerySet[ExpertDecision]:
        """This person's opinions that can still change: nobody has spoken since."""
        return cls.objects.filter(
            expert=person, part=Part.OPINION, round=F("item__rounds"), decided_at__gte=now() - TAKE_BACK
        )


class GoldItem(models.Model):
    """A decided photograph whose answer is held to be known: asked of those who never saw it, and unmarked."""

    item = models.OneToOneField(
        ReviewItem, on_delete=models.CASCADE, related_name="gold", verbose_name=_("review item")
    )
    # A copy: what is decided of the item later changes nothing of what reviewers were measured by.
    decided = models.CharField(_("known answer"), max_length=12, choices=Decided)
    class_id = models.CharField(_("class"), max_length=TEXT_MAX, blank=True)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("by")
    )
    made_at = models.DateTimeField(_("since"), default=now)
    retired_at = models.DateTimeField(_("retired"), null=True)
    wrong = models.BooleanField(default=False)  # it was not what the photograph shows: no answer to it counts

    class Meta:
        verbose_name = _("known answer")
        verbose_name_plural = _("known answers")
        ordering: ClassVar = ["-made_at", "-pk"]
        default_permissions = ()
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(decided="class") & ~Q(class_id="") | Q(decided="not_our_kind") & Q(class_id=""),
                name="a_known_answer_says_what_it_is",
            ),
            models.CheckConstraint(
                condition=Q(wrong=False) | Q(retired_at__isnull=False), name="what_is_wrong_is_asked_no_more"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_decided_display()} {self.class_id}".strip()


class GoldAnswer(models.Model):
    """One expert and one known answer: asked, and later answered. It counts as no decision of the item."""

    gold = models.ForeignKey(GoldItem, on_delete=models.CASCADE, related_name="answers")
    expert = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("expert")
    )
    asked_at = models.DateTimeField(default=now)
    blind = models.BooleanField(default=False)  # asked before the model was heard
    # Until when what they say can change: as long, they hear nothing of what others said, nor, where it is blind, of
    # what the model said.
    open_until = models.DateTimeField(null=True, editable=False)
    decided = models.CharField(_("decision"), max_length=12, choices=Decided, blank=True)
    class_id = models.CharField(_("class"), max_length=TEXT_MAX, blank=True)
    note = models.CharField(_("note"), max_length=500, blank=True)
    # "Cannot tell" and "unusable" are not right: the answer is known, and could be told from this photograph.
    right = models.BooleanField(_("right"), null=True)
    answered_at = models.DateTimeField(_("time"), null=True)

    class Meta:
        verbose_name = _("answer to what is known")
        verbose_name_plural = _("answers to what is known")
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["gold", "expert"], name="one_answer_per_expert_and_known_answer"),
            models.CheckConstraint(
                condition=Q(answered_at=None, right=None, decided="")
                | Q(answered_at__isnull=False, right__isnull=False) & ~Q(decided=""),
                name="answered_whole_or_not_at_all",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["expert", "answered_at"], name="gold_answer_by_expert"),
            models.Index(
                fields=["expert", "open_until"], condition=Q(open_until__isnull=False), name="gold_answer_open"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.decided} {self.class_id}".strip()

    @classmethod
    def fresh(cls) -> models.QuerySet[GoldAnswer]:
        """Answers that can still change: as long nothing may tell them from decisions."""
        return cls.objects.filter(answered_at__gte=now() - TAKE_BACK)
