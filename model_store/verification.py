"""Is this archive fit to be served? Every rule, in order, each with its verdict.

    size        within the limit; copied into a private folder, where all the rest happens
    container   the zip rules (`members`)
    members     the names on the list, the required ones there (`contents`)
    content     unpacked within the limits, checksums right, each of the format of its name
    pickle      nothing that unpickles (`pickles`)
    handler     the code is a reviewed version (`handler_list`)
    card        model.json is a card, and speaks of these very members (`card`, `contents`)
    manifest    what TorchServe reads is what the card says (`manifest`)
    split       no photograph on both sides of the split
    signature   a trusted key, not revoked, over every member (`signing`)
    form        the file around the members is what packaging writes: not a byte is left unsigned or unchecked
    graph       the ONNX rules, in a limited process (`graph_rules`, `inspection`)
    reference   the distributions can be read, in the same process
    golden      the photographs can be decoded, in the same process
    scanner     picklescan's second opinion, in the same process

The first four must hold before anything behind them runs. The next seven look at bytes, JSON
and hashes only, so all of them run and an uploader sees every complaint at once. The last
four meet real parsers, so they run only on what a trusted key signed.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from model_store import contents, inspection, leftovers, manifest, members, signing
from model_store.card import Card, CardInvalid
from model_store.errors import ArchiveRefused
from model_store.handler_list import HandlerList
from model_store.inspection import InspectionLimits
from model_store.members import Limits, Member
from model_store.pickles import find_pickle
from model_store.signing import TrustStore
from protos.amulet.v1 import vocabulary_pb2 as words

RULES: Final = (
    "size",
    "container",
    "members",
    "content",
    "pickle",
    "handler",
    "card",
    "manifest",
    "split",
    "signature",
    "form",
    *inspection.RULES,
)


_SCRATCH: Final = "amulet-verify-"


class State(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    rule: str
    state: State
    reason: words.Reason.ValueType  # REASON_UNSPECIFIED unless it failed
    message: str  # one sentence

    @property
    def passed(self) -> bool:
        return self.state is State.PASSED


@dataclass(frozen=True, slots=True)
class Report:
    """Every rule's verdict on one archive, in the order of `RULES`."""

    file: str  # its name
    size_bytes: int
    sha256: str  # empty when it was not read
    rules: tuple[RuleVerdict, ...]
    card: Card | None  # when it is one
    signer: str | None  # fingerprint of the trusted key, when the signature holds

    @property
    def accepted(self) -> bool:
        return all(rule.passed for rule in self.rules)

    @property
    def refusal(self) -> RuleVerdict | None:
        """The first rule that failed; None when the archive is accepted."""
        return next((rule for rule in self.rules if rule.state is State.FAILED), None)

    def as_document(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "file": self.file,
            "accepted": self.accepted,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "model": self.card.name if self.card else None,
            "version": self.card.version if self.card else None,
            "signer": self.signer,
            "rules": [
                {
                    "rule": rule.rule,
                    "state": rule.state.value,
                    "passed": rule.passed,
                    "reason": words.Reason.Name(rule.reason) if rule.reason else None,
                    "message": rule.message,
                }
                for rule in self.rules
            ],
        }


def verify(
    path: Path,
    *,
    trusted: TrustStore,
    limits: Limits | None = None,
    inspection_limits: InspectionLimits | None = None,
    handlers: HandlerList | None = None,
) -> Report:
    """Run every rule on an archive. Never raises for what the archive is or holds.

    trusted: whose signatures count.  handlers: the accepted code; None: this repository's list.
    Raises OSError when the private folder under TMPDIR cannot be written.
    """
    with leftovers.held_folder(_SCRATCH) as scratch:  # up to a GiB and a half
        case = _Case(
            path=path,
            folder=scratch,
            trusted=trusted,
            limits=limits or Limits(),
            inspection_limits=inspection_limits or InspectionLimits(),
            handlers=handlers or HandlerList.load(),
        )
        verdicts = case.run()
        return Report(
            file=path.name,
            size_bytes=case.size_bytes,
            sha256=case.sha256,
            rules=tuple(verdicts.get(rule) or _not_run(rule) for rule in RULES),
            card=case.card,
            signer=case.signer,
        )


class _Needs(Exception):
    """A rule cannot be judged because another one failed."""


@dataclass(slots=True)
class _Case:
    """One archive on its way through the rules, and what they established so far."""

    path: Path
    folder: Path
    trusted: TrustStore
    limits: Limits
    inspection_limits: InspectionLimits
    handlers: HandlerList
    size_bytes: int = 0
    sha256: str = ""
    members: tuple[Member, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    card: Card | None = None
    signer: str | None = None

    @property
    def staged(self) -> Path:
        return self.folder / "archive.mar"

    @property
    def unpacked(self) -> Path:
        return self.folder / "members"

    def run(self) -> Mapping[str, RuleVerdict]:
        verdicts: dict[str, RuleVerdict] = {}
        for rule, check in (
            ("size", self._size),
            ("container", self._container),
            ("members", self._members),
            ("content", self._content),
        ):
            verdicts[rule] = _judged(rule, check)
            if not verdicts[rule].passed:
                return verdicts
        for rule, check in (
            ("pickle", self._pickle),
            ("handler", self._handler),
            ("card", self._card),
            ("manifest", self._manifest),
            ("split", self._split),
            ("signature", self._signature),
            ("form", self._form),
        ):
            verdicts[rule] = _judged(rule, check)
        if not all(verdict.passed for verdict in verdicts.values()):
            return verdicts
        for rule, outcome in inspection.inspect(self.unpacked, self.inspection_limits).items():
            state = State.FAILED if outcome.reason else State.PASSED
            verdicts[rule] = RuleVerdict(rule, state, outcome.reason, outcome.message)
        return verdicts

    def _size(self) -> str:
        with members.open_regular(self.path) as file, self.staged.open("xb") as copy:
            self.size_bytes = members.check_size(file, self.limits)
            left = self.size_bytes
            # Not a byte more than was looked at, should the file grow meanwhile.
            while left and (piece := file.read(min(members.MIB, left))):
                copy.write(piece)
                left -= len(piece)
        with self.staged.open("rb") as staged:
            self.sha256 = members.digest_of(staged)
        return f"{self.size_bytes} bytes of at most {self.limits.archive_bytes_max}"

    def _container(self) -> str:
        with self.staged.open("rb") as file:
            self.members = members.read_directory(file, self.limits)
        return f"{len(self.members)} members; both headers of each agree and nothing lies beside them"

    def _members(self) -> str:
        contents.check_names({member.name: member.size_bytes for member in self.members})
        return "all names are on the list, and none is missing"

    def _content(self) -> str:
        self.unpacked.mkdir()
        with self.staged.open("rb") as file:
            self.digests = members.unpack(file, self.members, self.unpacked)
        for name in self.digests:
            try:
                contents.check_format(name, self.unpacked / name)
            except ArchiveRefused:
                self._refuse_pickle(name)  # the better reason, where it is one
                raise
        return "every checksum is right and every member is of the format that its name promises"

    def _pickle(self) -> str:
        for name in self.digests:
            self._refuse_pickle(name)
        return "no member reads as a pickle"

    def _refuse_pickle(self, name: str) -> None:
        at = _pickle_in(self.unpacked / name)
        if at is not None:
            raise ArchiveRefused(words.REASON_ARCHIVE_PICKLE, f"{name} reads as a pickle from byte {at} on")

    def _handler(self) -> str:
        return f"the code is a reviewed version: {self.handlers.check(self.digests)}"

    def _card(self) -> str:
        try:
            card = Card.parse((self.unpacked / contents.CARD).read_bytes())
        except CardInvalid as error:
            raise ArchiveRefused(words.REASON_ARCHIVE_CARD_INVALID, str(error)) from None
        self.card = card
        contents.check_card(card, self.digests)
        listed = contents.EXAMPLES in self.digests
        contents.check_examples(card, (self.unpacked / contents.EXAMPLES).read_bytes() if listed else None)
        return f"{card.name} {card.version}, {len(card.classes)} classes; it describes these members"

    def _manifest(self) -> str:
        if self.card is None:
            raise _Needs("card")
        manifest.check((self.unpacked / contents.MANIFEST).read_bytes(), self.card)
        return f"TorchServe will serve it as {self.card.name} {self.card.version} from {manifest.WEIGHTS}"

    def _split(self) -> str:
        if self.card is None:
            raise _Needs("card")
        contents.check_split(self.card)
        return "no photograph stands on both sides of the split"

    def _signature(self) -> str:
        covered = [name for name in self.digests if name != contents.SIGNATURE]
        inside, aside = self.unpacked / contents.SIGNATURE, self.folder / contents.SIGNATURE
        if contents.SIGNATURE not in self.digests:
            self.signer = signing.verify(self.unpacked, None, covered, self.trusted)
        else:
            inside.rename(aside)  # a signature covers every file of its folder, and it is none of them
            self.signer = signing.verify(self.unpacked, aside.read_bytes(), covered, self.trusted)
            aside.rename(inside)
        return f"signed by the trusted key {self.signer}"

    def _form(self) -> str:
        odd = [member.name for member in self.members if not member.plain]
        if odd:
            raise ArchiveRefused(
                words.REASON_ARCHIVE_SIGNATURE_INVALID,
                f"the zip was written again after signing (the headers of {odd[0]} say more than name, size and "
                "checksum): send the file that `amulet package` wrote",
            )
        return "every byte is either signed or fixed by the format"


def _pickle_in(path: Path) -> int | None:
    if path.stat().st_size == 0:
        return None  # an empty file cannot be mapped
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return find_pickle(content)


def _judged(rule: str, check: Callable[[], str]) -> RuleVerdict:
    try:
        return RuleVerdict(rule, State.PASSED, words.REASON_UNSPECIFIED, check())
    except ArchiveRefused as refusal:
        return RuleVerdict(rule, State.FAILED, refusal.reason, str(refusal))
    except _Needs as other:
        return _not_run(rule, f"it needs the rule {other}, which failed")


def _not_run(rule: str, why: str = "an earlier rule failed") -> RuleVerdict:
    return RuleVerdict(rule, State.NOT_RUN, words.REASON_UNSPECIFIED, why)
