"""Which addresses of a console are measured: each list with its filters, searches and pages, and each single page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from django.test import Client as Browser

    from benchmarks.history import Filled

DEEP_PAGE: Final = 400
# Pages that no list of the admin leads to.
OF_OUR_OWN: Final = {
    "accuracy": "/admin/review/reviewitem/accuracy",
    "own figures": "/admin/review/reviewitem/figures",
}


@dataclass(slots=True)
class Place:
    """One database with its people."""

    name: str
    filled: Filled
    browser: Browser
    token: str


def addresses(place: Place) -> dict[str, str]:
    """Case -> address: every list with each of its filters, searches and pages, and the pages of single things."""
    from django.contrib import admin
    from django.urls import reverse

    found = {"home": "/admin/"}
    for model in admin.site._registry:
        label = model._meta.label_lower
        base = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        answer = place.browser.get(base, follow=True)
        if answer.status_code != 200 or answer.context is None:
            continue
        found[f"list {label}"] = base
        listed = answer.context["cl"]
        for number, spec in enumerate(listed.filter_specs):
            for text, parameters in _choices(spec):
                found[f"filter {label} {number} {text}"] = f"{base}?{urlencode(parameters)}"
        for text, term in _terms(place, label).items():
            found[f"search {label} {text}"] = f"{base}?{urlencode({'q': term})}"
        first = next(iter(listed.result_list), None)
        if first is not None:
            found[f"page {label}"] = reverse(
                f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[first.pk]
            )
    deep = {f"deep {case}": _deep(place, url) for case, url in found.items() if case.startswith("list ")}
    found |= {case: url for case, url in deep.items() if url}
    return found | OF_OUR_OWN | _time_ranges(place) | _combinations() | _rest(place)


@contextmanager
def seen_through() -> Iterator[None]:
    """Answers carry what they were made of, which costs too much while something is timed."""
    from django.test.utils import setup_test_environment, teardown_test_environment

    setup_test_environment()
    try:
        yield
    finally:
        teardown_test_environment()


def _choices(spec: Any) -> list[tuple[str, dict[str, str]]]:
    """What a filter offers, as parameters."""
    from django.db import models

    name = getattr(spec, "parameter_name", None) or getattr(spec, "lookup_kwarg", None)
    if name is None:
        return []
    field = getattr(spec, "field", None)
    if isinstance(field, models.BooleanField):
        return [(value, {name: value}) for value in ("1", "0")]
    choices = getattr(spec, "lookup_choices", None) or getattr(field, "flatchoices", None) or ()
    return [(str(value), {name: str(value)}) for value, *_text in choices if value not in ("", None)]


def _terms(place: Place, label: str) -> dict[str, str]:
    """What staff search for, found and not found."""
    filled = place.filled
    nobody = "018f0000-0000-7000-8000-000000000000"
    return {
        "predictions.prediction": {"by id": filled.a_prediction, "by call": filled.a_request_id, "in vain": nobody},
        "audit.entry": {
            "by number": str(filled.entries // 3),
            "by subject": filled.a_prediction,
            "by person": "bench-reviewer",
            "by process": "gateway",
            "in vain": nobody,
        },
        "vault.subject": {"by pseudonym": filled.a_person, "in vain": "nobody"},
        "vault.consent": {"by reference": filled.a_consent, "by pseudonym": filled.a_person, "in vain": "nobody"},
        "privacy.privacyrequest": {"by number": "17", "in vain": "nobody"},
        "staff.user": {"by name": "bench-reviewer", "in vain": "nobody"},
        "clients.client": {"by name": "client 03", "in vain": "nobody"},
    }.get(label, {})


def _time_ranges(place: Place) -> dict[str, str]:
    """A day and a month, lately and long ago."""
    from datetime import timedelta

    from django.utils.timezone import now

    from benchmarks.history import A_DAY

    found = {}
    whole = timedelta(days=place.filled.predictions / A_DAY)
    for name, base, column in (
        ("predictions.prediction", "/admin/predictions/prediction/", "happened_at"),
        ("audit.entry", "/admin/audit/entry/", "recorded_at"),
    ):
        for text, back, length in (
            ("lately", timedelta(days=1), timedelta(days=1)),
            ("long ago", whole * 0.9, timedelta(days=1)),
            ("long ago until now", whole * 0.9, whole),
        ):
            since = now() - back
            parameters = {
                f"{column}_from_0": f"{since:%Y-%m-%d}", f"{column}_from_1": "00:00:00",
                f"{column}_to_0": f"{since + length:%Y-%m-%d}", f"{column}_to_1": "00:00:00",
            }  # fmt: skip
            found[f"filter {name} time {text}"] = f"{base}?{urlencode(parameters)}"
            if name == "audit.entry":
                found[f"filter {name} rare type and time {text}"] = (
                    f"{base}?{urlencode({**parameters, 'type': 'photograph.opened'})}"
                )
    return found


def _combinations() -> dict[str, str]:
    """Filters that lead along no single index."""
    from tests.console_events import CLASSES

    predictions, reviews = "/admin/predictions/prediction/?", "/admin/review/reviewitem/?"
    return {
        "filter predictions.prediction rare class, rare verdict": predictions
        + urlencode({"verdict__exact": 3, "class": CLASSES[-1]}),
        "filter predictions.prediction old version, rare verdict": predictions
        + urlencode({"verdict__exact": 3, "version": "v20251120_tiny_0.930"}),
        "filter review.reviewitem decided, sampled": reviews + urlencode({"state__exact": "decided", "why__exact": 5}),
        "filter review.reviewitem decided, flagged": reviews + urlencode({"state__exact": "decided", "why__exact": 1}),
        "filter review.reviewitem open, with photograph": reviews
        + urlencode({"state__exact": "open", "with_photograph__exact": 1}),
    }


def _deep(place: Place, url: str) -> str:
    """The address of a page that lies DEEP_PAGE pages behind the first; "" where the list is not as long."""
    deep = f"{url}?p={DEEP_PAGE}"
    answer = place.browser.get(deep, follow=True)
    listed = answer.context and answer.context.get("cl")
    return deep if listed and len(listed.result_list) else ""


def _rest(place: Place) -> dict[str, str]:
    """The lists of the REST interface, whole and filtered."""
    filled = place.filled
    base = "/api/v1/"
    found = {
        f"rest {path}": base + path
        for path in (
            "predictions/", "predictions/?verdict=OUT_OF_DISTRIBUTION", "predictions/?class_id=rup_lo",
            "predictions/?page_size=500", "audit/entries/", "audit/entries/?type=photograph.opened",
            "audit/entries/?subject_type=user", "reviews/", "consents/", "consents/?purpose=training",
            "privacy/requests/", "privacy/requests/?state=done", "versions/", "routes/", "clients/",
        )
    }  # fmt: skip
    found["rest predictions/{id}/"] = f"{base}predictions/{filled.a_prediction}/"
    found["rest audit/entries/ about"] = f"{base}audit/entries/?subject_id={filled.a_prediction}"
    return found


def ask(place: Place, url: str) -> None:
    headers = {"Authorization": f"Token {place.token}"} if url.startswith("/api/") else {}
    answer = place.browser.get(url, headers=headers, follow=True)
    if answer.status_code != 200:
        raise RuntimeError(f"{url} answered {answer.status_code}")
    with contextlib.suppress(AttributeError):
        answer.content  # noqa: B018 - a template answers when it is read
