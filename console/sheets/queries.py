"""What a person may see of a sheet, and what the answers say together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Final
from uuid import UUID

from django.db.models import Count, Prefetch, Q, QuerySet

from console.review.agreement import Concord, Share, cohen, score_interval
from console.sheets.models import Sheet, SheetAnswer, SheetItem, Verdict
from console.sheets.withdrawal import shown
from console.staff.models import User
from model_store.review_sheet import PROBLEMS

GOOD: Final = frozenset({Verdict.YES, Verdict.PLAUSIBLE})
_IDS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Part:
    """How often items of one part of a sheet were found good.

    The interval counts items, not answers: several people on one photograph are no independent observations.
    """

    name: str
    answers: int
    share: Share


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people who judged the same items."""

    first: str
    second: str
    concord: Concord


@dataclass(frozen=True, slots=True)
class Far:
    """How far one person is with a sheet."""

    shown: int  # items that may be looked at: `Sheet.size` says how many came with it
    judged: int  # of these


@dataclass(frozen=True, slots=True)
class Results:
    """What the answers to a sheet say so far."""

    all: Part
    origins: tuple[Part, ...]  # of synthetic sheets: what was made, and the real yardstick
    classes: tuple[Part, ...]  # real ones left out
    problems: Mapping[str, int]
    pairs: tuple[Pair, ...]


def sheets() -> QuerySet[Sheet]:
    """Sheets with whoever imported them, in one query."""
    return Sheet.objects.select_related("imported_by")


def how_far(person: User, sheet: Sheet) -> Far:
    """How far one person is with a sheet. One query."""
    mine = Count("pk", filter=Q(answers__expert=person), distinct=True)
    return Far(**shown(sheet.items.all()).aggregate(shown=Count("pk", distinct=True), judged=mine))


def progress(sheet: Sheet) -> list[int]:
    """How many of what may be looked at each person who began has judged, the most first. Nobody is named."""
    rows = SheetAnswer.objects.filter(item__in=shown(sheet.items.all()).values("pk"))
    return sorted(Counter(rows.values_list("expert", flat=True)).values(), reverse=True)


def sees_results(person: User, sheet: Sheet) -> bool:
    """Whoever may import sees what was said; whoever may also answer, only after answering all."""
    if not person.has_perm("sheets.import_sheet"):
        return False
    return not person.has_perm("sheets.answer_sheet") or next_item(person, sheet) is None


def next_item(person: User, sheet: Sheet, *, after: int = 0) -> SheetItem | None:
    """The first item that this person has not judged, beginning behind a number; None when all are."""
    left = shown(sheet.items.exclude(answers__expert=person)).order_by("number")
    return left.filter(number__gt=after).first() or left.first()


def results(sheet: Sheet) -> Results:
    """One query over the answers to a sheet, without its pictures."""
    rows = list(
        SheetAnswer.objects.filter(item__sheet=sheet)
        .select_related("item", "expert")
        .defer("item__photo", "item__overlay")
        .order_by("item__number", "pk")
    )
    origins, classes = defaultdict(list), defaultdict(list)
    by_person: dict[str, dict[int, str]] = defaultdict(dict)
    for row in rows:
        origins[row.item.origin].append(row)
        if row.item.origin != "real":
            classes[row.item.label].append(row)
        by_person[row.expert.get_username()][row.item_id] = row.verdict
    problems = Counter(problem for row in rows if row.item.origin != "real" for problem in row.problems)
    return Results(
        all=_part("", rows),
        origins=tuple(_part(name, found) for name, found in sorted(origins.items()) if name),
        classes=tuple(_part(name, found) for name, found in sorted(classes.items())),
        problems={name: problems[name] for name in PROBLEMS if problems[name]},
        pairs=tuple(
            Pair(first, second, cohen([(by_person[first][item], by_person[second][item]) for item in both]))
            for first, second in combinations(sorted(by_person), 2)
            if (both := sorted(by_person[first].keys() & by_person[second].keys()))
        ),
    )


def _part(name: str, rows: Iterable[SheetAnswer]) -> Part:
    """Each item counts once, by the share of its answers that found it good."""
    good: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        good[row.item_id].append(row.verdict in GOOD)
    if not good:
        return Part(name, 0, Share(0.0, 0.0, 1.0, 0))
    share = fmean(fmean(answers) for answers in good.values())
    return Part(name, sum(map(len, good.values())), score_interval(share, len(good)))


def items_by_prediction(prediction_ids: Sequence[UUID]) -> list[SheetItem]:
    """Where their photographs lie on review sheets, with what was said of them, oldest first, without the pictures.

    Two queries for some hundred.
    """
    found: list[SheetItem] = []
    rows = SheetItem.objects.prefetch_related(Prefetch("answers", SheetAnswer.objects.order_by("pk")))
    for start in range(0, len(prediction_ids), _IDS_AT_ONCE):
        some = rows.filter(prediction__in=prediction_ids[start : start + _IDS_AT_ONCE])
        found += some.defer("photo", "overlay").order_by("pk")
    return found
