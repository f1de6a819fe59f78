"""Routes: which approved version answers which share of a model's calls.

                 ┌────────────▶ shadow ──┐
    approved ────┼────────────▶ canary ──┼──▶ production ──▶ (taken over, kept for a rollback)
                 └───────────────────────┘

A route is a row that is never changed but for its end, so the table is also the history of
what answered when, and why. While a shadow or a canary is in force, and for a new production
version's first day, what it says is counted beside what production says (`Observed`); a guardrail
that finds it worse ends it (`Firing`).
"""

from __future__ import annotations

from typing import ClassVar, Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.registry.models import ModelVersion


class Mode(models.TextChoices):
    PRODUCTION = "production", _("production")
    CANARY = "canary", _("canary")
    SHADOW = "shadow", _("shadow")


class Rule(models.TextChoices):
    """What a guardrail looks at. Each one's limit and least count: `guardrails.DEFINITIONS`."""

    ERRORS = "errors", _("failed calls")
    LATENCY = "latency", _("slow answers")
    VERDICTS = "verdicts", _("verdicts")
    AGREEMENT = "agreement", _("disagreement with production")
    OVERRIDES = "overrides", _("overrides by experts")


_BY_GUARDRAIL: Final = "guardrail: "


class Route(models.Model):
    """One version's part in answering for one model, from its start to its end."""

    model = models.CharField(_("model"), max_length=100)
    version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="routes", verbose_name=_("version")
    )
    mode = models.CharField(_("mode"), max_length=12, choices=Mode)
    # Of all calls, for a canary; production has what the canary leaves, a shadow answers nobody.
    canary_ratio = models.FloatField(_("share"), default=0.0)
    started_at = models.DateTimeField(_("since"), default=now)
    # Nobody: a guardrail brought this version back.
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("started by")
    )
    reason = models.TextField(_("reason"))
    # The production route that this one took over from: where a rollback leads.
    previous = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    ended_at = models.DateTimeField(_("until"), null=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("ended by")
    )
    end_reason = models.TextField(_("reason of the end"), blank=True)
    # Guardrails that were switched off when it was started: values of Rule.
    unguarded = models.JSONField(default=list)
    # A slower run of the graph counts as slow: fixed before the first answer, from what production took until then.
    slow_ms = models.FloatField(default=250.0)

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model"],
                condition=Q(mode=Mode.PRODUCTION, ended_at=None),
                name="one_production_version_per_route",
            ),
            models.UniqueConstraint(
                fields=["model"], condition=Q(mode=Mode.CANARY, ended_at=None), name="one_canary_per_route"
            ),
            models.UniqueConstraint(fields=["version"], condition=Q(ended_at=None), name="one_part_for_each_version"),
            models.CheckConstraint(
                condition=(Q(mode=Mode.CANARY) & Q(canary_ratio__gt=0) & Q(canary_ratio__lt=1))
                | (~Q(mode=Mode.CANARY) & Q(canary_ratio=0)),
                name="only_a_canary_has_a_share",
            ),
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="known_route_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.version} ({self.get_mode_display()})"

    @property
    def reason_text(self) -> str:
        """Why it began, for people."""
        return reason_text(self.reason)

    @property
    def end_reason_text(self) -> str:
        """Why it ended, for people."""
        return reason_text(self.end_reason)


def guardrail_reason(rule: Rule) -> str:
    """What a guardrail writes where a person writes a reason: the same for every program that reads it."""
    return f"{_BY_GUARDRAIL}{rule.value}"


def reason_text(reason: str) -> str:
    """A reason as people read it: what a person wrote, or in the reader's language the guardrail that acted."""
    rule = reason.removeprefix(_BY_GUARDRAIL)
    if rule == reason or rule not in Rule.values:
        return reason
    return gettext("Guardrail: {rule}").format(rule=Rule(rule).label)


class Arm(models.TextChoices):
    """Whose answers were counted."""

    WATCHED = "watched"
    PRODUCTION = "production"
    BOTH = "both"  # pairs of answers to the same photographs


class What(models.TextChoices):
    """What was counted. `key` and `other` say which: for pairs production's and the shadow's."""

    VERDICT = "verdict"
    CLASS = "class"
    CONFIDENCE = "confidence"  # in twentieths
    LATENCY = "latency"  # in quarters of a doubling from 1 ms
    SLOW = "slow"
    FAILED = "failed"  # by reason
    UNANSWERED = "unanswered"  # a shadow that had no place, failed, or is on its way


class Observed(models.Model):
    """How often something was seen while a route was in force: rows by kind, however many calls there were."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="observed")
    arm = models.CharField(max_length=10, choices=Arm)
    what = models.CharField(max_length=10, choices=What)
    key = models.CharField(max_length=128)
    other = models.CharField(max_length=128)
    count = models.BigIntegerField()

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["route", "arm", "what", "key", "other"], name="observed_key")
        ]

    def __str__(self) -> str:
        return f"{self.arm} {self.what} {self.key} {self.other}: {self.count}"


class Firing(models.Model):
    """A guardrail that ended a route, with what it had seen by then."""

    route = models.OneToOneField(Route, on_delete=models.PROTECT, related_name="firing")
    rule = models.CharField(_("guardrail"), max_length=10, choices=Rule)
    fired_at = models.DateTimeField(_("time"), default=now)
    watched_yes = models.BigIntegerField()
    watched_n = models.BigIntegerField()
    # Production's, where the rule compares with it.
    standard_yes = models.BigIntegerField(null=True)
    standard_n = models.BigIntegerField(null=True)
    limit = models.FloatField()  # how much more than production's share, or how large a share, is accepted
    log_evidence = models.FloatField()
    # What has been in production since, where production itself was rolled back.
    returned_to = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, related_name="+")
    seen_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    seen_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("guardrail that fired")
        verbose_name_plural = _("guardrails that fired")
        default_permissions: ClassVar = ()
        indexes: ClassVar = [models.Index(fields=["fired_at"], condition=Q(seen_at=None), name="firing_unseen")]

    def __str__(self) -> str:
        return f"{self.rule}: {self.route}"


class Measure(models.TextChoices):
    """What an experiment hopes to raise: the share of answers that are …"""

    IN_DOMAIN = "in_domain", _("in domain")
    AGREED = "agreed", _("agreed to by experts")
    IN_TIME = "in_time", _("in time")


class Outcome(models.TextChoices):
    """running ──▶ successful | failed | inconclusive. Too few answers are inconclusive, not a failure."""

    RUNNING = "running", _("running")
    SUCCESSFUL = "successful", _("successful")
    FAILED = "failed", _("failed")
    INCONCLUSIVE = "inconclusive", _("inconclusive")


class Experiment(models.Model):
    """A canary against production with its question, its size and its rates of error stated before the first answer."""

    route = models.OneToOneField(Route, on_delete=models.PROTECT, related_name="experiment", verbose_name=_("route"))
    hypothesis = models.TextField(_("hypothesis"))
    measure = models.CharField(_("measure"), max_length=10, choices=Measure)
    baseline_ratio = models.FloatField(_("expected of production"))
    effect_ratio = models.FloatField(_("smallest improvement that matters"))
    # Chance of "successful" where nothing is better, and of "failed" where it is better by the effect.
    alpha = models.FloatField(default=0.05)
    power = models.FloatField(default=0.8)
    size = models.BigIntegerField(_("answers planned"))  # of the new version
    looks_done = models.PositiveSmallIntegerField(default=0)
    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome, default=Outcome.RUNNING)
    settled_at = models.DateTimeField(_("settled"), null=True)
    # Good answers of all, when it was settled.
    watched_yes = models.BigIntegerField(null=True)
    watched_n = models.BigIntegerField(null=True)
    standard_yes = models.BigIntegerField(null=True)
    standard_n = models.BigIntegerField(null=True)

    class Meta:
        verbose_name = _("experiment")
        verbose_name_plural = _("experiments")
        ordering: ClassVar = ["-pk"]
        default_permissions = ("view",)
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(baseline_ratio__gt=0, baseline_ratio__lt=1, effect_ratio__gt=0, alpha__gt=0, alpha__lt=1),
                name="experiment_states_its_rates",
            ),
            models.CheckConstraint(
                condition=Q(outcome="running", settled_at=None) | ~Q(outcome="running") & Q(settled_at__isnull=False),
                name="settled_experiment_says_when",
            ),
        ]

    def __str__(self) -> str:
        return self.hypothesis


class PolicyIssue(models.Model):
    """The one row that remembers which policy was last handed out, so that its revision only grows."""

    revision = models.BigIntegerField(default=0)
    fingerprint = models.CharField(max_length=64, default="")
    issued_at = models.DateTimeField(default=now)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(pk=1), name="one_policy_issue")]


class PolicyRecord(models.Model):
    """Every policy that was handed out: which digest, named by each answer that followed it, had which revision."""

    digest = models.CharField(max_length=64, primary_key=True)  # SHA-256 of its bytes, hex
    revision = models.BigIntegerField()
    issued_at = models.DateTimeField()

    class Meta:
        default_permissions: ClassVar = ()
        indexes: ClassVar = [models.Index(fields=["issued_at"], name="policy_by_time")]

    def __str__(self) -> str:
        return f"{self.revision} {self.digest[:12]}"
