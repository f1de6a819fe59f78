"""What a script reads of a person is what the page shows, and no pseudonym travels in an address."""

from __future__ import annotations

import pytest

from console.datasets.services import export_zip
from console.privacy import services
from console.site.roles import Role
from tests.console_events import CLASSES
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import caller, member
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db
PERSON = "shop-1"


def test_a_person_is_read_with_consents_requests_what_is_kept_and_what_learnt() -> None:
    officer, engineer = member(Role.PRIVACY_OFFICER), member(Role.MODEL_ENGINEER)
    consenting(officer, PERSON)
    consenting(officer, "shop-2")
    prediction = labelled(member(Role.REVIEWER), PERSON, is_a(CLASSES[0]))
    made, content = export_zip(actor=engineer, model=MODEL)
    content.close()
    version = a_version(engineer, model=MODEL)
    version.card_document["data"]["fingerprint"] = made.fingerprint  # type: ignore[index]
    version.save()
    request = services.receive(actor=officer, pseudonym=PERSON, kind="restriction", laws="both", channel="letter")
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    services.start(actor=officer, request_id=request.pk)

    script = caller(Role.PRIVACY_OFFICER)
    (consent,) = script.get(f"/api/v1/consents/?reference=keep-{PERSON}").json()["results"]
    address = f"/api/v1/subjects/{consent['subject_id']}/"
    found = script.get(address).json()
    assert {row["reference"] for row in found["consents"]} == {f"keep-{PERSON}", f"train-{PERSON}"}
    assert [(row["id"], row["kind"]) for row in found["requests"]] == [(request.pk, "restriction")]
    assert found["kept"] == {"photograph": 1, "heat_map": 1}
    assert found["learnt"] == [
        {"dataset": made.pk, "photographs": 1, "versions": [version.version], "version_ids": [version.pk]}
    ]
    assert found["restricted_at"] is not None
    assert [row["prediction_id"] for row in script.get(f"{address}predictions/").json()["results"]] == [str(prediction)]
    listed = script.get("/api/v1/subjects/").json()["results"]
    assert len(listed) == 2
    assert script.get("/api/v1/subjects/?restricted=true").json()["results"] == [
        {name: found[name] for name in ("id", "created_at", "restricted_at", "being_erased")}
    ]
    assert PERSON not in str(listed)


def test_a_person_who_is_not_there_is_a_problem_with_a_sentence() -> None:
    script = caller(Role.PRIVACY_OFFICER)
    for path in ("", "predictions/"):
        answer = script.get(f"/api/v1/subjects/00000000-0000-0000-0000-000000000000/{path}")
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
