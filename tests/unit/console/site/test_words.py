"""What programs write into a history, as people read it on its pages: in their language."""

from __future__ import annotations

import pytest
from django.utils import translation

from console.registry.rule_names import REFUSALS, refusal_text
from console.retention.models import Applied
from console.rollout.models import Rule, guardrail_reason, reason_text
from console.site.roles import Role
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.console.people import browser, member


@pytest.mark.parametrize(("language", "said"), [("en", "Guardrail: failed calls"), ("th", "เกณฑ์ป้องกัน: การเรียกที่ล้มเหลว")])
def test_what_a_guardrail_ended_says_so_in_the_readers_language(language: str, said: str) -> None:
    with translation.override(language):
        assert reason_text(guardrail_reason(Rule.ERRORS)) == said
        assert reason_text("guardrail: none of ours") == "guardrail: none of ours"
        assert reason_text("It was slow.") == "It was slow."


def test_every_rule_of_an_archive_that_may_break_says_what_that_means_in_both_languages() -> None:
    named = {name for name in words.Reason.keys() if name.startswith("REASON_ARCHIVE_")}  # noqa: SIM118 - no dict
    assert set(REFUSALS) == named
    for name in named:
        with translation.override("th"):
            thai = refusal_text(name)
        assert thai != refusal_text(name) == REFUSALS[name]
    assert refusal_text(None) == ""


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_a_rule_of_retention_has_no_page_beside_the_list_that_says_all_of_it() -> None:
    from django.utils.timezone import now

    Applied.objects.create(rule="sessions", day=now().date(), last_at=now(), next_at=now())
    auditor = browser(member(Role.AUDITOR))
    assert auditor.get("/admin/retention/applied/sessions/change/")["Location"] == "/admin/retention/applied/"
