"""Every place that holds something about a person: how much is there, and how it is emptied.

A store has a `find` that counts and, where it is ours to empty, an `erase` that may be
repeated. What only passes through (the gateway's journal, the broker, logs) is searched and
empties itself: an erasure waits for it.

It is searched by what is this person's alone, or an erasure would wait for other people's calls for ever: by the
random ids that we gave, which nothing else holds, and in the journal by what callers named things by, too. The name
of a consent is one consent's. The name of a call is a person's while no row of anybody else, or of nobody, has it: a
caller may give every call the same. Both are looked for as the value of their field, never as a word in a text. In a
log or a message no caller's name leads anywhere once its row is gone, and none is looked for.

What the console refused is no passage: it stays in a folder of the journal until somebody deals with it, so that it is
read event by event and what is this person's taken out (`refused`).

A folder that this machine does not have, as a gateway's journal in another pod, is not searched, and no 0 is
certified of it.

So "0 in the journal" says that nothing there leads to this person by an id, a consent or a call of their own. An
event from before the erasure that nobody has delivered yet, without a consent and under a name that others share, is
in no row, and is not found: it arrives as nobody's, since the keyed hash of the pseudonym is kept until none can come.

A broker on another machine is not searched: its messages hold numbers of rows and nothing else, and a test reads every
byte in Redis and RabbitMQ while an erasure goes on (`tests/integration/console_brokers`). Nor are the answers that
gateways leave for each other in the Redis of `AMULET_CACHE_URL` (decision 0212): sealed under a secret that is not
there, and gone after five minutes, as long as a journal keeps what is delivered. A new place for personal data
gets a row in STORES; a test fails for a table that leads to a person and is in none.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from google.protobuf.descriptor import FieldDescriptor

from console.audit import services as audit
from console.audit.models import Payload
from console.datasets.queries import exports_with
from console.predictions import services as predictions
from console.predictions.models import Feedback, Prediction
from console.privacy import refused, typed
from console.privacy.models import PrivacyRequest
from console.privacy.refused import Sought
from console.retraining.folders import photographs_of
from console.review.models import ExpertDecision, ReviewItem
from console.sheets.models import SheetItem
from console.vault import queries as vault_queries
from console.vault import services as vault
from console.vault.models import Consent, StoredObject, Subject
from protos.amulet.events.v1 import events_pb2 as pb

_Key = TypeVar("_Key", UUID, str)
_IDS_AT_ONCE: Final = 500
_NAME_BYTES_MIN: Final = 4  # with tag and length six bytes, which hardly any photograph has by chance
_REFERENCE: Final = pb.Subject.DESCRIPTOR.fields_by_name["consent_reference"]
_CALL: Final = pb.PredictionMade.DESCRIPTOR.fields_by_name["request_id"]


@dataclass(frozen=True, slots=True)
class Traces:
    """What a person is found by while an erasure goes on. Never a pseudonym."""

    subject_id: UUID
    found_by: bytes
    prediction_ids: tuple[UUID, ...] = ()
    object_ids: tuple[UUID, ...] = ()
    references: tuple[str, ...] = ()  # what callers named consents by
    calls: tuple[str, ...] = ()  # what callers named calls by: not always this person's alone
    requests: tuple[int, ...] = ()  # what was typed about them goes, and not they themselves

    def render(self) -> dict[str, Any]:
        return {
            "subject": str(self.subject_id),
            "found_by": self.found_by.hex(),
            "predictions": [str(key) for key in self.prediction_ids],
            "objects": [str(key) for key in self.object_ids],
            "references": list(self.references),
            "calls": list(self.calls),
            "requests": list(self.requests),
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            subject_id=UUID(document["subject"]),
            found_by=bytes.fromhex(document["found_by"]),
            prediction_ids=tuple(map(UUID, document["predictions"])),
            object_ids=tuple(map(UUID, document["objects"])),
            # Erasures that were begun before the two were told apart have "words", which may be either.
            references=tuple(document.get("references", document.get("words", ()))),
            calls=tuple(document.get("calls", document.get("words", ()))),
            requests=tuple(document.get("requests", ())),
        )

    def merged(self, other: Traces) -> Traces:
        """Both together: what came to light later counts too."""
        return Traces(
            self.subject_id,
            self.found_by,
            tuple(sorted({*self.prediction_ids, *other.prediction_ids})),
            tuple(sorted({*self.object_ids, *other.object_ids})),
            tuple(sorted({*self.references, *other.references})),
            tuple(sorted({*self.calls, *other.calls})),
            tuple(sorted({*self.requests, *other.requests})),
        )


def collect(subject_id: UUID, found_by: bytes) -> Traces:
    """What the database knows a person by. Five queries along indexes."""
    rows = list(Prediction.objects.filter(subject=subject_id).values_list("pk", "request_id"))
    references = Consent.objects.filter(subject=subject_id).values_list("reference", flat=True)
    return Traces(
        subject_id=subject_id,
        found_by=found_by,
        prediction_ids=tuple(sorted(key for key, _name in rows)),
        object_ids=tuple(sorted(StoredObject.objects.filter(subject=subject_id).values_list("pk", flat=True))),
        references=tuple(sorted(references)),
        calls=tuple(sorted({name for _key, name in rows if name})),
        requests=typed.requests_of(subject_id, found_by),
    )


@dataclass(frozen=True, slots=True)
class Store:
    """One place. `erase` is None where nobody of ours may delete."""

    name: str  # as certificates have it
    text: Promise
    find: Callable[[Traces], int]
    erase: Callable[[Traces], object] | None = None
    folder: Callable[[], Path] | None = None  # of this machine, where the store is one


def not_here() -> frozenset[str]:
    """The stores that are folders of which this machine has none: there is nothing to search, or it is elsewhere."""
    return frozenset(store.name for store in STORES if store.folder is not None and not store.folder().exists())


def find_all(traces: Traces) -> dict[str, int]:
    """How much of this person is where."""
    return {store.name: store.find(traces) for store in STORES}


def _keys(traces: Traces) -> int:
    return Subject.objects.filter(pk=traces.subject_id).exclude(wrapped_key=b"").count()


def _subjects(traces: Traces) -> int:
    return Subject.objects.filter(pk=traces.subject_id).count()


def _consents(traces: Traces) -> int:
    return Consent.objects.filter(subject=traces.subject_id).count()


def _objects(traces: Traces) -> int:
    return StoredObject.objects.filter(subject=traces.subject_id).count()


def _files(traces: Traces) -> int:
    return vault_queries.store().held(traces.object_ids)


def _predictions(traces: Traces) -> int:
    mine = Prediction.objects.filter(subject=traces.subject_id).count()
    unlinked = Prediction.objects.exclude(Q(subject=traces.subject_id) & Q(subject__isnull=False))
    return mine + sum(unlinked.filter(pk__in=some).count() for some in _parts(traces.prediction_ids))


def _erase_predictions(traces: Traces) -> object:
    return predictions.erase(subject_id=traces.subject_id, prediction_ids=traces.prediction_ids)


def _feedback(traces: Traces) -> int:
    return sum(Feedback.objects.filter(prediction_id__in=some).count() for some in _parts(traces.prediction_ids))


def _reviews(traces: Traces) -> int:
    found = 0
    for some in _parts(traces.prediction_ids):
        found += ReviewItem.objects.filter(prediction__in=some).count()
        found += ExpertDecision.objects.filter(item__prediction__in=some).count()
    return found


def _labels(traces: Traces) -> int:
    return sum(exports_with(some) for some in _parts(traces.prediction_ids))


def _sheets(traces: Traces) -> int:
    return sum(SheetItem.objects.filter(prediction__in=some).count() for some in _parts(traces.prediction_ids))


def _audit(traces: Traces) -> int:
    found = Payload.objects.filter(subject_type="subject", subject_id=str(traces.subject_id)).count()
    for some in _parts(traces.prediction_ids):
        about = [str(key) for key in some]
        found += Payload.objects.filter(subject_type="prediction", subject_id__in=about).count()
    return found + typed.count_in_audit(traces.requests)


def _erase_audit(traces: Traces) -> object:
    about = [str(key) for key in traces.prediction_ids]
    gone = audit.erase_payloads(subject_type="prediction", subject_ids=about)
    gone += audit.erase_payloads(subject_type="subject", subject_ids=[str(traces.subject_id)])
    return gone + typed.erase_in_audit(traces.requests)


def _requests(traces: Traces) -> int:
    linked = PrivacyRequest.objects.filter(subject=traces.subject_id)
    return (linked | typed.with_text(traces.requests)).count()


def _erase_requests(traces: Traces) -> object:
    typed.erase_in_rows(traces.requests)
    return PrivacyRequest.objects.filter(subject=traces.subject_id).update(subject=None)


def _training(traces: Traces) -> int:
    return photographs_of(frozenset(traces.prediction_ids))


def _journal(traces: Traces) -> int:
    names = [_value(_REFERENCE, name) for name in traces.references]
    names += [_value(_CALL, name) for name in _own_calls(traces)]
    return _holding(_journal_folder(), [*_ids(traces), *filter(None, names)])


def _refused(traces: Traces) -> int:
    return refused.count(sought(traces))


def _erase_refused(traces: Traces) -> object:
    return refused.erase(sought(traces))


def sought(traces: Traces) -> Sought:
    return Sought(
        subject_id=traces.subject_id,
        found_by=traces.found_by,
        prediction_ids=frozenset(map(str, traces.prediction_ids)),
        references=frozenset(traces.references),
        calls=frozenset(_own_calls(traces)),
    )


def _broker(traces: Traces) -> int:
    return _holding(_broker_folder(), _ids(traces))


def _logs(traces: Traces) -> int:
    """By the subject alone: the random ids of predictions lead nowhere from a log any more."""
    return _holding(_logs_folder(), [str(traces.subject_id).encode()])


def _journal_folder() -> Path:
    return Path(settings.AMULET.journal_dir)


def _training_folder() -> Path:
    return Path(settings.AMULET.training_dir)


def _broker_folder() -> Path:
    return Path(settings.AMULET.data_dir / "broker")


def _logs_folder() -> Path:
    return Path(settings.AMULET.state_dir / "logs")


def _ids(traces: Traces) -> list[bytes]:
    return [str(key).encode() for key in (traces.subject_id, *traces.prediction_ids)]


def _own_calls(traces: Traces) -> list[str]:
    """Names of calls that no row of anybody else has, nor one of nobody. A query along an index for some hundred."""
    others = Prediction.objects.exclude(subject=traces.subject_id)
    shared: set[str] = set()
    for some in _parts(traces.calls):
        shared |= set(others.filter(request_id__in=some).values_list("request_id", flat=True).distinct())
    return [name for name in traces.calls if name not in shared]


def _holding(folder: Path, needles: Sequence[bytes]) -> int:
    """How many files below a folder of this machine hold one of these."""
    return sum(_holds(path, needles) for path in _files_below(folder))


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file there is; none where there is no such folder. One that may not be looked into was not searched, and
    is no empty one: OSError.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(place, name)).is_file())


def _value(field: FieldDescriptor, name: str) -> bytes:
    """A name as an event has it in this field; nothing where it is so short that photographs hold it by chance."""
    content = name.encode()
    if len(content) < _NAME_BYTES_MIN:
        return b""
    tag = field.number << 3 | 2  # of a length-delimited field
    return bytes([tag]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Below 2¹⁴: names are shorter."""
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return any(content.find(needle) >= 0 for needle in needles)
    except FileNotFoundError:  # delivered meanwhile
        return False


def _parts(ids: Sequence[_Key]) -> Iterator[Sequence[_Key]]:
    return (ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE))


def _erase_kept(traces: Traces) -> object:
    return vault.erase_kept(subject_id=traces.subject_id)


# In the order in which they are emptied. The person's own row comes last, in a step of its own.
STORES: Final[tuple[Store, ...]] = (
    Store("key", _("key of the person"), _keys),
    Store("photographs", _("photographs and heat maps"), _objects, _erase_kept),
    Store("consents", _("consents"), _consents, _erase_kept),
    Store("reviews", _("review items and decisions"), _reviews, _erase_predictions),
    Store("labels", _("labels in data sets"), _labels, _erase_predictions),
    Store("sheets", _("photographs on review sheets"), _sheets, _erase_predictions),
    Store("feedback", _("feedback of callers"), _feedback, _erase_predictions),
    Store("predictions", _("predictions"), _predictions, _erase_predictions),
    Store("audit", _("what audit entries say"), _audit, _erase_audit),
    Store("requests", _("links of privacy requests"), _requests, _erase_requests),
    Store("person", _("the person's own record"), _subjects),
    Store("files", _("encrypted files"), _files),
    Store(
        "refused",
        _("events that the console refused, on this machine"),
        _refused,
        _erase_refused,
        # Beside what the gateway delivers; the folder of its own comes with the first refusal.
        folder=_journal_folder,
    ),
    Store("training", _("photographs of a training job, on this machine"), _training, folder=_training_folder),
    Store("broker", _("queue of tasks, on this machine"), _broker, folder=_broker_folder),
    Store("journal", _("journal of the gateway, on this machine"), _journal, folder=_journal_folder),
    Store("logs", _("logs, on this machine"), _logs, folder=_logs_folder),
)
