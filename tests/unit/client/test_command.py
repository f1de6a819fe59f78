"""`amulet-client` as callers type it: a process of its own, a real gateway's port."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from protos.wording import DISCLAIMER
from tests.tiny_archive import NAME, VERSION
from tests.unit.gateway.cast import SOMCHAI, Gateway, client, photo, policy, running_gateway, until

COMMAND = Path(sys.executable).with_name("amulet-client")


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    rules = policy(clients=[client(SOMCHAI, calls_per_minute=10_000)])
    async with running_gateway(tmp_path / "gateway", policy=rules) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos" / "deep"
    photos.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue", "red")):
        (photos / f"{number}.png").write_bytes(photo(colour, seed=number, side_px=700))
    return photos.parent


def environment(gateway: Gateway, key: str = SOMCHAI.text) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AMULET_GATEWAY": f"127.0.0.1:{gateway.listening.grpc_port}",
        "AMULET_API_KEY": key,
        "AMULET_INSECURE": "1",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # of a tree beside the one that is installed
    }


async def typed(gateway: Gateway, *arguments: object, key: str = SOMCHAI.text, **further: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error. further: variables of the environment."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *map(str, arguments),
        env=environment(gateway, key) | further,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), error.decode()


async def test_a_folder_is_answered_in_order_as_text_and_as_json(gateway: Gateway, folder: Path) -> None:
    status, text, _ = await typed(gateway, "predict", folder, "--language", "th")
    assert status == 0
    assert text.count(DISCLAIMER["th"]) == 4

    status, lines, _ = await typed(gateway, "predict", folder, "--json")
    found = [json.loads(line) for line in lines.splitlines()]
    assert status == 0
    assert [Path(each["file"]).name for each in found] == ["0.png", "1.png", "2.png", "3.png"]
    assert [each["candidates"][0]["class_id"] for each in found] == ["red", "green", "blue", "red"]
    assert {each["request_id"] for each in found} == {""}


async def test_a_killed_run_goes_on_where_it_stopped(gateway: Gateway, folder: Path, tmp_path: Path) -> None:
    results, photos = tmp_path / "results.jsonl", 40
    for number in range(4, photos):
        (folder / f"{number}.png").write_bytes(photo(seed=number))
    gateway.graph.wait_s = 0.2  # so that most are still to come when the first is there
    running = await asyncio.create_subprocess_exec(
        COMMAND, "predict", folder, "--out", results, env=environment(gateway), stderr=subprocess.DEVNULL
    )
    await until(lambda: results.exists() and b"\n" in results.read_bytes(), what="an answer is in the file")
    running.kill()
    await running.wait()

    async def nothing_of_it_is_under_way() -> bool:
        return await gateway.metric("amulet_streams_open") == 0

    await until(nothing_of_it_is_under_way, what="the gateway has let go of the killed run")
    kept = results.read_text().splitlines(keepends=True)
    results.write_text("".join(kept) + '{"file": "cut o')
    gateway.graph.renew()
    (folder / "broken.jpg").write_bytes(b"no photograph")

    status, _, told = await typed(gateway, "predict", folder, "--out", results)

    assert status == 1
    assert f"{len(kept)} of {photos + 1} were answered before" in told
    assert "broken.jpg" in told
    lines = results.read_text().splitlines(keepends=True)
    assert lines[: len(kept)] == kept
    assert sorted(Path(json.loads(line)["file"]).name for line in lines) == [
        *sorted(f"{number}.png" for number in range(photos)),
        "broken.jpg",
    ]
    assert 0 < len(gateway.graph.versions_asked) == photos - len(kept)

    (folder / "broken.jpg").write_bytes(photo("green"))
    status, _, _ = await typed(gateway, "predict", folder, "--out", results)  # what was refused is asked again
    assert status == 0
    assert len(results.read_text().splitlines()) == photos + 1


async def test_an_interrupted_run_says_that_it_goes_on_and_does(gateway: Gateway, folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    await typed(gateway, "predict", folder / "deep" / "0.png", "--out", results)
    gateway.graph.hold()
    running = await asyncio.create_subprocess_exec(
        COMMAND, "predict", folder, "--out", results, env=environment(gateway), stderr=subprocess.PIPE
    )
    await until(lambda: gateway.graph.holds > 0, what="the run is at it")

    running.send_signal(signal.SIGINT)
    _, told = await asyncio.wait_for(running.communicate(), 60)
    gateway.graph.release()

    assert running.returncode == 1
    assert [line for line in told.decode().splitlines() if line] == [
        "1 of 4 were answered before",
        f"{results} holds what was answered: the same command goes on with the others",
        "Error: interrupted",
    ]
    assert len(results.read_text().splitlines()) == 1
    status, _, _ = await typed(gateway, "predict", folder, "--out", results)
    assert (status, len(results.read_text().splitlines())) == (0, 4)


async def test_a_refusal_stands_on_a_line_of_its_own_beside_the_bar(
    gateway: Gateway, folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.jpg").write_bytes(b"no photograph")
    ours, theirs = pty.openpty()
    running = await asyncio.create_subprocess_exec(
        COMMAND, "predict", folder, "--out", tmp_path / "results.jsonl", env=environment(gateway), stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how a terminal tells that nobody writes to it any more
        while read := await asyncio.to_thread(os.read, ours, 4096):
            shown += read
    os.close(ours)
    assert await running.wait() == 1

    (line,) = [line for line in shown.decode().splitlines() if "broken.jpg" in line]
    assert line.rpartition("\x1b[K")[2].startswith(f"{folder / 'broken.jpg'}: ")
    assert "5/5" in shown.decode()


async def test_a_name_that_is_no_text_is_answered_like_any_other_and_not_asked_again(
    gateway: Gateway, folder: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"
    named = folder / os.fsdecode(b"caf\xe9.png")  # as an archive from an old Windows leaves it
    named.write_bytes(photo("green"))

    status, _, _ = await typed(gateway, "predict", folder, "--out", results)
    assert status == 0
    assert json.loads(results.read_text("utf-8").splitlines()[0])["file"] == str(named)
    gateway.graph.renew()
    status, _, told = await typed(gateway, "predict", folder, "--out", results)
    assert (status, told, gateway.graph.versions_asked) == (0, "5 of 5 were answered before\n", [])

    strict = {"PYTHONIOENCODING": "utf-8:strict"}  # as in any locale but C
    status, lines, _ = await typed(gateway, "predict", named, "--json", **strict)
    assert (status, json.loads(lines)["file"]) == (0, str(named))
    status, text, _ = await typed(gateway, "predict", named, **strict)
    assert status == 0
    assert "caf\ufffd.png: " in text


async def test_a_name_that_a_terminal_would_obey_is_spelt_out(gateway: Gateway, tmp_path: Path) -> None:
    named, broken = tmp_path / "a\nb\x1b[31m.png", tmp_path / "c\rd.png"
    named.write_bytes(photo("green"))
    broken.write_bytes(b"")

    status, text, told = await typed(gateway, "predict", named, broken)

    assert status == 1
    assert text.startswith(f"{tmp_path}/a\\nb\\x1b[31m.png: ")
    assert told.startswith(f"{tmp_path}/c\\rd.png: ")
    assert len(told.splitlines()) == 1


async def test_a_file_of_results_that_the_disk_does_not_take_is_named(
    gateway: Gateway, folder: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"
    whole = tmp_path / "whole.jsonl"
    await typed(gateway, "predict", folder, "--out", whole)
    limited = f'ulimit -f 1; exec "{COMMAND}" predict "{folder}" --out "{results}"'  # 1,024 bytes, as on a full disk
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", limited, env=environment(gateway), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 60)

    assert (process.returncode, told.decode()) == (1, f"Error: {results} cannot be used: File too large\n")
    status, _, _ = await typed(gateway, "predict", folder, "--out", results)  # there is room again
    answered = [json.loads(line)["file"] for line in results.read_text().splitlines()]
    assert (status, answered) == (0, [json.loads(line)["file"] for line in whole.read_text().splitlines()])


async def test_a_file_that_is_too_large_for_any_gateway_ends_nothing(
    gateway: Gateway, folder: Path, tmp_path: Path
) -> None:
    results, large = tmp_path / "results.jsonl", folder / "deep" / "1a.png"
    with large.open("wb") as file:
        file.truncate(162 * 2**20)

    for answered_before in ("", "4 of 5 were answered before\n"):
        status, _, told = await typed(gateway, "predict", folder, "--out", results)
        assert status == 1
        assert told == (
            f"{answered_before}{large}: 169,869,312 bytes of photographs are more than one request holds: 167,772,160\n"
        )
        assert len(gateway.graph.versions_asked) == 4


async def test_a_file_that_holds_something_else_is_left_alone(gateway: Gateway, folder: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine\n")

    status, _, told = await typed(gateway, "predict", folder, "--out", notes)

    assert (status, notes.read_text()) == (1, "mine\n")
    assert told == f"Error: {notes} holds something else than results in line 1: name another file\n"


async def test_results_may_go_to_a_device_or_a_pipe_which_is_left_what_it_is(
    gateway: Gateway, folder: Path, tmp_path: Path
) -> None:
    """As root a run with `--out /dev/null` put a file in its place, and one with `/dev/stdout` waited for itself."""
    null, pipe = tmp_path / "null", tmp_path / "pipe"
    null.symlink_to(os.devnull)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        for device in (null, null, pipe):
            assert (await typed(gateway, "predict", folder, "--out", device))[0] == 0
        piped = os.read(reader, 65_536).decode()
    finally:
        os.close(reader)
    status, out, _ = await typed(gateway, "predict", folder, "--out", "/dev/stdout")

    assert status == 0
    assert null.is_symlink()
    assert null.is_char_device()
    assert len(piped.splitlines()) == len(out.splitlines()) == 4


async def test_a_file_of_results_stays_a_link_and_for_the_eyes_that_it_was_for(
    gateway: Gateway, folder: Path, tmp_path: Path
) -> None:
    results, link = tmp_path / "deep" / "results.jsonl", tmp_path / "results.jsonl"
    results.parent.mkdir()
    results.touch(0o600)
    link.symlink_to(results)
    for answered in ("", "4 of 4 were answered before\n"):
        assert await typed(gateway, "predict", folder, "--out", link) == (0, "", answered)

    assert link.is_symlink()
    assert results.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in results.parent.iterdir()] == ["results.jsonl"]


@pytest.mark.parametrize("begun", ["new", "gone on with"])
async def test_a_second_run_into_the_same_file_is_refused_and_takes_nothing_from_the_first(
    gateway: Gateway, folder: Path, tmp_path: Path, begun: str
) -> None:
    results = tmp_path / "results.jsonl"
    if begun != "new":
        await typed(gateway, "predict", folder / "deep" / "0.png", "--out", results)
    gateway.graph.hold()
    first = asyncio.create_task(typed(gateway, "predict", folder, "--out", results))
    await until(lambda: gateway.graph.holds > 0, what="the first run is at it")

    second = await typed(gateway, "predict", folder, "--out", results)
    gateway.graph.release()

    assert second == (
        1,
        "",
        f"Error: another run writes into {results}: wait for its end, or name another file\n",
    )
    assert (await first)[0] == 0
    assert len(results.read_text().splitlines()) == 4
    assert (await typed(gateway, "predict", folder, "--out", results))[2] == "4 of 4 were answered before\n"


async def test_a_reader_that_has_read_enough_is_no_error_of_a_file(gateway: Gateway, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `| head -1` does
    process = await asyncio.create_subprocess_exec(
        COMMAND, "predict", folder, "--json", env=environment(gateway), stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    _, told = await asyncio.wait_for(process.communicate(), 60)

    assert (process.returncode, told.decode()) == (1, "")


async def test_shrunk_photographs_get_the_same_answer_with_fewer_pixels(gateway: Gateway, folder: Path) -> None:
    answers = {}
    for shrink in ([], ["--shrink"]):
        _, lines, _ = await typed(gateway, "predict", folder, "--json", *shrink)
        answers[bool(shrink)] = [json.loads(line) for line in lines.splitlines()]

    assert {each["views"][0]["width_px"] for each in answers[False]} == {700}
    assert {each["views"][0]["width_px"] for each in answers[True]} == {512}
    for whole, shrunk in zip(answers[False], answers[True], strict=True):
        assert whole["verdict"] == shrunk["verdict"]
        assert whole["candidates"][0]["class_id"] == shrunk["candidates"][0]["class_id"]


async def test_shrinking_where_no_model_is_served_is_refused_in_one_sentence(tmp_path: Path, folder: Path) -> None:
    async with running_gateway(tmp_path / "empty", policy=policy(models=[])) as empty:
        status, out, told = await typed(empty, "predict", folder, "--shrink")

    assert (status, out) == (1, "")
    assert told == (
        "Error: there is no model that this key may use, so none to shrink photographs for: ask the operator\n"
    )


async def test_shrinking_without_pillow_names_the_extra(gateway: Gateway, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['PIL'] = None")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    status, _, told = await typed(gateway, "predict", folder, "--shrink", PYTHONPATH=path)

    assert (status, told) == (1, "Error: --shrink needs PIL: pip install 'amulet-client[photos]'\n")


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_a_file_that_holds_no_authority_is_named_and_not_the_gateway(
    gateway: Gateway, tmp_path: Path, content: bytes
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(content)

    found = await typed(gateway, "health", "--ca", authority, AMULET_INSECURE="0")

    assert found == (
        1,
        "",
        f"Error: {authority} holds no certificate: name the PEM file of who signed the gateway's\n",
    )


async def test_a_key_file_that_is_no_text_is_named(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe\0")

    _, _, told = await typed(gateway, "card", "--key-file", file)

    assert told == f"Error: {file} holds no API key, for it is no text: name the file that holds one\n"


async def test_health_card_and_feedback(gateway: Gateway, folder: Path) -> None:
    assert await typed(gateway, "health", key="") == (0, "SERVING\n", "")
    assert (await typed(gateway, "health", "--service", "model:nobody"))[:2] == (1, "SERVICE_UNKNOWN\n")
    assert (await typed(gateway, "card"))[:2] == (0, f"{NAME} {VERSION} ready\n")
    status, card, _ = await typed(gateway, "card", NAME)
    assert (status, json.loads(card)["version"]) == (0, VERSION)
    _, lines, _ = await typed(gateway, "predict", folder / "deep" / "0.png", "--json")
    prediction_id = json.loads(lines)["prediction_id"]
    status, feedback_id, _ = await typed(gateway, "feedback", prediction_id, "--kind", "wrong", "--class", "green")
    assert status == 0
    assert len(feedback_id.strip()) == 36


@pytest.mark.parametrize(
    ("arguments", "key", "status", "sentence"),
    [
        (["predict"], "his", 2, "Error: Missing argument 'PATHS...'."),
        (["predict", "x.jpg"], "", 1, "Error: no API key: name its file with --key-file, or set AMULET_API_KEY"),
        (["predict", "/dev/null/x.jpg"], "his", 1, "/dev/null/x.jpg: cannot be read: Not a directory"),
        (
            ["predict", "protos"],
            "amk_wrong",
            1,
            "Error: no photographs in protos: JPEG, PNG and WebP files are looked for",
        ),
        (["card", "nobody"], "his", 1, "[REASON_MODEL_NOT_FOUND]"),
        (["card"], "amk_wrong", 1, "[REASON_KEY_UNKNOWN]"),
        (["card", "--ca", "/nowhere.pem"], "his", 0, ""),
    ],
)
async def test_what_is_wrong_is_one_sentence(
    gateway: Gateway, arguments: list[str], key: str, status: int, sentence: str
) -> None:
    found, _, told = await typed(gateway, *arguments, key=SOMCHAI.text if key == "his" else key)

    assert found == status
    assert sentence in told
    assert "Traceback" not in told
