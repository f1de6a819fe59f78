"""Making an archive from a training run, and reading one that was verified.

`build` gives the same bytes for the same run, handler and key: members in a fixed order,
stored and not deflated (so that no version of zlib has a say; weights hardly shrink),
one fixed time stamp, a deterministic signature.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from model_store import contents, examples, leftovers, members, placed, reference, signing, strict_json
from model_store.card import Card, CardInvalid
from model_store.errors import ArchiveRefused
from model_store.examples import Example
from model_store.manifest import HANDLER, WEIGHTS, manifest_of
from model_store.members import Limits, Member
from model_store.reference import Reference
from protos.amulet.v1 import vocabulary_pb2 as words

_DATE_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    path: Path
    sha256: str
    size_bytes: int
    name: str
    version: str
    members: Mapping[str, int]  # name -> bytes
    signed_by: str | None  # fingerprint of the key


def build(run_dir: Path, out: Path, *, handler: Path, stub: Path, sign_key: Path | None) -> ArchiveSummary:
    """Write the archive of a run to `out`, whole or not at all; replaces an older one.

    run_dir holds model.onnx, model.json, reference.json, golden_0.png ... and, where the card
    describes it, examples.json.  handler and stub
    become amulet_handler.py and graph_pb2.py.

    Raises ArchiveRefused: REASON_ARCHIVE_SPLIT_LEAKS (naming both files), _MEMBER_MISSING,
    _MEMBER_NOT_ALLOWED, _CARD_INVALID; KeyUnusable for a key that cannot sign; OSError when `out` cannot be written.
    """
    card = _card_of(_read(run_dir / contents.CARD))
    contents.check_split(card)
    sources = {name: run_dir / name for name in (WEIGHTS, contents.CARD, contents.REFERENCE)}
    sources |= {contents.EXAMPLES: run_dir / contents.EXAMPLES} if card.examples else {}
    sources |= {golden.file: run_dir / golden.file for golden in card.golden}
    sources |= {HANDLER: handler, contents.STUB: stub}
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file", str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    with leftovers.held_folder("amulet-package-") as scratch:
        folder = scratch / card.name
        (folder / contents.MANIFEST).parent.mkdir(parents=True)
        (folder / contents.MANIFEST).write_bytes(manifest_of(card))
        for name, source in sources.items():
            _copy(source, folder / name)
        sizes = {name: (folder / name).stat().st_size for name in (contents.MANIFEST, *sources)}
        _check(folder, sizes, card)
        if sign_key is not None:
            signature = signing.sign(folder, sign_key)
            (folder / contents.SIGNATURE).write_bytes(signature)
            sizes[contents.SIGNATURE] = len(signature)
        with placed.file(out) as written:
            _write_zip(folder, sorted(sizes), written)
            digest, size_bytes = _digest(written), written.stat().st_size
    return ArchiveSummary(
        path=out,
        sha256=digest,
        size_bytes=size_bytes,
        name=card.name,
        version=card.version,
        members=MappingProxyType(dict(sorted(sizes.items()))),
        signed_by=signing.fingerprint_of(signing.public_pem(sign_key)) if sign_key is not None else None,
    )


class Archive:
    """Typed access to an archive's members. It reads; `verification.verify` says whether to trust."""

    def __init__(self, path: Path, sha256: str, table: Mapping[str, Member]) -> None:
        self.path = path
        self.sha256 = sha256
        self._members = table

    @staticmethod
    def open(path: Path) -> Archive:
        """Raises ArchiveRefused when the container breaks a zip rule or a member is not allowed."""
        with members.open_regular(path) as file:
            listed = members.read_directory(file, Limits())
            digest = members.digest_of(file)
        contents.check_names({member.name: member.size_bytes for member in listed})
        return Archive(path, digest, MappingProxyType({member.name: member for member in listed}))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    @property
    def signed(self) -> bool:
        return contents.SIGNATURE in self._members

    def read(self, name: str) -> bytes:
        """A member's content. Raises KeyError for a name that is not there, ArchiveRefused when it is damaged."""
        member = self._members[name]
        with members.open_regular(self.path) as file:
            return members.read(file, member)

    def card(self) -> Card:
        """Raises ArchiveRefused with REASON_ARCHIVE_CARD_INVALID."""
        return _card_of(self.read(contents.CARD))

    def manifest(self) -> Mapping[str, Any]:
        try:
            document: Mapping[str, Any] = strict_json.loads(self.read(contents.MANIFEST))
        except ValueError as error:
            raise ArchiveRefused(
                words.REASON_ARCHIVE_MANIFEST_INVALID, f"{contents.MANIFEST} is not JSON: {error}"
            ) from None
        return document

    def reference(self) -> Reference:
        return reference.parse(self.read(contents.REFERENCE))

    def golden(self) -> Mapping[str, bytes]:
        """Name -> PNG, in the order of their numbers."""
        return MappingProxyType({name: self.read(name) for name in contents.golden_names(self.names)})

    def examples(self) -> tuple[Example, ...]:
        """The references that the graph names, in its order; empty where there are none. Raises ExamplesInvalid."""
        return examples.parse(self.read(contents.EXAMPLES)) if contents.EXAMPLES in self._members else ()

    def extract(self, folder: Path) -> None:
        """Unpack into an empty folder."""
        with members.open_regular(self.path) as file:
            members.unpack(file, tuple(self._members.values()), folder)


def _check(folder: Path, sizes: Mapping[str, int], card: Card) -> None:
    contents.check_names(sizes)
    digests = {name: _digest(folder / name) for name in sizes}
    for name in sizes:
        contents.check_format(name, folder / name)
    contents.check_card(card, digests)
    contents.check_examples(card, (folder / contents.EXAMPLES).read_bytes() if contents.EXAMPLES in sizes else None)
    reference.parse((folder / contents.REFERENCE).read_bytes())


def _card_of(text: bytes) -> Card:
    try:
        return Card.parse(text)
    except CardInvalid as error:
        raise ArchiveRefused(words.REASON_ARCHIVE_CARD_INVALID, str(error)) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveRefused(words.REASON_ARCHIVE_MEMBER_MISSING, f"{path}: {error.strerror}") from None


def _copy(source: Path, target: Path) -> None:
    try:
        file = members.open_regular(source)
    except ArchiveRefused as refusal:
        raise ArchiveRefused(words.REASON_ARCHIVE_MEMBER_MISSING, f"{source.parent}: {refusal}") from None
    with file, target.open("xb") as copy:
        shutil.copyfileobj(file, copy)


def _write_zip(folder: Path, names: list[str], target: Path) -> None:
    with target.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, _DATE_TIME)
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, (folder / name).read_bytes())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
