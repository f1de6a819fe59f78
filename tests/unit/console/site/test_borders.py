"""Where the console meets the outside: problem documents, OpenAPI, health, headers, production settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from django.test import Client as Browser
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework import exceptions

from console import errors
from console.errors import Refusal
from console.site.problem import STATUS_OF, TITLE_OF, answer
from console.site.roles import Role
from tests.console_ready import new_state
from tests.unit.console.people import caller


def every_refusal(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    return [found for inner in kind.__subclasses__() for found in (inner, *every_refusal(inner))]


def test_every_refusal_has_its_status_and_title() -> None:
    for kind in every_refusal():
        problem = answer(kind("No.", reason="why", field="name"), {})
        assert problem is not None, kind
        assert problem.status_code in STATUS_OF.values()
        assert problem.data == {
            "type": "urn:amulet:problem:why",
            "title": TITLE_OF[problem.status_code],
            "status": problem.status_code,
            "detail": "No.",
            "reason": "why",
            "field": "name",
        }
    assert {kind.__name__ for kind in STATUS_OF} <= set(dir(errors))


@pytest.mark.parametrize(
    ("error", "status", "field"),
    [
        (exceptions.ValidationError({"name": ["Wrong."]}), 400, "name"),
        (exceptions.ValidationError({"rules": [{}, {"file": ["Wrong."]}]}), 400, "rules.file"),
        (exceptions.ValidationError({"non_field_errors": ["Wrong."]}), 400, ""),
        (exceptions.ValidationError("Wrong."), 400, ""),
        (exceptions.ParseError(), 400, ""),
        (exceptions.Throttled(wait=3), 429, ""),
        (exceptions.MethodNotAllowed("PUT"), 405, ""),
        (exceptions.UnsupportedMediaType("text/x"), 415, ""),
        (ValidationError({"name": ["Wrong."]}), 400, "name"),
        (PermissionDenied(), 403, ""),
        (Http404(), 404, ""),
    ],
)
def test_other_refusals_become_problems_too(error: Exception, status: int, field: str) -> None:
    problem = answer(error, {})
    assert problem is not None
    assert (problem.status_code, problem.data["field"]) == (status, field)
    assert problem.content_type == "application/problem+json"
    assert problem.data["detail"]


def test_our_own_faults_are_not_dressed_up() -> None:
    assert answer(RuntimeError("secret"), {}) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("{", "application/json", 400),
        ("[]", "application/json", 400),
        ("[" * 100_000, "application/json", 400),
        ("a=1", "text/plain", 415),
    ],
)
def test_odd_bodies_are_problems(body: str, content_type: str, status: int) -> None:
    answered = caller(Role.ADMINISTRATOR).generic("POST", "/api/v1/clients/", body, content_type=content_type)
    assert (answered.status_code, answered["Content-Type"]) == (status, "application/problem+json")


def test_openapi_is_valid_and_was_made_without_a_warning() -> None:
    GENERATOR_STATS.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # no annotations
    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache
    validate_schema(schema)  # type: ignore[no-untyped-call]  # as above
    assert {"/api/v1/versions/", "/api/v1/uploads/{id}/", "/api/v1/clients/{id}/keys/"} <= set(schema["paths"])


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_health_says_alive_ready_and_counts() -> None:
    browser = Browser()
    assert browser.get("/healthz").json() == {"status": "ok"}
    assert browser.get("/readyz").json()["status"] == "ready"
    assert b"process_resident_memory_bytes" in browser.get("/metrics").content
    assert browser.post("/healthz").status_code == 405


@pytest.mark.django_db
def test_every_page_carries_the_headers_that_protect_it() -> None:
    answered = Browser().get("/healthz")
    policy = answered["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"script-src[^;]*'unsafe-inline'", policy)
    assert answered["X-Frame-Options"] == "DENY"
    assert answered["X-Content-Type-Options"] == "nosniff"
    assert answered["Referrer-Policy"] == "same-origin"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address", ["predictions/", "reviews/", "reviews/999/", "waiting/", "staff/tokens/", "nowhere/"]
)
def test_nothing_that_rest_says_stays_in_a_browser_or_a_proxy(address: str) -> None:
    """A session reads it too: after signing out nobody finds on the disk what somebody looked at."""
    answered = caller(Role.ADMINISTRATOR).get(f"/api/v1/{address}")
    assert "no-store" in answered["Cache-Control"]
    assert "no-store" in Browser().get(f"/api/v1/{address}")["Cache-Control"]  # a refusal as well


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_a_name_that_is_not_ours_is_not_answered() -> None:
    assert Browser().get("/healthz", HTTP_HOST="evil.example").status_code == 400


def inspected(state: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What Django says of a console with these settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    environment |= {"AMULET_STATE_DIR": str(new_state(state)), **variables}
    return subprocess.run(
        [sys.executable, "-m", "console.manage", "check", "--deploy", "--fail-level", "WARNING"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_production_settings_pass_djangos_own_inspection(tmp_path: Path) -> None:
    done = inspected(tmp_path / "state", AMULET_CONSOLE_HOSTS="console.example")
    assert done.returncode == 0, done.stderr
    assert "(0 silenced)" in done.stdout + done.stderr


def test_a_console_without_tls_which_answers_to_loopback_alone_does_not_pass_it(tmp_path: Path) -> None:
    """Negative control of the test above."""
    done = inspected(tmp_path / "state")
    assert done.returncode != 0
    assert {"security.W008", "security.W012", "security.W016"} <= set(re.findall(r"security\.W\d+", done.stderr))
