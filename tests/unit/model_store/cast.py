"""The people and the material of these tests: who signs, what a good archive holds, and how
to write one wrongly on purpose."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from model_store import contents, signing
from model_store.allow_handler import current
from model_store.card import Card
from model_store.handler_list import HandlerList
from model_store.manifest import manifest_of
from model_store.signing import TrustStore
from model_store.verification import Report, verify
from tests import tiny_archive

# The code of the working tree, reviewed or not: these tests are about the rules.
HANDLERS = HandlerList({name: {digest: "of this test"} for name, digest in current().items()})


@dataclass(frozen=True, slots=True)
class Signer:
    """Someone with a key."""

    key: Path
    fingerprint: str

    @staticmethod
    def new(folder: Path, name: str) -> Signer:
        return Signer(folder / f"{name}.pem", signing.generate_key(folder / f"{name}.pem"))

    @property
    def public(self) -> Path:
        return self.key.with_name(self.key.name + ".pub")

    @property
    def trust(self) -> TrustStore:
        return TrustStore.load(self.public)

    def sign(self, members: Mapping[str, bytes]) -> bytes:
        """The model.sig of these members."""
        with TemporaryDirectory() as scratch:
            folder = Path(scratch, "signed")
            write(members, folder)
            return signing.sign(folder, self.key)


def write(members: Mapping[str, bytes], folder: Path) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def good_members(folder: Path) -> dict[str, bytes]:
    """Every member of a good archive but the signature, from a run written into `folder`."""
    card = tiny_archive.write_run(folder)
    members = {path.name: path.read_bytes() for path in folder.iterdir()}
    members[contents.MANIFEST] = manifest_of(card)
    members["amulet_handler.py"] = tiny_archive.HANDLER.read_bytes()
    members["graph_pb2.py"] = tiny_archive.STUB.read_bytes()
    return members


def with_card(members: Mapping[str, bytes], change: Callable[[Card], Card] = lambda card: card) -> dict[str, bytes]:
    """The members with a card that knows their hashes, changed, and the manifest that belongs to it."""
    card = Card.parse(members["model.json"])
    card = replace(
        card,
        graph=replace(card.graph, sha256=contents.sha256(members["model.onnx"])),
        golden=tuple(
            replace(golden, sha256=contents.sha256(members[golden.file]))
            for golden in card.golden
            if golden.file in members
        ),
    )
    card = change(card)
    return {**members, "model.json": card.render().encode(), contents.MANIFEST: manifest_of(card)}


def check(archive: bytes, trusted: TrustStore, folder: Path) -> Report:
    path = folder / "candidate.mar"
    path.write_bytes(archive)
    return verify(path, trusted=trusted, handlers=HANDLERS)


@dataclass(slots=True)
class Entry:
    """A member as it is to be written: the truth, and the lies that the headers tell about it."""

    name: bytes
    content: bytes
    deflated: bool = False
    mode: int = 0o100644
    local: dict[str, int] = field(default_factory=dict)  # header field -> what the local header says instead
    central: dict[str, int] = field(default_factory=dict)  # the same for the directory
    local_name: bytes | None = None
    local_extra: bytes = b""
    central_extra: bytes = b""
    data: bytes | None = None  # instead of the packed content
    gap: bytes = b""  # bytes between this member and the next

    def lie(self, **fields: int) -> None:
        """Tell the same lie in both headers."""
        self.local |= fields
        self.central |= fields

    def packed(self) -> bytes:
        if self.data is not None:
            return self.data
        if not self.deflated:
            return self.content
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflater.compress(self.content) + deflater.flush()

    def shared(self, lies: Mapping[str, int], name: bytes) -> bytes:
        truth = {
            "version": 20,
            "flags": 0,
            "method": 8 if self.deflated else 0,
            "time": 0,
            "date": 33,
            "crc": zlib.crc32(self.content),
            "packed": len(self.packed()),
            "size": len(self.content),
            "name_length": len(name),
        }
        return struct.pack("<5H3LH", *(truth | {key: lies[key] for key in truth.keys() & lies.keys()}).values())


def entries_of(members: Mapping[str, bytes]) -> list[Entry]:
    return [Entry(name.encode(), content) for name, content in sorted(members.items())]


def entry(entries: Iterable[Entry], name: str) -> Entry:
    return next(entry for entry in entries if entry.name == name.encode())


def zip_of(
    entries: Sequence[Entry],
    *,
    before: bytes = b"",
    after: bytes = b"",
    comment: bytes = b"",
    directory_order: Callable[[list[bytes]], list[bytes]] = lambda headers: headers,
    end: Mapping[str, int] = {},
) -> bytes:
    """A zip written field by field, as right or as wrong as the entries say."""
    body = bytearray(before)
    directory = []
    for item in entries:
        offset = len(body)
        local_name = item.name if item.local_name is None else item.local_name
        body += b"PK\x03\x04" + item.shared(item.local, local_name)
        body += struct.pack("<H", len(item.local_extra)) + local_name + item.local_extra
        body += item.packed() + item.gap
        directory.append(
            b"PK\x01\x02"
            + struct.pack("<H", 0x0314)
            + item.shared(item.central, item.name)
            + struct.pack(
                "<4H2L",
                *(len(item.central_extra), 0, 0, 0),
                item.mode << 16 | item.central.get("dos", 0),
                item.central.get("offset", offset),
            )
            + item.name
            + item.central_extra
        )
    headers = b"".join(directory_order(directory))
    truth = {
        "disk": 0,
        "directory_disk": 0,
        "here": len(directory),
        "entries": len(directory),
        "length": len(headers),
        "start": len(body),
        "comment": len(comment),
    }
    record = struct.pack("<4H2LH", *{**truth, **end}.values())
    return bytes(body) + headers + b"PK\x05\x06" + record + comment + after
