"""Fills a console with what a fortnight of work leaves behind, through its own services.

    AMULET_STATE_DIR=… python -m tests.browser.seed TRUSTED_KEY > seeded.json

Staff of every role, clients, model versions in several states, some hundred predictions with
photographs, heat maps, feedback and decisions. What comes out is the same every time but for
ids, keys and the present day.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import django
from PIL import Image, ImageOps

from model_store.card import ClassCard
from tests import tiny_archive
from tests.browser.seed_rest import rows, seed_rest

# What the three colours of the tiny graph are called here: designs of the demo's tablets.
CLASSES: Final = ("arch_seated", "standing_blessing", "wheel_of_law")
MODEL: Final = "tablets"
DAYS: Final = 14
PREDICTIONS: Final = 320
PHOTOGRAPHS: Final = 10
PHOTOGRAPH_PX: Final = 224
SEED: Final = 20261125


@dataclass(frozen=True, slots=True)
class Account:
    """How a member of staff logs in."""

    name: str
    role: str
    password: str
    totp_seed: str


@dataclass(frozen=True, slots=True)
class Seeded:
    """What tests need to know of what was made."""

    accounts: dict[str, Account]  # by name
    waiting_version: int  # smoke-tested, waits for approval
    production_version: int
    kept_prediction: str  # in domain, with its photograph
    shadow_route: int
    fired_route: int  # a canary that a guardrail ended
    experiment: int
    then: str  # an instant after it all, in the console's time
    api_client: int
    sheet: int  # of heat maps that nobody has judged
    finding: int  # of drift, with photographs
    subject: str  # a person with consents and predictions
    rows: dict[str, str]  # of every kind that has a page, as "vault/subject": the newest one


def seed(key: Path) -> Seeded:
    """Fill the database that Django is set up for. key: signs the archives; its public half is trusted already."""
    from console.ingest.services import apply_batch
    from console.vault.services import withdraw_consent

    chance = random.Random(SEED)
    people = _people()
    accounts = {name: account for name, (_, account) in people.items()}
    users = {name: user for name, (user, _) in people.items()}
    clients = _clients(users["suda"])
    old, current, tried, waiting = _versions(users, key)
    fired, shadow, experiment = _rollouts(users["somchai"], current, tried)
    _consents(users["wipa"])
    events, kept = _events(chance, clients, old.version, current.version, tried.version)
    for start in range(0, len(events), 100):
        receipt = apply_batch(events[start : start + 100])
        assert not receipt.rejected, receipt.rejected
    withdraw_consent(actor=users["wipa"], reference="c-001", channel="telephone")
    _decisions(chance, users)
    _known_answer(users)
    sheet = _sheet(users["suda"])
    finding = _finding(current.version)
    seed_rest(users, model=MODEL, production_version=current.pk)
    return Seeded(
        accounts=accounts,
        waiting_version=waiting.pk,
        production_version=current.pk,
        kept_prediction=kept,
        shadow_route=shadow,
        fired_route=fired,
        experiment=experiment,
        then=_local_now(),
        api_client=clients[0].pk,
        sheet=sheet,
        finding=finding,
        subject=_subject(kept),
        rows=rows(),
    )


def _subject(prediction: str) -> str:
    from console.predictions.models import Prediction

    return str(Prediction.objects.get(pk=prediction).subject_id)


def _known_answer(users: dict[str, Any]) -> None:
    """One decided photograph that is held to be known, and what both reviewers said of it long enough ago."""
    from django.utils.timezone import now

    from console.review import gold, services
    from console.review.models import Decided, GoldAnswer, ReviewItem, State
    from console.review.services import Decision

    lead = users["suda"]
    item = ReviewItem.objects.select_related("prediction").filter(state=State.OPEN, with_photograph=True).last()
    assert item is not None
    services.take(actor=lead, item_id=item.pk)
    services.decide(actor=lead, item_id=item.pk, decision=Decision(Decided.CLASS, item.prediction.top_class))
    made = gold.make_gold(actor=lead, item_id=item.pk, reason="Its certificate.")
    for name, right in (("prasert", True), ("ladda", False)):
        GoldAnswer.objects.create(
            gold=made,
            expert=users[name],
            decided=Decided.CLASS if right else Decided.UNSURE,
            class_id=made.class_id if right else "",
            right=right,
            answered_at=now() - timedelta(hours=1),
        )


def _finding(version: str) -> int:
    """A version's confidence beside what it was in training."""
    from console.drift import tasks
    from console.drift.models import EVERYBODY, Against, Finding

    tasks.watch()
    return Finding.objects.get(version=version, client=EVERYBODY, against=Against.REFERENCE, measure="confidence").pk


def _sheet(engineer: Any) -> int:
    """Two heat maps that wait for experts."""
    from console.sheets.services import import_sheet
    from model_store.review_sheet import Item, Kind, jpeg, write_sheet

    plain, hot = (jpeg(Image.new("RGB", (448, 448), colour)) for colour in ("#887766", "#aa5533"))
    with TemporaryDirectory() as folder:
        out = Path(folder, "sheet.zip")
        items = [Item(f"{number}.png", plain, CLASSES[0], hot, CLASSES[1], 0.8) for number in (1, 2)]
        write_sheet(out, items, kind=Kind.HEAT_MAPS, model="v20260101_b0_0.9")
        return import_sheet(actor=engineer, pieces=[out.read_bytes()]).pk


def _local_now() -> str:
    from django.utils.timezone import localtime

    return localtime().strftime("%Y-%m-%dT%H:%M:%S")


def _people() -> dict[str, tuple[Any, Account]]:
    """Everybody of the console's cast, and a second reviewer."""
    from console.site.roles import Role
    from console.staff.services import create_user
    from tests.unit.console.people import NAMES

    made = {}
    for name, role in [*((name, role) for role, name in NAMES.items()), ("ladda", Role.REVIEWER)]:
        staff = create_user(name=name, role=role)
        made[name] = (staff.user, Account(name, role, staff.password, staff.totp_seed))
    return made


def _clients(administrator: Any) -> list[Any]:
    from console.clients import services

    made = []
    for name, models in (("Chatuchak counter", []), ("mobile app", [MODEL]), ("auction house", [MODEL])):
        client = services.create_client(actor=administrator, name=name, models=models)
        services.create_key(actor=administrator, client_id=client.pk)
        made.append(client)
    return made


def _versions(users: dict[str, Any], key: Path) -> tuple[Any, Any, Any, Any]:
    """Two that were in production one after the other, one that was tried, one that waits for approval, one refused."""
    from console.registry import services as registry
    from console.rollout import services as rollout
    from console.rollout.models import Mode
    from tests.unit.console.versions import TorchServeInMemory

    malee, somchai = users["malee"], users["somchai"]
    made = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for version, note in (
            ("v20261101_tiny_0.961", "First version with the standing figures."),
            ("v20261118_tiny_0.974", "Retrained with 1,040 reviewed photographs."),
            ("v20261121_tiny_0.970", "Trained without the blurred photographs."),
            ("v20261124_tiny_0.979", "Smaller backbone; same data as v20261118."),
        ):
            file = folder / f"{version}.mar"
            tiny_archive.write_archive(
                folder / version, file, key=key, name=MODEL, version=version, classes=class_cards(), tables=True
            )
            made.append(_pushed(malee, file, note))
        unsigned = folder / "unsigned.mar"
        tiny_archive.write_archive(folder / "unsigned", unsigned, name=MODEL, version="v20261125_tiny_0.990")
        _pushed(malee, unsigned, "From my own machine.")
    for version in made:
        registry.settle_smoke_test(version_id=version.pk, report=_smoke_report(), passed=True)
    backend = TorchServeInMemory()
    for version in made[:3]:
        registry.approve_version(actor=somchai, version_id=version.pk, reason="Better on every class, same latency.")
    for version in made[:2]:
        rollout.roll_out(
            actor=somchai, version_id=version.pk, mode=Mode.PRODUCTION, weight_ratio=1.0,
            reason="Agreed in the weekly meeting.", backend=lambda: backend,
        )  # fmt: skip
    return made[0], made[1], made[2], made[3]


def _rollouts(approver: Any, current: Any, tried: Any) -> tuple[int, int, int]:
    """A canary with a question that a guardrail ended, and a shadow of the last days: two routes, an experiment."""
    from django.utils.timezone import now

    from console.ingest.services import apply_batch
    from console.rollout import experiments, services
    from console.rollout.experiments import Plan
    from console.rollout.models import Measure, Mode, Route
    from console.rollout.tasks import watch
    from tests.console_events import failure_event, prediction_event
    from tests.unit.console.versions import TorchServeInMemory

    Route.objects.filter(version=current).update(started_at=now() - timedelta(days=DAYS / 2))
    plan = Plan("Experts agree more often on worn pieces.", Measure.AGREED, 0.85, 0.05, 0.2)
    experiment = experiments.start(
        actor=approver, version_id=tried.pk, plan=plan, reason="Worn pieces.", backend=TorchServeInMemory
    )
    canary = experiment.route_id
    Route.objects.filter(pk=canary).update(started_at=now() - timedelta(hours=1))
    fields: dict[str, Any] = {"model": MODEL, "happened_at": now() - timedelta(minutes=20), "top_class": CLASSES[0]}
    answered = [prediction_event(version=current.version, **fields) for _ in range(120)]
    answered += [prediction_event(version=tried.version, **fields) for _ in range(30)]
    failed = failure_event(model=MODEL, version=tried.version, calls=34, happened_at=now() - timedelta(minutes=20))
    apply_batch([*answered, failed])
    watch()
    shadow = services.roll_out(
        actor=approver, version_id=tried.pk, mode=Mode.SHADOW, weight_ratio=None,
        reason="Is it better on worn pieces?", backend=TorchServeInMemory,
    )  # fmt: skip
    Route.objects.filter(pk=shadow.pk).update(started_at=now() - timedelta(days=5))
    return canary, shadow.pk, experiment.pk


def _pushed(actor: Any, file: Path, note: str) -> Any:
    from console.registry import services, uploads

    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    upload = uploads.start_upload(actor=actor, filename=file.name, size_bytes=len(content), sha256=digest, note=note)
    uploads.append(actor=actor, upload_id=upload.pk, offset_bytes=0, pieces=[content])
    return services.finish_upload(actor=actor, upload_id=upload.pk)


def _smoke_report() -> dict[str, Any]:
    from console.registry.smoke import Comparison, SmokeReport

    photos = tuple(Comparison(f"golden_{index}.png", 2.1e-7, 8.4e-7, "") for index in range(2))
    return SmokeReport(photos, ready_s=2.4, graph_ms=18.5, problem="").as_document()


def class_cards() -> tuple[ClassCard, ...]:
    from training.demo.moulds import DESIGNS

    return tuple(ClassCard(class_id, DESIGNS[class_id].names) for class_id in CLASSES)


def _consents(officer: Any) -> None:
    from django.utils.timezone import now

    from console.vault.services import give_consent

    for number in range(1, PHOTOGRAPHS + 1):
        give_consent(
            actor=officer, pseudonym=f"customer-{number:03d}", reference=f"c-{number:03d}", purpose="keep_photograph",
            text_version="2026-01", channel="counter" if number % 2 else "LINE",
            given_at=now() - timedelta(days=DAYS + 1),
        )  # fmt: skip


def _events(chance: random.Random, clients: list[Any], old: str, current: str, shadow: str) -> tuple[list[Any], str]:
    """The fortnight's events along time, and the id of a prediction in domain that has its photograph."""
    from django.utils.timezone import now

    from console.ingest.retention import photo_key
    from protos.amulet.v1 import vocabulary_pb2 as words
    from tests.console_events import feedback_event, kept_event, prediction_event

    moment = now()
    events, kept = [], ""
    for index in range(PREDICTIONS):
        # More by day than by night, and more each week.
        age_days = DAYS * (1 - ((index + 1) / (PREDICTIONS + 1)) ** 0.8)
        happened_at = _by_day(moment - timedelta(days=age_days), moment, chance)
        verdict, confidence, reasons = _verdict(chance)
        top = chance.choice(CLASSES)
        with_photo = index >= PREDICTIONS - PHOTOGRAPHS * 3 and index % 3 == 0
        if index == PREDICTIONS - PHOTOGRAPHS * 3 + 3:
            verdict, confidence, reasons = words.VERDICT_IN_DOMAIN, 0.968, []
        fields: dict[str, Any] = {
            "confidence": confidence, "verdict": verdict, "top_class": top, "reasons": reasons,
            "happened_at": happened_at, "client_id": str(chance.choice(clients).client_id), "model": MODEL,
            "version": current if age_days < DAYS / 2 else old, "ood_scores": _scores(chance, verdict),
            "candidates": _candidates(top, confidence), "prediction_set": [top], "total_ms": chance.uniform(28, 75),
            "wants_review": chance.random() < 0.03,
            "shadows": [_shadow(chance, shadow, top, verdict)] if age_days < 5 else [],
        }  # fmt: skip
        if with_photo:
            number = (index - (PREDICTIONS - PHOTOGRAPHS * 3)) // 3 + 1
            event = kept_event(
                pseudonym=f"customer-{number:03d}", consent=f"c-{number:03d}", recipient=photo_key().public_key(),
                photo=_photograph(top, verdict == words.VERDICT_OUT_OF_DISTRIBUTION, number), **fields,
            )  # fmt: skip
            if number == 2:
                kept = event.prediction.prediction_id
                event.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        else:
            event = prediction_event(**fields)
        events.append(event)
        if index % 60 == 7:
            events.append(
                feedback_event(
                    event.prediction.prediction_id,
                    client_id=fields["client_id"],
                    true_class_id=CLASSES[2],
                    comment="The temple's certificate says otherwise.",
                )
            )
    return events, kept


def _shadow(chance: random.Random, version: str, top: str, verdict: Any) -> Any:
    """What the shadow said: mostly the same."""
    from protos.amulet.events.v1 import events_pb2 as pb
    from protos.amulet.v1 import prediction_pb2

    said = top if chance.random() < 0.93 else chance.choice(CLASSES)
    confidence = chance.betavariate(9, 1.2)
    return pb.ShadowAnswer(
        version=version,
        verdict=verdict,
        candidates=[prediction_pb2.Candidate(class_id=said, probability=confidence)],
        inference_ms=chance.uniform(18, 32),
    )


def _by_day(moment: datetime, latest: datetime, chance: random.Random) -> datetime:
    """Nearby, in shop hours of Bangkok."""
    hour = min(23, max(0, int(chance.gauss(6, 3.2))))  # UTC: 13 o'clock in Bangkok
    return min(moment.replace(hour=hour, minute=chance.randrange(60)), latest - timedelta(minutes=2))


def _verdict(chance: random.Random) -> tuple[Any, float, list[Any]]:
    from protos.amulet.v1 import vocabulary_pb2 as words

    drawn = chance.random()
    if drawn < 0.07:
        reasons = [words.REASON_NOT_OUR_KIND]
        return words.VERDICT_OUT_OF_DISTRIBUTION, chance.uniform(0.4, 0.8), reasons
    if drawn < 0.17:
        return words.VERDICT_UNSURE, chance.uniform(0.36, 0.58), [words.REASON_LOW_CONFIDENCE]
    return words.VERDICT_IN_DOMAIN, min(0.999, max(0.61, chance.betavariate(14, 1.4))), []


def _scores(chance: random.Random, verdict: Any) -> list[Any]:
    from protos.amulet.v1 import prediction_pb2
    from protos.amulet.v1 import vocabulary_pb2 as words

    far = verdict == words.VERDICT_OUT_OF_DISTRIBUTION
    distance = chance.uniform(60, 90) if far else chance.uniform(18, 39)
    isolation = chance.uniform(0.55, 0.7) if far else chance.uniform(0.38, 0.49)
    return [
        prediction_pb2.OodScore(detector="mahalanobis", score=distance, unsure_at=40, out_at=55),
        prediction_pb2.OodScore(detector="isolation_forest", score=isolation, unsure_at=0.5, out_at=0.6),
    ]


def _candidates(top: str, confidence: float) -> list[Any]:
    from protos.amulet.v1 import prediction_pb2

    others = [class_id for class_id in CLASSES if class_id != top]
    shares = (0.7, 0.3)
    return [
        prediction_pb2.Candidate(class_id=top, probability=confidence),
        *(
            prediction_pb2.Candidate(class_id=class_id, probability=(1 - confidence) * share)
            for class_id, share in zip(others, shares, strict=True)
        ),
    ]


def _photograph(top: str, outside: bool, number: int) -> bytes:
    """What a gateway seals: the square that the model saw, of the demo's tablet or of a coin."""
    from training.demo.photographs import draw

    name = f"ood/coins/coin_{number:03d}.jpg" if outside else f"{top}/front_{number:03d}.jpg"
    picture = ImageOps.fit(draw(name, SEED), (PHOTOGRAPH_PX, PHOTOGRAPH_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def _decisions(chance: random.Random, users: dict[str, Any]) -> None:
    """Two thirds of the queue without photographs is done; the experts mostly agree with the model."""
    from console.review import services
    from console.review.models import Decided, ReviewItem
    from console.review.services import Decision

    for item in list(ReviewItem.objects.select_related("prediction").filter(with_photograph=False).order_by("pk")):
        if chance.random() > 0.6:
            continue
        expert = users[chance.choice(("prasert", "ladda"))]
        services.take(actor=expert, item_id=item.pk)
        drawn = chance.random()
        if drawn < 0.75:
            decision = Decision(Decided.CLASS, item.prediction.top_class)
        elif drawn < 0.9:
            decision = Decision(Decided.CLASS, chance.choice(CLASSES), "The halo has seven rays.")
        else:
            decision = Decision(Decided.UNUSABLE)
        services.decide(actor=expert, item_id=item.pk, decision=decision)


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.site.settings")
    django.setup()
    sys.stdout.write(json.dumps(asdict(seed(Path(sys.argv[1])))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
