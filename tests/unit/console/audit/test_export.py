"""An export of a long log: what of its many checkpoints is in it, and how much of it is in memory at once."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from django.db import transaction
from django.utils.timezone import now

from console.audit import queries
from console.audit.export import CHECKPOINTS_MAX, export
from console.audit.merkle import Frontier
from console.audit.models import Checkpoint
from console.audit.notes import read_checkpoint, sign_checkpoint
from console.audit.services import NewEntry, append
from console.audit.verifier import verify
from tests.unit.console.audit.logs import KEY

pytestmark = pytest.mark.django_db
PUBLIC = KEY.public_key()
LENGTH = 2 * CHECKPOINTS_MAX + 100


@pytest.fixture
def _signed_at_every_entry() -> None:
    with transaction.atomic():
        append([NewEntry("test.written", "test", "1")] * LENGTH, actor="writer")
    made, frontier = [], Frontier()
    for row in queries.rows(1, LENGTH):
        frontier.append(row.entry_hash)
        note = sign_checkpoint(KEY, size=frontier.size, root=frontier.root())
        made.append(Checkpoint(size=frontier.size, created_at=now(), note=note, frontier=frontier.to_bytes()))
    Checkpoint.objects.bulk_create(made)


def sizes(chunks: list[bytes]) -> list[int]:
    documents = [json.loads(line) for line in b"".join(chunks).splitlines()]
    notes = [document["checkpoint"] for document in documents if "checkpoint" in document]
    return [read_checkpoint(PUBLIC, note).size for note in notes]


@pytest.mark.usefixtures("_signed_at_every_entry")
def test_of_many_checkpoints_an_export_has_some_evenly_and_the_newest() -> None:
    chunks = list(export(PUBLIC))
    found = sizes(chunks)
    assert len(found) <= CHECKPOINTS_MAX
    assert found[-1] == LENGTH
    assert {after - before for before, after in pairwise(found)} == {3}
    assert max(chunk.count(b"\n") for chunk in chunks) <= 501
    report = verify(b"".join(chunks).splitlines(), PUBLIC)
    assert report.whole
    assert (report.entries, report.signed_through, report.checkpoints) == (LENGTH, LENGTH, len(found))


@pytest.mark.usefixtures("_signed_at_every_entry")
def test_only_checkpoints_of_what_is_exported_are_counted() -> None:
    start = Checkpoint.objects.get(size=500)
    assert sizes(list(export(PUBLIC, after=start, last=1500))) == list(range(501, 1501))
    assert len(sizes(list(export(PUBLIC, after=start, last=1501)))) == 501


def test_a_log_that_nothing_was_signed_of_is_exported_all_the_same() -> None:
    with transaction.atomic():
        append([NewEntry("test.written", "test", "1")] * 2, actor="writer")
    chunks = list(export(PUBLIC))
    assert sizes(chunks) == []
    assert verify(b"".join(chunks).splitlines(), PUBLIC).entries == 2
