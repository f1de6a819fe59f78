"""What the pages of a version ask for before it gets a part or a question."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from console.pages import ReasonForm
from console.rollout.models import Measure, Mode, Rule


class RolloutForm(ReasonForm):
    # The routes that the page showed: what begins ends one of them, and not one that nobody saw.
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    mode = forms.ChoiceField(label=gettext_lazy("Mode"), choices=Mode.choices, widget=UnfoldAdminSelectWidget)
    share_percent = forms.FloatField(
        label=gettext_lazy("Share of the calls, per cent"),
        min_value=0.1,
        max_value=99.9,
        required=False,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text=gettext_lazy("For a canary only."),
    )
    unguarded = forms.MultipleChoiceField(
        label=gettext_lazy("Switch off these guardrails"),
        choices=[(rule.value, rule.label) for rule in Rule],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy(
            "What you expect to change and accept. Only guardrails that watch the mode can be named."
        ),
    )
    field_order = ("mode", "share_percent", "unguarded", "reason")

    def clean(self) -> None:
        """What the service refuses as a ratio is said here in per cent, as the field is written."""
        super().clean()
        if self.cleaned_data.get("mode") == Mode.CANARY and self.cleaned_data.get("share_percent", 0.0) is None:
            self.add_error("share_percent", _("Say how many per cent of the calls the canary answers."))


class ExperimentForm(ReasonForm):
    hypothesis = forms.CharField(
        label=gettext_lazy("What you expect"),
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=gettext_lazy("In a sentence, before the first answer."),
    )
    measure = forms.ChoiceField(
        label=gettext_lazy("Share of answers that are"), choices=Measure.choices, widget=UnfoldAdminSelectWidget
    )
    baseline_percent = forms.FloatField(
        label=gettext_lazy("Expected of production, per cent"), widget=UnfoldAdminDecimalFieldWidget
    )
    effect_points = forms.FloatField(
        label=gettext_lazy("Smallest improvement that matters, points"), widget=UnfoldAdminDecimalFieldWidget
    )
    share_percent = forms.FloatField(
        label=gettext_lazy("Share of the calls, per cent"),
        min_value=0.1,
        max_value=99.9,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    answers_max = forms.IntegerField(
        label=gettext_lazy("At most so many answers of the new version"),
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("If the question takes more, nothing is started and you are told how many it takes."),
    )
    field_order = (
        "hypothesis",
        "measure",
        "baseline_percent",
        "effect_points",
        "share_percent",
        "answers_max",
        "reason",
    )

    def clean(self) -> None:
        """What the service refuses as a ratio is said here in per cent, as the fields are written."""
        super().clean()
        baseline, effect = (self.cleaned_data.get(name) for name in ("baseline_percent", "effect_points"))
        if baseline is not None and not 0.0 < baseline < 100.0:
            self.add_error(
                "baseline_percent", _("What production reaches lies between 0 and 100 per cent, both excluded.")
            )
        elif effect is not None and (effect <= 0.0 or (baseline is not None and baseline + effect >= 100.0)):
            self.add_error(
                "effect_points", _("The improvement is above 0, and with what production reaches below 100 per cent.")
            )
