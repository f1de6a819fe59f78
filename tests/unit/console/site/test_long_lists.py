"""Lists of long histories: what is searched for is found, and indexes come and go while the console runs."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from django.apps import apps
from django.core.paginator import InvalidPage
from django.db import connection, models
from django.db.migrations.state import ProjectState
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from console.audit import services as audit
from console.audit.models import Entry
from console.history import DeepPaginator
from console.indexes import AddIndexUnblocked, RemoveIndexUnblocked
from console.ingest.services import apply_batch
from console.review.models import ReviewItem
from console.site.roles import Role
from tests.console_events import prediction_event
from tests.unit.console.people import member

ROOT = Path(__file__).parents[4]
ENTRIES = "/admin/audit/entry/"


@pytest.fixture
def plain_static_files(settings: Settings) -> None:
    """Pages are asked for without a collected static folder."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


def at_the_desk(role: Role) -> Browser:
    browser = Browser()
    user = member(role)
    browser.force_login(user, "django.contrib.auth.backends.ModelBackend")
    session = browser.session
    session["otp_device_id"] = user.totpdevice_set.get().persistent_id
    session.save()
    return browser


@pytest.mark.django_db
@pytest.mark.usefixtures("plain_static_files")
def test_the_audit_trail_is_searched_by_number_thing_and_person() -> None:
    browser = at_the_desk(Role.AUDITOR)
    expert = member(Role.REVIEWER)
    events = [prediction_event() for _ in range(3)]
    apply_batch(events)
    about = events[1].prediction.prediction_id
    first = audit.record(
        actor=expert, action="photograph.opened", subject_type="prediction", subject_id=about, details={}
    )

    def found(term: str) -> list[str]:
        listed = browser.get(ENTRIES, {"q": term}).context["cl"].result_list
        return [f"{row.type} {row.payload.subject_id}" for row in listed]

    opened, made = f"photograph.opened {about}", f"prediction.made {about}"
    assert found(about) == [opened, made]
    assert found(expert.username) == [opened]
    assert found(str(first)) == [opened]
    assert found(str(UUID(int=1))) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("plain_static_files")
def test_review_items_of_every_state_stand_along_time() -> None:
    browser = at_the_desk(Role.REVIEWER)
    apply_batch([prediction_event(confidence=0.5) for _ in range(3)])
    listed = browser.get("/admin/review/reviewitem/", {"why__exact": "3"}).context["cl"].result_list
    assert [row.pk for row in listed] == list(
        ReviewItem.objects.order_by("-created_at", "-pk").values_list("pk", flat=True)
    )


@pytest.mark.django_db(transaction=True)
def test_an_index_comes_and_goes_and_one_that_broke_off_is_made_anew() -> None:
    before = ProjectState.from_apps(apps)
    index = models.Index(fields=["type"], name="of_this_test")
    add, remove = AddIndexUnblocked("entry", index), RemoveIndexUnblocked("entry", "of_this_test")
    after = before.clone()
    add.state_forwards("audit", after)
    gone = after.clone()
    remove.state_forwards("audit", gone)
    with connection.schema_editor(atomic=False) as editor:
        add.database_forwards("audit", editor, before, after)
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'of_this_test'::regclass")
            add.database_forwards("audit", editor, before, after)
        assert "of_this_test" in names()
        remove.database_forwards("audit", editor, after, gone)
        assert "of_this_test" not in names()
        remove.database_backwards("audit", editor, gone, after)
        assert "of_this_test" in names()
        add.database_backwards("audit", editor, after, before)
    assert "of_this_test" not in names()


def names() -> set[str]:
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, Entry._meta.db_table))


def test_a_migration_that_builds_indexes_unblocked_holds_no_transaction() -> None:
    texts = {file: file.read_text() for file in sorted(ROOT.glob("console/*/migrations/0*.py"))}
    unblocked = {file: text for file, text in texts.items() if "IndexUnblocked(" in text}
    assert unblocked
    for file, text in unblocked.items():
        assert "atomic = False" in text, file
        assert "RunPython" not in text, file


@pytest.mark.django_db
def test_a_page_far_down_reads_its_own_rows_alone() -> None:
    apply_batch([prediction_event(confidence=0.5) for _ in range(25)])
    rows = ReviewItem.objects.select_related("prediction").order_by("-created_at", "-pk")
    whole = list(rows)
    pages = DeepPaginator(rows, 10)
    assert [item for number in (1, 2, 3) for item in pages.page(number).object_list] == whole
    assert list(pages.page(4).object_list) == []
    with CaptureQueriesContext(connection) as captured:
        assert [item.prediction.confidence for item in pages.page(3).object_list] == [0.5] * 5
    keys, page = (query["sql"] for query in captured.captured_queries)
    assert "OFFSET 20" in keys
    assert "predictions_prediction" not in keys
    assert "OFFSET" not in page
    with pytest.raises(InvalidPage):
        pages.page("next")
