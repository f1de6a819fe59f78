import json
from pathlib import Path

import pytest

from cli import layout
from cli.layout import Layout, Ports
from cli.stack import stop
from gateway.serving.board import Board
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
