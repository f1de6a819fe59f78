"""The same as `person.json` as pages that a person reads: one file a language, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import override

from console.audit.names import type_name
from console.predictions.models import FeedbackKind, Verdict
from console.predictions.names import class_names
from console.privacy.models import Kind, State
from console.privacy.notice import uses
from console.privacy.typed import ERASED
from console.review.models import Decided, Why
from console.review.models import State as Queue
from console.sheets.models import Verdict as OnSheet
from console.vault.models import Purpose

LANGUAGES: Final = ("th", "en")
SHEETS: Final = "sheets"  # folder of copies of photographs on review sheets
_MOMENTS: Final = frozenset(
    {
        *("made_at", "given_at", "expires_at", "withdrawn_at", "received_at", "happened_at", "decided_at"),
        *("extended_at", "closed_at", "restricted_at", "taken_out_at", "answered_at", "since"),
    }
)


def pages(person: Mapping[str, Any], files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each page. person: the content of person.json.  files: names of the pictures in the ZIP."""
    for language in LANGUAGES:
        with override(language):
            text = render_to_string(
                "privacy/person.html", {"language": language, "person": _read(person, files), "uses": uses()}
            )
        yield f"person.{language}.html", text


def _read(person: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """With times as times, codes as words of the active language, and each prediction's photographs."""
    classes = class_names()
    photographs: dict[str, list[str]] = {}  # by prediction: they are named folder/ID-PART.png
    pictures: dict[str, list[str]] = {}  # as well: sheets/ID-SHEET-NUMBER.jpg, and what is drawn on it
    for name in files:
        if name.startswith(f"{SHEETS}/"):
            pictures.setdefault(name.rpartition("/")[2].rsplit("-", 2)[0], []).append(name)
        else:
            photographs.setdefault(name.rpartition("/")[2].rpartition("-")[0], []).append(name)

    def of(row: Mapping[str, Any], **words: str) -> dict[str, Any]:
        return {name: _moment(value) if name in _MOMENTS else value for name, value in row.items()} | words

    def named(class_id: str) -> str:
        return classes.get(class_id, class_id)

    return {
        **of(person),
        "consents": [of(row, purpose=_label(Purpose, row["purpose"])) for row in person["consents"]],
        "requests": [
            of(
                row,
                kind=_label(Kind, row["kind"]),
                state=_label(State, row["state"]),
                reason=_said(row["reason"]),
                extension_reason=_said(row["extension_reason"]),
            )
            for row in person["requests"]
        ],
        "learnt": [of(row) for row in person["learnt"]],
        "predictions": [
            of(row, verdict=str(Verdict[row["verdict"]].label), class_name=named(row["class"]))
            | {
                "photographs": photographs.get(row["id"], ()),
                "pictures": pictures.get(row["id"], ()),
                "review": row["review"]
                and of(
                    row["review"], why=str(Why[row["review"]["why"]].label), state=_label(Queue, row["review"]["state"])
                ),
                "tests": [
                    of(item, decided=_label(Decided, item["decided"]), class_name=named(item["class"]))
                    for item in (row["known_answer"] or {"answers": ()})["answers"]
                ],
                "feedback": [
                    of(item, kind=str(FeedbackKind[item["kind"]].label), class_name=named(item["true_class"]))
                    for item in row["feedback"]
                ],
                "reviews": [
                    of(item, decided=_label(Decided, item["decided"]), class_name=named(item["class"]))
                    for item in row["reviews"]
                ],
                "sheets": [of(item, verdict=_label(OnSheet, item["verdict"])) for item in row["sheets"]],
            }
            for row in person["predictions"]
        ],
        "refused": [of(row) for row in person["refused"]],
        # That an answer was given stands above, as an answer.
        "log": [
            of(row, type=type_name(row["type"]), prediction=row["about"][1] if row["about"][0] == "prediction" else "")
            for row in person["log"]
            if row["type"] != "prediction.made"
        ],
    }


def _said(text: str) -> str:
    return _("(erased)") if text == ERASED else text


def _moment(text: str | None) -> datetime | None:
    return parse_datetime(text) if text else None


def _label(choices: Any, value: str) -> str:
    return str(choices(value).label)
