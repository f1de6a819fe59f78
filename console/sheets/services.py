"""What changes sheets and answers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from console.audit.services import record
from console.audit.words import record_with_words
from console.errors import Conflict, Invalid, NotAllowed, NotFound, TooLarge
from console.predictions.models import Prediction
from console.sheets import queries, sentences
from console.sheets.models import Kind, Sheet, SheetAnswer, SheetItem, Verdict
from console.sheets.withdrawal import shown
from console.staff.models import User
from console.staff.services import require
from model_store.review_sheet import PROBLEMS, SHEET_BYTES_MAX, VERDICTS, Item, SheetRefused, read_sheet

NOTE_MAX: Final = 500
VERDICTS_OF: Final = {
    Kind.HEAT_MAPS: (Verdict.YES, Verdict.NO, Verdict.UNSURE),
    Kind.SYNTHETIC: tuple(map(Verdict, VERDICTS)),
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person says of one item. Problems go with synthetic photographs only."""

    verdict: str
    problems: Sequence[str] = ()
    note: str = ""


class Picture(Enum):
    """What is kept of an item."""

    PHOTOGRAPH = auto()
    HEAT_MAP = auto()


def import_sheet(*, actor: User, pieces: Iterable[bytes]) -> Sheet:
    """Read a sheet and keep it with its pictures. How many it `left_out` is said on what is returned.

    A photograph whose name or source names a prediction is of the person behind it. Where the console knows none any
    more, as after an erasure, nobody could let it be used, nor have it erased: it is left out, with its pictures. So is
    one of a person who has restricted what is done: nothing more is kept of them.

    Raises NotAllowed; TooLarge; Invalid with what is wrong in the file, or when nothing of it may be used; Conflict
    when it was imported before, or somebody on it was erased meanwhile.
    """
    require(actor, "sheets.import_sheet")
    staging: Path = settings.AMULET.staging_dir
    staging.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Without a name: it holds photographs in the clear, and goes with a process that is killed.
    with tempfile.TemporaryFile(dir=staging) as file:
        for piece in pieces:
            if file.tell() + len(piece) > SHEET_BYTES_MAX:
                raise TooLarge(_("A sheet may have at most {most} bytes.").format(most=SHEET_BYTES_MAX), field="file")
            file.write(piece)
        file.flush()
        try:
            read = read_sheet(Path(f"/proc/self/fd/{file.fileno()}"))
        except SheetRefused as refused:
            why = sentences.for_reader(str(refused))
            raise Invalid(_("This is no review sheet: {why}.").format(why=why), field="file") from None
    named = _predictions_named(read.items)
    known = _with_a_person(named.values())
    items = [item for item in read.items if item.name not in named or named[item.name] in known]
    if not items:
        raise Invalid(
            _(
                "Every photograph on this sheet is of a prediction that the console does not know any more, or of a "
                "person who has restricted what is done."
            ),
            field="file",
        )
    try:
        with transaction.atomic():
            sheet = Sheet.objects.create(
                kind=read.kind, model=read.model, sha256=read.sha256, size=len(items), imported_by=actor
            )
            SheetItem.objects.bulk_create(
                [
                    SheetItem(
                        sheet=sheet,
                        number=number,
                        name=item.name,
                        prediction_id=named.get(item.name),
                        photo=item.photo,
                        overlay=item.overlay,
                        label=item.label or "",
                        predicted=item.predicted,
                        confidence=item.confidence,
                        origin=item.origin or "",
                    )
                    for number, item in enumerate(items, start=1)
                ],
                batch_size=50,
            )
            sheet.left_out = len(read.items) - len(items)
            said = {"sha256": sheet.sha256, "model": sheet.model, "left_out": sheet.left_out}
            _record(actor, "sheets.imported", sheet, said)
    except IntegrityError:
        if not Sheet.objects.filter(sha256=read.sha256).exists():  # a prediction went between that look and the end
            raise Conflict(
                _("Somebody was erased while the sheet was read: import it again."), reason="erased_meanwhile"
            ) from None
        raise Conflict(_("This sheet was imported before."), reason="imported_before", field="file") from None
    return sheet


def next_to_judge(*, actor: User, sheet_id: int, after: int = 0) -> SheetItem | None:
    """The first item that this person has not judged, behind a number if there is one; None when they judged all.

    Raises NotAllowed, NotFound.
    """
    require(actor, "sheets.answer_sheet")
    return queries.next_item(actor, find(actor=actor, sheet_id=sheet_id), after=after)


@transaction.atomic
def picture(*, actor: User, sheet_id: int, number: int, kind: Picture) -> bytes:
    """One picture of a sheet, for who judges it, and an audit entry that this person saw it.

    Raises NotAllowed, NotFound.
    """
    require(actor, "sheets.answer_sheet")
    found = _pictures_in(_item(sheet_id, number))
    if kind not in found:
        raise _no_such_item(number)
    _opened(actor, sheet_id, number, [kind])
    return found[kind]


@transaction.atomic
def pictures_of(*, actor: User, item: SheetItem) -> Mapping[Picture, bytes]:
    """All pictures of an item that `next_to_judge` gave, and one audit entry. Raises NotAllowed."""
    require(actor, "sheets.answer_sheet")
    found = _pictures_in(item)
    _opened(actor, item.sheet_id, item.number, found)
    return found


@transaction.atomic
def answer(*, actor: User, sheet_id: int, number: int, given: Answer) -> SheetAnswer:
    """Judge one item. The audit trail learns that a person is through, and not what was said.

    Raises NotAllowed; NotFound, also where its person does not let it be used any more; Invalid; Conflict when this
    person has judged it.
    """
    require(actor, "sheets.answer_sheet")
    item = _item(sheet_id, number)
    _check(given, Kind(item.sheet.kind))
    made, new = SheetAnswer.objects.get_or_create(
        item=item,
        expert=actor,
        defaults={"verdict": given.verdict, "problems": sorted(set(given.problems)), "note": given.note},
    )
    if not new:
        raise Conflict(_("You have judged this one."), reason="already_answered")
    if queries.next_item(actor, item.sheet) is None:
        _record(actor, "sheets.answered", item.sheet, {})
    return made


@transaction.atomic
def take_back(*, actor: User, sheet_id: int) -> int:
    """Undo one's own newest answer while items are left; the number of its item.

    Raises NotAllowed, NotFound; Conflict when everything is answered: results may have been seen.
    """
    require(actor, "sheets.answer_sheet")
    sheet = find(actor=actor, sheet_id=sheet_id)
    made = SheetAnswer.objects.filter(item__sheet=sheet, expert=actor).order_by("-pk").select_related("item").first()
    if made is None:
        raise NotFound(_("There is no answer to take back."))
    if queries.next_item(actor, sheet) is None:
        raise Conflict(_("You have answered everything: nothing is taken back any more."), reason="too_late")
    made.delete()
    return made.item.number


@transaction.atomic
def export_answers(*, actor: User, sheet_id: int) -> dict[str, Any]:
    """All answers, as `amulet synth reviewed` takes them. People are named as in the audit trail: by pseudonym.

    Raises NotFound; NotAllowed for who may answer and has not yet.
    """
    require(actor, "sheets.import_sheet")
    sheet = find(actor=actor, sheet_id=sheet_id)
    if not queries.sees_results(actor, sheet):
        raise NotAllowed(_("Who may answer this sheet sees what others said after answering all of it."))
    rows = (
        SheetAnswer.objects.filter(item__sheet=sheet)
        .select_related("item", "expert")
        .defer("item__photo", "item__overlay")
        .order_by("item__number", "pk")
    )
    answers = [_exported(row, Kind(sheet.kind)) for row in rows]
    _record(actor, "sheets.exported", sheet, {"answers": len(answers)})
    return {"kind": sheet.kind, "model": sheet.model, "answers": answers}


@transaction.atomic
def remove_sheet(*, actor: User, sheet_id: int, reason: str) -> None:
    """Delete a sheet with its pictures and answers. Raises NotAllowed, NotFound."""
    require(actor, "sheets.import_sheet")
    sheet = find(actor=actor, sheet_id=sheet_id)
    _record(actor, "sheets.removed", sheet, {}, words={"reason": reason})
    sheet.delete()


def find(*, actor: User, sheet_id: int) -> Sheet:
    """Raises NotAllowed, NotFound."""
    require(actor, "sheets.view_sheet")
    sheet = queries.sheets().filter(pk=sheet_id).first()
    if sheet is None:
        raise NotFound(_("There is no review sheet {id}.").format(id=sheet_id))
    return sheet


def _check(given: Answer, kind: Kind) -> None:
    verdicts = VERDICTS_OF[kind]
    if given.verdict not in verdicts:
        raise Invalid(_("The answers are: {answers}.").format(answers=", ".join(verdicts)), field="verdict")
    if given.problems and (kind != Kind.SYNTHETIC or not set(given.problems) <= set(PROBLEMS)):
        raise Invalid(
            _("Problems are of synthetic photographs: {problems}.").format(problems=", ".join(PROBLEMS)),
            field="problems",
        )
    if len(given.note) > NOTE_MAX:
        raise Invalid(_("A note has at most {most} characters.").format(most=NOTE_MAX), field="note")


def _item(sheet_id: int, number: int) -> SheetItem:
    """With its sheet. Raises NotFound, also where its person does not let it be used any more."""
    item = SheetItem.objects.select_related("sheet").filter(sheet=sheet_id, number=number).first()
    if item is None:
        raise _no_such_item(number)
    if not shown(SheetItem.objects.filter(pk=item.pk)).exists():
        raise NotFound(_("Its person does not let this photograph be used any more."), reason="not_kept")
    return item


def _pictures_in(item: SheetItem) -> dict[Picture, bytes]:
    pictures = {Picture.PHOTOGRAPH: item.photo, Picture.HEAT_MAP: item.overlay}
    return {kind: bytes(content) for kind, content in pictures.items() if content}


def _opened(actor: User, sheet_id: int, number: int, kinds: Iterable[Picture]) -> None:
    """By sheet and number: an item's name may tell whose photograph it is."""
    record(
        actor=actor,
        action="sheets.opened",
        subject_type="review_sheet",
        subject_id=str(sheet_id),
        details={"number": number, "pictures": [kind.name.lower() for kind in kinds]},
    )


def _no_such_item(number: int) -> NotFound:
    return NotFound(_("There is no item {number} on this sheet.").format(number=number))


def _predictions_named(items: Iterable[Item]) -> dict[str, UUID]:
    """Name of an item -> the prediction that its name or source names, for those that name one."""
    return {item.name: UUID(found[0]) for item in items if (found := _UUID.search(item.source or item.name))}


def _with_a_person(keys: Collection[UUID]) -> set[UUID]:
    """Those that the console knows, with their person: what it exported had one, and what comes late has none. Without
    those of people who restricted what is done.
    """
    rows = Prediction.objects.filter(pk__in=set(keys), subject__isnull=False, subject__restricted_at=None)
    return set(rows.values_list("pk", flat=True))


def _exported(row: SheetAnswer, kind: Kind) -> dict[str, Any]:
    item = row.item
    said = {
        "name": item.name,
        "reviewer": str(row.expert.pseudonym),
        "verdict": row.verdict,
        "note": row.note,
        "answered_at": row.answered_at.isoformat(),
    }
    if kind == Kind.SYNTHETIC:
        return {**said, "class": item.label, "origin": item.origin, "problems": row.problems}
    return {**said, "label": item.label or None, "predicted": item.predicted, "confidence": item.confidence}


def _record(
    actor: User, action: str, sheet: Sheet, details: dict[str, Any], *, words: Mapping[str, str] | None = None
) -> None:
    record_with_words(
        actor=actor,
        action=action,
        subject_type="review_sheet",
        subject_id=str(sheet.pk),
        details={"kind": sheet.kind, "items": sheet.size, **details},
        words=words or {},
    )
