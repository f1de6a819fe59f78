"""Where personal data lives: of every field of every table what it holds, of whom, why, how long, and what erases it.

A test fails for a field that has no row here, for a row that has no field, and for a field that leads to a person and
says that it does not. How long something is kept is the rule of `console.retention` that is named here, or what is
said. The legal bases are what this software assumes; whoever runs it decides, and keeps the record of processing
(GDPR 30, PDPA 39) that `console.retention.record` writes from this.
"""

from __future__ import annotations

from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from console.privacy.holdings import Activity, Holds, Table, Whose

NOTHING: Final = None


def _person(what: Promise) -> Holds:
    return Holds(Whose.PERSON, what)


def _staff(what: Promise) -> Holds:
    return Holds(Whose.STAFF, what)


_INTEREST: Final = _("legitimate interest (GDPR 6(1)(f), PDPA 24(5))")
_CONSENT: Final = _("consent (GDPR 6(1)(a), PDPA 19)")
_DUTY: Final = _("legal obligation (GDPR 6(1)(c), PDPA 24(6))")
ANSWERS: Final = Activity(_("answering callers, and seeing later what was answered and why"), _INTEREST)
REVIEW: Final = Activity(_("having experts check answers, and measuring how right they are"), _INTEREST)
KEEPING: Final = Activity(_("keeping photographs for review and audit"), _CONSENT)
TRAINING: Final = Activity(_("learning from photographs"), _CONSENT)
RIGHTS: Final = Activity(_("answering people's requests and proving it"), _DUTY)
PROOF: Final = Activity(_("proving who did what, when"), _INTEREST)
ACCESS: Final = Activity(_("letting staff in, and nobody else"), _INTEREST)
WORK: Final = Activity(_("saying who uploaded, approved, started or ended something"), _INTEREST)
RUNNING: Final = Activity(_("running the service"), _INTEREST)

_WHO: Final = _person(_("the person, as a random id"))
_HASH: Final = _person(_("keyed hash of the pseudonym"))
_HASH_OF_ERASED: Final = _person(_("keyed hash of the pseudonym, or of the id of a prediction of theirs"))
_ITS_PREDICTION: Final = _person(_("the prediction, which leads to the person"))
_THE_ANSWER: Final = _person(_("what was answered about the photograph, and when"))
_AGREED: Final = _person(_("what was agreed to, when and how"))
_OPINION: Final = _person(_("what an expert said of the photograph"))
_ASKED: Final = _person(_("what the person asked for, and what became of it"))
_NOTE: Final = _person(_("free text, which may name somebody"))
_BY: Final = _staff(_("who did it"))
_WRITTEN: Final = _staff(_("free text of whoever did it"))
_PACE: Final = _staff(_("when somebody worked, and how long"))
_ACCOUNT: Final = _staff(_("the account"))
_SECRET: Final = _staff(_("a digest or key by which somebody is let in"))
_FAILED: Final = _staff(_("what came with a failed sign-in; the name may be no account's"))
_CAME: Final = _staff(_("when somebody came in or tried"))

_WITH_PREDICTION: Final = _("as long as its prediction")
_WITH_PERSON: Final = _("until the person is erased")
_WITH_ACCOUNT: Final = _("as long as the account, which is disabled and not deleted")
_WITH_VERSION: Final = _("as long as the thing that it is about")
_PROOF_KEPT: Final = _("for ever; what it says of a person goes with the person")
_NOT_FILLED: Final = _("never filled here")
_NOBODYS: Final = _("it names nobody")


def _impersonal(label: str, names: str) -> Table:
    return Table(label, RUNNING, {names: NOTHING}, kept=_NOBODYS)


TABLES: Final[tuple[Table, ...]] = (
    # Data subjects.
    Table(
        "vault.Subject", KEEPING,
        {
            "id": _WHO,
            "found_by": _HASH,
            "wrapped_key": _person(_("the key of everything that is kept of the person, wrapped")),
            "created_at": _person(_("when the person was first seen")),
            "shut_at restricted_at": _ASKED,
        },
        kept=_WITH_PERSON, stores=("key", "person"),
    ),
    Table("vault.Erased", RIGHTS, {"found_by": _HASH_OF_ERASED, "erased_at": _ASKED}, rule="erasures"),
    Table(
        "vault.Consent", KEEPING,
        {
            "id": NOTHING,
            "reference": _person(_("what a caller named it by")),
            "subject": _WHO,
            "purpose text_version channel given_at expires_at recorded_at withdrawn_at withdrawal_channel": _AGREED,
        },
        rule="consents", stores=("consents",),
    ),
    Table(
        "vault.StoredObject", KEEPING,
        {
            "id": _person(_("an encrypted photograph or heat map, in a file of this name")),
            "subject consent": _WHO,
            "owner": _ITS_PREDICTION,
            "kind part salt created_at": NOTHING,
        },
        rule="photographs", stores=("photographs", "files"),
    ),
    Table(
        "predictions.Prediction", ANSWERS,
        {
            "prediction_id": _ITS_PREDICTION,
            "subject": _WHO,
            "happened_at verdict top_class confidence detail_document": _THE_ANSWER,
            "input_hash": _person(_("keyed hash of the photograph")),
            "request_id": _person(_("what a caller named it by")),
            "client_id model version version_named gateway_id": NOTHING,
        },
        rule="predictions", stores=("predictions",),
    ),
    Table(
        "predictions.Feedback", ANSWERS,
        {
            "prediction_id": _ITS_PREDICTION,
            "comment": _NOTE,
            "happened_at kind true_class": _THE_ANSWER,
            "feedback_id client_id": NOTHING,
        },
        rule="feedback", stores=("feedback",),
    ),
    # Experts' work on their photographs.
    Table(
        "review.ReviewItem", REVIEW,
        {
            "prediction": _ITS_PREDICTION,
            "held_by": _BY,
            "held_since held_until": _PACE,
            "id state why sampling_ratio with_photograph created_at rounds blind withheld_until": NOTHING,
            "opinions_wanted opinions": NOTHING,
        },
        kept=_WITH_PREDICTION, stores=("reviews",),
    ),
    Table(
        "review.ExpertDecision", REVIEW,
        {
            "item": _ITS_PREDICTION,
            "expert": _BY,
            "decided class_id agrees part": _OPINION,
            "note": _NOTE,
            "took_s decided_at": _PACE,
            "id round blind": NOTHING,
        },
        kept=_WITH_PREDICTION, stores=("reviews",),
    ),
    Table(
        "review.GoldItem", REVIEW,
        {
            "item": _ITS_PREDICTION,
            "decided class_id": _OPINION,
            "made_by": _BY,
            "made_at retired_at": _PACE,
            "id wrong": NOTHING,
        },
        kept=_WITH_PREDICTION, stores=("reviews",),
    ),
    Table(
        "review.GoldAnswer", REVIEW,
        {
            "gold": _ITS_PREDICTION,
            "expert": _BY,
            "decided class_id": _OPINION,
            "note": _NOTE,
            "right": _staff(_("how well somebody judges")),
            "asked_at answered_at open_until": _PACE,
            "id blind": NOTHING,
        },
        kept=_WITH_PREDICTION, stores=("reviews",),
    ),
    Table(
        "sheets.SheetItem", REVIEW,
        {
            "prediction": _ITS_PREDICTION,
            "photo overlay": _person(_("a photograph in a review sheet")),
            "label predicted confidence": _THE_ANSWER,
            "id sheet number name origin": NOTHING,
        },
        kept=_WITH_PREDICTION, stores=("sheets",),
    ),
    Table(
        "sheets.SheetAnswer", REVIEW,
        {
            "item": _ITS_PREDICTION,
            "expert": _BY,
            "verdict problems": _OPINION,
            "note": _NOTE,
            "answered_at": _PACE,
            "id": NOTHING,
        },
        kept=_WITH_PREDICTION, stores=("sheets",),
    ),
    Table(
        "sheets.Sheet", REVIEW,
        {"imported_by": _BY, "imported_at": _PACE, "id kind model sha256 size": NOTHING},
        kept=_WITH_VERSION,
    ),
    Table(
        "datasets.Label", TRAINING,
        {
            "prediction decision": _ITS_PREDICTION,
            "class_id": _OPINION,
            "sha256": _person(_("hash of the photograph")),
            "id dataset part": NOTHING,
        },
        kept=_WITH_PREDICTION, stores=("labels",),
    ),
    Table(
        "datasets.Dataset", TRAINING,
        {
            "made_by": _BY,
            "made_at": _PACE,
            "note": _WRITTEN,
            "id model fingerprint photographs per_class outside left_out": NOTHING,
        },
        kept=_WITH_VERSION,
    ),
    # Requests, and the proof of what was done.
    Table(
        "privacy.PrivacyRequest", RIGHTS,
        {
            "subject": _WHO,
            "found_by": _HASH,
            "kind laws state channel received_at recorded_at due_at extended_at paused_from duplicate_of": _ASKED,
            "identity_method identity_checked_at told closed_at": _ASKED,
            "reason extension_reason": _NOTE,
            "handled_by": _BY,
            "id": NOTHING,
        },
        rule="requests", stores=("requests",),
    ),
    Table(
        "privacy.Erasure", RIGHTS,
        {
            "traces": _person(_("what the person is found by while the erasure goes on; empty afterwards")),
            "request step begun_at key_destroyed_at searched_at finished_at": _ASKED,
            "before remaining learnt statement": _person(_("counts of what was erased")),
            "entry_sequence": NOTHING,
        },
        rule="requests", stores=("requests",),
    ),
    Table(
        "audit.Entry", PROOF,
        {
            "actor": _BY,
            "recorded_at type": _PACE,
            "sequence previous_hash commitment entry_hash": NOTHING,
        },
        kept=_PROOF_KEPT,
    ),
    Table(
        "audit.Payload", PROOF,
        {
            "subject_id": _WHO,
            "text": _person(_("what was done with the person's data")),
            "entry salt subject_type": NOTHING,
        },
        kept=_PROOF_KEPT, stores=("audit",),
    ),
    # Staff.
    Table(
        "staff.User", ACCESS,
        {
            "username first_name last_name email pseudonym": _ACCOUNT,
            "password": _SECRET,
            "last_login date_joined": _CAME,
            "id is_superuser is_staff is_active sessions_round": NOTHING,
        },
        kept=_WITH_ACCOUNT,
    ),
    Table("staff.User_groups", ACCESS, {"user": _ACCOUNT, "id group": NOTHING}, kept=_WITH_ACCOUNT),
    Table("staff.User_user_permissions", ACCESS, {"user": _ACCOUNT, "id permission": NOTHING}, kept=_WITH_ACCOUNT),
    Table(
        "staff.ApiToken", ACCESS,
        {
            "user": _ACCOUNT,
            "name": _WRITTEN,
            "key_id digest": _SECRET,
            "created_at expires_at revoked_at": _PACE,
            "id scopes made_with": NOTHING,
        },
        kept=_WITH_ACCOUNT,
    ),
    Table(
        "staff.FailedSignIns", ACCESS,
        {"account": _ACCOUNT, "untold failed_told_at lockout_told_at": _CAME},
        kept=_("until the next sign-in"),
    ),
    Table(
        "otp_totp.TOTPDevice", ACCESS,
        {
            "user": _ACCOUNT,
            "key": _SECRET,
            "created_at last_used_at last_t throttling_failure_timestamp throttling_failure_count": _CAME,
            "id name confirmed step t0 digits tolerance drift": NOTHING,
        },
        kept=_WITH_ACCOUNT,
    ),
    Table("staff.SpentCode", ACCESS, {"device": _ACCOUNT, "step": _CAME, "id": NOTHING}, kept=_WITH_ACCOUNT),
    Table(
        "sessions.Session", ACCESS,
        {"session_key": _SECRET, "session_data": _ACCOUNT, "expire_date": _CAME},
        rule="sessions",
    ),
    Table(
        "axes.AccessAttempt", ACCESS,
        {
            "username ip_address user_agent http_accept path_info get_data post_data": _FAILED,
            "attempt_time failures_since_start": _CAME,
            "id": NOTHING,
        },
        rule="attempts",
    ),
    Table("axes.AccessAttemptExpiration", ACCESS, {"access_attempt expires_at": _CAME}, kept=_NOT_FILLED),
    Table(
        "axes.AccessLog", ACCESS,
        {
            "username ip_address user_agent http_accept path_info session_hash": _ACCOUNT,
            "attempt_time logout_time": _CAME,
            "id": NOTHING,
        },
        rule="attempts",
    ),
    Table(
        "axes.AccessFailureLog", ACCESS,
        {
            "username ip_address user_agent http_accept path_info": _FAILED,
            "attempt_time": _CAME,
            "id locked_out": NOTHING,
        },
        kept=_NOT_FILLED,
    ),
    Table(
        "admin.LogEntry", ACCESS,
        {
            "user": _BY,
            "object_repr change_message": _WRITTEN,
            "action_time": _PACE,
            "id content_type object_id action_flag": NOTHING,
        },
        kept=_NOT_FILLED,
    ),
    # What staff did.
    Table(
        "clients.ApiKey", WORK,
        {"created_by": _BY, "created_at": _PACE, "id client key_id digest expires_at revoked_at": NOTHING},
        kept=_WITH_VERSION,
    ),
    Table(
        "registry.Upload", WORK,
        {
            "created_by": _BY,
            "created_at touched_at": _PACE,
            "note filename": _WRITTEN,
            "id size_bytes sha256 offset_bytes": NOTHING,
        },
        kept=_("a day, unless it is finished"),
    ),
    Table(
        "registry.ModelVersion", WORK,
        {
            "uploaded_by approved_by": _BY,
            "uploaded_at approved_at retired_at": _PACE,
            "note filename approval_reason": _WRITTEN,
            "id model version state size_bytes sha256 upload rules signer card_document verified_at": NOTHING,
            "smoke_report smoke_tested_at claimed_until held_until": NOTHING,
        },
        kept=_WITH_VERSION,
    ),
    Table(
        "rollout.Route", WORK,
        {
            "started_by ended_by": _BY,
            "started_at ended_at": _PACE,
            "reason end_reason": _WRITTEN,
            "id model version mode canary_ratio previous unguarded slow_ms": NOTHING,
        },
        kept=_WITH_VERSION,
    ),
    Table(
        "rollout.Firing", WORK,
        {
            "seen_by": _BY,
            "seen_at": _PACE,
            "id route rule fired_at watched_yes watched_n standard_yes standard_n limit log_evidence": NOTHING,
            "returned_to": NOTHING,
        },
        kept=_WITH_VERSION,
    ),
    Table(
        "rollout.Experiment", WORK,
        {
            "hypothesis": _WRITTEN,
            "id route measure baseline_ratio effect_ratio alpha power size looks_done outcome settled_at": NOTHING,
            "watched_yes watched_n standard_yes standard_n": NOTHING,
        },
        kept=_WITH_VERSION,
    ),
    Table(
        "retraining.TrainingJob", WORK,
        {
            "asked_by cancelled_by": _BY,
            "asked_at": _PACE,
            "note": _WRITTEN,
            "id model recipe seed state tries began_at alive_at stage step step_done step_total ended_at": NOTHING,
            "failure said log_tail dataset version": NOTHING,
        },
        kept=_WITH_VERSION,
    ),
    Table(
        "webhooks.Endpoint", WORK,
        {
            "url": _staff(_("an address, which may be somebody's e-mail")),
            "created_by": _BY,
            "created_at": _PACE,
            "id events active nonce told_through": NOTHING,
        },
        kept=_("until it is removed"),
    ),
    Table(
        "webhooks.Delivery", RUNNING,
        {
            "id endpoint sequence type body state tries next_try_at answer created_at settled_at": NOTHING,
            "tried_at claimed_until": NOTHING,
        },
        rule="deliveries",
    ),
    Table(
        "idempotency.Call", RUNNING,
        {
            "caller": _ACCOUNT,
            "begun_at": _PACE,
            "sealed": _person(_("an answer, which only its key opens")),
            "id key_digest call_digest status content_type": NOTHING,
        },
        rule="calls",
    ),
    # Nobody's.
    _impersonal("auth.Permission", "id name content_type codename"),
    _impersonal("auth.Group", "id name"),
    _impersonal("auth.Group_permissions", "id group permission"),
    _impersonal("contenttypes.ContentType", "id app_label model"),
    _impersonal("pulse.Pulse", "id service name beaten_at problem"),
    _impersonal("audit.Head", "id sequence entry_hash"),
    _impersonal("audit.Checkpoint", "size created_at note frontier"),
    _impersonal("clients.Client", "id client_id name calls_per_minute model_names created_at"),
    _impersonal("predictions.Tally", "id span begins_at model version verdict confidence_bin count"),
    _impersonal("datasets.Proposal", "id model since labels alerts"),
    _impersonal("retraining.Plan", "version photographs since due_at"),
    _impersonal("rollout.Observed", "id route arm what key other count"),
    _impersonal("rollout.PolicyIssue", "id revision fingerprint issued_at"),
    _impersonal("rollout.PolicyRecord", "digest revision issued_at"),
    _impersonal("drift.Pending", "id model version client hour document"),
    _impersonal("drift.Distribution", "id model version client span begins_at text"),
    _impersonal(
        "drift.Finding",
        "id model version client against measure outcome test statistic effect psi p q n_reference n_window error "
        "since looked_at",
    ),
    _impersonal("ingest.AppliedEvent", "event_id applied_at"),
    _impersonal("retention.Applied", "rule day deleted held failed problem last_at next_at"),
)  # fmt: skip
