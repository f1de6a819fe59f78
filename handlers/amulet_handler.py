"""TorchServe's handler of an Amulet archive: pixels in, everything the fused graph knows out.

A call of TorchServe carries a batch of requests from different callers. Each is a
`GraphRequest` of one to eight images, each is answered by one `GraphAnswer`, and all their
images share one run of the graph. A wrong request is answered by a fault of its own and
leaves the others alone.

The file is complete in itself: in an archive it stands beside `graph_pb2.py`, `model.onnx`
and `model.json` and is imported by its bare name; in the repository it is `handlers.amulet_handler`.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import logging
import mmap
import os
import re
import struct
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime
from google.protobuf.message import DecodeError
from PIL import Image, ImageCms, UnidentifiedImageError

if TYPE_CHECKING or __package__:
    from protos.amulet.graph.v1 import graph_pb2
else:  # inside an archive: the stub lies beside this file
    import graph_pb2

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES_MAX: Final = 8  # views of one object
ENCODED_BYTES_MAX: Final = 20 * 1024 * 1024
PIXELS_MAX: Final = 64_000_000  # read from the header, before pixels take memory: 192 MB as RGB
# A JPEG is decoded at 1/2, 1/4 or 1/8, whatever leaves its sides as long as the model's and this: the inverse DCT of
# fewer coefficients is an antialiased reduction in itself, at a fraction of the time (decision 0190).
DECODED_PX_MIN: Final = 224
REDUCING_GAP: Final = (
    3.0  # large PNG and WebP files are averaged by whole pixels to at least three times the size first
)
# onnxruntime keeps what the largest run took, of each thread: two images at once spare a worker 18 MB against four and
# cost 3 % of the graph's time; one costs 14 % (decision 0163).
IMAGES_AT_ONCE: Final = 2
IMAGES_PER_RUN_MAX: Final = 32  # outputs of so many are held together
TOGETHER_MAX: Final = 4  # threads that share each operator of one image: more wait for each other for longer
DIRECTIONS: Final = 4  # that an embedding is projected on

# Pixels may lie on boards, files of this folder, which gateways on this machine write and this handler maps.
BOARDS_FOLDER: Final = "AMULET_PIXELS_DIR"
BOARDS_MAX: Final = 16  # a gateway has one; it has another after every start
TURN_BYTES: Final = 8
_BOARD_NAME: Final = re.compile(r"[0-9a-f]{32}")

# The few of amulet.v1.Reason that a handler can answer; a test holds them equal to the enum.
PHOTO_MISSING: Final = 100
PHOTO_FORMAT_NOT_ALLOWED: Final = 101
PHOTO_CORRUPT: Final = 102
PHOTO_TOO_LARGE: Final = 103
PHOTO_TOO_MANY_PIXELS: Final = 104
PHOTO_ANIMATED: Final = 106
FIELD_INVALID: Final = 200
TOO_MANY_VIEWS: Final = 201
CLASS_NOT_FOUND: Final = 204
INTERNAL: Final = 900

# What Pillow's parsers raise on broken files (reliability.md, Photographs).
_BROKEN_PHOTO: Final = (
    struct.error,
    OSError,
    SyntaxError,
    ValueError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    Image.DecompressionBombError,
)
_FORMATS: Final = ("JPEG", "PNG", "WEBP")  # MPO, a JPEG with more behind it, opens as JPEG's
_ORIENTATION_TAG: Final = 0x0112
# EXIF 2.32, table 6: what makes the stored picture upright.
_UPRIGHT: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_HEAT_MAPS: Final = {"grad_cam": "heatmap", "grad_cam_plus_plus": "heatmap_plus_plus"}  # explanation -> output

_log = logging.getLogger(__name__)


class ArchiveWrong(RuntimeError):
    """The files beside this handler do not belong together: the worker must not come up.

    A RuntimeError, because TorchServe's loader answers that kind with a message and any
    other by letting its worker die unheard.
    """


@dataclass(frozen=True, slots=True)
class Card:
    """What the handler needs of `model.json`; everything else there is for people and for the gateway."""

    name: str
    version: str
    height_px: int
    width_px: int
    classes: tuple[str, ...]  # ids, in the order of the graph's outputs
    detectors: tuple[str, ...]
    heat_maps: tuple[str, ...]  # outputs that draw one
    graph_file: str
    graph_sha256: str
    examples_sha256: str  # empty: the archive carries none

    @staticmethod
    def read(path: Path) -> Card:
        """Raises ArchiveWrong when the file is missing or lacks a field."""
        try:
            document = json.loads(path.read_bytes())
            return Card(
                name=str(document["name"]),
                version=str(document["version"]),
                height_px=int(document["input"]["height_px"]),
                width_px=int(document["input"]["width_px"]),
                classes=tuple(str(known["id"]) for known in document["classes"]),
                detectors=tuple(map(str, document["graph"]["detectors"])),
                heat_maps=tuple(_HEAT_MAPS[name] for name in document["graph"].get("explanations", ("grad_cam",))),
                graph_file=str(document["graph"]["file"]),
                graph_sha256=str(document["graph"]["sha256"]),
                examples_sha256=str(document["examples"]["sha256"]) if "examples" in document else "",
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArchiveWrong(f"{path.name} is not a card: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a batch: its images, or the fault that stands in for them."""

    request: graph_pb2.GraphRequest
    images: tuple[NDArray[np.uint8], ...] = ()  # each [height, width, 3]
    targets: tuple[int, ...] = ()  # class indices, -1: the best one; one per image
    fault: graph_pb2.Fault | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """The outputs of the graph for some parts, and what the run that they shared was like."""

    outputs: Mapping[str, NDArray[np.float32]]  # output name -> rows, one per image of the parts, in order
    graph_ms: float
    batch_images: int
    began_s: float = 0.0  # of that run, as time.perf_counter counts
    failed: bool = False  # the graph gave none: not even where these images were alone


@dataclass(frozen=True, slots=True)
class Begun:
    """When a batch came and when its images were ready, for traces."""

    unix_ns: int
    at_s: float  # the same moment, as time.perf_counter counts
    prepared_s: float

    def steps(self, ran: Ran) -> graph_pb2.Steps:
        """Until now."""
        graph_from_ms = (ran.began_s - self.at_s) * 1000.0
        return graph_pb2.Steps(
            began_unix_ns=self.unix_ns,
            prepared_ms=(self.prepared_s - self.at_s) * 1000.0,
            graph_from_ms=graph_from_ms,
            graph_to_ms=graph_from_ms + ran.graph_ms,
            answered_ms=(time.perf_counter() - self.at_s) * 1000.0,
        )


class Boards:
    """The boards of the gateways that have asked, mapped for reading."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._open: dict[str, mmap.mmap] = {}  # the newest last

    def find(self, name: str) -> mmap.mmap | None:
        """None: nobody shares a folder with this process, or there is no such board in it."""
        if self._folder is None or not _BOARD_NAME.fullmatch(name):
            return None
        board = self._open.get(name)
        if board is None:
            try:
                descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    board = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
                finally:
                    os.close(descriptor)
            except (OSError, ValueError):
                return None
            while len(self._open) >= BOARDS_MAX:
                self._open.pop(next(iter(self._open))).close()
            self._open[name] = board
        return board

    def read(self, name: str, place: graph_pb2.Place) -> bytes | None:
        """A copy of the pixels in that place; None when they are not there, or somebody else's by now."""
        board = self.find(name)
        begin = place.offset + TURN_BYTES
        end = begin + place.size
        if board is None or not 0 <= place.offset < begin <= end <= len(board):
            return None
        copied = board[begin:end]
        # Looked at after copying: who writes there next takes the turn away first.
        if int.from_bytes(board[place.offset : begin], "little") != place.turn:
            return None
        return copied


class AmuletHandler:
    """One loaded model version. TorchServe calls `initialize` once and `handle` per batch, never at once."""

    def __init__(self) -> None:
        self.card: Card
        self._session: onnxruntime.InferenceSession
        self._examples: tuple[graph_pb2.Neighbour, ...] = ()  # in the order of the graph's references
        self._directions: NDArray[np.float32]
        self._beside: ThreadPoolExecutor
        self._graph: Path
        self._together: Future[onnxruntime.InferenceSession] | None = None  # begun by the first who is alone
        folder = os.environ.get(BOARDS_FOLDER, "")
        self._boards = Boards(Path(folder) if folder else None)

    def initialize(self, context: Any) -> None:
        """Load the graph of the archive that TorchServe unpacked, and run it once.

        context: TorchServe's; its `system_properties["model_dir"]` is the unpacked archive.
        Raises ArchiveWrong when the graph is not the one that the card names by its SHA-256,
        or has other inputs and outputs, or cannot be run, or when the manifest names another model.
        """
        folder = Path(context.system_properties["model_dir"])
        self.card = Card.read(folder / "model.json")
        _check_manifest(context.manifest, self.card)
        self._graph = folder / self.card.graph_file
        self._session = _session_of(self._graph, self.card)
        self._examples = _examples_of(folder / "examples.json", self.card)
        self._beside = ThreadPoolExecutor(max(1, threads() - 1), thread_name_prefix="graph")
        self._directions = _directions(self._run_blank(self._session)["embedding"].shape[1])
        _log.info("loaded %s %s", self.card.name, self.card.version)

    def _run_blank(self, session: onnxruntime.InferenceSession) -> dict[str, NDArray[np.float32]]:
        """All outputs. The first run plans memory and is several times slower: nobody should wait for it.

        Raises ArchiveWrong where it fails, or gives other shapes than the card's.
        """
        blank = np.zeros((1, self.card.height_px, self.card.width_px, 3), dtype=np.uint8)
        names = [output.name for output in session.get_outputs()]
        try:
            found = dict(zip(names, _run(session, names, blank, np.array([-1], dtype=np.int64)), strict=True))
        except Exception as error:  # as in _session_of
            raise ArchiveWrong(f"{self.card.graph_file} cannot be run: {error}") from error
        shapes: dict[str, tuple[int, ...]] = {name: (1, len(self.card.classes)) for name in ("logits", "probabilities")}
        shapes |= {f"score_{detector}": (1,) for detector in self.card.detectors}
        wrong = {name: found[name].shape for name, shape in shapes.items() if found[name].shape != shape}
        ranks = {"embedding": 2, **dict.fromkeys(self.card.heat_maps, 3)}
        wrong |= {name: found[name].shape for name, rank in ranks.items() if found[name].ndim != rank}
        if wrong:
            raise ArchiveWrong(f"{self.card.graph_file} gives the shapes {wrong}, which are not the card's")
        return found

    def handle(self, data: Sequence[Mapping[str, bytes | bytearray]], context: Any) -> list[bytes]:
        """Answer a batch: one serialized GraphAnswer per item of `data`, in its order."""
        unix_ns, at_s = time.time_ns(), time.perf_counter()
        parts = self.preprocess(data)
        begun = Begun(unix_ns, at_s, time.perf_counter())
        return self.postprocess(parts, self.inference(parts), begun)

    def preprocess(self, data: Sequence[Mapping[str, bytes | bytearray]]) -> list[Part]:
        """Read each request. What is wrong with one becomes its fault and nobody else's."""
        return [self._part(item) for item in data]

    def inference(self, parts: Sequence[Part]) -> list[Ran]:
        """Run the graph over the images of all parts: once, or as often as IMAGES_PER_RUN_MAX asks.

        Heat maps, embeddings and neighbours are fetched only when one of the run's requests wants them.
        Returns one Ran per part, with empty outputs for a part without images.
        """
        answers: dict[int, Ran] = {}
        for run in _runs(parts):
            answers |= self._ran(parts, run)
        return [answers.get(index, Ran({}, 0.0, 0)) for index in range(len(parts))]

    def _ran(self, parts: Sequence[Part], run: Sequence[int]) -> dict[int, Ran]:
        """One run for these parts; where it fails one for each, so that only those fail on which the graph does."""
        try:
            return self._ran_together(parts, run)
        except MemoryError:  # TorchServe has an answer of its own to that
            raise
        except Exception:  # as in _session_of
            if len(run) == 1:
                _log.exception("the graph failed")
                return {run[0]: Ran({}, 0.0, 0, failed=True)}
        return {index: own for each in run for index, own in self._ran(parts, [each]).items()}

    def _ran_together(self, parts: Sequence[Part], run: Sequence[int]) -> dict[int, Ran]:
        images = np.stack([image for index in run for image in parts[index].images])
        targets = np.array([target for index in run for target in parts[index].targets], dtype=np.int64)
        names = ["logits", "probabilities", *(f"score_{detector}" for detector in self.card.detectors)]
        requests = [parts[index].request for index in run]
        names += sorted({_heat_map_of(request) for request in requests if request.heat_map})
        names += ["embedding"] if any(request.embedding or request.projection for request in requests) else []
        if self._examples and any(request.neighbours > 0 for request in requests):
            names += ["nearest_index", "nearest_cosine"]
        begin_s = time.perf_counter()
        alone = len(images) == 1 and all(request.alone for request in requests)
        rows = self._row_alone(names, images, targets) if alone else self._rows(names, images, targets)
        graph_ms = (time.perf_counter() - begin_s) * 1000.0
        answers: dict[int, Ran] = {}
        first = 0
        for index in run:
            last = first + len(parts[index].images)
            own = {name: table[first:last] for name, table in rows.items()}
            answers[index] = Ran(own, graph_ms, len(images), begin_s)
            first = last
        return answers

    def _rows(
        self, names: Sequence[str], images: NDArray[np.uint8], targets: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        """The images shared among the threads, each of which runs the whole graph over its own.

        Threads that share every single operator wait for each other some eighty times a run, and for whatever
        else the machine does; these wait once (decision 0091).
        """
        shares = np.array_split(np.arange(len(images)), min(threads(), len(images)))

        def run(share: NDArray[np.int64]) -> list[list[NDArray[np.float32]]]:
            pieces = [share[start : start + IMAGES_AT_ONCE] for start in range(0, len(share), IMAGES_AT_ONCE)]
            places = [slice(piece[0], piece[-1] + 1) for piece in pieces]
            return [_run(self._session, names, images[own], targets[own]) for own in places]

        others = [self._beside.submit(run, share) for share in shares[1:]]
        found = [*run(shares[0]), *(piece for other in others for piece in other.result())]
        return {name: np.concatenate(own) for name, own in zip(names, zip(*found, strict=True), strict=True)}

    def _row_alone(
        self, names: Sequence[str], images: NDArray[np.uint8], targets: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        """One image by all threads together: sooner, for a third more processor's time (decision 0146).

        By one thread until the session for it has been loaded, which nobody waits for.
        """
        if threads() == 1:
            return self._rows(names, images, targets)
        if self._together is None:
            self._together = ThreadPoolExecutor(1, thread_name_prefix="load").submit(self._load_together)
            self._together.add_done_callback(_note_failure)
        if not self._together.done() or self._together.exception() is not None:
            return self._rows(names, images, targets)
        return dict(zip(names, _run(self._together.result(), names, images, targets), strict=True))

    def _load_together(self) -> onnxruntime.InferenceSession:
        session = _session_of(self._graph, self.card, together=min(threads(), TOGETHER_MAX))
        self._run_blank(session)
        return session

    def postprocess(self, parts: Sequence[Part], ran: Sequence[Ran], begun: Begun) -> list[bytes]:
        """One serialized GraphAnswer per part."""
        return [self._answer(part, own, begun).SerializeToString() for part, own in zip(parts, ran, strict=True)]

    def _part(self, item: Mapping[str, bytes | bytearray]) -> Part:
        request = graph_pb2.GraphRequest()
        body = item.get("request")
        if not isinstance(body, bytes | bytearray):
            return Part(request, fault=_fault(FIELD_INVALID, "the input named request is missing", "request"))
        try:
            request.ParseFromString(bytes(body))
        except DecodeError:
            return Part(request, fault=_fault(FIELD_INVALID, "not a serialized GraphRequest", "request"))
        if not request.images:
            return Part(request, fault=_fault(PHOTO_MISSING, "there is no image; 1 to 8 are wanted", "images"))
        if len(request.images) > IMAGES_MAX:
            return Part(request, fault=_fault(TOO_MANY_VIEWS, f"{len(request.images)} images; 8 at most", "images"))
        if request.heat_map and _heat_map_of(request) not in self.card.heat_maps:
            return Part(request, fault=_fault(FIELD_INVALID, "the graph has no Grad-CAM++", "grad_cam_plus_plus"))
        images: list[NDArray[np.uint8]] = []
        for index, image in enumerate(request.images):
            found = self._image(image, f"images[{index}]", request.board)
            if isinstance(found, graph_pb2.Fault):
                return Part(request, fault=found)
            images.append(found)
        return Part(request, tuple(images), tuple(image.target for image in request.images))

    def _image(self, image: graph_pb2.Image, field: str, board: str) -> NDArray[np.uint8] | graph_pb2.Fault:
        shape = (self.card.height_px, self.card.width_px, 3)
        if not -1 <= image.target < len(self.card.classes):
            wanted = f"-1 or 0 to {len(self.card.classes) - 1}"
            return _fault(CLASS_NOT_FOUND, f"there is no class {image.target}: {wanted}", f"{field}.target")
        match image.WhichOneof("content"):
            case "pixels" | "place" as content:
                pixels = image.pixels if content == "pixels" else self._boards.read(board, image.place)
                if pixels is None:
                    return _fault(FIELD_INVALID, "the board does not hold these pixels", f"{field}.place")
                if len(pixels) != np.prod(shape):
                    found, wanted = len(pixels), f"{np.prod(shape)} bytes, uint8 {list(shape)}"
                    return _fault(FIELD_INVALID, f"{found} bytes; wanted are {wanted}", f"{field}.pixels")
                return np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
            case "encoded":
                try:
                    return pixels_of(image.encoded, self.card.height_px, self.card.width_px)
                except PhotoRefused as refusal:
                    return _fault(refusal.reason, str(refusal), f"{field}.encoded")
                except Exception:  # a decoder's own fault must not take the others' answers along
                    _log.exception("decoding failed in an unforeseen way")
                    return _fault(INTERNAL, "decoding failed", f"{field}.encoded")
            case _:
                return _fault(PHOTO_MISSING, "neither pixels nor a photograph", field)

    def _answer(self, part: Part, ran: Ran, begun: Begun) -> graph_pb2.GraphAnswer:
        answer = graph_pb2.GraphAnswer(model=self.card.name, version=self.card.version)
        answer.board_open = self._boards.find(part.request.board) is not None
        if part.fault is not None:
            answer.fault.CopyFrom(part.fault)
            return answer
        if fault := self._fault_of(part.request, ran):
            _log.error("no answer: %s", fault)
            answer.fault.CopyFrom(_fault(INTERNAL, fault, "images"))
            return answer
        answer.graph_ms, answer.batch_images = ran.graph_ms, ran.batch_images
        for row in range(len(part.images)):
            answer.outputs.append(self._output(part.request, ran.outputs, row))
        answer.steps.CopyFrom(begun.steps(ran))
        return answer

    def _fault_of(self, request: graph_pb2.GraphRequest, ran: Ran) -> str:
        """What of a run that was asked for cannot be told; empty: nothing."""
        if ran.failed:
            return "the graph failed"
        told = {"probabilities", *(f"score_{detector}" for detector in self.card.detectors)}
        told |= {_heat_map_of(request)} if request.heat_map else set()
        told |= {"embedding"} if request.embedding else set()
        named = bool(self._examples) and request.neighbours > 0
        told |= {"nearest_cosine"} if named else set()
        if not all(np.isfinite(ran.outputs[name]).all() for name in told):
            return "the graph gave a value that is not finite"
        if named:
            nearest = ran.outputs["nearest_index"]
            if not ((nearest >= 0) & (nearest < len(self._examples))).all():
                return "the graph named a reference that is not in the archive"
        return ""

    def _output(
        self, request: graph_pb2.GraphRequest, outputs: Mapping[str, NDArray[np.float32]], row: int
    ) -> graph_pb2.Output:
        output = graph_pb2.Output(
            logits=outputs["logits"][row].tolist(),
            probabilities=outputs["probabilities"][row].tolist(),
            scores={detector: float(outputs[f"score_{detector}"][row]) for detector in self.card.detectors},
        )
        if request.embedding:
            output.embedding.extend(outputs["embedding"][row].tolist())
        if request.projection:
            output.projection.extend((outputs["embedding"][row] @ self._directions).tolist())
        if request.heat_map:
            heat_map = outputs[_heat_map_of(request)][row]
            output.heat_map_rows, output.heat_map_columns = heat_map.shape
            output.heat_map.extend(heat_map.ravel().tolist())
        if self._examples and request.neighbours > 0:
            cosines = outputs["nearest_cosine"][row][: request.neighbours].tolist()
            for reference, cosine in zip(outputs["nearest_index"][row].tolist(), cosines, strict=False):
                output.neighbours.add(cosine=cosine).MergeFrom(self._examples[reference])
        return output


_loaded = AmuletHandler()


def handle(data: Sequence[Mapping[str, bytes | bytearray]] | None, context: Any) -> list[bytes] | None:
    """TorchServe's entry point: once without data when the worker loads, then once per batch."""
    if data is None:
        _loaded.initialize(context)
        # From here on TorchServe's worker has two lines to say about every batch, which Java reads,
        # takes apart and throws away: more work than all else that the two do for it.
        logging.getLogger().setLevel(logging.WARNING)
        return None
    return _loaded.handle(data, context)


class PhotoRefused(ValueError):
    """An encoded photograph that gives no pixels; `reason` is a number of amulet.v1.Reason."""

    def __init__(self, message: str, *, reason: int) -> None:
        super().__init__(message)
        self.reason = reason


def pixels_of(encoded: bytes, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """The model's input for an encoded photograph: uint8 [height_px, width_px, 3], RGB.

    The one rule of training, serving and tests: a JPEG decoded at the smallest scale that leaves
    max(height_px, width_px, DECODED_PX_MIN) pixels a side; upright by EXIF; 8-bit sRGB, transparency
    over white; the largest centred square; scaled bicubically and antialiased when that shrinks it
    and bilinearly when it enlarges it (along either side).

    encoded: a JPEG, PNG or WebP file of at most 20 MiB and 64 million pixels.
    Raises PhotoRefused (a ValueError) that says what is wrong with the file.
    """
    if not encoded:
        raise PhotoRefused("the photograph is empty", reason=PHOTO_MISSING)
    if len(encoded) > ENCODED_BYTES_MAX:
        raise PhotoRefused(f"the file has {len(encoded):,} bytes, over {ENCODED_BYTES_MAX:,}", reason=PHOTO_TOO_LARGE)
    try:
        image = Image.open(BytesIO(encoded), formats=_FORMATS)
    except UnidentifiedImageError:
        if encoded[:3] == b"\xff\xd8\xff" or encoded[:8] == b"\x89PNG\r\n\x1a\n" or encoded[8:12] == b"WEBP":
            raise PhotoRefused("the file is broken from its header on", reason=PHOTO_CORRUPT) from None
        raise PhotoRefused("not a JPEG, PNG or WebP file", reason=PHOTO_FORMAT_NOT_ALLOWED) from None
    except Image.DecompressionBombError as error:
        raise PhotoRefused(str(error), reason=PHOTO_TOO_MANY_PIXELS) from None
    except _BROKEN_PHOTO as error:
        raise PhotoRefused(f"the file is broken: {error}", reason=PHOTO_CORRUPT) from None
    with image:
        if image.width * image.height > PIXELS_MAX:
            raise PhotoRefused(
                f"{image.width} x {image.height} are more than {PIXELS_MAX:,} pixels", reason=PHOTO_TOO_MANY_PIXELS
            )
        if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
            raise PhotoRefused("the photograph is animated", reason=PHOTO_ANIMATED)
        try:
            wanted_px = max(height_px, width_px, DECODED_PX_MIN)
            image.draft(None, (wanted_px, wanted_px))  # of formats other than JPEG it changes nothing
            image.load()
            square = _centre_square(_upright(image))
            return np.asarray(_scaled(_srgb(square), height_px, width_px), dtype=np.uint8)
        except _BROKEN_PHOTO as error:
            raise PhotoRefused(f"the file is broken: {error}", reason=PHOTO_CORRUPT) from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (*_BROKEN_PHOTO, KeyError, TypeError, IndexError, EOFError):  # broken metadata: the pixels still count
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _centre_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image if image.width == image.height else image.crop((left, top, left + side, top + side))


def _srgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB without transparency, whatever `image` is."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel: 65535 is white
        levels = np.asarray(image, dtype=np.float64) / 257.0
        image = Image.fromarray(np.rint(levels.clip(0.0, 255.0)).astype(np.uint8), "L")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "La", "RGBa", "PA"):
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        colour = _from_profile(rgba.convert("RGB"), profile)
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(colour, mask=alpha)
        return white
    if image.mode in ("1", "P", "PA"):
        image = image.convert("RGB")
    return _from_profile(image, profile)


def _from_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` as sRGB by its embedded ICC profile; one that is broken or of another kind is ignored."""
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, *_BROKEN_PHOTO):
            converted = None
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled(image: Image.Image, height_px: int, width_px: int) -> Image.Image:
    if image.size == (width_px, height_px):
        return image
    shrinks = image.width >= width_px and image.height >= height_px
    kind = Image.Resampling.BICUBIC if shrinks else Image.Resampling.BILINEAR
    return image.resize((width_px, height_px), kind, reducing_gap=REDUCING_GAP)


def _runs(parts: Sequence[Part]) -> list[list[int]]:
    """The indices of the parts that have images, grouped into runs of bounded memory."""
    runs: list[list[int]] = []
    room = 0
    for index, part in enumerate(parts):
        if not part.images:
            continue
        if len(part.images) > room:
            runs.append([])
            room = IMAGES_PER_RUN_MAX
        runs[-1].append(index)
        room -= len(part.images)
    return runs


def _fault(reason: int, message: str, field: str) -> graph_pb2.Fault:
    return graph_pb2.Fault(reason=reason, message=message, field=field)


def _check_manifest(manifest: Mapping[str, Any] | None, card: Card) -> None:
    named = (manifest or {}).get("model", {})
    if (named.get("modelName"), named.get("modelVersion")) != (card.name, card.version):
        raise ArchiveWrong(
            f"the manifest names {named.get('modelName')} {named.get('modelVersion')}, "
            f"the card {card.name} {card.version}"
        )


def _session_of(path: Path, card: Card, *, together: int = 1) -> onnxruntime.InferenceSession:
    """A session over the very bytes whose SHA-256 was compared.  together: threads that share each operator."""
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise ArchiveWrong(f"{path.name} cannot be read: {error.strerror}") from None
    found = hashlib.sha256(graph).hexdigest()
    if found != card.graph_sha256:
        raise ArchiveWrong(f"{path.name} has the SHA-256 {found}, the card says {card.graph_sha256}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = together  # 1: each thread runs images of its own, see _rows
    # Threads that wait for their part of an operator turn; they sleep as soon as the run is over.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan for each number of images takes 5 MB and spares no time here
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no common base below Exception
        raise ArchiveWrong(f"{path.name} cannot be loaded: {error}") from error
    outputs = {"logits", "probabilities", "embedding", *card.heat_maps, *(f"score_{name}" for name in card.detectors)}
    outputs |= {"nearest_index", "nearest_cosine"} if card.examples_sha256 else set()
    missing = outputs - {output.name for output in session.get_outputs()}
    inputs = {entry.name: (entry.type, entry.shape[1:]) for entry in session.get_inputs()}
    wanted = {"image": ("tensor(uint8)", [card.height_px, card.width_px, 3]), "target": ("tensor(int64)", [])}
    if missing or inputs != wanted:
        raise ArchiveWrong(f"the graph takes {inputs}, wanted {wanted}; it lacks the outputs {sorted(missing)}")
    _give_memory_back()
    return session


def _run(
    session: onnxruntime.InferenceSession,
    names: Sequence[str],
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
) -> list[NDArray[np.float32]]:
    """The outputs, in the order of `names`. Raises ArchiveWrong for one that is not a row an image.

    A shape that the graph works out may be another than it declares, and somebody would get a stranger's answer.
    """
    outputs: list[NDArray[np.float32]] = session.run(names, {"image": images, "target": targets})
    for name, output in zip(names, outputs, strict=True):
        if output.ndim < 1 or len(output) != len(images):
            raise ArchiveWrong(f"the graph gave {name} of the shape {output.shape} for {len(images)} images")
    return outputs


def _give_memory_back() -> None:
    """What loading took goes back to the system: megabytes that glibc would keep (decision 0157)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # there is none elsewhere than in glibc
        trim(0)


def _directions(size: int) -> NDArray[np.float32]:
    """[size, DIRECTIONS] of -1 and 1: as `model_store.projection`, where it is said why."""
    blocks = range(-(-size // 256))
    digests = [
        b"".join(hashlib.sha256(f"amulet projection {direction} {block}".encode()).digest() for block in blocks)
        for direction in range(DIRECTIONS)
    ]
    bits = np.stack(
        [np.unpackbits(np.frombuffer(each, np.uint8), bitorder="little")[:size] for each in digests], axis=1
    )
    return bits.astype(np.float32) * 2 - 1


def _heat_map_of(request: graph_pb2.GraphRequest) -> str:
    return _HEAT_MAPS["grad_cam_plus_plus" if request.grad_cam_plus_plus else "grad_cam"]


def _examples_of(path: Path, card: Card) -> tuple[graph_pb2.Neighbour, ...]:
    """The references as answers name them; none where the card describes none."""
    if not card.examples_sha256:
        return ()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArchiveWrong(f"{path.name} cannot be read: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != card.examples_sha256:
        raise ArchiveWrong(f"{path.name} has the SHA-256 {found}, the card says {card.examples_sha256}")
    try:
        return tuple(
            graph_pb2.Neighbour(
                example_id=entry["id"],
                class_index=card.classes.index(entry["class"]),
                side=entry["side"],
                thumbnail_jpeg=base64.b64decode(entry.get("thumbnail", "")),
            )
            for entry in json.loads(content)["examples"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveWrong(f"{path.name} does not list reference photographs: {error!r}") from None


def _note_failure(loading: Future[onnxruntime.InferenceSession]) -> None:
    error = loading.exception()
    if error is not None:
        _log.error("no session for those who are alone: %s", error)


def threads() -> int:
    """Threads that share the images of one run. The launcher shares the cores among workers through OMP_NUM_THREADS."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else len(os.sched_getaffinity(0))
