"""Try it, asked in a browser's way, with a real gRPC server where the gateway would be."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from django.urls import reverse
from pytest_django import Settings

from console.audit.models import Entry
from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.site.roles import Role
from console.tryit import views
from console.tryit.page import answered
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.wording import DISCLAIMER
from tests.console_events import prediction_event
from tests.unit.client.cast import KEY, full_response
from tests.unit.console.site.test_pages import at_the_desk
from tests.unit.console.tryit.cast import PREDICTION, AnyGateway

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture
def gateway(settings: Settings, tmp_path: Path) -> Iterator[AnyGateway]:
    server, service = grpc.server(ThreadPoolExecutor(2)), AnyGateway()
    rpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    key = tmp_path / "try_key"
    key.write_text(f"{KEY}\n")
    asked = {"gateway": f"127.0.0.1:{port}", "insecure": True, "try_key_file": key}
    settings.AMULET = settings.AMULET.model_copy(update=asked)
    yield service
    server.stop(None).wait()


def asked(browser: Browser, *photographs: bytes, language: str = "en", **fields: str) -> str:
    """The page after these photographs were sent."""
    files = [SimpleUploadedFile(f"{index}.jpg", content) for index, content in enumerate(photographs)]
    answer = browser.post(reverse("try_it"), {"photographs": files, **fields}, headers={"Accept-Language": language})
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    return answer.content.decode()


def test_an_answer_is_shown_with_all_that_a_reader_needs(gateway: AnyGateway) -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    page = asked(browser, b"front", b"back", language="th")
    [request] = gateway.requests
    assert [view.photo for view in request.views] == [b"front", b"back"]
    assert request.explain.method == pb.Explain.METHOD_GRAD_CAM
    assert request.nearest_examples == 3
    assert not request.HasField("subject")  # nothing is to be kept
    assert gateway.metadata["x-api-key"] == KEY
    assert gateway.metadata["accept-language"] == "th"
    for shown in (
        "ไม่แน่ใจ", "Alpha", "50.0%", "Not sure enough.", "Ask.", "Blurred.", "Hold still.", "data:image/png;base64,",
        "จุดที่สว่างกว่า", "ตัวอย่างที่คล้ายกัน", "คล้าย 75%", "data:image/jpeg;base64,",
        "ผู้เชี่ยวชาญจะตรวจสอบ", reverse("tried", args=[PREDICTION]), *DISCLAIMER.values(),
    ):  # fmt: skip
        assert shown in page, shown
    assert "<strong>Blurred.</strong>" in page
    assert page.index(DISCLAIMER["th"]) < page.index("Alpha")


def test_several_objects_are_asked_about_one_by_one(gateway: AnyGateway) -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    page = asked(browser, b"front", b"corrupt", b"coin", apart="1")
    assert [len(request.views) for request in gateway.requests] == [1, 1, 1]
    assert page.count("50.0%") == 1
    assert "Photograph 2: ไฟล์ภาพเสียหาย" in page
    assert "Not like ours." in page
    assert "87.5%" not in page  # what is out of distribution is not named


@pytest.mark.parametrize(
    ("photograph", "said"),
    [
        (b"corrupt", "ไฟล์ภาพเสียหาย"),
        (b"large", "ไฟล์ภาพใหญ่เกินไป"),
        (b"not ready", "โมเดลยังไม่พร้อม"),
        (b"limited", "เรียกบ่อยเกินไป ถามใหม่ได้ในอีก 2 วินาที"),
        (b"stranger", "ผู้ดูแลระบบต้องสร้างคีย์ใหม่"),
    ],
)
def test_a_refusal_is_one_sentence_in_the_readers_language(photograph: bytes, said: str, gateway: AnyGateway) -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    page = asked(browser, photograph, language="th")
    assert said in page
    assert "precise" not in page
    assert 'class="t-answer"' not in page


def test_a_gateway_that_is_down_and_a_page_that_is_not_set_up_say_what_to_do(
    gateway: AnyGateway, settings: Settings, tmp_path: Path
) -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    ready = settings.AMULET
    settings.AMULET = ready.model_copy(update={"gateway": "127.0.0.1:1"})
    assert "The gateway does not answer just now." in asked(browser, b"front")
    settings.AMULET = ready.model_copy(update={"try_key_file": tmp_path / "none"})
    assert "AMULET_TRY_KEY_FILE" in asked(browser, b"front")
    assert "ยังไม่มีคีย์ API" in asked(browser, b"front", language="th")
    settings.AMULET = ready.model_copy(update={"insecure": False, "tls_ca": tmp_path / "none"})
    assert "AMULET_TLS_CA" in asked(browser, b"front")
    assert gateway.requests == []


def test_nothing_of_a_photograph_stays(
    gateway: AnyGateway, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for the time of a request, and however large it is: no upload may touch the disk."""
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "no such folder")
    browser, _ = at_the_desk(Role.VIEWER)
    before = Entry.objects.count()
    assert "50.0%" in asked(browser, b"x" * (3 * 2**20))
    assert Entry.objects.count() == before  # the gateway's event is the record
    monkeypatch.setattr(views, "BYTES_MAX", 1000)
    assert "Together the photographs are too large" in asked(browser, b"x" * 2000)
    assert len(gateway.requests) == 1


def test_none_and_too_many_photographs_are_refused_before_the_gateway_is_asked(gateway: AnyGateway) -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    assert "Choose 1 to 8 photographs." in asked(browser)
    assert "Choose 1 to 8 photographs." in asked(browser, *[b"front"] * 9)
    assert gateway.requests == []


def test_only_staff_who_showed_the_forms_token_may_ask(gateway: AnyGateway) -> None:
    assert Browser().get(reverse("try_it")).status_code == 302
    assert Browser().get("/try/?model=amulets").headers["Location"] == f"{reverse('try_it')}?model=amulets"
    assert Browser().post(reverse("try_it")).status_code == 302
    careful = Browser(enforce_csrf_checks=True)
    browser, _ = at_the_desk(Role.VIEWER)
    careful.cookies = browser.cookies
    sent = {"photographs": SimpleUploadedFile("a.jpg", b"front")}
    assert careful.post(reverse("try_it"), sent).status_code == 403
    assert gateway.requests == []


def test_the_link_leads_to_the_record_once_it_is_there() -> None:
    browser, _ = at_the_desk(Role.VIEWER)
    event = prediction_event()
    apply_batch([event])
    kept = Prediction.objects.get()
    there = browser.get(reverse("tried", args=[kept.pk]))
    assert there["Location"] == reverse("admin:predictions_prediction_change", args=[kept.pk])
    coming = browser.get(reverse("tried", args=[PREDICTION]), follow=True)
    assert "on its way from the gateway" in coming.content.decode()


def test_words_say_where_a_heat_map_has_its_evidence() -> None:
    from amulet_client import Prediction as Said

    def words(rows: int, columns: int, values: list[float]) -> str:
        response = full_response()
        response.prediction_id = PREDICTION
        response.heat_maps[0].rows, response.heat_maps[0].columns = rows, columns
        del response.heat_maps[0].values[:]
        response.heat_maps[0].values.extend(values)
        return answered((1, 2), Said.of(response)).photographs[0].words

    corner = [0.0] * 36
    corner[35], corner[0] = 3.0, 1.0
    assert "at the lower right (75% of it)" in words(6, 6, corner)
    assert "spread over the whole picture" in words(6, 6, [1.0] * 36)
    assert "Nothing in this photograph" in words(2, 2, [0.0] * 4)
