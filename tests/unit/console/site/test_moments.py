"""What people type as a day is the day that their pages would show; what is none is refused with the right form."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import override

from console.ingest.services import apply_batch
from console.moments import MomentField
from console.site.roles import Role
from console.staff.models import ApiToken
from tests.console_events import prediction_event
from tests.unit.console.people import browser, member

LAST_EVENING = datetime(2026, 12, 31, 11, 0, tzinfo=UTC)  # 18:00 in Bangkok


@pytest.mark.parametrize(
    ("language", "day"),
    [
        ("th", "31/12/2569"),
        ("th", "31/12/2026"),
        ("th", "2026-12-31"),
        ("en", "2026-12-31"),
        ("en", "2569-12-31"),
        ("en", "31 Dec 2026"),
        ("th", "31 ธ.ค. 2569"),  # as Thai pages write it
        ("th", "31 ธ.ค. 2026"),
        ("th", "31 ธค 2569"),
        ("th", "31 ธันวาคม 2569"),
        ("th", "31 ธันวาคม พ.ศ. 2569"),
        ("th", "๓๑ ธ.ค. ๒๕๖๙"),
        ("th", "๓๑/๑๒/๒๕๖๙"),
        ("th", "31 Dec 2569"),  # from an English page
        ("en", "31 ธ.ค. 2569"),
    ],
)
def test_a_day_is_read_in_either_era(language: str, day: str) -> None:
    with override(language):
        assert MomentField().clean([day, "18:00"]) == LAST_EVENING


@pytest.mark.parametrize("language", ["th", "en"])
@pytest.mark.parametrize("month", range(1, 13))
def test_what_a_page_writes_is_read_again(language: str, month: int) -> None:
    moment = datetime(2026, month, 7, 11, 5, tzinfo=UTC)
    with override(language):
        for form in ("DATETIME_FORMAT", "j F Y, H:i"):
            written = date_format(localtime(moment), form)
            assert MomentField().clean([written, ""]) == moment, written
            day, _comma, clock = written.partition(", ")
            assert MomentField().clean([day, clock]) == moment


@pytest.mark.parametrize("clock", ["18:00", "18.00", "18.00 น.", "๑๘.๐๐ น."])
def test_a_time_is_read_as_thai_writes_it(clock: str) -> None:
    with override("th"):
        assert MomentField().clean(["31/12/2569", clock]) == LAST_EVENING
        assert MomentField().clean([f"31 ธ.ค. 2569 {clock}", ""]) == LAST_EVENING


def test_a_leap_day_of_the_buddhist_era_is_a_day() -> None:
    with override("th"):
        assert MomentField().clean(["29/02/2567", "07:00"]) == datetime(2024, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("language", "typed", "said"),
    [
        ("th", ["31 ธ.ค. 69", "18:00"], "โปรดเขียนวันที่แบบ 31/12/2569"),
        ("th", ["31/12/2569", "เที่ยง"], "โปรดเขียนเวลาแบบ 09:30"),
        ("en", ["5/4/2027", "18:00"], "Write the day as 2026-12-31."),
        ("en", ["2026-12-31", ""], "Write the time as 09:30."),
        ("th", ["31/02/2569", "07:00"], "ไม่มีวันดังกล่าว"),
        ("en", ["2026-02-29", "07:00"], "There is no such day."),
        ("en", ["2026-13-01", "07:00"], "There is no such day."),
    ],
)
def test_what_is_no_day_is_refused_with_what_would_be_one(language: str, typed: list[str], said: str) -> None:
    with override(language):
        with pytest.raises(ValidationError) as refused:
            MomentField(required=False).clean(typed)
        assert refused.value.messages == [said]


def days_listed(question: str, language: str) -> list[str]:
    """The versions of the predictions that the list shows, and what it says beside them."""
    page = browser(member(Role.VIEWER)).get(
        f"/admin/predictions/prediction/?{question}", headers={"accept-language": language}
    )
    assert page.status_code == 200
    said = [str(message) for message in page.context["messages"]]
    return sorted(row.version for row in page.context["cl"].result_list) + said


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
@pytest.mark.parametrize(
    ("language", "question", "listed"),
    [
        ("th", "happened_at_from_0=10/11/2569&happened_at_to_0=10/11/2569", ["v10"]),
        ("th", "happened_at_from_0=10/11/2026&happened_at_from_1=00:00", ["v10", "v29"]),
        ("th", "happened_at_from_0=10 พ.ย. 2569&happened_at_to_0=10 พฤศจิกายน 2569", ["v10"]),
        ("th", "happened_at_from_0=10 พ.ย. 2569, 23:31", ["v29"]),
        ("th", "happened_at_to_0=10/11/2026&happened_at_to_1=00:00", ["v0"]),
        ("en", "happened_at_from_0=2026-11-10&happened_at_to_0=2026-11-10", ["v10"]),
        ("en", "happened_at_to_0=29 Nov 2026", ["v0", "v10", "v29"]),
        ("en", "happened_at_from_0=soon", ["time: Write the day as 2026-12-31."]),
        ("en", "happened_at_from_0=0001-01-01", ["time: Write the day as 2026-12-31."]),
    ],
)
def test_a_list_is_narrowed_by_the_days_that_were_typed(language: str, question: str, listed: list[str]) -> None:
    apply_batch(
        [
            prediction_event(version="v0", happened_at=datetime(2026, 10, 11, 5, tzinfo=UTC)),  # 11/10
            prediction_event(version="v10", happened_at=datetime(2026, 11, 10, 16, 30, tzinfo=UTC)),  # 23:30 there
            prediction_event(version="v29", happened_at=datetime(2026, 11, 29, 5, tzinfo=UTC)),
        ]
    )
    assert days_listed(question, language) == listed


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_a_token_ends_on_the_day_that_its_owner_read_on_the_page() -> None:
    sent = {"name": "nightly", "scopes": ["read"], "expires_at_0": "31/12/2640", "expires_at_1": "18:00"}
    browser(member(Role.VIEWER)).post("/admin/staff/apitoken/new-token/", sent, headers={"accept-language": "th"})
    assert ApiToken.objects.get(name="nightly").expires_at == LAST_EVENING.replace(year=2097)
