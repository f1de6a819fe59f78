"""Every operation of the OpenAPI document is called as it says, and as it says not to; answers must be as it says.

Schemathesis makes the calls: the bounds of each parameter and body one after the other, and some drawn without chance,
so that each run makes the same. What is checked, what is not and why: decision 0101.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from rest_framework.response import Response

from console.site.api import Services
from console.site.roles import Role
from console.staff.models import User
from console.staff.services import create_token
from console.torchserve import connections
from tests.unit.console.people import member
from tests.unit.console.site.everything import NAMED, fill
from tests.unit.console.versions import TorchServeInMemory

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("fresh_checkpoints"),
]
DRAWN_A_MODE = 2
BOUNDS_MAX = 12
BINARY = ["application/zip", "application/offset+octet-stream"]
# A 400 to what the form allows: the sentence rests on what is in the database.
KNOWS_MORE_THAN_ITS_FORM = {"GET /api/v1/versions/best/", "GET /api/v1/routes/then/"}
# Need no right: whoever holds nothing gives nothing back, and is told so; one's own tokens are one's own; of what
# waits, each sees what their roles may; whether everything runs, home says to everybody.
OPEN_TO_ALL = {
    "POST /api/v1/reviews/{id}/give-back/",
    "GET /api/v1/staff/tokens/",
    "POST /api/v1/staff/tokens/",
    "POST /api/v1/staff/tokens/{key_id}/revoke/",
    "GET /api/v1/waiting/",
    "GET /api/v1/health/",
}


class Caller:
    """One token, and every operation of the document as Schemathesis reads it."""

    def __init__(self, user: User) -> None:
        # Two seconds of every start of a test process, were it imported above.
        import schemathesis
        from schemathesis import checks
        from schemathesis.specs.openapi import checks as openapi

        schemathesis.serializer.alias(BINARY, "application/octet-stream")
        self.headers = {"Authorization": f"Token {create_token(user=user, name='calls', actor=None).text}"}
        self.schema = schemathesis.openapi.from_wsgi(
            "/api/v1/schema?format=json", get_wsgi_application(), headers=self.headers
        )
        self.modes = list(schemathesis.GenerationMode)
        self.always = [
            checks.not_a_server_error,
            openapi.status_code_conformance,
            openapi.content_type_conformance,
            openapi.response_headers_conformance,
            openapi.response_schema_conformance,
            openapi.unsupported_method,
            openapi.allow_header_conformance,
        ]
        self.with_rights = [
            *self.always, openapi.negative_data_rejection, openapi.missing_required_header, openapi.ignored_auth,
        ]  # fmt: skip
        self.of_reads = [*self.with_rights, openapi.positive_data_acceptance]

    def operations(self) -> Iterator[Any]:
        for found in self.schema.get_all_operations():
            yield found.ok()

    def bounds(self, operation: Any) -> list[Any]:
        """Each bound of each parameter, met and passed; of the many, an even share."""
        generation = self.schema.config.generation_for(operation=operation, phase="coverage")
        cases = list(
            self.schema.iter_coverage_cases(operation, generation_modes=self.modes, generation_config=generation)
        )
        return cases[:: -(-len(cases) // BOUNDS_MAX) or 1]

    def call(self, case: Any, checks: list[Any]) -> Any:
        """Call, undo what it did, check what came back."""
        with transaction.atomic():
            try:
                answer = case.call(headers=self.headers)
                case.validate_response(answer, checks=checks, headers=self.headers)
            finally:
                transaction.set_rollback(True)
        return answer


def drawn(operation: Any, mode: Any) -> Any:
    """The cases that Hypothesis draws, the same ones in every run."""
    from hypothesis.errors import Unsatisfiable

    cases: list[Any] = []

    @settings(
        derandomize=True, max_examples=DRAWN_A_MODE, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def draw(case: Any) -> None:
        cases.append(case)

    try:
        draw()
    except Unsatisfiable:
        assert mode.is_negative, f"nothing can be sent to {operation.label}"  # nothing in it can be wrong
    return cases


def aim(case: Any, there: Any) -> Any:
    """Let two calls of three lead to something, where their address is right; no cursor can be made up."""
    names = case.path_parameters or {}
    if names and there is not None and not _wrong(case, "PATH") and (found := next(there)) is not None:
        case.path_parameters = {**names, next(iter(names)): found}
    if case.query and not _wrong(case, "QUERY"):
        case.query = {name: value for name, value in case.query.items() if name != "cursor"}
    return case


def _wrong(case: Any, place: str) -> bool:
    from schemathesis.core.parameters import ParameterLocation

    return bool(case.meta is not None and case.meta.is_negative_at(ParameterLocation[place]))


def there_is(operation: Any) -> Any:
    """What an operation's address may name, round and round, with a gap for what is drawn."""
    before = operation.path.partition("/{")[0].rpartition("/")[2]
    if before not in NAMED:
        return None
    found = [str(key) for key in NAMED[before]()[:4]]
    assert found, before
    return cycle([found[0], *found[1:], None])


def test_every_operation_answers_as_its_document_says(
    tmp_path: Path, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    call_command("checkpoint")  # until then no entry has a receipt
    monkeypatch.setattr(connections, "management", TorchServeInMemory)
    everybody = member(Role.ADMINISTRATOR, "everybody")
    everybody.groups.set(Group.objects.all())
    caller = Caller(everybody)
    called = succeeded = 0
    for operation in caller.operations():
        there = there_is(operation)
        read = operation.method == "get" and operation.label not in KNOWS_MORE_THAN_ITS_FORM
        cases = [*caller.bounds(operation), *(case for mode in caller.modes for case in drawn(operation, mode))]
        with subtests.test(operation.label):
            for case in cases:
                answer = caller.call(aim(case, there), caller.of_reads if read else caller.with_rights)
                called += 1
                succeeded += answer.status_code < 300
    assert called > 800
    assert succeeded > 200  # an interface that refused everything would conform too


def _breaks(*_: Any) -> Response:
    raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize(
    ("name", "careless", "noticed"),
    [
        ("get", _breaks, "ServerError"),
        ("get", lambda *_: Response({"services": "all is well"}), "JsonSchemaError"),
        ("permission_classes", (), "IgnoredAuth"),
    ],
)
def test_an_operation_that_does_not_answer_as_its_document_says_would_be_noticed(
    name: str, careless: Any, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above."""
    from schemathesis.core.failures import FailureGroup

    caller = Caller(member(Role.VIEWER, "caller"))
    (health,) = [each for each in caller.operations() if each.label == "GET /api/v1/health/"]
    (case, *_) = drawn(health, caller.modes[0])
    assert caller.call(case, caller.of_reads).status_code == 200
    monkeypatch.setattr(Services, name, careless)
    with pytest.raises(FailureGroup) as failed:
        caller.call(case, caller.of_reads)
    assert noticed in {type(each).__name__ for each in failed.value.exceptions}


def test_whoever_has_no_rights_is_refused_everywhere_as_its_document_says(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    fill(tmp_path)
    nobody = member(Role.VIEWER, "nobody")
    nobody.groups.clear()
    caller = Caller(nobody)
    for operation in caller.operations():
        if operation.label in OPEN_TO_ALL:
            continue
        there = there_is(operation)
        with subtests.test(operation.label):
            for case in drawn(operation, caller.modes[0]):
                assert caller.call(aim(case, there), caller.always).status_code >= 400
