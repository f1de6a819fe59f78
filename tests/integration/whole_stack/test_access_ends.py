"""Access that is taken away ends within five seconds in a running stack, also on what is open already."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import grpc
import httpx
import psutil
import pytest

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.integration.whole_stack.conftest import Traced
from tests.integration.whole_stack.signing_in import sign_in
from tests.machine import Stopwatch
from tests.stack import Stack, until
from tests.unit.gateway.cast import refused

pytestmark = pytest.mark.stack

ENDS_S_MAX: Final = 5.0


def clock_of(stack: Stack) -> Stopwatch:
    """For what this process, the console and the gateway have to do (decision 0095)."""
    named = [pid for name in ("gateway", "console") for pid in stack.pids(name)]
    return Stopwatch([psutil.Process(), *map(psutil.Process, named)])


class OpenStream:
    """A stream that is given one request after the other, for as long as it lasts."""

    def __init__(self, stub: prediction_pb2_grpc.PredictionServiceStub, key: str) -> None:
        self._requests: queue.SimpleQueue[pb.PredictRequest | None] = queue.SimpleQueue()
        self._call = stub.PredictStream(iter(self._requests.get, None), metadata=(("x-api-key", key),))

    def refusal(self) -> words.Reason.ValueType | None:
        """What the next request ends the stream with; None: it was answered."""
        self._requests.put(pb.PredictRequest(request_id="next"))  # without a photograph: costs nothing
        try:
            assert next(self._call).request_id == "next"
        except grpc.RpcError as error:
            return refused(error).reason  # type: ignore[arg-type]  # a call and an error in one
        return None

    def close(self) -> None:
        self._requests.put(None)
        self._call.cancel()


def refusal(stub: prediction_pb2_grpc.PredictionServiceStub, key: str) -> words.Reason.ValueType | None:
    """What one call over the open connection is refused with; None: it was answered."""
    try:
        stub.ListModels(pb.ListModelsRequest(), metadata=(("x-api-key", key),), timeout=20)
    except grpc.RpcError as error:
        return refused(error).reason  # type: ignore[arg-type]  # a call and an error in one
    return None


def test_a_revoked_key_is_refused_within_five_seconds_on_an_open_connection_and_an_open_stream(traced: Traced) -> None:
    stack = traced.stack
    leaving, staying = stack.new_key("leaving"), stack.new_key("staying")
    console = stack.console()
    with stack.channel() as channel, ExitStack() as down:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        streams = {key: OpenStream(stub, key) for key in (leaving, staying)}
        for stream in streams.values():
            down.callback(stream.close)
        asked = [lambda key=key: refusal(stub, key) for key in streams] + [each.refusal for each in streams.values()]  # type: ignore[misc]  # bound
        assert [ask() for ask in asked] == [None] * 4
        clock = clock_of(stack)
        console.call("POST", f"keys/{leaving.split('_')[1]}/revoke/")
        found: dict[str, words.Reason.ValueType] = {}

        def both_end() -> bool:
            for name, ask in (("call", asked[0]), ("stream", asked[2])):
                if name not in found and (reason := ask()) is not None:
                    found[name] = reason
            return len(found) == 2

        until(both_end)
        took_s = clock.took_s()
        others = [asked[1](), asked[3]()]

    print(f"revoked after {took_s:.1f} s")
    assert found == dict.fromkeys(("call", "stream"), words.REASON_KEY_REVOKED)
    assert others == [None, None]  # who keeps a key keeps what is open
    assert took_s < ENDS_S_MAX


@contextmanager
def signed_in(stack: Stack, person: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.layout.console_url, timeout=60, trust_env=False) as browser:
        answer = sign_in(browser, person["name"], person["password"], person["totp_seed"])
        assert answer.status_code == 302, answer.text[:500]
        assert browser.get("/admin/").status_code == 200
        yield browser


def test_all_sessions_of_a_disabled_person_are_over_within_five_seconds(traced: Traced) -> None:
    stack = traced.stack
    people = []
    for name in ("anong", "suda"):
        made = stack.amulet("users", "create", name, "--role", "viewer", "--json")
        people.append({**json.loads(made), "name": name})
    leaving, staying = people
    console = stack.console()
    number = next(each["id"] for each in console.call("GET", "staff/")["results"] if each["name"] == "anong")
    with signed_in(stack, leaving) as browser, signed_in(stack, staying) as other:
        script = {"Authorization": f"Token {leaving['token']}"}

        def doors() -> list[int]:
            return [
                browser.get("/admin/").status_code,
                browser.get("/admin/predictions/prediction/").status_code,
                browser.get("/api/v1/versions/").status_code,
                browser.get("/api/v1/versions/", headers=script).status_code,
            ]

        assert doors() == [200] * 4
        clock = clock_of(stack)
        console.call("POST", f"staff/{number}/disable/")
        until(lambda: doors() == [302, 302, 401, 401] or None)
        took_s = clock.took_s()

        assert other.get("/admin/").status_code == 200
    print(f"signed out after {took_s:.1f} s")
    assert took_s < ENDS_S_MAX
