"""The board: places given, read by the handler, wiped; files of gateways that are gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.serving.board import PLACE_BYTES, PLACES, TURN_BYTES, Board, BoardImpossible, Placed
from handlers.amulet_handler import BOARDS_MAX, Boards
from protos.amulet.graph.v1 import graph_pb2

ROOT = Path(__file__).resolve().parents[4]


def image(seed: int, *, side_px: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)


def place_of(placed: Placed) -> graph_pb2.Place:
    return graph_pb2.Place(offset=placed.offset, turn=placed.turn, size=placed.size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pixels"


@pytest.fixture
def board(folder: Path) -> Iterator[Board]:
    with Board(folder) as board:
        yield board


def test_the_handler_reads_what_the_gateway_placed(folder: Path, board: Board) -> None:
    images = [image(seed) for seed in range(3)]

    placed = board.place(images)

    boards = Boards(folder)
    assert [boards.read(board.name, place_of(each)) for each in placed] == [each.tobytes() for each in images]


def test_rows_that_do_not_lie_side_by_side_are_placed_in_order(folder: Path, board: Board) -> None:
    turned = image(1).transpose(1, 0, 2)

    [placed] = board.place([turned])

    assert Boards(folder).read(board.name, place_of(placed)) == turned.tobytes()


def test_a_place_that_is_somebody_elses_by_now_is_not_read(folder: Path, board: Board) -> None:
    boards = Boards(folder)
    [mine] = board.place([image(1)])
    board.take_away([mine])
    assert boards.read(board.name, place_of(mine)) is None

    [theirs] = board.place([image(2)])

    assert (theirs.offset, theirs.size) == (mine.offset, mine.size)
    assert boards.read(board.name, place_of(mine)) is None
    assert boards.read(board.name, place_of(theirs)) == image(2).tobytes()


def test_nothing_is_left_of_what_was_taken_away(folder: Path, board: Board) -> None:
    board.take_away(board.place([image(seed) for seed in range(PLACES)]))

    assert (folder / board.name).read_bytes() == bytes(PLACES * PLACE_BYTES)


def test_all_of_a_request_or_none_of_it(board: Board) -> None:
    kept = board.place([image(seed) for seed in range(PLACES - 1)])

    assert board.place([image(1), image(2)]) == ()
    [last] = board.place([image(3)])
    assert last.offset not in {each.offset for each in kept}
    assert board.place([image(4)]) == ()


def test_an_image_that_fits_no_place_is_not_placed(board: Board) -> None:
    just = np.ones((1, (PLACE_BYTES - TURN_BYTES) // 3, 3), np.uint8)
    assert len(board.place([just])) == 1

    assert board.place([image(1), np.ones((1, just.shape[1] + 1, 3), np.uint8)]) == ()


@pytest.mark.parametrize(
    "place",
    [
        graph_pb2.Place(offset=-8, turn=0, size=8),
        graph_pb2.Place(offset=0, turn=0, size=-8),
        graph_pb2.Place(offset=PLACES * PLACE_BYTES - TURN_BYTES, turn=0, size=1),
        graph_pb2.Place(offset=2**63 - 1, turn=0, size=2**63 - 1),
    ],
)
def test_no_place_beyond_the_board_is_read(folder: Path, board: Board, place: graph_pb2.Place) -> None:
    assert Boards(folder).read(board.name, place) is None


@pytest.mark.parametrize("name", ["", "../secret", "secret", "0" * 31, "A" * 32])
def test_only_boards_are_opened(folder: Path, board: Board, name: str) -> None:
    (folder / "secret").write_bytes(b"0" * 64)

    assert Boards(folder).find(name) is None


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, board: Board, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"0" * 64)
    (folder / ("a" * 32)).symlink_to(tmp_path / "secret")

    assert Boards(folder).find("a" * 32) is None


def test_without_a_folder_nothing_is_read(board: Board) -> None:
    assert Boards(None).find(board.name) is None


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_gateways_come_and_go_and_their_boards_are_closed(folder: Path) -> None:
    boards = Boards(folder)
    before = descriptors()
    with Board(folder) as other:
        for _ in range(3 * BOARDS_MAX):
            with Board(folder) as board:
                assert boards.find(board.name) is not None
        assert boards.find(other.name) is not None

    assert len(boards._open) == BOARDS_MAX
    assert descriptors() == before + BOARDS_MAX  # mmap keeps a descriptor of its own
    assert not folder.exists()


def test_the_board_of_a_killed_gateway_goes_and_that_of_a_living_one_stays(folder: Path) -> None:
    code = f"""
from pathlib import Path
from gateway.serving.board import Board
board = Board(Path({str(folder)!r}))
print(board.name, flush=True)
input()
"""
    killed = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with killed, Board(folder) as living:
        assert killed.stdout is not None
        name = killed.stdout.readline().strip()
        with Board(folder) as beside:
            assert {file.name for file in folder.iterdir()} == {name, living.name, beside.name}
        killed.send_signal(signal.SIGKILL)
        killed.wait()

        with Board(folder) as after:
            assert {file.name for file in folder.iterdir()} == {living.name, after.name}


@pytest.mark.parametrize("mode", [0o755, 0o740, 0o710, 0o702])
def test_a_folder_that_others_may_use_is_refused(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(BoardImpossible, match=r"not a folder of this user alone: chmod 700"):
        Board(folder)


def test_a_link_is_no_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BoardImpossible, match=r"not a folder of this user alone"):
        Board(folder)


def test_a_folder_without_a_parent_is_refused(folder: Path) -> None:
    with pytest.raises(BoardImpossible, match=r"cannot be made: No such file"):
        Board(folder / "deeper")


def test_without_room_there_is_no_board_and_nothing_stays(folder: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from gateway.serving.board import Board, BoardImpossible
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    Board(Path({str(folder)!r}))
except BoardImpossible as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "has no room for" in said.stdout
    assert not folder.exists()
