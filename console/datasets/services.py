"""Exports of labelled photographs.

    classes.yaml                          what the classes are called
    manifest.json                         where each photograph and its label come from
    CLASS/SIDE_PREDICTION_VIEW.png        as the model saw it
    ood/reviewed/SIDE_PREDICTION_VIEW.png what experts said is none of the classes

A photograph leaves the vault only while its person's consents to keeping and to training are locked in the
transaction that reads it: whoever withdraws comes first and is left out, or waits until it was read. The data set is
complete in a transaction that locks those of all of them again: who withdrew in between ends the export.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Final

from django.db import IntegrityError, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import record
from console.datasets.models import Dataset, Label
from console.errors import Conflict, Invalid
from console.predictions.models import Prediction, Verdict
from console.predictions.names import names_of_model
from console.review.models import TAKE_BACK, ExpertDecision
from console.review.queries import labels_of
from console.spelling import composed
from console.staff.models import User
from console.staff.services import require
from console.vault.opening import PhotographForTraining, hold_for_training, open_for_training

NOTE_MAX: Final = 200
OUTSIDE: Final = "ood/reviewed"
FORM: Final = "amulet labels 1"
TAKEN_BACK: Final = "taken_back_meanwhile"
# So many photographs are read in one transaction; a withdrawal waits for no more.
_AT_ONCE: Final = 50
_FOLDER_BYTES_MAX: Final = 255  # as archives are held to; versions from before are not
_MEMORY_BYTES_MAX: Final = 16 * 2**20
_SIDES: Final = frozenset({"front", "back", "edge", "detail"})

Write = Callable[[str, bytes], object]


@dataclass(frozen=True, slots=True)
class _File:
    """One photograph in a data set, without its bytes."""

    path: str
    sha256: str
    decision: ExpertDecision
    part: int
    consent: int
    text_version: str
    read_at: datetime

    @property
    def class_id(self) -> str:
        return composed(self.decision.class_id)


def export(*, actor: User, model: str, note: str = "", write: Write) -> Dataset:
    """Hand the labelled photographs of a model that may be trained on to `write`, as (path, content), and record it.

    Decisions that can still be taken back are left out. Raises NotAllowed; Invalid when nothing is labelled, or
    nothing of it may be used; Conflict when somebody was erased, or took a consent back or restricted what is done,
    meanwhile: what was written must then go; OSError.
    """
    require(actor, "vault.train_storedobject")
    if len(note) > NOTE_MAX:
        raise Invalid(_("A note has at most {most} characters.").format(most=NOTE_MAX), field="note")
    decisions = list(labels_of(model, decided_before=now() - TAKE_BACK))
    files = [file for some in _parts(decisions) for file in _read(actor, some, write)]
    if not files:
        raise Invalid(
            _(
                "No photograph of {model} has a label that may be used: it takes a decision older than {minutes} "
                "minutes, a kept photograph and its person's consent to training."
            ).format(model=model, minutes=int(TAKE_BACK.total_seconds() // 60)),
            field="model",
        )
    labelled = [file for file in files if file.class_id]
    fingerprint = fingerprint_of((file.path, file.sha256) for file in labelled)
    used = {file.decision.item.prediction_id for file in files}
    erased = Conflict(
        _("Somebody was erased while the photographs were read: export them again."), reason="erased_meanwhile"
    )
    try:
        with transaction.atomic():
            if Prediction.objects.filter(pk__in=used).count() < len(used):
                raise erased
            read = {(str(file.decision.item.prediction_id), file.part) for file in files}
            if not read <= hold_for_training({owner for owner, _part in read}):
                raise Conflict(
                    _("Somebody took a consent back while the photographs were read: export them again."),
                    reason=TAKEN_BACK,
                )
            made = Dataset.objects.create(
                model=model,
                note=note,
                made_by=actor,
                fingerprint=fingerprint,
                photographs=len(files),
                per_class=dict(sorted(Counter(file.class_id for file in labelled).items())),
                outside=len(files) - len(labelled),
                left_out=len(decisions) - len(used),
            )
            Label.objects.bulk_create(
                [
                    Label(
                        dataset=made,
                        prediction_id=file.decision.item.prediction_id,
                        decision=file.decision,
                        part=file.part,
                        class_id=file.class_id,
                        sha256=file.sha256,
                    )
                    for file in files
                ],
                batch_size=500,
            )
            record(
                actor=actor,
                action="dataset.exported",
                subject_type="dataset",
                subject_id=str(made.pk),
                details={
                    "model": model,
                    "fingerprint": fingerprint,
                    "photographs": len(files),
                    "left_out": made.left_out,
                },
            )
    except IntegrityError:  # between that look and the end
        raise erased from None
    write("manifest.json", _json({"form": FORM, **_manifest(made, files)}))
    names = {composed(key): of_class for key, of_class in names_of_model(model).items()}
    write("classes.yaml", _json({"classes": {key: names[key] for key in made.per_class if names.get(key)}}))
    return made


def export_zip(*, actor: User, model: str, note: str = "") -> tuple[Dataset, IO[bytes]]:
    """The same as a ZIP, an open file at its beginning that is gone when it is closed. Raises as `export` does."""
    out: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES_MAX)  # noqa: SIM115 - the caller closes it
    try:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            made = export(actor=actor, model=model, note=note, write=archive.writestr)
        out.seek(0)
    except BaseException:
        out.close()
        raise
    return made, out


def fingerprint_of(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256, in hex, over the sorted lines `path, space, SHA-256 of the content`: what `amulet train` computes."""
    return hashlib.sha256("".join(sorted(f"{path} {digest}\n" for path, digest in files)).encode()).hexdigest()


@transaction.atomic
def _read(actor: User, decisions: Sequence[ExpertDecision], write: Write) -> list[_File]:
    by_owner = {str(decision.item.prediction_id): decision for decision in decisions if _fits(decision.class_id)}
    read_at = now()
    files = []
    for photograph in open_for_training(actor=actor, owners=by_owner):
        decision = by_owner[photograph.owner]
        path = _path(decision, photograph)
        write(path, photograph.content)
        digest = hashlib.sha256(photograph.content).hexdigest()
        consent = photograph.consent
        files.append(_File(path, digest, decision, photograph.part, consent.pk, consent.text_version, read_at))
    return files


def _path(decision: ExpertDecision, photograph: PhotographForTraining) -> str:
    prediction = decision.item.prediction
    views = prediction.detail().views
    side = views[photograph.part].side if photograph.part < len(views) else ""
    name = f"{side if side in _SIDES else 'view'}_{prediction.pk}_{photograph.part}.png"
    return f"{composed(decision.class_id) or OUTSIDE}/{name}"


def _fits(class_id: str) -> bool:
    """Whether a class can be a folder: it came over the wire, and must not lead out of the data set or hide in it."""
    return (
        class_id.isprintable()
        and len(class_id.encode()) <= _FOLDER_BYTES_MAX
        and not set(class_id) & set('/\\:"')
        and class_id == class_id.strip()
        and not class_id.startswith((".", "__"))
        and class_id != OUTSIDE.partition("/")[0]
    )


def _manifest(made: Dataset, files: Sequence[_File]) -> dict[str, Any]:
    return {
        "dataset": made.pk,
        "model": made.model,
        "made_at": made.made_at.isoformat(),
        "made_by": str(made.made_by.pseudonym),
        "fingerprint": made.fingerprint,
        "photographs": [_provenance(file) for file in sorted(files, key=lambda file: file.path)],
    }


def _provenance(file: _File) -> dict[str, Any]:
    """Where one photograph and its label come from. People are named as in the audit trail: by pseudonym."""
    decision, prediction = file.decision, file.decision.item.prediction
    return {
        "file": file.path,
        "sha256": file.sha256,
        "label": file.class_id or None,
        "decided_by": str(decision.expert.pseudonym),
        "decided_at": decision.decided_at.isoformat(),
        "part": decision.part,
        "blind": decision.blind,
        "prediction": str(prediction.pk),
        "model_version": prediction.version,
        "model_said": prediction.top_class,
        "model_verdict": Verdict(prediction.verdict).name,
        "model_confidence": prediction.confidence,
        "consent": {
            "id": file.consent,
            "text_version": file.text_version,
            "valid_at": file.read_at.isoformat(),
        },
    }


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _parts(rows: Sequence[ExpertDecision]) -> Iterator[Sequence[ExpertDecision]]:
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
