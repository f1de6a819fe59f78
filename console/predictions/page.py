"""What the page of one prediction shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from console.audit.names import type_name
from console.audit.queries import entries_about
from console.card_words import detector_text
from console.predictions import queries
from console.predictions.detail import Detail, OodScore
from console.predictions.models import Prediction, Verdict
from console.predictions.names import KnownClass, classes_of, client_names, group_name
from console.predictions.similar import similar_of
from console.staff.models import User
from console.vault import queries as vault
from console.vault.restriction import restricted_among
from protos.wording import DISCLAIMER

# In both languages, whoever looks: a page is shown to others.
DISCLAIMERS: Final = (DISCLAIMER["th"], DISCLAIMER["en"])
PAGES: Final = "admin:predictions_prediction"
ENTRIES_SHOWN: Final = 10  # of the audit trail, the newest
# Names of `amulet.v1.Reason` that an answer can carry, for people.
REASONS: Final[Mapping[str, str]] = {
    "not_our_kind": gettext_noop("far from everything in training"),
    "unfamiliar": gettext_noop("near the border of what the model knows"),
    "low_confidence": gettext_noop("the best candidate is not probable enough"),
    "too_close_to_call": gettext_noop("the two best candidates are nearly tied"),
    "blurred": gettext_noop("blurred"),
    "too_dark": gettext_noop("too dark"),
    "too_bright": gettext_noop("too bright"),
    "low_contrast": gettext_noop("too little contrast"),
    "small_source": gettext_noop("smaller than the model needs"),
    "views_disagree": gettext_noop("the photographs do not look like one object"),
    "no_time_to_explain": gettext_noop("no time was left for the heat map"),
    "look_alikes": gettext_noop("the two best candidates look alike in photographs"),
}
VERDICT_COLOURS: Final[Mapping[int, str]] = {
    Verdict.IN_DOMAIN: "success",
    Verdict.UNSURE: "warning",
    Verdict.OUT_OF_DISTRIBUTION: "danger",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One view: addresses of its photograph and heat map ("" where there is none to be seen), and why not."""

    part: int
    side: str
    size: str
    photograph: str
    heat_map: str
    why_not: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A share of 0 to 100 per cent with its texts."""

    name: str
    id: str
    text: str
    percent: float
    in_set: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """An OOD score between its thresholds, all in per cent of a scale that shows each of them."""

    name: str
    score: str
    limits: str
    percent: float
    unsure_percent: float
    out_percent: float
    colour: str


def prediction_context(prediction: Prediction, person: User) -> dict[str, Any]:
    """The context of `predictions/prediction.html`. At most ten queries, whatever the history."""
    detail = prediction.detail()
    item = getattr(prediction, "review", None)  # through the relation, since review stands above this app
    classes = classes_of(prediction)
    names = {known.class_id: known.name for known in classes}
    return {
        **shown(prediction, detail, classes, person),
        "group": group_name(prediction, detail),
        "client": client_names().get(prediction.client_id, prediction.client_id),
        "feedback": [
            (item, names.get(item.true_class, item.true_class))
            for item in queries.feedback_on([prediction.pk]).get(prediction.pk, ())
        ],
        "decisions": [(said, names.get(said.class_id, said.class_id)) for said in _decisions(item, person)],
        "entries": [
            (entry.pk, entry.sequence, type_name(entry.type), entry.recorded_at)
            for entry in entries_about("prediction", str(prediction.pk)).order_by("-sequence")[:ENTRIES_SHOWN]
        ]
        if person.has_perm("audit.view_entry")
        else (),
        "entries_url": f"{reverse('admin:audit_entry_changelist')}?q={prediction.pk}",
        "review_url": _review_url(item, person),
        "version_url": f"{reverse('admin:registry_modelversion_changelist')}?q={prediction.version}",
        "shadows": [
            (shadow, names.get(shadow.top_class, shadow.top_class), f"{shadow.confidence:.0%}")
            for shadow in detail.shadows
        ],
    }


def shown(prediction: Prediction, detail: Detail, classes: Sequence[KnownClass], person: User) -> dict[str, Any]:
    """What an expert also sees: pictures, candidates, scores, similar examples and the disclaimer. Two queries."""
    names = {known.class_id: known.name for known in classes}
    return {
        "prediction": prediction,
        "detail": detail,
        "verdict": Verdict(prediction.verdict),
        "verdict_colour": VERDICT_COLOURS[prediction.verdict],
        "pictures": pictures(prediction, detail, person),
        "candidates": _candidates(detail, names),
        "scales": [_scale(score) for score in detail.ood_scores],
        "reasons": [_(REASONS[reason]) if reason in REASONS else reason for reason in detail.reasons],
        "similar": similar_of(prediction, detail, names),
        "disclaimers": DISCLAIMERS,
    }


def pictures(prediction: Prediction, detail: Detail, person: User, *, routes: str = PAGES) -> list[Picture]:
    """The views with addresses of what this person may see of them. At most two queries.

    routes: what the names of the routes to a photograph and to a heat map begin with.
    """
    kept = vault.kept_of([str(prediction.pk)]).get(str(prediction.pk), vault.Kept())
    may = person.has_perm("vault.open_storedobject")
    gone = any(view.kept == "kept" and part not in kept.photographs for part, view in enumerate(detail.views))
    restricted = gone and bool(restricted_among([prediction.subject_id] if prediction.subject_id else []))

    def address(name: str, part: int, parts: Sequence[int]) -> str:
        return reverse(f"{routes}_{name}", args=[prediction.pk, part]) if may and part in parts else ""

    return [
        Picture(
            part=part,
            side=_side(view.side),
            size=f"{view.width_px} × {view.height_px}",
            photograph=address("photograph", part, kept.photographs),
            heat_map=address("heat_map", part, kept.heat_maps),
            why_not=_why_not(
                "left alone" if restricted else "run out" if part in kept.run_out else view.kept,
                part in kept.photographs,
                may,
            ),
        )
        for part, view in enumerate(detail.views)
    ]


def _why_not(outcome: str, is_kept: bool, may: bool) -> str:
    if is_kept:
        return "" if may else _("Your roles do not let you see photographs.")
    return {
        "kept": _("Deleted: the consent was withdrawn or ran out."),
        "no_consent": _("Not kept: there was no valid consent."),
        "restricted": _("Not kept: its person has restricted what is done."),
        "run out": _("Not shown: the consent has run out. It is deleted within a day."),
        "left alone": _("Not shown: its person has restricted what is done."),
        "unreadable": _("Not kept: it could not be opened."),
        "no_key": _("Not kept: the key of its person was missing."),
    }.get(outcome, _("Not kept: its caller did not ask for it."))


def _side(side: str) -> str:
    names = {"front": _("front"), "back": _("back"), "edge": _("edge"), "detail": _("detail")}
    return names.get(side, _("side not said"))


def _candidates(detail: Detail, names: Mapping[str, str]) -> list[Bar]:
    return [
        Bar(
            name=names.get(candidate.class_id, candidate.class_id),
            id=candidate.class_id,
            text=f"{candidate.probability:.1%}",
            percent=round(100 * candidate.probability, 1),
            in_set=candidate.class_id in detail.prediction_set,
        )
        for candidate in detail.candidates
    ]


def _scale(score: OodScore) -> Scale:
    low = min(0.0, score.score, score.unsure_at)
    high = max(score.score, score.out_at) * 1.1 or 1.0
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * (value - low) / width, 1)

    colour = "danger" if score.score >= score.out_at else "warning" if score.score >= score.unsure_at else "success"
    return Scale(
        name=detector_text(score.detector),
        score=f"{score.score:.3g}",
        limits=_("unsure from {unsure}, out from {out}").format(
            unsure=f"{score.unsure_at:.3g}", out=f"{score.out_at:.3g}"
        ),
        percent=place(score.score),
        unsure_percent=place(score.unsure_at),
        out_percent=place(score.out_at),
        colour=colour,
    )


def _review_url(item: Any, person: User) -> str:
    """Where experts judge it, or did; "" where nobody was asked, and for who may not look there."""
    if item is None or not person.has_perm("review.view_reviewitem"):
        return ""
    return reverse("admin:review_reviewitem_change", args=[item.pk])


def _decisions(item: Any, person: User) -> list[Any]:
    """What experts said, the one in force first; of a review item or of none."""
    if item is None:
        return []
    if person.has_perm("review.decide_reviewitem") and (
        item.hides_opinions_from(person) or queries.judged_anew(person, item.prediction_id)
    ):
        return []
    return list(item.decisions.select_related("expert").order_by("-round"))
