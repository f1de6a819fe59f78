"""Labelled photographs out: which ones, with what said of them, and what stays known of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from django_otp import DEVICE_ID_SESSION_KEY
from pytest_django import DjangoAssertNumQueries, Settings

from console.audit.models import Entry
from console.datasets import queries, services
from console.datasets.models import Dataset, Label, Proposal
from console.datasets.services import export, export_zip, fingerprint_of
from console.errors import Conflict, Invalid, NotAllowed
from console.predictions import services as predictions
from console.predictions.models import Prediction
from console.privacy.stores import collect, find_all
from console.registry.models import ModelVersion, State
from console.review.models import Decided, ExpertDecision
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from console.vault import services as vault
from console.vault.cipher import find_by
from console.vault.models import Consent, Subject
from console.vault.queries import keys
from console.vault.restriction import restrict
from tests.console_events import CLASSES, png
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import caller, member
from tests.unit.console.versions import a_version
from training.data.exported import is_export
from training.data.folder import load_folder, load_outside

pytestmark = pytest.mark.django_db
BEST, OTHER = CLASSES[:2]


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER)


@pytest.fixture
def malee() -> User:
    return member(Role.MODEL_ENGINEER)


def exported(malee: User) -> tuple[Dataset, dict[str, bytes]]:
    made, content = export_zip(actor=malee, model=MODEL)
    return made, files_in(content)


def files_in(content: IO[bytes]) -> dict[str, bytes]:
    with content, zipfile.ZipFile(content) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def photographs(files: dict[str, bytes]) -> set[str]:
    return {name for name in files if name.endswith(".png")}


def test_training_reads_what_is_exported_and_names_it_alike(
    officer: User, expert: User, malee: User, tmp_path: Path
) -> None:
    a_version(malee, model=MODEL)  # its card has names for its own classes alone
    consenting(officer, "shop-1")
    for size_px, class_id in enumerate((BEST, BEST, OTHER), start=80):
        labelled(expert, "shop-1", is_a(class_id), photo=png(size_px))
    labelled(expert, "shop-1", Decision(Decided.NOT_OUR_KIND), photo=png(70))
    labelled(expert, "shop-1", Decision(Decided.UNSURE))
    made, files = exported(malee)
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert is_export(tmp_path)
    folder = load_folder(tmp_path)
    assert folder.classes == tuple(sorted((BEST, OTHER)))
    assert folder.fingerprint == made.fingerprint
    assert {photo.side_name for photo in folder.photos} == {"front"}
    assert [photo.width_px for photo in folder.photos if photo.label == OTHER] == [82]
    assert {name: len(found) for name, found in load_outside(tmp_path / "ood").items()} == {"reviewed": 1}
    assert (made.photographs, made.per_class, made.outside, made.left_out) == (4, {BEST: 2, OTHER: 1}, 1, 0)


def test_a_class_that_an_older_version_spells_apart_is_exported_as_training_calls_it(
    officer: User, expert: User, malee: User, tmp_path: Path
) -> None:
    """Else the fingerprint of the export, by which who learnt from whom is known, is not that of the training."""
    consenting(officer, "shop-1")
    for size_px, spelt in enumerate(("cafe\u0301", "caf\u00e9", OTHER), start=80):
        key = labelled(expert, "shop-1", is_a(OTHER), photo=png(size_px))
        ExpertDecision.objects.filter(item__prediction=key).update(class_id=spelt)

    made, files = exported(malee)

    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    folder = load_folder(tmp_path)
    assert made.per_class == dict(folder.per_class) == {"caf\u00e9": 2, OTHER: 1}
    assert made.fingerprint == folder.fingerprint


def test_the_manifest_says_where_each_label_comes_from(officer: User, expert: User, malee: User) -> None:
    consenting(officer, "shop-1")
    key = labelled(expert, "shop-1", is_a(OTHER))
    made, files = exported(malee)
    manifest: dict[str, Any] = json.loads(files["manifest.json"])
    (entry,) = manifest["photographs"]
    assert entry["file"] in files
    assert (entry["label"], entry["model_said"], entry["model_confidence"]) == (OTHER, BEST, 0.5)
    assert (entry["prediction"], entry["decided_by"]) == (str(key), str(expert.pseudonym))
    assert entry["consent"]["text_version"] == "2"
    assert (manifest["dataset"], manifest["fingerprint"]) == (made.pk, made.fingerprint)
    text = files["manifest.json"].decode()
    assert "shop-1" not in text  # neither the person nor what the caller named the consents by
    assert expert.username not in text
    opened = Entry.objects.filter(type="vault.opened").get()
    assert '"for":"training"' in opened.payload.text
    assert Entry.objects.filter(type="dataset.exported").get().actor == str(malee.pseudonym)


@pytest.mark.parametrize("missing", ["training", "training withdrawn", "keeping withdrawn", "erasure", "settlement"])
def test_without_a_consent_in_force_or_a_settled_label_a_photograph_stays(
    missing: str, officer: User, expert: User, malee: User
) -> None:
    consenting(officer, "shop-1")
    consenting(officer, "shop-2", training=missing != "training")
    mine = labelled(expert, "shop-1", is_a(BEST))
    labelled(expert, "shop-2", is_a(BEST), settled=missing != "settlement")
    if missing.endswith("withdrawn"):
        reference = "train-shop-2" if missing.startswith("training") else "keep-shop-2"
        vault.withdraw_consent(actor=officer, reference=reference, channel="telephone")
    if missing == "erasure":
        person = Subject.objects.exclude(pk=Prediction.objects.get(pk=mine).subject_id).get()
        vault.shut(subject_id=person.pk)
    made, files = exported(malee)
    assert photographs(files) == {f"{BEST}/front_{mine}_0.png"}
    assert made.left_out == (0 if missing == "settlement" else 1)
    assert set(made.labels.values_list("prediction", flat=True)) == {mine}


def test_nothing_to_export_is_said_in_one_sentence(officer: User, expert: User, malee: User) -> None:
    consenting(officer, "shop-1", training=False)
    labelled(expert, "shop-1", is_a(BEST))
    with pytest.raises(Invalid, match="consent to training"):
        exported(malee)
    assert not Dataset.objects.exists()
    with pytest.raises(NotAllowed):
        export_zip(actor=expert, model=MODEL)


@pytest.mark.parametrize("class_id", ["../etc", "a/b", "a\\b", ".hidden", "ood", "C:x", " a", "ก" * 86])
def test_a_class_that_is_no_folder_leads_nowhere(class_id: str, officer: User, expert: User, malee: User) -> None:
    consenting(officer, "shop-1")
    labelled(expert, "shop-1", is_a(BEST))
    bad = labelled(expert, "shop-1", is_a(OTHER))
    ExpertDecision.objects.filter(item__prediction=bad).update(class_id=class_id)
    made, files = exported(malee)
    assert [name.partition("/")[0] for name in photographs(files)] == [BEST]
    assert made.left_out == 1


def test_who_is_erased_while_photographs_are_read_stops_the_export(officer: User, expert: User, malee: User) -> None:
    consenting(officer, "shop-1")
    key = labelled(expert, "shop-1", is_a(BEST))
    subject = Prediction.objects.get(pk=key).subject_id
    assert subject is not None

    def write(path: str, content: bytes) -> None:
        if path.endswith(".png"):
            predictions.erase(subject_id=subject, prediction_ids=[key])

    with pytest.raises(Conflict) as refused, transaction.atomic():
        export(actor=malee, model=MODEL, write=write)
    assert refused.value.reason == "erased_meanwhile"
    assert not Dataset.objects.exists()


@pytest.mark.parametrize("ends", ["training", "keeping", "restriction", "time"])
def test_what_ends_while_photographs_are_read_is_handed_to_nobody(
    ends: str, officer: User, expert: User, malee: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in ("shop-1", "shop-2"):
        consenting(officer, person)
        labelled(expert, person, is_a(BEST))

    def last(files: Iterable[tuple[str, str]]) -> str:
        """All are read by now."""
        if ends == "restriction":
            restrict(actor=officer, found_by=find_by(keys(), "shop-1"))
        elif ends == "time":
            Consent.objects.filter(reference="train-shop-1").update(expires_at=now())
        else:
            reference = {"training": "train-shop-1", "keeping": "keep-shop-1"}[ends]
            vault.withdraw_consent(actor=officer, reference=reference, channel="telephone")
        return fingerprint_of(files)

    monkeypatch.setattr(services, "fingerprint_of", last)
    with pytest.raises(Conflict) as refused:
        services.export_zip(actor=malee, model=MODEL)
    assert refused.value.reason == "taken_back_meanwhile"
    assert not Dataset.objects.exists()
    monkeypatch.undo()
    made, files = exported(malee)
    assert len(photographs(files)) == made.photographs == 1


def test_lineage_leads_from_the_person_to_the_version_and_survives_an_erasure(
    officer: User, expert: User, malee: User
) -> None:
    consenting(officer, "shop-1")
    consenting(officer, "shop-2")
    mine = labelled(expert, "shop-1", is_a(BEST))
    labelled(expert, "shop-2", is_a(OTHER))
    made, _files = exported(malee)
    version = a_version(malee, model=MODEL)
    assert version.card_document is not None
    version.card_document["data"]["fingerprint"] = made.fingerprint
    ModelVersion.objects.filter(pk=version.pk).update(card_document=version.card_document)
    assert queries.versions_of(made) == [version]
    told = caller(Role.MODEL_ENGINEER).get(f"/api/v1/datasets/{made.pk}/").json()
    assert told["versions"] == [version.version]
    (learner,) = told["learnt"]
    assert (learner["id"], learner["model"], learner["state"]) == (version.pk, MODEL, version.state)
    assert (learner["sha256"], learner["uploaded_by"]) == (version.sha256, malee.username)
    assert told["decided_by"] == [{"name": expert.username, "labels": 2}]
    assert told["class_names"].keys() == told["per_class"].keys() == {BEST, OTHER}
    learnt = queries.learnt_from(made.fingerprint)
    assert learnt is not None
    assert (learnt.dataset, learnt.erased) == (made, 0)
    viewer = caller(Role.VIEWER)
    address = f"/api/v1/versions/{version.pk}/"
    told = viewer.get(address).json()
    assert told["learnt_from"] == {"dataset": made.pk, "erased": 0}
    assert told["card"]["data"]["fingerprint"] == made.fingerprint
    assert told["card"]["decision"] == version.card_document["decision"]
    assert {"golden", "training"}.isdisjoint(told["card"])
    assert "split" not in told["card"]["data"]
    subject = Prediction.objects.get(pk=mine).subject_id
    assert subject is not None
    traces = collect(subject, b"")
    assert find_all(traces)["labels"] == 1
    predictions.erase(subject_id=subject, prediction_ids=traces.prediction_ids)
    assert find_all(traces)["labels"] == 0
    assert queries.erased_since(made) == 1
    assert viewer.get(address).json()["learnt_from"] == {"dataset": made.pk, "erased": 1}
    uploaded = a_version(malee, state=State.UPLOADED, number=2)
    told = viewer.get(f"/api/v1/versions/{uploaded.pk}/").json()
    assert (told["card"], told["learnt_from"]) == (None, None)
    assert Label.objects.count() == 1


def test_scripts_fetch_an_export_and_see_its_lineage(officer: User, expert: User) -> None:
    consenting(officer, "shop-1")
    key = labelled(expert, "shop-1", is_a(BEST))
    script = caller(Role.MODEL_ENGINEER)
    answer = script.post("/api/v1/datasets/", {"model": MODEL, "note": "weekly"})
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    files = files_in(io.BytesIO(b"".join(answer.streaming_content)))  # type: ignore[attr-defined]
    assert len(photographs(files)) == 1
    (row,) = script.get("/api/v1/datasets/", {"prediction_id": str(key)}).json()["results"]
    assert (row["photographs"], row["note"], str(row["id"])) == (1, "weekly", answer["X-Dataset"])
    detail = script.get(f"/api/v1/datasets/{row['id']}/").json()
    assert (detail["versions"], detail["erased"]) == ([], 0)


class TestPages:
    @pytest.fixture(autouse=True)
    def _plain_static_files(self, settings: Settings) -> None:
        plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
        settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}

    @pytest.fixture
    def desk(self, malee: User) -> Client:
        client = Client()
        client.force_login(malee, "django.contrib.auth.backends.ModelBackend")
        session = client.session
        session[DEVICE_ID_SESSION_KEY] = malee.totpdevice_set.get().persistent_id
        session.save()
        return client

    def test_an_engineer_exports_from_the_page_and_reads_what_became_of_it(
        self, desk: Client, officer: User, expert: User, malee: User
    ) -> None:
        a_version(malee, model=MODEL)
        consenting(officer, "shop-1")
        labelled(expert, "shop-1", is_a(BEST))
        page = reverse("admin:datasets_dataset_export")
        assert desk.get(page).status_code == 200
        answer = desk.post(page, {"model": MODEL, "note": "for the spring"})
        assert answer["Content-Type"] == "application/zip"
        made = Dataset.objects.get()
        shown = desk.get(reverse("admin:datasets_dataset_change", args=[made.pk])).content.decode()
        assert made.fingerprint in shown
        assert f"{expert.username} (1)" in shown

    def test_a_list_and_a_page_cost_the_same_however_many_there_are(
        self, desk: Client, malee: User, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(30):
            row = Dataset.objects.create(
                model=MODEL, made_by=malee, fingerprint=f"{number:064x}", photographs=3, per_class={BEST: 3},
                outside=0, left_out=1,
            )  # fmt: skip
        Proposal.objects.create(model=MODEL, labels=1000, alerts=2)
        listed = desk.get(reverse("admin:datasets_dataset_changelist")).content.decode()
        assert "amulets should learn anew" in listed
        assert "2 drift alerts are open" in listed
        with django_assert_max_num_queries(11):
            assert desk.get(reverse("admin:datasets_dataset_changelist")).status_code == 200
        with django_assert_max_num_queries(10):
            assert desk.get(reverse("admin:datasets_dataset_change", args=[row.pk])).status_code == 200
