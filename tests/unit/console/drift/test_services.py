from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from django.conf import settings
from django.test import Client as Browser
from django.urls import reverse
from django.utils import translation
from pytest_django import DjangoAssertNumQueries

from console.audit.models import Entry
from console.drift import measures, plots, queries, services, tasks
from console.drift.figures import choice_shares, curves
from console.drift.finding_page import finding_context
from console.drift.measures import Measured
from console.drift.models import EVERYBODY, Against, Distribution, Finding, Named, Outcome, Pending, Span
from console.drift.names import name_of
from console.ingest.services import apply_batch
from console.predictions.detail import Candidate, Detail, OodScore, View
from console.predictions.models import Prediction, Verdict
from console.registry.models import ModelVersion
from console.site.roles import Role
from model_store import signing
from model_store.reference import EMBEDDING, Sketch
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import caller, member
from tests.unit.console.predictions.test_pages import browser
from tests.unit.console.versions import a_version

pytestmark = pytest.mark.django_db
VERSION = "v20261123_tiny_0.900"
OF = Named("amulets", VERSION)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def events(count: int, *, at: datetime, seed: int = 1, worse: bool = False) -> list[pb.Event]:
    random = np.random.default_rng(seed)
    return [
        prediction_event(
            confidence=float(random.beta(3, 3) if worse else random.beta(9, 2)),
            verdict=words.VERDICT_IN_DOMAIN,
            top_class=CLASSES[int(random.integers(len(CLASSES)))],
            happened_at=at + timedelta(seconds=number),
        )
        for number in range(count)
    ]


def told(kind: str) -> int:
    """How many entries say it of everybody's confidence."""
    about = Entry.objects.filter(type=kind, payload__text__contains='"confidence"')
    return about.exclude(payload__text__contains='"client"').count()


def test_what_ingest_adds_is_folded_once_into_its_hour_and_day() -> None:
    batch = [*events(30, at=NOON), *events(20, at=NOON + timedelta(hours=1), seed=2)]
    apply_batch(batch)
    apply_batch(batch)  # comes twice, counts once
    assert Pending.objects.count() == 2
    assert services.fold() == 2
    assert services.fold() == 0
    assert not Pending.objects.exists()
    hours = list(Distribution.objects.filter(span=Span.HOUR).order_by("begins_at"))
    assert [row.reference().samples["confidence"].count for row in hours] == [30, 20]
    day = Distribution.objects.get(client=EVERYBODY, span=Span.DAY)
    assert day.begins_at == NOON.replace(hour=0)
    kept = day.reference()
    assert kept.samples["confidence"].count == kept.samples["score_mahalanobis"].count == 50
    assert kept.samples["brightness_ratio"].count == 50
    assert sum(kept.counts["predicted_class"].values()) == 50
    assert kept.counts["verdict"] == {"IN_DOMAIN": 50}
    apply_batch(events(5, at=NOON, seed=3))
    services.fold()
    assert Distribution.objects.get(client=EVERYBODY, span=Span.DAY).reference().samples["confidence"].count == 55
    assert Distribution.objects.filter(client=EVERYBODY).count() == 3


def test_what_is_measured_of_one_answer() -> None:
    view = View("front", 1200, 1600, 1.0, "", {"brightness_ratio": 0.5, "other": 9.0}, "not_asked", (0.5, -1.0))
    detail = Detail(
        candidates=(Candidate("a", 0.75), Candidate("b", 0.125)), ood_scores=(OodScore("knn", 3.0, 4.0, 5.0),),
        views=(view, replace(view, width_px=1)), reasons=(), prediction_set=(), shadows=(), total_ms=1.0,
        inference_ms=1.0, policy_digest="", idempotency_key_digest="",
    )  # fmt: skip
    seen = {"shorter_side_px": 1200, "brightness_ratio": 0.5, "embedding_1": 0.5, "embedding_2": -1.0}
    said = {"confidence": 0.75, "margin": 0.625, "score_knn": 3.0, "confidence.a": 0.75}
    found = measures.measure(confidence=0.75, verdict=Verdict.UNSURE, top_class="a", detail=detail)
    assert found == Measured({**said, **seen}, {"verdict": "UNSURE", "predicted_class": "a"})
    bare = replace(detail, candidates=(), ood_scores=(), views=(replace(view, width_px=0, quality={}, projection=()),))
    found = measures.measure(confidence=0.0, verdict=Verdict.UNSURE, top_class="", detail=bare)
    assert found == Measured({"confidence": 0.0}, {"verdict": "UNSURE"})


def test_a_distribution_says_what_the_predictions_say() -> None:
    apply_batch(events(300, at=NOON))
    services.fold()
    sketch = queries.window(OF, ends_at=NOON, length=services.WINDOW).samples["confidence"]
    exact = sorted(Prediction.objects.values_list("confidence", flat=True))
    assert sketch.ranks([exact[149]])[0] == pytest.approx(0.5)


def test_windows_take_whole_days_and_do_not_overlap() -> None:
    for days in range(16):
        apply_batch(events(2, at=NOON - timedelta(days=days), seed=days))
    services.fold()
    now = queries.window(OF, ends_at=NOON, length=services.WINDOW)
    before = queries.window(OF, ends_at=NOON - services.WINDOW, length=services.WINDOW)
    assert now.samples["confidence"].count == before.samples["confidence"].count == 14
    # Days are those of UTC, whatever day it is where somebody looks: there it is tomorrow.
    there = (NOON + timedelta(hours=6)).astimezone(ZoneInfo("Asia/Bangkok"))
    assert queries.window(OF, ends_at=there, length=services.WINDOW).samples["confidence"].count == 14


def test_drift_opens_an_alert_once_and_closes_it_when_it_is_over() -> None:
    apply_batch(events(310, at=NOON - timedelta(days=8), seed=4))
    apply_batch(events(300, at=NOON, seed=5, worse=True))
    services.fold()
    assert services.watch(at=NOON) > 0
    alert = Finding.objects.get(client=EVERYBODY, measure="confidence", against=Against.PREVIOUS)
    assert (alert.outcome, alert.since, alert.n_window, alert.n_reference) == (Outcome.DRIFT, NOON, 300, 310)
    assert Finding.objects.get(client=EVERYBODY, measure="predicted_class").outcome == Outcome.NONE
    assert services.watch(at=NOON + timedelta(hours=1)) > 0
    alert.refresh_from_db()
    assert alert.since == NOON
    assert told("drift.alert_opened") == 1
    later = NOON + timedelta(days=7)
    apply_batch(events(300, at=later, seed=6, worse=True))
    services.fold()
    services.watch(at=later)
    alert.refresh_from_db()
    assert (alert.outcome, alert.since) == (Outcome.NONE, None)
    assert told("drift.alert_closed") == 1


def test_an_alert_of_a_version_that_answers_no_more_is_closed_and_told() -> None:
    apply_batch(events(300, at=NOON - timedelta(days=8), seed=4))
    apply_batch(events(300, at=NOON, seed=5, worse=True))
    services.fold()
    opened = services.watch(at=NOON)
    assert services.watch(at=NOON + timedelta(days=30)) == 0
    assert not Finding.objects.exists()
    said = Entry.objects.filter(type="drift.alert_closed")
    assert (said.count(), Entry.objects.filter(type="drift.alert_opened").count()) == (opened, opened)
    assert json.loads(said.filter(payload__text__contains='"confidence"')[0].payload.text)["n"] == 0


@pytest.mark.parametrize("worse_first", [True, False])
def test_two_workers_that_watch_at_once_tell_of_an_alert_once(
    monkeypatch: pytest.MonkeyPatch, worse_first: bool
) -> None:
    apply_batch(events(300, at=NOON - timedelta(days=8), seed=4))
    apply_batch(events(300, at=NOON, seed=5, worse=True))
    services.fold()
    if not worse_first:  # what turns is a finding that stands already
        services.watch(at=NOON - timedelta(days=8))
        services.watch(at=NOON)
        services.watch(at=NOON + timedelta(days=14))
    columns, other = services._columns, []

    def meanwhile(each: services.Compared) -> dict[str, object]:
        if not other:  # the other worker comes between this one's look and its writing
            other.append(1)
            services.watch(at=NOON)
        return columns(each)

    before = told("drift.alert_opened")
    monkeypatch.setattr(services, "_columns", meanwhile)
    services.watch(at=NOON)
    assert told("drift.alert_opened") == before + 1


def test_a_worker_that_looked_earlier_and_writes_later_closes_no_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    apply_batch(events(300, at=NOON - timedelta(days=8), seed=4))
    apply_batch(events(300, at=NOON, seed=5, worse=True))
    services.fold()
    forget = services._forget_unmeasured

    def after_the_other(at: datetime) -> None:
        monkeypatch.setattr(services, "_forget_unmeasured", forget)
        services.watch(at=NOON)
        forget(at)

    monkeypatch.setattr(services, "_forget_unmeasured", after_the_other)
    assert services.watch(at=NOON + timedelta(minutes=1)) > 0
    assert told("drift.alert_opened") == 1
    assert not Entry.objects.filter(type="drift.alert_closed").exists()


@pytest.mark.parametrize("detector", ["KNN", "ระยะ", "x" * 60])
def test_a_detector_of_an_odd_name_stops_no_folding(detector: str) -> None:
    for seed in (1, 2):
        odd = events(3, at=NOON, seed=seed)
        for event in odd:
            event.prediction.ood_scores[0].detector = detector
        assert apply_batch(odd).applied == 3
        assert services.fold() == 1
    kept = Distribution.objects.get(client=EVERYBODY, span=Span.DAY).reference()
    assert kept.samples["confidence"].count == 6
    assert not [name for name in kept.samples if name.endswith(detector)]


def test_photographs_of_another_kind_are_found_although_the_model_is_as_sure_of_them() -> None:
    """Along one direction of the embedding alone; nothing that the answer says has moved."""
    random = np.random.default_rng(8)

    def seen(at: datetime, *, elsewhere: float) -> list[pb.Event]:
        made = events(300, at=at, seed=9)
        for event in made:
            projection = random.normal(size=4) * 0.3 + np.array([0.0, elsewhere, 0.0, 0.0])
            event.prediction.views[0].embedding_projection = projection.astype("<f2").tobytes()
        return made

    apply_batch(seen(NOON - timedelta(days=8), elsewhere=0.0))
    apply_batch(seen(NOON, elsewhere=0.4))
    services.fold()
    assert services.watch(at=NOON) > 0
    found = Finding.objects.filter(client=EVERYBODY, against=Against.PREVIOUS)
    assert list(found.filter(outcome=Outcome.DRIFT).values_list("measure", flat=True)) == ["embedding_2"]
    assert set(found.filter(measure__startswith="embedding").values_list("measure", flat=True)) == set(EMBEDDING)
    for language, name in (("en", "direction 2 of what the network sees"), ("th", "ทิศทางที่ 2 ของสิ่งที่โครงข่ายเห็น")):
        with translation.override(language):
            assert name_of("embedding_2", {}) == name


@pytest.mark.usefixtures("static_files")
@pytest.mark.parametrize("darker", [True, False], ids=["darker", "as before"])
def test_worse_light_is_named_before_what_it_does_to_the_answers(darker: bool) -> None:
    """The model is a little less sure in it, and so is every photograph a little flatter."""
    random = np.random.default_rng(20261128)

    def lit(at: datetime, *, brightness: float, seed: int, sure: float) -> list[pb.Event]:
        made = events(300, at=at, seed=seed)
        for event in made:
            event.prediction.candidates[0].probability = float(random.beta(sure, 2))
            quality = event.prediction.views[0].quality
            quality.brightness_ratio = float(np.clip(random.normal(brightness, 0.08), 0, 1))
            quality.contrast_ratio = float(np.clip(random.normal(0.15 + 0.12 * brightness, 0.05), 0, 1))
        return made

    apply_batch(lit(NOON - timedelta(days=8), brightness=0.52, seed=21, sure=9))
    apply_batch(lit(NOON, brightness=0.38 if darker else 0.52, seed=22, sure=6 if darker else 9))
    services.fold()
    services.watch(at=NOON)

    listed = browser(member(Role.VIEWER)).get(reverse("admin:drift_finding_changelist")).context["cl"].result_list
    drifted = [row.measure for row in listed if row.outcome == Outcome.DRIFT]
    assert drifted[:1] == (["brightness_ratio"] if darker else [])
    assert (len(drifted) > 1) is darker  # the answers moved, too, and by less


def test_a_few_predictions_are_no_drift() -> None:
    apply_batch(events(100, at=NOON - timedelta(days=8), seed=4))
    apply_batch(events(100, at=NOON, seed=5, worse=True))
    services.fold()
    assert services.watch(at=NOON) == 0
    assert set(Finding.objects.values_list("outcome", flat=True)) == {Outcome.TOO_FEW}


def test_the_archives_own_reference_is_compared_with(tmp_path: Path) -> None:
    version = a_version(member(Role.MODEL_ENGINEER), number=7)
    settings.AMULET.model_store.mkdir(exist_ok=True)
    signing.generate_key(tmp_path / "release.key")
    made = tiny_archive.write_archive(
        tmp_path / "run", tmp_path / "tiny.mar", key=tmp_path / "release.key", version=version.version
    )
    # The store's names come from contents: under another name other tests would meet it.
    ModelVersion.objects.filter(pk=version.pk).update(sha256=made.sha256)
    version.refresh_from_db()
    shutil.copy(tmp_path / "tiny.mar", settings.AMULET.model_store / version.file_name)
    batch = events(300, at=NOON)
    for event in batch:
        event.prediction.model, event.prediction.version = version.model, version.version
    apply_batch(batch)
    services.fold()
    services.watch(at=NOON)
    found = Finding.objects.get(client=EVERYBODY, against=Against.REFERENCE, measure="confidence")
    reference = queries.reference_of(Named(version.model, version.version))
    assert reference is not None
    assert (found.n_reference, found.n_window) == (reference.samples["confidence"].count, 300)
    assert found.outcome == Outcome.TOO_FEW  # the tiny model was measured on a dozen
    told = finding_context(found, person=member(Role.VIEWER), at=NOON)["sentence"]
    assert told == "What it is compared with are fewer than 30 predictions: nothing can be said."

    (settings.AMULET.model_store / version.file_name).unlink()  # away for a moment, and then for good
    queries._reference_in.cache_clear()
    trained = Finding.objects.filter(against=Against.REFERENCE)
    services.watch(at=NOON + services.FORGOTTEN_AFTER)
    assert trained.get(pk=found.pk).looked_at == NOON
    services.watch(at=NOON + services.FORGOTTEN_AFTER + timedelta(seconds=1))
    assert not trained.exists()


def test_two_models_may_have_a_version_of_one_name() -> None:
    for model, week, worse in (("amulets", 1, False), ("amulets", 0, False), ("coins", 1, False), ("coins", 0, True)):
        batch = events(300, at=NOON - timedelta(days=8 * week), seed=week + 1, worse=worse)
        for event in batch:
            event.prediction.model = model
        apply_batch(batch)
    services.fold()
    services.watch(at=NOON)
    assert {of: queries.window(of, ends_at=NOON, length=services.WINDOW).samples["confidence"].count
            for of in queries.versions_since(NOON)} == {OF: 300, Named("coins", VERSION): 300}  # fmt: skip
    drifted = Finding.objects.filter(client=EVERYBODY, outcome=Outcome.DRIFT)
    assert set(drifted.values_list("model", flat=True)) == {"coins"}
    assert Entry.objects.filter(type="drift.alert_opened", payload__text__contains='"model":"coins"').exists()
    lines = [line for line in Browser().get("/metrics").content.decode().splitlines() if "amulet_drift_alert{" in line]
    assert len(lines) == len({line.split("}")[0] for line in lines})  # two alike would cost the whole scrape


def test_what_is_too_old_is_dropped() -> None:
    apply_batch(events(2, at=NOON - timedelta(days=500)))
    apply_batch(events(2, at=NOON - timedelta(days=20), seed=2))
    apply_batch(events(2, at=NOON, seed=3))
    services.fold()
    assert services.tidy(at=NOON) == 5  # with the two days of the client
    assert Distribution.objects.filter(client=EVERYBODY, span=Span.DAY).count() == 2
    assert Distribution.objects.filter(span=Span.HOUR).count() == 1


def test_a_report_reads_as_much_however_long_the_history_is(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for days in range(40):
        apply_batch(events(10, at=NOON - timedelta(days=days), seed=days))
    services.fold()
    with django_assert_max_num_queries(2):
        queries.window(OF, ends_at=NOON, length=services.WINDOW)
        queries.window(OF, ends_at=NOON - services.WINDOW, length=services.WINDOW)


def test_prometheus_reads_statistic_p_and_n() -> None:
    apply_batch(events(300, at=NOON - timedelta(days=8), seed=4))
    apply_batch(events(300, at=NOON, seed=5, worse=True))
    services.fold()
    services.watch(at=NOON)
    text = Browser().get("/metrics").content.decode()
    labels = f'{{against="previous",measure="confidence",model="amulets",version="{VERSION}"}}'
    assert f"amulet_drift_samples{labels} 300.0" in text
    assert f"amulet_drift_alert{labels} 1.0" in text
    for family in ("statistic", "effect_ratio", "psi", "p_value", "q_value"):
        assert f"amulet_drift_{family}{labels}" in text


@pytest.mark.usefixtures("static_files")
def test_the_pages_show_it_in_both_languages_with_a_plot() -> None:
    apply_batch(events(300, at=datetime.now(UTC) - timedelta(days=8), seed=4))
    apply_batch(events(300, at=datetime.now(UTC) - timedelta(minutes=10), seed=5, worse=True))
    tasks.watch()
    viewer = browser(member(Role.VIEWER))
    listed = viewer.get(reverse("admin:drift_finding_changelist"))
    first = listed.context["cl"].result_list[0]
    assert first.outcome == Outcome.DRIFT
    for measure in ("confidence", "verdict"):
        row = Finding.objects.get(client=EVERYBODY, measure=measure, against=Against.PREVIOUS)
        page = viewer.get(reverse("admin:drift_finding_change", args=[row.pk])).content.decode()
        assert 'class="d-plot"' in page
    row = Finding.objects.get(client=EVERYBODY, measure="confidence", against=Against.PREVIOUS)
    page = viewer.get(
        reverse("admin:drift_finding_change", args=[row.pk]), headers={"Accept-Language": "th"}
    ).content.decode()
    assert "ความมั่นใจ" in page
    home = viewer.get("/admin/").content.decode()
    assert "outcome__exact=drift" in home
    assert caller(Role.VIEWER).get("/api/v1/versions/").status_code == 200


def test_a_plot_holds_no_markup_of_others() -> None:
    with translation.override("en"):
        drawn = plots.bars(choice_shares({"<b>": 3}, {"<b>": 1, "x": 2}), title='"><script>', names={})
    assert "<script>" not in drawn
    assert "<b>" not in drawn
    assert plots.lines(curves(Sketch([1.0, 1.0]), Sketch([1.0])), title="t").count("<path") == 2


def test_confidence_is_looked_at_by_class_too() -> None:
    """One class of six becomes unsure, which is too little for everybody's confidence to say so."""
    before, after = (events(1500, at=at, seed=seed) for at, seed in ((NOON - services.WINDOW, 7), (NOON, 8)))
    moved = [event for event in after if event.prediction.candidates[0].class_id == CLASSES[2]]
    for number, event in enumerate(moved):
        event.prediction.candidates[0].probability = 0.4 + number / 10_000
    apply_batch([*before, *after])
    services.fold()
    services.watch(at=NOON)
    found = Finding.objects.filter(client=EVERYBODY, against=Against.PREVIOUS, measure__startswith="confidence")
    drifted = {row.measure for row in found.filter(outcome=Outcome.DRIFT)}
    assert f"confidence.{CLASSES[2]}" in drifted
    assert not {f"confidence.{name}" for name in CLASSES if name != CLASSES[2]} & drifted
    assert found.count() == 1 + len(CLASSES)


def test_only_so_many_classes_are_kept_apart_and_the_places_stay_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "CLASSES_MAX", 2)

    def asked(*counts: int) -> None:
        for name, count in zip(CLASSES, counts, strict=False):
            apply_batch([prediction_event(top_class=name, happened_at=NOON) for _ in range(count)])
        services.fold()

    asked(1, 3, 2)
    asked(9)
    day = Distribution.objects.get(client=EVERYBODY, span=Span.DAY).reference()
    apart = {name: sketch.count for name, sketch in day.samples.items() if name.startswith("confidence.")}
    assert apart == {f"confidence.{CLASSES[1]}": 3, f"confidence.{CLASSES[2]}": 2}
    assert day.samples["confidence"].count == 15
    others = Distribution.objects.exclude(client=EVERYBODY, span=Span.DAY)
    assert not any(name.startswith("confidence.") for row in others for name in row.reference().samples)
