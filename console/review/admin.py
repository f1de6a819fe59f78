"""Pages for reviewers: the queue, and one photograph at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import action, display

from console.errors import Conflict, Refusal
from console.history import HistoryAdmin
from console.pages import NUMBER_DIGITS_MAX, ask, page, row_action
from console.predictions.names import class_names, classes_of
from console.predictions.page import DISCLAIMERS, shown
from console.review import desk, figures, gold, gold_figures, queries, services
from console.review.agreement import CASES_MIN, Share
from console.review.desk import Seat
from console.review.gold_admin import answer_text, known_context, people_context
from console.review.models import TAKE_BACK, Decided, ReviewItem, State, Why
from console.review.services import Decision
from console.staff.models import User
from console.staff.rest import actor_of
from console.vault import queries as vault

KEYS: Final = "123456789"
VERSIONS_SHOWN: Final = 20  # those with the most traffic
WHY_COLOURS: Final[Mapping[int, str]] = {
    Why.FLAGGED: "danger",
    Why.UNSURE: "warning",
    Why.LOW_CONFIDENCE: "warning",
    Why.OUT_OF_DISTRIBUTION: "primary",
    Why.SAMPLED: "info",
}
_LOOKS_AHEAD: Final = "X-Look-Ahead"
_LAST: Final = "review.last"  # in the session: item, what was said of it, when
_NOT_TAKEN: Final = "review.not_taken"  # in the session: the item of which an answer was refused a moment ago
_OTHERS: Final = (
    (Decided.UNSURE, "u", gettext_lazy("Cannot tell")),
    (Decided.NOT_OUR_KIND, "x", gettext_lazy("Not our kind")),
    (Decided.UNUSABLE, "b", gettext_lazy("Unusable photograph")),
)


class DecisionForm(forms.Form):
    """One answer: `class:ID`, or the name of another decision."""

    answer = forms.CharField(max_length=140)
    note = forms.CharField(max_length=services.NOTE_MAX, required=False)

    def decision(self) -> Decision:
        kind, _colon, class_id = self.cleaned_data["answer"].partition(":")
        note = self.cleaned_data["note"]
        return Decision(Decided(kind) if kind in Decided.values else Decided.CLASS, class_id, note)


@admin.register(ReviewItem)
class ReviewItemAdmin(HistoryAdmin):
    list_display = ("since", "why_badge", "class_name", "percent", "photograph", "state_text", "holder")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("why", ChoicesDropdownFilter),
        ("with_photograph", BooleanRadioFilter),
    )
    list_before_template = "review/numbers.html"
    sortable_by = ()
    when_empty = gettext_lazy("What the model is unsure of, and a sample of the rest, comes here by itself.")
    everything = "?p=1"  # without a question the list shows what waits
    actions_list = ("next_one", "settle_one", "accuracy", "own_figures", "known_answers")
    actions_detail = ("make_gold",)

    class Media:
        css: ClassVar = {"all": ("predictions/pictures.css", "review/review.css")}

    def has_lead_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm(gold.LEAD)

    def has_decide_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("review.decide_reviewitem")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReviewItem]:
        """All items for the page of one; for lists without those whose answer is withheld from this person."""
        match = request.resolver_match
        listed = match is None or "object_id" not in match.kwargs
        if listed:
            return queries.shown_to(actor_of(request), queries.items())
        return queries.items().select_related("gold")

    def get_ordering(self, request: HttpRequest) -> list[str]:
        """Open items as they will be reviewed; decided ones along time."""
        if request.GET.get("state__exact") == State.OPEN:
            return ["-with_photograph", "why", "created_at"]
        return ["-created_at"]

    def nothing_waits(self, request: HttpRequest) -> str:
        return _("The queue is empty") if request.GET.dict() == {"state__exact": State.OPEN} else ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if "state__exact" not in request.GET and not request.GET:
            return redirect(f"{request.path}?state__exact={State.OPEN}")
        month = now() - queries.LATELY
        waiting = queries.waiting(actor_of(request))
        numbers = {
            "sway": queries.sway_since(month),
            "concord": queries.concord_since(month),
            "least_cases": CASES_MIN,
            "withheld": waiting.withheld,
            "disputed": waiting.disputed,
            "open_by_why": [(why.label, count) for why, count in sorted(waiting.by_why.items())],
            "agreement": queries.agreement_since(month),
            "disclaimers": DISCLAIMERS,
            "in_order": _("With a photograph first, then by why they came; the oldest first.")
            if request.GET.get("state__exact") == State.OPEN
            else _("The newest first."),
        }
        listed: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **numbers})
        return listed

    @action(description=gettext_lazy("Accuracy"), icon="monitoring", url_path="accuracy", permissions=["view"])
    def accuracy(self, request: HttpRequest) -> HttpResponse:
        """How often each version is right in production. Two queries."""
        measured = [(item, _drawn(item.accuracy)) for item in queries.accuracy_lately() if item.accuracy is not None]
        return page(
            request,
            self,
            "review/accuracy.html",
            title=_("Accuracy in production"),
            measured=measured[:VERSIONS_SHOWN],
            days=queries.ACCURACY_SPAN.days,
            disclaimers=DISCLAIMERS,
        )

    @action(description=gettext_lazy("My figures"), icon="self_improvement", url_path="figures", permissions=["decide"])
    def own_figures(self, request: HttpRequest) -> HttpResponse:
        """How one's own reviews went; and for who leads, how far each two people agree. Seven queries."""
        since, person = now() - figures.SPAN, actor_of(request)
        return page(
            request,
            self,
            "review/figures.html",
            title=_("My figures"),
            own=figures.own_since(since, expert=person),
            known=known_context(gold_figures.own_since(since, expert=person)),
            pairs=figures.pairs_since(since) if person.has_perm(gold.LEAD) else None,
            people=people_context(gold_figures.people_since(since)) if person.has_perm(gold.LEAD) else None,
            least=figures.PAIR_MIN,
            least_known=gold_figures.PERSON_MIN,
            days=figures.SPAN.days,
        )

    @action(description=gettext_lazy("Known answers"), icon="verified", url_path="known", permissions=["lead"])
    def known_answers(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:review_golditem_changelist")

    @row_action(description=gettext_lazy("Use as a known answer"), url_path="gold", permissions=["lead"])
    def make_gold(self, request: HttpRequest, object_id: int) -> HttpResponse:
        get_object_or_404(ReviewItem, pk=object_id)

        def act(given: dict[str, Any]) -> str:
            made = gold.make_gold(actor=actor_of(request), item_id=object_id, reason=given["reason"])
            return _("Held to be known: {answer}.").format(answer=answer_text(made, class_names()))

        return ask(
            request,
            self,
            title=_("Use as a known answer"),
            consequence=_(
                "What was decided is held for the truth. The photograph is mixed unmarked into the queues of experts "
                "who never saw it, and their answers are compared. Say how it is known."
            ),
            button=_("Use as a known answer"),
            back=reverse("admin:review_reviewitem_change", args=[object_id]),
            act=act,
        )

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        names = class_names()
        kept = vault.kept_of(str(row.prediction_id) for row in rows if row.with_photograph)
        for row in rows:
            row.class_text = names.get(row.prediction.top_class, row.prediction.top_class)
            row.is_kept = str(row.prediction_id) in kept  # a consent may have ended since

    @display(description=gettext_lazy("Since"), ordering="created_at")
    def since(self, item: ReviewItem) -> Any:
        return item.created_at

    @display(description=gettext_lazy("Why"), label=WHY_COLOURS)
    def why_badge(self, item: ReviewItem) -> tuple[int, str]:
        return item.why, str(Why(item.why).label)

    @display(description=gettext_lazy("The model says"))
    def class_name(self, item: Any) -> str:
        return str(item.class_text)

    @display(description=gettext_lazy("Confidence"))
    def percent(self, item: ReviewItem) -> str:
        return f"{item.prediction.confidence:.0%}"

    @display(description=gettext_lazy("Photograph"), boolean=True)
    def photograph(self, item: Any) -> bool:
        return bool(item.is_kept)

    @display(description=gettext_lazy("State"))
    def state_text(self, item: ReviewItem) -> str:
        return str(State(item.state).label)

    @display(description=gettext_lazy("Held by"))
    def holder(self, item: ReviewItem) -> str:
        held = item.held_by is not None and item.held_until is not None and item.held_until > now()
        return str(item.held_by) if held else "–"

    @action(description=gettext_lazy("Review the next one"), icon="play_arrow", url_path="next", permissions=["decide"])
    def next_one(self, request: HttpRequest) -> HttpResponse:
        return _to_next(request, actor_of(request))

    @action(
        description=gettext_lazy("Settle a disagreement"), icon="balance", url_path="settle", permissions=["decide"]
    )
    def settle_one(self, request: HttpRequest) -> HttpResponse:
        return _to_next(request, actor_of(request), state=State.DISPUTED)

    def get_urls(self) -> list[URLPattern]:
        ahead = self.admin_site.admin_view(self.look_ahead)
        return [path("ahead/", ahead, name="review_reviewitem_look_ahead"), *super().get_urls()]

    def look_ahead(self, request: HttpRequest) -> HttpResponse:
        """Where the photograph after this one is: held for this person, and fetched while they look at this one."""
        if not self.has_decide_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        after = request.GET.get("after", "")
        if not after.isdecimal() or len(after) > NUMBER_DIGITS_MAX:
            raise Http404
        number = desk.look_ahead(actor=actor_of(request), after=int(after))
        address = "" if number is None else reverse("admin:review_reviewitem_change", args=[number])
        return JsonResponse({"next": address})

    def row_page(self, request: HttpRequest, item: ReviewItem) -> HttpResponse:
        actor = actor_of(request)
        at = desk.seat(actor, item)
        if request.method == "POST":
            return _for_script(request, _answered(request, actor, at))
        refusal = ""
        ahead = item.held_by_id == actor.pk and _LOOKS_AHEAD in request.headers  # its time begins when it is shown
        if at.question is None and at.open and not ahead and self.has_decide_permission(request):
            try:
                at = replace(at, item=services.take(actor=actor, item_id=item.pk))
            except Conflict as conflict:
                refusal = conflict.message
        elif at.set_aside:
            refusal = services.left_alone().message
        return page(
            request, self, "review/item.html", title=_("Expert review"), **_context(request, at, actor, refusal)
        )


def _drawn(share: Share) -> dict[str, float]:
    """Where a share and its interval lie on a scale from 0 to 100."""
    return {
        "value": round(100 * share.value, 1),
        "low": round(100 * share.low, 1),
        "high": round(100 * share.high, 1),
        "width": round(100 * (share.high - share.low), 1),
    }


def _for_script(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """The same for the page's own script, which goes there without leaving the page where it can."""
    if request.headers.get("Accept") != "application/json" or "Location" not in answer.headers:
        return answer
    last = render_to_string("review/last.html", {"last": _last(request)}, request=request)
    # The page that was fetched ahead counts what waited then.
    waiting = render_to_string("review/waiting.html", {"waiting": queries.open_count_told(actor_of(request))})
    return JsonResponse(
        {"next": answer.headers["Location"], "last": last if _last(request) else "", "waiting": waiting}
    )


def _answered(request: HttpRequest, actor: User, at: Seat) -> HttpResponse:
    """Do what the form asks, and go on to the next item."""
    item, was = at.item, State.OPEN if at.question else State(at.item.state)
    if "skip" in request.POST:
        desk.give_back(actor=actor, item_id=item.pk)
        return _to_next(request, actor, passing_over=item.pk, state=was)
    if "take-back" in request.POST:
        request.session.pop(_LAST, None)
        try:
            desk.take_back(actor=actor, item_id=item.pk)
        except Refusal as refusal:
            messages.error(request, refusal.message)
        return redirect(request.path)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Choose an answer first."))
        return redirect(request.path)
    try:
        decision = form.decision()
        decided_at = desk.decide(actor=actor, at=at, decision=decision).decided_at
    except Refusal as refusal:
        # Another window of theirs gave it back, or somebody had it meanwhile: the page that follows takes it again.
        lost = refusal.reason == "not_held"
        request.session[_NOT_TAKEN] = item.pk
        messages.error(request, _("It was no longer held for you: look at it again.") if lost else refusal.message)
        return redirect(request.path)
    names = {known.class_id: known.name for known in classes_of(item.prediction)}
    said = names.get(decision.class_id, decision.class_id) or str(decision.decided.label)
    request.session[_LAST] = [item.pk, said, decided_at.timestamp()]
    return _to_next(request, actor, state=was)


def _to_next(request: HttpRequest, actor: User, *, passing_over: int = 0, state: State = State.OPEN) -> HttpResponse:
    number = desk.next_item(actor=actor, passing_over=passing_over, state=state)
    if number is None:
        said = _("No disagreement waits for you.") if state == State.DISPUTED else _("Nothing waits for you.")
        messages.success(request, said)
        return redirect("admin:review_reviewitem_changelist")
    return redirect(reverse("admin:review_reviewitem_change", args=[number]))


def _last(request: HttpRequest) -> tuple[str, str] | None:
    """Where this person's last decision is taken back, and what it was, while that is possible."""
    item_id, said, decided_s = request.session.get(_LAST, (0, "", 0.0))
    if now().timestamp() - decided_s > TAKE_BACK.total_seconds():
        return None
    return reverse("admin:review_reviewitem_change", args=[item_id]), said


def _not_taken(request: HttpRequest, item: ReviewItem) -> bool:
    """Whether what was sent of it was refused just now: what was typed is given back. Said once."""
    if request.session.get(_NOT_TAKEN) != item.pk:
        return False
    del request.session[_NOT_TAKEN]
    return True


def _context(request: HttpRequest, at: Seat, actor: User, refusal: str) -> dict[str, Any]:
    """What the one-item page shows. At most seven queries."""
    item, prediction = at.item, at.item.prediction
    withheld, classes = desk.withheld_from(actor, at), desk.choices_for(actor, at)
    answer = (
        {"pictures": desk.pictures_for(actor, at)}
        if withheld
        else shown(prediction, prediction.detail(), classes, actor)
    )
    names = {known.class_id: known.name for known in classes}
    return {
        **answer,
        "withheld": withheld,
        "disclaimers": DISCLAIMERS,
        "disputed": item.state == State.DISPUTED,
        "last": _last(request),
        "item": item,
        "why": _("You answer first") if withheld else Why(item.why).label,
        "why_colour": "primary" if withheld else WHY_COLOURS.get(Why(item.why), ""),
        "may_decide": not refusal and (at.question is not None or (at.open and item.held_by_id == actor.pk)),
        "may_be_gold": not at.open and actor.has_perm(gold.LEAD) and not hasattr(item, "gold"),
        "refusal": refusal,
        "not_taken": _not_taken(request, item),
        "may_review": actor.has_perm("review.decide_reviewitem"),
        "choices": [
            (KEYS[place] if place < len(KEYS) else "", f"class:{known.class_id}", known.name, known.names.get("th", ""))
            for place, known in enumerate(classes)
        ],
        "may_find": len(classes) > len(KEYS),
        "others": [(key, decided.value, text) for decided, key, text in _OTHERS],
        "decisions": [(decision, names.get(decision.class_id, decision.class_id)) for decision in desk.said(actor, at)],
        "note_max": services.NOTE_MAX,
        "waiting": queries.disputed_count(actor) if item.state == State.DISPUTED else queries.open_count_told(actor),
    }
