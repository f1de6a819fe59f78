"""The whole path with the real `amulet`: photographs that experts labelled become a version that the rules accept."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from django.db.models import F
from PIL import Image
from pytest_django import Settings

from console.datasets import queries as datasets
from console.registry.golden import golden_of
from console.registry.models import State as Version
from console.retraining import services
from console.retraining.models import State, TrainingJob
from console.retraining.tasks import train
from console.site.roles import Role
from model_store import signing
from tests.console_events import CLASSES
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import member
from tests.unit.console.versions import a_version
from training.demo.moulds import DESIGNS
from training.demo.photographs import write_demo

pytestmark = pytest.mark.django_db
PER_CLASS = 7
CLASS_COUNT = 2


def as_the_model_saw(file: Path) -> bytes:
    out = BytesIO()
    with Image.open(file) as photograph:
        photograph.resize((224, 224)).save(out, "PNG")
    return out.getvalue()


def pixels(png: bytes) -> bytes:
    with Image.open(BytesIO(png)) as picture:
        return picture.convert("RGB").tobytes()


def test_what_the_real_programs_make_is_verified_names_its_data_set_and_carries_no_photograph_of_it(
    tmp_path: Path, settings: Settings
) -> None:
    key, trusted = tmp_path / "signing.key", tmp_path / "trusted"
    signing.generate_key(key)
    trusted.mkdir()
    (trusted / "release.pub").write_bytes(signing.public_pem(key))
    settings.AMULET = settings.AMULET.model_copy(
        update={"training_dir": tmp_path / "training", "training_key_file": key, "trusted_keys": trusted}
    )
    malee, expert = member(Role.MODEL_ENGINEER), member(Role.REVIEWER)
    a_version(malee, model=MODEL)
    consenting(member(Role.PRIVACY_OFFICER), "shop-1")
    write_demo(tmp_path / "demo", seed=3, per_class=PER_CLASS, processes=1)
    lent = set()
    for class_id, design in zip(CLASSES[:CLASS_COUNT], sorted(DESIGNS)[:CLASS_COUNT], strict=True):
        for file in sorted((tmp_path / "demo" / design).iterdir()):
            photo = as_the_model_saw(file)
            labelled(expert, "shop-1", is_a(class_id), photo=photo)
            lent.add(pixels(photo))
    services.start_job(actor=malee, model=MODEL, recipe="standard", seed=3)
    train()
    job = TrainingJob.objects.get()
    assert job.state == State.UPLOADED, (job.failure, job.said, job.log_tail)
    assert job.version is not None
    assert job.dataset is not None
    assert job.version.state == Version.VERIFIED, job.version.rules
    assert datasets.versions_of(job.dataset) == [job.version]
    assert TrainingJob.objects.filter(version__card_document__data__photos=F("dataset__photographs")).exists()
    assert list((tmp_path / "training").iterdir()) == []
    # Its archive is kept for ever and goes to gateways: no photograph that somebody may take back is in it.
    assert job.version.card().golden_are_drawn
    golden = golden_of(job.version)
    assert len(golden) == 6
    assert lent.isdisjoint(pixels(each.png) for each in golden)
    assert len({round(each.probability, 6) for each in golden}) > 1  # what answers them is told from other weights
