"""Photographs from a desk and a telephone to an answer, through a real console and gRPC over TLS."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from protos.amulet.v1 import prediction_pb2_grpc as rpc
from protos.wording import DISCLAIMER
from tests.browser.conftest import DESKTOP, PHONE, Desk
from tests.browser.test_looks import severe_violations
from tests.integration.console.running import RunningConsole
from tests.unit.client.cast import KEY
from tests.unit.console.tryit.cast import AnyGateway
from training.demo.photographs import showcase

pytestmark = pytest.mark.browser


@pytest.fixture
def gateway(console: RunningConsole) -> Iterator[AnyGateway]:
    """Where the console looks for its gateway, with the stack's certificate."""
    layout, service = console.layout, AnyGateway()
    certificate = ((layout.tls / "server.key").read_bytes(), (layout.tls / "server.pem").read_bytes())
    server = grpc.server(
        ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 2**25), ("grpc.so_reuseport", 0)]
    )
    rpc.add_PredictionServiceServicer_to_server(service, server)
    server.add_secure_port(layout.gateway_address, grpc.ssl_server_credentials([certificate]))
    server.start()
    layout.try_key.write_text(KEY)
    yield service
    layout.try_key.unlink()
    server.stop(None).wait()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return showcase(tmp_path_factory.mktemp("showcase"), seed=7)


def drop(page: Page, name: str, content: bytes) -> None:
    """What a browser tells the page when a file falls on it."""
    transfer = page.evaluate_handle(
        "([name, bytes]) => { const t = new DataTransfer();"
        " t.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/jpeg'})); return t; }",
        [name, list(content)],
    )
    page.dispatch_event("[data-drop]", "drop", {"dataTransfer": transfer})


def jpeg(path: Path) -> bytes:
    out = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize((160, 160)).save(out, "JPEG")
    return out.getvalue()


def test_what_is_shown_is_what_is_sent_however_fast_photographs_go(
    desks: Mapping[str, Desk], photographs: Mapping[str, Path]
) -> None:
    with desks["anong"].window() as page:
        page.goto("/admin/try/")
        page.locator("input[type=file]").first.set_input_files([photographs["amulet"], photographs["blurred"]])
        expect(page.locator("[data-chosen] img")).to_have_count(2)

        page.evaluate("for (let go = 0; go < 2; go++) document.querySelector('[data-chosen] button').click()")

        expect(page.locator("[data-chosen] img")).to_have_count(0)
        expect(page.locator("input[type=file]").first).to_be_focused()


@pytest.mark.parametrize(
    ("language", "size", "words"),
    [
        (
            "en",
            DESKTOP,
            {"ask": "Ask the gateway", "where": "The largest part of the evidence lies", "leave out": "Leave out"},
        ),
        ("th", PHONE, {"ask": "ถามเกตเวย์", "where": "หลักฐานกลุ่มใหญ่ที่สุดอยู่", "leave out": "ไม่ใช้ภาพนี้"}),
    ],
    ids=["English, on a desk", "Thai, on a telephone"],
)
def test_photographs_go_in_and_an_answer_comes_out(
    language: str, size: tuple[int, int], words: Mapping[str, str], desks: Mapping[str, Desk], gateway: AnyGateway,
    photographs: Mapping[str, Path], tmp_path: Path,
) -> None:  # fmt: skip
    with desks["anong"].window(language=language, size=size) as page:
        page.goto("/admin/try/")
        page.locator("input[type=file]").first.set_input_files([photographs["amulet"], photographs["blurred"]])
        drop(page, "dropped.jpg", jpeg(photographs["coin"]))
        expect(page.locator("[data-chosen] img")).to_have_count(3)
        page.get_by_role("button", name=f"{words['leave out']}: dropped.jpg").press("Enter")
        expect(page.locator("[data-chosen] img")).to_have_count(2)
        page.get_by_role("button", name=words["ask"]).press("Enter")
        expect(page.get_by_text(words["where"])).to_be_visible()
        expect(page.locator("[data-heading]")).to_be_focused()
        sent: Any = [view.photo for view in gateway.requests[-1].views]
        assert sent == [photographs["amulet"].read_bytes(), photographs["blurred"].read_bytes()]
        photograph, heat = page.locator("[data-number='1'] img").first, page.locator(".p-heat")
        for picture in (photograph, heat):
            page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
        assert heat.bounding_box() == photograph.bounding_box()
        page.keyboard.press("h")
        expect(heat).to_have_css("opacity", "0")
        page.keyboard.press("h")
        for sentence in DISCLAIMER.values():
            expect(page.get_by_text(sentence)).to_be_visible()
        page.screenshot(path=tmp_path / "answer.png", full_page=True)
        assert severe_violations(page) == []
        assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        page.locator("[data-chosen] button").first.press("Enter")
        page.locator("[data-chosen] button").first.press("Enter")
        drop(page, "broken.jpg", b"corrupt")
        page.get_by_role("button", name=words["ask"]).press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("ไฟล์ภาพเสียหาย")
        page.screenshot(path=tmp_path / "refusal.png", full_page=True)
