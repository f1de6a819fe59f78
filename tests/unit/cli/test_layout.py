import json
from pathlib import Path

import pytest

from cli import layout, supervision
from cli.layout import REQUEST_S_LIMIT, REQUEST_S_MAX, Layout, Ports
from cli.stack import stop
from console.site.configuration import ConsoleSettings
from gateway.serving.board import Board
from gateway.settings import Settings as GatewaySettings
from protos.environment import PREFIX, VARIABLES


def test_two_stacks_with_different_offsets_share_no_port() -> None:
    first, second = set(Ports(0).all().values()), set(Ports(100).all().values())

    assert len(first) == len(second) == 8
    assert not first & second


def test_a_folder_remembers_the_ports_it_was_started_on(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps({"port_offset": 300}))

    assert Layout.of(tmp_path).ports == Ports(300)
    assert Layout.of(tmp_path, 20).ports == Ports(20)
    assert Layout.of(tmp_path / "new").ports == Ports(0)


@pytest.mark.parametrize(
    "record", ["", "{}", "[1]", '{"port_offset": "x"}', '{"port_offset": -5}', '{"port_offset": null}']
)
def test_a_record_of_another_version_or_a_torn_one_means_the_usual_ports(tmp_path: Path, record: str) -> None:
    (tmp_path / "stack.json").write_text(record)

    assert Layout.of(tmp_path).ports == Ports(0)


def test_what_the_operator_chose_is_what_every_process_is_told(tmp_path: Path) -> None:
    outer = {
        "AMULET_MODEL_STORE": "/srv/models",
        "AMULET_GATEWAY_LISTEN": "0.0.0.0:9443",
        "AMULET_GATEWAY_OPS_LISTEN": "10.0.0.7:9445",
        "AMULET_CONSOLE_LISTEN": "[::]:9480",
    }
    stack = Layout.of(tmp_path).settled(outer)

    told = supervision.environment(stack, outer)
    torchserve = next(program for program in supervision.programs(stack) if program.name == "torchserve").command

    assert told.items() >= outer.items()
    assert torchserve[torchserve.index("--model-store") + 1] == "/srv/models"
    assert told["AMULET_GATEWAY"] == stack.gateway_address == "127.0.0.1:9443"
    assert stack.gateway_ops_url == "http://10.0.0.7:9445"
    assert told["AMULET_CONSOLE_URL"] == stack.console_url == "http://[::1]:9480"
    assert stack.listens()["console"] == ("::", 9480)
    # Who asks a stack that was started without these, but has them now, is told the same.
    assert supervision.environment(Layout.of(tmp_path), outer) == told


def test_what_was_chosen_is_found_again_from_another_shell_and_not_by_the_next_start(tmp_path: Path) -> None:
    chosen = Layout.of(tmp_path, 300).settled(
        {"AMULET_CONSOLE_LISTEN": "127.0.0.1:9480", "AMULET_MODEL_STORE": "/srv/models", "AMULET_INSECURE": "on"}
    )
    chosen.record.write_text(json.dumps(chosen.document()))

    found = Layout.of(tmp_path)

    assert found == chosen
    assert found.console_url == "http://127.0.0.1:9480"
    assert found.in_plain_text
    assert found.settled({}).console_url == "http://127.0.0.1:7780"


def test_an_empty_variable_is_none_and_paths_do_not_depend_on_the_folder_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stack = Layout.of(tmp_path / "state")
    outer = {"AMULET_GATEWAY_LISTEN": "", "AMULET_VAULT_KEY_FILE": "keys/vault", "AMULET_MODEL_STORE": "store"}

    told = supervision.environment(stack, outer)

    assert told["AMULET_GATEWAY_LISTEN"] == stack.gateway_listen
    assert told["AMULET_VAULT_KEY_FILE"] == str(tmp_path / "keys" / "vault")
    assert told["AMULET_MODEL_STORE"] == str(tmp_path / "store")


def test_every_setting_that_is_a_path_is_made_whole() -> None:
    paths = {
        name.upper()
        for process in (ConsoleSettings, GatewaySettings)
        for name, field in process.model_fields.items()
        if field.annotation in (Path, Path | None)
    }

    assert paths - {"STATE_DIR"} == supervision.PATHS


@pytest.mark.parametrize(("value", "trains"), [(None, True), ("/srv/wanted", True), ("", False)])
def test_the_trainer_waits_for_the_file_that_the_console_makes(tmp_path: Path, value: str | None, trains: bool) -> None:
    outer = {} if value is None else {"AMULET_TRAINING_WANTED_FILE": value}
    stack = Layout.of(tmp_path).settled(outer)

    trainers = [program for program in supervision.programs(stack) if program.name == "trainer"]

    assert bool(trainers) is trains
    assert [str(each.wanted) for each in trainers] == [
        told for told in [supervision.environment(stack, outer)["AMULET_TRAINING_WANTED_FILE"]] if told
    ]


@pytest.mark.parametrize(
    ("value", "call_s"), [(None, 30.0), ("2.5", 2.5), ("600", 600.0), ("601", 30.0), ("nan", 30.0), ("soon", 30.0)]
)
def test_a_gateway_that_is_stopped_has_the_time_that_its_calls_have(
    tmp_path: Path, value: str | None, call_s: float
) -> None:
    stack = Layout.of(tmp_path).settled({} if value is None else {"AMULET_REQUEST_S_MAX": value})

    (gateway,) = (program for program in supervision.programs(stack) if program.name == "gateway")

    assert stack.request_s_max == call_s
    assert gateway.stop_s_max >= call_s + 10  # and what the journal still writes


def test_the_longest_call_is_the_gateways_own() -> None:
    longest = GatewaySettings.model_fields["request_s_max"]

    assert longest.default == REQUEST_S_MAX
    assert [limit.le for limit in longest.metadata if hasattr(limit, "le")] == [REQUEST_S_LIMIT]


def test_every_variable_that_a_stack_sets_is_a_known_one(tmp_path: Path) -> None:
    names = {name.removeprefix(PREFIX) for name in Layout.of(tmp_path).environment()}

    assert names <= set(VARIABLES)


def test_the_supervisors_socket_fits_a_sockets_address(tmp_path: Path) -> None:
    deep = Layout.of(tmp_path / ("d" * 120))

    assert len(str(deep.supervisor_socket)) <= 100
    assert deep.supervisor_socket != Layout.of(tmp_path / ("e" * 120)).supervisor_socket


def test_a_negative_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to"):
        Ports(-1)


@pytest.mark.skipif(not layout.SHARED_MEMORY.is_dir(), reason="this machine shares no memory between processes")
def test_each_folder_of_state_has_pixels_of_its_own_and_stopping_leaves_none(tmp_path: Path) -> None:
    one, other = Layout.of(tmp_path / "one"), Layout.of(tmp_path / "other")
    assert one.pixels is not None
    assert one.pixels != other.pixels
    board = Board(one.pixels)  # whose gateway was killed: nobody leaves it
    assert (one.pixels / board.name).exists()

    assert not stop(one)

    assert not one.pixels.exists()


def test_without_memory_to_share_pixels_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SHARED_MEMORY", tmp_path / "none")

    assert Layout.of(tmp_path).environment()["AMULET_PIXELS_DIR"] == ""
