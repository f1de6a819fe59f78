"""A training job from the click to the version, and every way in which it may end otherwise."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext, override
from django_otp import DEVICE_ID_SESSION_KEY
from pytest_django import Settings

from console.audit.models import Entry
from console.audit.services import SYSTEM
from console.datasets import queries as datasets
from console.datasets import services as exports
from console.datasets.models import Dataset, Label
from console.errors import Conflict, Invalid, NotAllowed
from console.registry import services as registry
from console.registry.models import ModelVersion
from console.registry.models import State as Version
from console.retraining import folders, programs, queries, sentences, services, work
from console.retraining.models import Failure, Stage, State, TrainingJob
from console.retraining.queries import SILENT_MAX
from console.retraining.tasks import find_work, train
from console.retraining.work import carry_out
from console.site.roles import Role
from console.staff.models import User
from console.vault.services import withdraw_consent
from model_store import signing
from tests.console_events import CLASSES, png
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import caller, member
from tests.unit.console.retraining import pretended_amulet
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[4]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def key(settings: Settings, tmp_path: Path) -> Path:
    """A signing key that the console trusts, a folder of our own, and a program that trains within a second."""
    key, trusted, program = tmp_path / "signing.key", tmp_path / "trusted", tmp_path / "amulet"
    signing.generate_key(key)
    trusted.mkdir()
    (trusted / "release.pub").write_bytes(signing.public_pem(key))
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {pretended_amulet.__file__} "$@"\n')
    program.chmod(0o700)
    settings.AMULET = settings.AMULET.model_copy(
        update={
            "training_command": program,
            "training_dir": tmp_path / "training",
            "training_key_file": key,
            "trusted_keys": trusted,
        }
    )
    return key


@pytest.fixture(autouse=True)
def _staying() -> Iterator[None]:
    yield
    programs.leaving.clear()


@pytest.fixture
def malee() -> User:
    """A model engineer. The model is known by a version of it."""
    malee = member(Role.MODEL_ENGINEER)
    a_version(malee, model=MODEL, number=7)
    return malee


@pytest.fixture(autouse=True)
def photographs(malee: User, officer: User) -> None:
    """Three labelled photographs of two people who agreed."""
    expert = member(Role.REVIEWER)
    for size_px, person in enumerate(("shop-1", "shop-2"), start=80):
        consenting(officer, person)
        labelled(expert, person, is_a(CLASSES[0]), photo=png(size_px))
    labelled(expert, "shop-1", is_a(CLASSES[1]), photo=png(70))


def begun(malee: User) -> TrainingJob:
    services.start_job(actor=malee, model=MODEL)
    job = services.begin_next()
    assert job is not None
    return job


def ended(job: TrainingJob) -> TrainingJob:
    job.refresh_from_db()
    left = list(folders.settings.AMULET.training_dir.glob("*"))
    assert left == []  # whatever happened, no photograph stays
    return job


def in_program(settings: Settings, script: str) -> None:
    Path(settings.AMULET.training_command).write_text(script)


def at_the_desk(user: User, language: str = "en") -> Client:
    client = Client(headers={"Accept-Language": language})
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = user.totpdevice_set.get().persistent_id  # type: ignore[attr-defined]
    session.save()
    return client


def test_one_click_becomes_an_uploaded_version_that_a_second_person_must_approve() -> None:
    suda = member(Role.ADMINISTRATOR)
    given = {"model": MODEL, "recipe": "logistic", "seed": 3, "note": "after the fair"}
    assert at_the_desk(suda).post(reverse("admin:retraining_trainingjob_start"), given).status_code == 302
    train()
    job = ended(TrainingJob.objects.get())
    assert job.state == State.UPLOADED, (job.failure, job.said, job.log_tail)
    assert job.version is not None
    assert job.dataset is not None
    assert (job.version.state, job.version.model, job.version.note) == (Version.VERIFIED, MODEL, "after the fair")
    registry.settle_smoke_test(version_id=job.version.pk, report={}, passed=True)
    with pytest.raises(NotAllowed, match="second person"):
        registry.approve_version(actor=suda, version_id=job.version.pk, reason="mine")
    # Lineage both ways: from the version to its photographs and their people, and back.
    assert datasets.versions_of(job.dataset) == [job.version]
    assert job.dataset.labels.values("prediction__subject").distinct().count() == 2
    assert queries.job_of(job.version) == job
    kinds = Entry.objects.filter(type__startswith="retraining.job").order_by("pk").values_list("type", "actor")
    assert list(kinds) == [("retraining.job_started", str(suda.pseudonym)), ("retraining.job_uploaded", SYSTEM)]


@pytest.fixture
def _same_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_same_signals")
def test_a_file_says_that_a_job_waits_and_the_trainer_takes_it_away_and_ends_when_none_does(
    malee: User, settings: Settings, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    wanted = tmp_path / "wanted"
    settings.AMULET = settings.AMULET.model_copy(update={"training_wanted_file": wanted})
    with django_capture_on_commit_callbacks(execute=True):
        services.start_job(actor=malee, model=MODEL)
    assert wanted.exists()

    call_command("train")
    assert ended(TrainingJob.objects.get()).state == State.UPLOADED
    assert not wanted.exists()
    call_command("train")  # nothing waits: it ends

    services.start_job(actor=malee, model=MODEL)  # whoever was to be told was away
    find_work()
    assert wanted.exists()
    wanted.unlink()
    begun_now = services.begin_next()
    assert begun_now is not None
    find_work()
    assert not wanted.exists()  # it runs: nobody else is wanted


def test_two_of_one_day_with_the_same_figures_have_two_names(malee: User) -> None:
    for _ in range(2):
        services.start_job(actor=malee, model=MODEL)
        train()
    second, first = TrainingJob.objects.order_by("-pk")
    assert (first.state, second.state) == (State.UPLOADED, State.UPLOADED), (second.failure, second.said)
    assert first.version is not None
    assert second.version is not None
    assert second.version.version == f"{first.version.version}-job{second.pk}"
    assert second.version.state == Version.VERIFIED, second.version.rules


def test_its_log_names_neither_photographs_nor_places(malee: User) -> None:
    services.start_job(actor=malee, model=MODEL, seed=5)
    train()
    job = ended(TrainingJob.objects.get())
    assert "3 photographs, the first is photographs/job" in job.log_tail
    assert "front_…_0.png" in job.log_tail
    assert "recipe standard, seed 5" in job.log_tail
    assert "Cross-validating" not in job.log_tail


def test_a_message_that_comes_twice_and_a_second_click_change_nothing(malee: User) -> None:
    services.start_job(actor=malee, model=MODEL)
    with pytest.raises(Conflict, match="already"):
        services.start_job(actor=malee, model=MODEL)
    train()
    train()
    assert Dataset.objects.count() == 1
    assert TrainingJob.objects.get().tries == 1


def test_one_job_runs_at_a_time_and_the_next_one_begins_after_it(malee: User) -> None:
    a_version(malee, model="coins", number=8)
    first = begun(malee)
    services.start_job(actor=malee, model="coins")
    assert services.begin_next() is None
    assert services.fail(first, failure=Failure.TRAIN)
    second = services.begin_next()
    assert second is not None
    assert second.model == "coins"


@pytest.mark.parametrize(
    ("field", "wrong", "sentence"),
    [
        ("model", "no-such", "no-such is no model; the models are: amulets"),
        ("recipe", "centroid", "centroid is no recipe; the recipes are: standard"),
        ("seed", -1, "A seed is a whole number from 0"),
        ("note", "x" * 201, "A note has at most 200"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_sentence(field: str, wrong: Any, sentence: str, malee: User) -> None:
    with pytest.raises(Invalid, match=sentence) as refused:
        services.start_job(actor=malee, **{"model": MODEL, field: wrong})
    assert refused.value.field == field


def _gone(key: Path) -> None:
    key.unlink()


def _strangers(key: Path) -> None:
    key.unlink()
    key.with_name(f"{key.name}.pub").unlink()
    signing.generate_key(key)


def _revoked(key: Path) -> None:
    revoked = key.parent / "trusted" / signing.REVOKED_FILE
    revoked.write_text(signing.fingerprint_of(signing.public_pem(key)))


@pytest.mark.parametrize(
    ("spoil", "said"), [(_gone, "which is not there"), (_strangers, "is not trusted"), (_revoked, "revoked.txt")]
)
def test_without_a_key_that_counts_nothing_is_decrypted(
    spoil: Callable[[Path], None], said: str, malee: User, key: Path
) -> None:
    spoil(key)
    carry_out(job := begun(malee))
    assert (ended(job).state, job.failure) == (State.FAILED, Failure.NO_KEY)
    assert said in job.said
    assert not Entry.objects.filter(type="vault.opened").exists()


def test_a_training_that_fails_says_why_and_leaves_nothing(malee: User, settings: Settings) -> None:
    in_program(settings, "#!/bin/sh\necho 'amulet: class sivali has 1 photograph: it needs 10' >&2\nexit 1\n")
    carry_out(job := begun(malee))
    assert (ended(job).state, job.failure, job.said) == (
        State.FAILED,
        Failure.TRAIN,
        "class sivali has 1 photograph: it needs 10",
    )


def test_a_training_that_takes_too_long_is_ended(malee: User, settings: Settings) -> None:
    in_program(settings, "#!/bin/sh\nsleep 600\n")
    settings.AMULET = settings.AMULET.model_copy(update={"training_hours_max": 1 / 3600})
    carry_out(job := begun(malee))
    assert (ended(job).state, job.failure) == (State.FAILED, Failure.TIME)


def test_whoever_withdrew_is_left_out_and_without_anybody_the_job_fails(malee: User, officer: User) -> None:
    services.start_job(actor=malee, model=MODEL)
    withdraw_consent(actor=officer, reference="train-shop-2", channel="web")
    train()
    job = ended(TrainingJob.objects.get())
    assert job.dataset is not None
    assert job.dataset.labels.values("prediction__subject").distinct().count() == 1
    withdraw_consent(actor=officer, reference="train-shop-1", channel="web")
    carry_out(again := begun(malee))
    assert (ended(again).state, again.failure) == (State.FAILED, Failure.EXPORT)
    assert "consent to training" in again.said


def test_no_version_learns_from_somebody_who_was_erased_while_it_trained(malee: User) -> None:
    job = begun(malee)

    def erase_once_it_is_exported(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answered = execute(sql, params, many, context)
        if sql.startswith('UPDATE "retraining') and "dataset_id" in sql:
            Label.objects.filter(class_id=CLASSES[1]).delete()  # as an erasure by another process does
        return answered

    with connection.execute_wrapper(erase_once_it_is_exported):
        carry_out(job)
    assert (ended(job).state, job.failure) == (State.FAILED, Failure.ERASED)


@pytest.mark.parametrize("reference", ["train-shop-2", "keep-shop-2"])
def test_a_training_stops_when_somebody_takes_a_consent_back(
    malee: User, officer: User, settings: Settings, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.setattr(work, "_LENT_EVERY_S", 0.0)
    job = begun(malee)
    # A training of hours, which says in a file that it has begun to look at the photographs.
    began = settings.AMULET.training_dir.parent / "began"
    in_program(settings, f"#!/bin/sh\ntouch {began}\nexec sleep 1000\n")

    def take_back_while_it_trains(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if began.exists() and sql.startswith('UPDATE "retraining') and "step_done" in sql:
            began.unlink()
            withdraw_consent(actor=officer, reference=reference, channel="web")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_back_while_it_trains):
        carry_out(job)
    assert (ended(job).state, job.failure) == (State.FAILED, Failure.WITHDRAWN)
    assert not ModelVersion.objects.filter(job=job).exists()
    again = begun(malee)  # it is left out now
    assert again.pk != job.pk


def test_a_training_does_not_begin_with_what_was_taken_back_while_it_was_read(
    malee: User, officer: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, fingerprint_of = begun(malee), exports.fingerprint_of

    def last(files: Iterable[tuple[str, str]]) -> str:
        withdraw_consent(actor=officer, reference="train-shop-2", channel="web")
        return fingerprint_of(files)

    monkeypatch.setattr(exports, "fingerprint_of", last)
    carry_out(job)
    assert (ended(job).state, job.failure, job.dataset) == (State.FAILED, Failure.WITHDRAWN, None)
    assert not list(settings.AMULET.training_dir.rglob("*.png"))


def test_a_cancelled_job_stops_and_cannot_be_moved_by_its_worker(malee: User) -> None:
    job = begun(malee)
    services.cancel_job(actor=malee, job_id=job.pk)
    carry_out(job)
    assert (ended(job).state, job.cancelled_by) == (State.CANCELLED, malee)
    assert not services.note_progress(job, stage=Stage.TRAIN)
    with pytest.raises(Conflict, match="ended"):
        services.cancel_job(actor=malee, job_id=job.pk)


def test_a_job_whose_worker_died_begins_anew_and_fails_when_it_kills_every_worker(malee: User) -> None:
    dead = begun(malee)
    silence = services.Silence(clock := Clock())
    for tries in (1, 2):
        assert services.find_stranded(silence) == 0
        clock.now_s += SILENT_MAX.total_seconds() + 1
        assert services.find_stranded(silence) == 1
        job = TrainingJob.objects.get()
        assert (job.state, job.tries) == (State.QUEUED, tries)
        assert services.begin_next() is not None
    assert not services.fail(dead, failure=Failure.DISK)  # it was not dead after all, and moves nothing
    services.find_stranded(silence)
    clock.now_s += SILENT_MAX.total_seconds() + 1
    services.find_stranded(silence)
    assert (ended(job).state, job.failure) == (State.FAILED, Failure.WORKER_GONE)


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=-1)], ids=["set on", "set back"])
def test_a_clock_that_is_set_ends_no_training_and_keeps_no_dead_one_alive(ahead: timedelta, malee: User) -> None:
    begun(malee)
    silence = services.Silence(clock := Clock())
    for minutes in range(10):  # its worker goes on, and says so every time
        TrainingJob.objects.update(alive_at=now() + (ahead if minutes % 2 else timedelta()))
        assert services.find_stranded(silence) == 0
        clock.now_s += 60.0
    found = []
    for _ in range(7):  # and then no more
        found.append(services.find_stranded(silence))
        clock.now_s += 60.0
    assert sum(found) == 1


def test_a_worker_that_is_asked_to_end_puts_its_job_back(malee: User, settings: Settings) -> None:
    in_program(settings, "#!/bin/sh\nsleep 600\n")
    services.start_job(actor=malee, model=MODEL)
    job = services.begin_next()
    assert job is not None
    programs.leaving.set()
    carry_out(job)
    assert (ended(job).state, job.tries) == (State.QUEUED, 1)
    train()  # while it ends, it takes nothing new
    assert ended(job).state == State.QUEUED


@pytest.mark.usefixtures("static_files")
@pytest.mark.parametrize(("language", "word"), [("en", "The training failed."), ("th", "การฝึกล้มเหลว")])
def test_the_page_says_how_far_a_job_is_and_why_it_failed(language: str, word: str, malee: User) -> None:
    job = begun(malee)
    address = reverse("admin:retraining_trainingjob_change", args=[job.pk])
    assert services.note_progress(job, stage=Stage.TRAIN, step="Cross-validating", done=2, total=5)
    browser = at_the_desk(malee, language)
    text = browser.get(address).content.decode()
    assert "data-job-open" in text
    assert 'max="5" value="2"' in text
    cancelling = reverse("admin:retraining_trainingjob_cancel", args=[job.pk])
    assert cancelling in text
    assert cancelling not in at_the_desk(member(Role.APPROVER)).get(address).content.decode()
    services.fail(job, failure=Failure.TRAIN, said="class sivali has 1 photograph")
    text = browser.get(address).content.decode()
    assert "data-job-open" not in text
    assert word in text
    assert "class sivali has 1 photograph" in text


@pytest.mark.usefixtures("static_files")
def test_a_thai_page_says_our_own_sentence_in_thai_above_the_english_one(malee: User, key: Path) -> None:
    _gone(key)
    carry_out(job := begun(malee))
    address = reverse("admin:retraining_trainingjob_change", args=[job.pk])
    text = unescape(at_the_desk(malee, "th").get(address).content.decode())
    assert f"AMULET_TRAINING_KEY_FILE ระบุ {key} ซึ่งไม่มีอยู่" in text
    assert job.said in text
    assert unescape(at_the_desk(malee).get(address).content.decode()).count(ended(job).said) == 1


@pytest.mark.parametrize("sentence", sentences.SENTENCES)
def test_every_sentence_of_ours_is_found_again_and_no_other(sentence: str) -> None:
    fields = {"path": "/a folder/signing.key", "folder": "/trusted {1}", "number": "9"}
    with override("th"):
        assert sentences.for_reader(sentence.format(**fields)) == gettext(sentence).format(**fields) != ""
        assert sentences.for_reader(f"{sentence} More.") == ""
    with override("en"):
        assert sentences.for_reader(sentence.format(**fields)) == ""


def test_a_script_starts_watches_and_cancels() -> None:
    script = caller(Role.MODEL_ENGINEER)
    made = script.post("/api/v1/training-jobs/", {"model": MODEL})
    assert (made.status_code, made.json()["state"]) == (201, "queued")
    address = f"/api/v1/training-jobs/{made.json()['id']}/"
    assert script.post(f"{address}cancel/").json()["state"] == "cancelled"
    train()
    assert script.get(address).json()["state"] == "cancelled"
    assert [job["id"] for job in script.get("/api/v1/training-jobs/?state=cancelled").json()["results"]] == [
        made.json()["id"]
    ]
