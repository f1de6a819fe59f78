"""The policy snapshot: what the gateway is told, and what a poll costs when nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.conf import settings
from django.test import Client as Browser
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.audit.models import Checkpoint
from console.clients import services as clients
from console.registry.models import ModelVersion, State
from console.registry.queries import golden_photographs
from console.rollout import policy, services
from console.rollout.models import Mode, PolicyIssue, PolicyRecord
from console.site.roles import Role
from console.staff.models import User
from model_store import store
from model_store.card import ExamplesCard, GroupCard, InputCard, LevelCard, LookAlikesCard
from protos.amulet.policy.v1 import policy_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import DecisionLimits, DetectorLimits
from tests import tiny_archive
from tests.unit.console.people import member
from tests.unit.console.versions import TorchServeInMemory, a_version

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Each test is a new process: nothing is remembered from the last one's database."""
    policy.snapshots.cache_clear()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> store.StoredArchive:
    folder = tmp_path_factory.mktemp("archive")
    summary = tiny_archive.write_archive(folder, folder / "tiny.mar")
    return store.place(summary.path, settings.AMULET.model_store)


@pytest.fixture
def suda() -> User:
    return member(Role.ADMINISTRATOR)


def ask(etag: str = "", token: str | None = None) -> tuple[int, bytes, str]:
    shown = settings.AMULET.control_token().decode() if token is None else token
    headers = {"Authorization": f"Bearer {shown}"} | ({"If-None-Match": etag} if etag else {})
    answer = Browser().get("/internal/policy", headers=headers)
    return answer.status_code, answer.content, answer.headers.get("ETag", "")


def newest() -> pb.Policy:
    status, body, _ = ask()
    assert status == 200
    return pb.Policy.FromString(body)


def in_production(suda: User, archive: store.StoredArchive) -> ModelVersion:
    version = a_version(member(Role.MODEL_ENGINEER), state=State.APPROVED, approver=suda, number=1)
    ModelVersion.objects.filter(pk=version.pk).update(sha256=archive.sha256)
    services.roll_out(
        actor=suda, version_id=version.pk, mode=Mode.PRODUCTION, weight_ratio=1.0, reason="first",
        backend=TorchServeInMemory,
    )  # fmt: skip
    version.refresh_from_db()
    return version


def test_it_carries_clients_routes_cards_and_golden_photographs(suda: User, archive: store.StoredArchive) -> None:
    shop = clients.create_client(actor=suda, name="web-shop", calls_per_minute=7, models=["tiny"])
    issued = clients.create_key(actor=suda, client_id=shop.pk, expires_at=now() + timedelta(days=1))
    version = in_production(suda, archive)
    told = newest()

    [client] = told.clients
    assert (client.client_id, client.name) == (str(shop.client_id), "web-shop")
    assert (client.calls_per_minute, list(client.models)) == (7, ["tiny"])
    [key] = client.keys
    assert (key.key_id, key.digest, key.revoked) == (issued.key.key_id, bytes(issued.key.digest), False)
    assert key.expires_at.ToDatetime(tzinfo=UTC) == issued.key.expires_at
    [model] = told.models
    assert model.name == "tiny"
    assert [(route.version, route.weight_ratio, route.shadow) for route in model.routes] == [
        (version.version, 1.0, False)
    ]
    [served] = model.versions
    assert (served.alias, served.backend_name) == ("production", "tiny")
    assert served.card.archive_sha256 == archive.sha256
    assert served.card.document["name"] == "tiny"
    assert [item.id for item in served.card.classes] == list(tiny_archive.CLASSES)
    assert [golden.name for golden in served.golden] == [golden.file for golden in version.card().golden]
    assert [dict(golden.scores) for golden in served.golden] == [
        pytest.approx(dict(golden.scores)) for golden in version.card().golden
    ]
    assert served.golden[0].photo.startswith(b"\x89PNG")
    assert sum(served.golden[0].probabilities) == pytest.approx(1.0, abs=1e-5)
    private = X25519PrivateKey.from_private_bytes(settings.AMULET.photo_seal_key_file.read_bytes())
    assert told.photo_seal_public_key == private.public_key().public_bytes_raw()
    assert (told.review_confidence_min, told.review_sampling_ratio, told.revision) == (0.75, 0.02, 1)
    assert told.issued_at.ToDatetime(tzinfo=UTC) == PolicyIssue.objects.get().issued_at


def test_a_card_is_told_whole(suda: User) -> None:
    version = a_version(member(Role.MODEL_ENGINEER), state=State.APPROVED, approver=suda)
    known = version.card()
    card = replace(
        known,
        temperature=0.75,
        input=InputCard(240, 320, known.input.fit),
        levels=(LevelCard("half", {"en": "Half"}, 0.25, (GroupCard("cold", {"en": "Cold"}, ("green", "blue")),)),),
        look_alikes=(LookAlikesCard(("green", "blue"), "", 10, 3, 0.6, ("front",)),),
        examples=ExamplesCard(3, "0" * 64, thumbnails=True),
        decision=replace(
            known.decision,
            limits=DecisionLimits(0.5, 0.125, (DetectorLimits("far", 1.0, 2.0, 4.0),), 0.875, 0.0625),
        ),
    )
    told = policy._card(card, version)

    assert (told.name, told.version, told.temperature) == (known.name, known.version, 0.75)
    assert told.created_at.ToDatetime(tzinfo=UTC) == known.created_at
    assert [(each.id, dict(each.display_names)) for each in told.classes] == [
        (each.id, dict(each.names)) for each in known.classes
    ]
    [level] = told.levels
    [group] = level.groups
    assert (level.id, dict(level.display_names), level.set_probability_min) == ("half", {"en": "Half"}, 0.25)
    assert (group.id, dict(group.display_names), list(group.class_ids)) == ("cold", {"en": "Cold"}, ["green", "blue"])
    [pair] = told.look_alikes
    assert (list(pair.class_ids), pair.side, list(pair.decided_by)) == (
        ["green", "blue"],
        words.SIDE_UNSPECIFIED,
        [words.SIDE_FRONT],
    )
    assert (told.input_height_px, told.input_width_px, told.reference_examples) == (240, 320, 3)
    decision = told.decision
    assert (decision.confidence_min, decision.margin_min) == (0.5, 0.125)
    assert (decision.set_coverage, decision.set_probability_min) == (0.875, 0.0625)
    [limits] = decision.detectors
    assert (limits.name, limits.typical, limits.unsure_at, limits.out_at) == ("far", 1.0, 2.0, 4.0)
    assert known.metrics
    for metric, said in zip(known.metrics, told.metrics, strict=True):
        assert (said.name, said.data) == (metric.name, metric.data)
        assert (said.value, said.low, said.high) == pytest.approx((metric.value, metric.low, metric.high))
    assert (told.data_fingerprint, told.data_photos) == (known.data.fingerprint, known.data.photos)
    assert (told.weights_licence, told.archive_sha256) == (known.weights.licence, version.sha256)
    assert list(told.explanations) == [
        prediction_pb2.Explain.Method.Value(f"METHOD_{name.upper()}") for name in known.graph.explanations
    ]


def test_a_revoked_key_stays_listed_as_revoked(suda: User) -> None:
    shop = clients.create_client(actor=suda, name="web-shop")
    key = clients.create_key(actor=suda, client_id=shop.pk).key
    before = newest()
    clients.revoke_key(actor=suda, key_id=key.key_id)
    after = newest()
    assert [key.revoked for key in after.clients[0].keys] == [True]
    assert after.revision == before.revision + 1


@pytest.mark.parametrize(("mode", "ratio", "share"), [(Mode.SHADOW, None, 0.0), (Mode.CANARY, 0.25, 0.25)])
def test_a_second_version_stands_beside_production_as_what_it_is(
    suda: User, archive: store.StoredArchive, mode: Mode, ratio: float | None, share: float
) -> None:
    first = in_production(suda, archive)
    second = a_version(first.uploaded_by, state=State.APPROVED, approver=suda, number=2)
    services.roll_out(
        actor=suda, version_id=second.pk, mode=mode, weight_ratio=ratio, reason="to see", backend=TorchServeInMemory
    )
    [model] = newest().models
    assert {route.version: (route.weight_ratio, route.shadow) for route in model.routes} == {
        first.version: (1.0 - share, False),
        second.version: (share, mode == Mode.SHADOW),
    }
    assert {served.alias for served in model.versions} == {"production", str(mode)}


def test_a_new_checkpoint_is_told_with_the_next_poll(suda: User, archive: store.StoredArchive) -> None:
    in_production(suda, archive)
    before = newest()
    Checkpoint.objects.create(size=1, created_at=now(), note="the newest note", frontier=b"")
    after = newest()
    assert (before.audit_checkpoint, after.audit_checkpoint) == ("", "the newest note")
    assert after.revision == before.revision + 1


def test_what_has_not_changed_is_not_sent_again(
    suda: User, archive: store.StoredArchive, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    in_production(suda, archive)
    _, _, etag = ask()
    with django_assert_max_num_queries(4):  # clients, keys, routes, the newest checkpoint
        status, body, again = ask(etag)
    assert (status, body, again) == (304, b"", etag)


def test_a_poll_that_finds_nothing_new_costs_the_same_for_any_number_of_clients(
    suda: User, archive: store.StoredArchive, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    in_production(suda, archive)
    for number in range(50):
        client = clients.create_client(actor=suda, name=f"client {number}")
        clients.create_key(actor=suda, client_id=client.pk)
    snapshots = policy.snapshots()
    known = snapshots.newest()
    with django_assert_max_num_queries(4):
        assert snapshots.newest() is known


def test_two_processes_say_the_same(suda: User, archive: store.StoredArchive) -> None:
    in_production(suda, archive)
    _, body, etag = ask()
    policy.snapshots.cache_clear()
    assert ask() == (200, body, etag)


def test_what_two_processes_build_at_the_same_moment_has_two_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile() -> datetime:
        """The other process is done between our look at the last policy and our own."""
        monkeypatch.undo()
        assert policy._issue("another policy")[0] == 1
        return now()

    monkeypatch.setattr(policy, "now", meanwhile)
    assert policy._issue("a policy")[0] == 2
    assert PolicyIssue.objects.get().revision == 2


def test_only_who_shows_the_control_token_is_told() -> None:
    token = settings.AMULET.control_token().decode()
    assert ask()[0] == 200
    for wrong in ("", "x", token[:-1], token + "x", token.upper()):
        assert ask(token=wrong)[0] == 401
    assert Browser().get("/internal/policy").status_code == 401
    assert Browser().post("/internal/policy").status_code == 405


def test_an_archive_that_the_store_has_lost_keeps_nothing_else_from_the_gateway(
    suda: User, archive: store.StoredArchive
) -> None:
    version = in_production(suda, archive)
    shop = clients.create_client(actor=suda, name="web-shop")
    key = clients.create_key(actor=suda, client_id=shop.pk).key
    ModelVersion.objects.filter(pk=version.pk).update(sha256="0" * 64)
    clients.revoke_key(actor=suda, key_id=key.key_id)
    told = newest()
    assert [key.revoked for key in told.clients[0].keys] == [True]
    assert list(told.models[0].versions[0].golden) == []


@pytest.fixture
def model_store() -> Iterator[ModelStore]:
    """As a process finds it that has read nothing of it yet."""
    golden_photographs.cache_clear()
    found = ModelStore()
    yield found
    found.comes_back()


class ModelStore:
    """A folder that a file server takes away and gives back."""

    def __init__(self) -> None:
        self._folder: Path = settings.AMULET.model_store
        self._away = self._folder.with_name(f"{self._folder.name}-away")

    def goes(self) -> None:
        self._folder.rename(self._away)

    def comes_back(self) -> None:
        if self._away.exists():
            self._away.rename(self._folder)


def golden_of(snapshot: policy.Snapshot) -> int:
    [model] = pb.Policy.FromString(snapshot.body).models
    return len(model.versions[0].golden)


def test_a_policy_of_while_the_model_store_was_away_becomes_whole_when_it_is_back(
    suda: User,
    archive: store.StoredArchive,
    model_store: ModelStore,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    in_production(suda, archive)
    clock_s = [1_000.0]
    snapshots = policy.Snapshots(clock=lambda: clock_s[0])
    model_store.goes()
    poor = snapshots.newest()
    assert golden_of(poor) == 0
    clock_s[0] += policy.LOOK_AGAIN_S
    with django_assert_max_num_queries(4):
        assert snapshots.newest() is poor  # looked at, and nothing built: it is still away

    model_store.comes_back()
    assert snapshots.newest() is poor  # no poll looks at once after another
    clock_s[0] += policy.LOOK_AGAIN_S
    whole = snapshots.newest()

    assert golden_of(whole) > 0
    assert whole.etag != poor.etag  # or no gateway would be sent it
    clock_s[0] += policy.LOOK_AGAIN_S
    with django_assert_max_num_queries(4):
        assert snapshots.newest() is whole
    assert {f'"{record.digest}"' for record in PolicyRecord.objects.all()} == {poor.etag, whole.etag}


def test_of_two_lost_archives_the_one_that_is_back_is_told(
    suda: User, archive: store.StoredArchive, model_store: ModelStore
) -> None:
    first = in_production(suda, archive)
    second = a_version(first.uploaded_by, state=State.APPROVED, approver=suda, number=2)  # no archive behind it
    services.roll_out(
        actor=suda, version_id=second.pk, mode=Mode.SHADOW, weight_ratio=None, reason="x", backend=TorchServeInMemory
    )
    clock_s = [1_000.0]
    snapshots = policy.Snapshots(clock=lambda: clock_s[0])
    model_store.goes()
    assert snapshots.newest().lost == {first.file_name, second.file_name}
    model_store.comes_back()
    clock_s[0] += policy.LOOK_AGAIN_S
    found = snapshots.newest()
    assert (found.lost, golden_of(found) > 0) == ({second.file_name}, True)
    clock_s[0] += policy.LOOK_AGAIN_S
    assert snapshots.newest() is found
