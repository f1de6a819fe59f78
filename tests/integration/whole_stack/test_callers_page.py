"""docs/callers.md and the README: their programs and grpcurl lines, run against a real stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from protos.wording import DISCLAIMER
from tests import tiny_archive
from tests.integration.whole_stack.conftest import Traced
from tests.pages import ROOT, Block, blocks
from tests.stack import Stack

pytestmark = pytest.mark.stack
ADDRESS, AUTHORITY = "127.0.0.1:7443", ".amulet/tls/ca.pem"


@pytest.fixture
def stack(traced: Traced) -> Stack:
    """A stack that has a key."""
    stack = traced.stack
    stack.key = stack.key or stack.new_key("callers")
    return stack


@pytest.fixture
def folder(stack: Stack, tmp_path: Path) -> Path:
    """Where a reader works: photographs, and the folder of the stack under its usual name."""
    (tmp_path / ".amulet").symlink_to(stack.layout.state)
    for name, colour in (("photo.jpg", "red"), ("other.jpg", "blue")):
        (tmp_path / name).write_bytes(tiny_archive.photo_of(colour, side_px=256))
    return tmp_path


def test_the_programs_of_the_callers_page_run_as_printed(stack: Stack, folder: Path) -> None:
    # Another library's program runs in an environment of its own (tests/callers).
    one, many = (each for each in blocks(ROOT / "docs/callers.md", "python") if "amulet_client" in each.text)

    said = run(one, stack, folder)
    assert said[0].startswith("Red ")
    assert said[-1] == DISCLAIMER["en"]
    assert sorted(run(many, stack, folder)) == ["other.jpg IN_DOMAIN", "photo.jpg IN_DOMAIN"]


def test_the_program_of_the_readme_runs_as_printed(stack: Stack, folder: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "python")

    assert any("have an expert confirm it" in line for line in run(block, stack, folder))


def test_what_grpcurl_is_told_is_what_the_server_takes(stack: Stack, folder: Path) -> None:
    """grpcurl itself is no part of the test machine: its lines are read as it reads them, through reflection."""
    lines = [
        line
        for page in ("docs/callers.md", "README.md")
        for block in blocks(ROOT / page, "sh")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("grpcurl ")
    ]
    answers = [grpcurl(line, stack, folder) for line in lines]

    assert len(lines) >= 4
    assert {"amulet.v1.PredictionService", "grpc.health.v1.Health"} <= set(answers[0]["services"])
    assert answers[1]["models"][0]["name"] == tiny_archive.NAME
    for line, answer in zip(lines[2:], answers[2:], strict=True):
        if "GRPCInferenceService" in line:
            outputs = {
                output["name"]: output["contents"]["bytesContents"]
                for output in answer["outputs"]
                if output["datatype"] == "BYTES"
            }
            assert [b64decode(text) for text in outputs["verdict"] + outputs["class_id"]] == [b"IN_DOMAIN", b"red"]
        else:
            assert answer["verdict"] == "VERDICT_IN_DOMAIN"
            assert answer["candidates"][0]["classId"] == "red"


def test_the_lines_for_amulet_client_work_as_typed(stack: Stack, folder: Path) -> None:
    (block,) = (each for each in blocks(ROOT / "docs/callers.md", "sh") if "amulet-client predict" in each.text)
    photos = folder / "photos"
    photos.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "red")):
        (photos / f"{number}.png").write_bytes(tiny_archive.photo_of(colour, side_px=1200, seed=number))
    (photos / "+broken.jpg").write_bytes(b"no photograph")
    lines = block.text.replace(ADDRESS, stack.layout.gateway_address).replace(
        "jq -r .prediction_id", f"{sys.executable} -c 'import json; print(json.loads(input())[\"prediction_id\"])'"
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "-c", lines],
        env={"PATH": path, "AMULET_API_KEY": stack.key}, cwd=folder, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr  # of the last line
    said = done.stdout.splitlines()
    assert said[:2] == ["SERVING", f"{tiny_archive.NAME} {tiny_archive.VERSION} ready"]
    assert len(said[2]) == 36  # the feedback's id
    answers = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    reasons = [answer.get("error", {}).get("reason", "") for answer in answers]
    assert reasons == ["REASON_PHOTO_FORMAT_NOT_ALLOWED", "", "", "", ""]
    assert [answer["candidates"][0]["class_id"] for answer in answers[1:]] == ["red", "green", "blue", "red"]


def run(block: Block, stack: Stack, folder: Path) -> list[str]:
    """A program as printed but for the port, which is this stack's; what it prints."""
    program = block.text.replace(ADDRESS, stack.layout.gateway_address)
    environment = {**os.environ, "AMULET_API_KEY": stack.key, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def grpcurl(line: str, stack: Stack, folder: Path) -> dict[str, object]:
    """What grpcurl does with its command line: ask for the messages by reflection, send the JSON as one, answer."""
    *expanded, given = subprocess.run(
        ["bash", "-c", f"grpcurl() {{ printf '%s\\0' \"$@\"; cat; }}\n{line}"],
        env={**os.environ, "AMULET_API_KEY": stack.key}, cwd=folder, capture_output=True, text=True, check=True,
        stdin=subprocess.DEVNULL,
    ).stdout.split("\0")  # fmt: skip
    options = dict(zip(expanded[:-2:2], expanded[1:-2:2], strict=True))
    address, wanted = expanded[-2:]
    assert address == ADDRESS
    authority = (folder / options["-cacert"]).read_bytes()
    with grpc.secure_channel(stack.layout.gateway_address, grpc.ssl_channel_credentials(authority)) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        if wanted == "list":
            return {"services": list(database.get_services())}
        service, _, name = wanted.partition("/")
        method = DescriptorPool(database).FindServiceByName(service).FindMethodByName(name)
        request = message_factory.GetMessageClass(method.input_type)()
        json_format.Parse(given if options.get("-d") == "@" else options.get("-d", "{}"), request)
        header, _, value = options["-H"].partition(":")
        call = channel.unary_unary(
            f"/{wanted}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        answer = call(request, metadata=((header, value.strip()),), timeout=30)
        document: dict[str, object] = json.loads(json_format.MessageToJson(answer))
        return document
