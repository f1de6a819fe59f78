"""Hostile photographs against a gateway process and the real TorchServe behind it.

    FAULT_RESULTS=tests/fault/results pytest tests/integration/gateway/test_hostile_photographs.py

keeps how long each refusal took, which a busy machine has a part in, and what became of the memory.
"""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Final

import grpc
import psutil
import pytest
from PIL import Image

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.fault.results import keep
from tests.hostile_photographs import MIB, Hostile, hostile_photographs
from tests.integration.gateway.conftest import environment
from tests.integration.gateway.process import GatewayProcess, memory_of, until
from tests.integration.torchserve.server import RunningTorchServe
from tests.machine import Call
from tests.unit.gateway.cast import SOMCHAI, Console, Refused, client, encoded, photo, policy, refused
from tests.unit.gateway.intake.test_formats import png_chunk

pytestmark = pytest.mark.torchserve
TIMES: Final = 5
CALLS: Final = 1000
SIDE_BY_SIDE: Final = 16
LARGE_CALLS: Final = 40
PATIENT: Final = {"AMULET_REQUEST_S_MAX": "120"}  # a hundred at once take longer than by default where others compute
GROWTH_MIB_MAX: Final = 100  # of gateway and decoders together, by what 1,000 of them leave behind


@pytest.fixture(scope="module")
def hostile() -> dict[str, Hostile]:
    return dict(hostile_photographs())


@pytest.fixture
def running(tmp_path: Path, server: RunningTorchServe) -> Iterator[GatewayProcess]:
    rules = policy(clients=[client(SOMCHAI, calls_per_minute=1_000_000)])
    with (
        Console(rules) as console,
        GatewayProcess(environment(tmp_path, server, console) | PATIENT, tmp_path / "gateway.log") as gateway,
    ):
        until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")
        yield gateway


def ask(stub: prediction_pb2_grpc.PredictionServiceStub, content: bytes) -> tuple[Refused | None, float]:
    """Its refusal, None for an answer, and how long that took in milliseconds."""
    request = pb.PredictRequest(views=[pb.View(photo=content)])
    began_s = time.monotonic()
    try:
        stub.Predict(request, metadata=SOMCHAI.metadata, timeout=120)
    except grpc.RpcError as error:
        return refused(error), (time.monotonic() - began_s) * 1000  # type: ignore[arg-type]  # a call and an error in one
    return None, (time.monotonic() - began_s) * 1000


def memory_mib(gateway: GatewayProcess) -> float:
    process = psutil.Process(gateway.process.pid)
    return sum(each.memory_info().rss for each in (process, *process.children())) / MIB


def test_each_is_one_clear_refusal_and_leaves_no_memory_behind(
    running: GatewayProcess, hostile: dict[str, Hostile]
) -> None:
    took: dict[str, dict[str, object]] = {}
    with grpc.insecure_channel(running.target) as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        for colour in ("red", "green", "blue") * 10:
            ask(stub, photo(colour, side_px=1024))
        before_mib = peak_mib = memory_mib(running)
        for name, each in hostile.items():
            found = [ask(stub, each.content) for _ in range(TIMES)]
            reasons = {words.Reason.Name(refusal.reason) if refusal else "answered" for refusal, _ in found}
            assert len(reasons) == 1, (name, reasons)
            for refusal, _ in found:
                if refusal is None:
                    assert each.may_be_answered, name
                    continue
                assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT, (name, refusal)
                assert words.REASON_PHOTO_MISSING <= refusal.reason <= words.REASON_PHOTO_TOO_COSTLY, (name, refusal)
                assert refusal.field == "views[0].photo"
            took[name] = {
                "ends": reasons.pop(),
                "p50_ms": round(statistics.median(ms for _, ms in found), 1),
                "max_ms": round(max(ms for _, ms in found), 1),
            }

        large = hostile["a file above 20 MiB"].content
        for _ in range(LARGE_CALLS):  # one after the other: what is refused is let go of at once
            ask(stub, large)
        assert memory_mib(running) - before_mib < LARGE_CALLS * len(large) / MIB / 3

        contents = [each.content for each in hostile.values()]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as callers:
            calls = [callers.submit(ask, stub, contents[number % len(contents)]) for number in range(CALLS)]
            for number, call in enumerate(calls):
                call.result()
                if number % SIDE_BY_SIDE == 0:  # to look goes through every process of this machine
                    peak_mib = max(peak_mib, memory_mib(running))

        def is_back() -> bool:
            for _ in range(20):  # what was freed goes back to the system as calls go on
                ask(stub, b"")
            return memory_mib(running) - before_mib < GROWTH_MIB_MAX

        until(is_back, s_max=60, what="memory is back")
        after_mib = memory_mib(running)
        assert ask(stub, photo("green"))[0] is None
    restarts = next(
        line for line in running.page("/metrics")[1].splitlines() if line.startswith("amulet_decoder_restarts_total")
    )

    keep(
        "hostile-photographs",
        {
            "photographs": took,
            "calls": CALLS,
            "side_by_side": SIDE_BY_SIDE,
            "memory_mib": {"before": round(before_mib), "peak": round(peak_mib), "after": round(after_mib)},
            "decoder_restarts": int(float(restarts.split()[1])),
        },
    )


# Refused by their headers, before anything is unpacked.
BOMBS: Final = (
    "PNG of 65,535 x 65,535",
    "JPEG header of 65,500 x 65,500",
    "WebP canvas of 16,384 x 16,384",
    "PNG of 10,000 frames, by its header",
)
AT_ONCE: Final = 100


def test_bombs_are_refused_at_once_and_a_hundred_together_take_no_memory(
    running: GatewayProcess, hostile: dict[str, Hostile]
) -> None:
    # Packed as well as can be: what is sent has to be held anyway.
    packer = zlib.compressobj(6)
    gibibyte = b"".join([*(packer.compress(bytes(MIB)) for _ in range(1024)), packer.flush()])
    whole = encoded(Image.open(BytesIO(photo())), "PNG")
    after_header = whole.index(b"IHDR") - 4 + 25
    text = png_chunk(b"zTXt", b"Comment\0\0" + gibibyte)
    contents = [*(hostile[name].content for name in BOMBS), whole[:after_header] + text + whole[after_header:]]
    channels = [
        grpc.insecure_channel(running.target, options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(AT_ONCE)
    ]
    stubs = [prediction_pb2_grpc.PredictionServiceStub(channel) for channel in channels]
    for stub in stubs[:10]:
        ask(stub, photo("red", side_px=1024))

    def refused_after_ms(content: bytes) -> float:
        call = Call(psutil.Process(running.process.pid))
        refusal, _ = ask(stubs[0], content)
        took_s = call.took_s()
        assert refusal is not None
        return took_s * 1000

    quickest_ms = {name: min(refused_after_ms(hostile[name].content) for _ in range(TIMES)) for name in BOMBS}

    with memory_of(running) as grown_mib, ThreadPoolExecutor(AT_ONCE) as callers:
        ends = list(callers.map(lambda n: ask(stubs[n], contents[n % len(contents)])[0], range(AT_ONCE)))
        took_mib = grown_mib()
    for channel in channels:
        channel.close()

    print(f"grown {took_mib:.0f} MiB, {quickest_ms}")
    assert max(quickest_ms.values()) < 200
    codes = {end.code for end in ends if end is not None}
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}  # the second: no place
    assert took_mib < 200
