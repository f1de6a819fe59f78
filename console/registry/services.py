"""What moves a model version: one function per arrow of the drawing in `models`.

Each arrow is a conditional UPDATE, so that two who try the same one at the same moment do
not both succeed, on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, DateTimeField, F, Value, When
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.words import record_with_words
from console.celery_app import wake
from console.errors import Conflict, Invalid, NotAllowed, NotAvailable, NotFound, Refusal
from console.leases import over
from console.registry import uploads
from console.registry.models import NAMED, ModelVersion, State, Upload
from console.registry.queries import HOLD_MAX, unclaimed
from console.staff.models import User
from console.staff.services import require
from model_store import store
from model_store.errors import ArchiveRefused, KeyUnusable
from protos.amulet.v1 import vocabulary_pb2 as words

if TYPE_CHECKING:
    from model_store import verification

VERIFICATION_S_MAX: Final = 180
SMOKE_TEST_S_MAX: Final = 180
REASON_CHARACTERS_MAX: Final = 2000


def finish_upload(*, actor: User, upload_id: UUID) -> ModelVersion:
    """Make a version of a complete upload and verify it. Finishing twice gives the same version.

    Returns it verified or refused, with the verdict of every rule; or still uploaded while
    another call is verifying it. Raises NotFound, Conflict for missing bytes, Invalid for other bytes.
    """
    upload = uploads.find_upload(actor=actor, upload_id=upload_id)
    version = ModelVersion.objects.filter(upload=upload).first()
    if version is None:
        uploads.check_complete(upload)
        version = _take_in(actor, upload)
    verify_version(version_id=version.pk)
    version.refresh_from_db()
    return version


def verify_version(*, version_id: int) -> None:
    """uploaded → verified | refused: run every rule of the model store and keep the verdicts.

    Does nothing when the version is past it or somebody else is at it. Raises NotAvailable when
    the trusted keys, the staging folder or the store cannot be used; the version then waits.
    """
    if not _claim(version_id, State.UPLOADED, VERIFICATION_S_MAX):
        return
    # Signing and parsing weigh 50 MB in a process that imports them; most of ours never verify.
    from model_store import verification
    from model_store.signing import TrustStore

    version = ModelVersion.objects.select_related("upload").get(pk=version_id)
    assert version.upload is not None
    part = uploads.part_file(version.upload)
    try:
        report = verification.verify(part, trusted=TrustStore.load(settings.AMULET.trusted_keys))
        taken = report.accepted and _is_taken(report)
        if report.accepted and report.sha256 == version.sha256 and not taken:
            store.place(part, settings.AMULET.model_store, sha256=report.sha256)
    except (KeyUnusable, ArchiveRefused, OSError) as error:
        release_claim(version_id=version_id)
        raise NotAvailable(
            _("The archive could not be verified now: {error}").format(error=error), reason="verification_unavailable"
        ) from error
    _settle_verification(version, report, taken=taken)
    part.unlink(missing_ok=True)


def settle_smoke_test(*, version_id: int, report: Mapping[str, Any], passed: bool) -> None:
    """verified → smoke_tested | failed, with what was measured. Does nothing when it is past that."""
    state = State.SMOKE_TESTED if passed else State.FAILED
    with transaction.atomic():
        moved = ModelVersion.objects.filter(pk=version_id, state=State.VERIFIED).update(
            state=state, smoke_report=report, smoke_tested_at=now(), claimed_until=None, held_until=None
        )
        if moved:
            _record(None, f"registry.version_{state}", version_id, **report)


@transaction.atomic
def retry_smoke_test(*, actor: User, version_id: int) -> ModelVersion:
    """failed → verified: try the golden photographs again. Raises NotAllowed, NotFound, Conflict."""
    require(actor, "registry.upload_modelversion")
    try:
        with transaction.atomic():
            moved = ModelVersion.objects.filter(pk=version_id, state=State.FAILED).update(
                state=State.VERIFIED, claimed_until=None
            )
    except IntegrityError:
        raise Conflict(_("Another archive has taken this version's name since."), reason="name_taken") from None
    version = find_version(version_id)
    if not moved:
        raise _wrong_state(version, State.FAILED)
    _record(actor, "registry.smoke_test_retried", version_id)
    transaction.on_commit(partial(_wake_smoke_test, version_id))
    return version


@transaction.atomic
def approve_version(*, actor: User, version_id: int, reason: str) -> ModelVersion:
    """smoke_tested → approved, by somebody else than its uploader.

    Raises NotAllowed without the permission or for the uploader, Invalid without a reason,
    NotFound, Conflict in another state.
    """
    require(actor, "registry.approve_modelversion")
    reason = checked_reason(reason)
    moved = (
        ModelVersion.objects.filter(pk=version_id, state=State.SMOKE_TESTED)
        .exclude(uploaded_by=actor)
        .update(state=State.APPROVED, approved_by=actor, approved_at=now(), approval_reason=reason)
    )
    if not moved:
        raise _why_not_approvable(version_id, actor)
    _record(actor, "registry.version_approved", version_id, words={"reason": reason})
    return find_version(version_id)


@transaction.atomic
def retire_version(*, actor: User, version_id: int, reason: str) -> ModelVersion:
    """approved → retired. Whether a route still needs it is for `rollout.services.retire` to say.

    Raises NotAllowed, Invalid, NotFound, Conflict.
    """
    require(actor, "registry.approve_modelversion")
    reason = checked_reason(reason)
    moved = ModelVersion.objects.filter(pk=version_id, state=State.APPROVED).update(
        state=State.RETIRED, retired_at=now()
    )
    version = find_version(version_id)
    if not moved:
        raise _wrong_state(version, State.APPROVED)
    _record(actor, "registry.version_retired", version_id, words={"reason": reason})
    return version


def hold(*, version_id: int, seconds: float) -> None:
    """Have TorchServe keep a version loaded for so long at least, routes or not: what holds it longer stays."""
    moment = now()
    until = moment + timedelta(seconds=seconds)
    longer = Case(
        When(over("held_until", longest=HOLD_MAX, at=moment), then=Value(until)),
        When(held_until__gt=until, then=F("held_until")),
        default=Value(until),
        output_field=DateTimeField(),
    )
    ModelVersion.objects.filter(pk=version_id).update(held_until=longer)


def claim_smoke_test(*, version_id: int) -> bool:
    """Take the smoke test of a version for a while; False when it is not due or somebody else has it."""
    return _claim(version_id, State.VERIFIED, SMOKE_TEST_S_MAX)


def release_claim(*, version_id: int) -> None:
    """Let go of a version whose smoke test could not be done now; the next beat finds it again."""
    ModelVersion.objects.filter(pk=version_id).update(claimed_until=None)


def find_version(version_id: int) -> ModelVersion:
    """Raises NotFound."""
    version = ModelVersion.objects.select_related("uploaded_by", "approved_by").filter(pk=version_id).first()
    if version is None:
        raise NotFound(_("There is no version {id}.").format(id=version_id), field="id")
    return version


def checked_reason(reason: str) -> str:
    """A decision needs its reason in the audit trail. Raises Invalid."""
    reason = reason.strip()
    if not reason:
        raise Invalid(_("Say why: the reason is kept in the audit trail."), field="reason")
    if len(reason) > REASON_CHARACTERS_MAX:
        raise Invalid(_("A reason has at most {most} characters.").format(most=REASON_CHARACTERS_MAX), field="reason")
    return reason


def _take_in(actor: User, upload: Upload) -> ModelVersion:
    try:
        with transaction.atomic():
            if not uploads.claim(upload):
                raise NotFound(_("There is no such upload of yours."), field="id")
            version = ModelVersion.objects.create(
                filename=upload.filename,
                size_bytes=upload.size_bytes,
                sha256=upload.sha256,
                note=upload.note,
                upload=upload,
                uploaded_by=actor,
            )
            _record(actor, "registry.version_uploaded", version.pk, filename=upload.filename, sha256=upload.sha256)
            return version
    except IntegrityError:  # the same upload, finished twice at once
        return ModelVersion.objects.get(upload=upload)


def _claim(version_id: int, state: State, seconds: int) -> bool:
    moment = now()
    moved = ModelVersion.objects.filter(unclaimed(moment), pk=version_id, state=state).update(
        claimed_until=moment + timedelta(seconds=seconds)
    )
    return bool(moved)


def _is_taken(report: verification.Report) -> bool:
    """Whether another archive has the name. The constraint says so, too, but only behind the store."""
    assert report.card is not None
    named = ModelVersion.objects.filter(model=report.card.name, version=report.card.version, state__in=NAMED)
    return named.exists()


def _settle_verification(version: ModelVersion, report: verification.Report, *, taken: bool) -> None:
    document = report.as_document()
    rules: list[dict[str, Any]] = document["rules"]
    accepted = report.accepted and report.sha256 == version.sha256
    if report.accepted and not accepted:
        rules.append(_verdict("upload", words.REASON_ARCHIVE_UNREADABLE, "the bytes changed after the upload"))
    elif accepted and report.card is not None:
        name = f"{report.card.name} {report.card.version}"
        if not taken and _take_name(version, report, [*rules, _verdict("name", None, f"{name} is a new name")]):
            return
        rules.append(
            _verdict(
                "name",
                words.REASON_ARCHIVE_DUPLICATE,
                f"{name} is here already; a name means one archive for ever",
            )
        )
    with transaction.atomic():
        _become(version, State.REFUSED, report, rules)


def _take_name(version: ModelVersion, report: verification.Report, rules: Sequence[Mapping[str, Any]]) -> bool:
    """uploaded → verified; False: another archive took the name meanwhile."""
    try:
        with transaction.atomic():
            _become(version, State.VERIFIED, report, rules)
            transaction.on_commit(partial(_wake_smoke_test, version.pk))
    except IntegrityError:
        return False
    return True


def _become(
    version: ModelVersion, state: State, report: verification.Report, rules: Sequence[Mapping[str, Any]]
) -> None:
    moved = ModelVersion.objects.filter(pk=version.pk, state=State.UPLOADED).update(
        state=state,
        rules=rules,
        signer=report.signer or "",
        model=report.card.name if report.card else "",
        version=report.card.version if report.card else "",
        card_document=_document_of(report),
        verified_at=now(),
        claimed_until=None,
    )
    if moved:
        failed = [rule["rule"] for rule in rules if rule["state"] == "failed"]
        _record(None, f"registry.version_{state}", version.pk, sha256=report.sha256, failed_rules=failed)


def _document_of(report: verification.Report) -> Any:
    return json.loads(report.card.render()) if report.card else None


def _verdict(rule: str, reason: words.Reason.ValueType | None, message: str) -> dict[str, Any]:
    return {
        "rule": rule,
        "state": "passed" if reason is None else "failed",
        "passed": reason is None,
        "reason": None if reason is None else words.Reason.Name(reason),
        "message": message,
    }


def _why_not_approvable(version_id: int, actor: User) -> Refusal:
    version = find_version(version_id)
    if version.state == State.SMOKE_TESTED and version.uploaded_by_id == actor.pk:
        return NotAllowed(
            _("You uploaded this version: a second person must approve it."), reason="approver_is_uploader"
        )
    return _wrong_state(version, State.SMOKE_TESTED)


def _wrong_state(version: ModelVersion, wanted: State) -> Conflict:
    return Conflict(
        _("{version} is {state}; it would have to be {wanted}.").format(
            version=version, state=State(version.state).label, wanted=wanted.label
        ),
        reason="wrong_state",
        field="state",
    )


def _wake_smoke_test(version_id: int) -> None:
    wake("console.registry.tasks.smoke_test", version_id)


def _record(
    actor: User | None, action: str, version_id: int, *, words: Mapping[str, str] | None = None, **details: Any
) -> None:
    """words: what somebody typed with it, by field."""
    record_with_words(
        actor=actor,
        action=action,
        subject_type="model_version",
        subject_id=str(version_id),
        details=details,
        words=words or {},
    )
