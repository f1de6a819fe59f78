"""What people read for the types of entries; the log itself keeps the words of `NewEntry.action`."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

TYPES: Final = {
    "audit.exported": gettext_noop("audit trail exported"),
    "calls.failed": gettext_noop("calls failed"),
    "clients.client_changed": gettext_noop("client changed"),
    "clients.client_created": gettext_noop("client created"),
    "clients.key_created": gettext_noop("API key created"),
    "clients.key_revoked": gettext_noop("API key revoked"),
    "consent.given": gettext_noop("consent given"),
    "consent.withdrawn": gettext_noop("consent withdrawn"),
    "dataset.exported": gettext_noop("data set exported"),
    "drift.alert_closed": gettext_noop("drift alert closed"),
    "drift.alert_opened": gettext_noop("drift alert opened"),
    "erasure.done": gettext_noop("erasure done"),
    "erasure.key_destroyed": gettext_noop("erasure: key destroyed"),
    "erasure.replayed": gettext_noop("erasures applied again after a restore"),
    "feedback.given": gettext_noop("feedback given"),
    "prediction.made": gettext_noop("prediction made"),
    "privacy.closed_with": gettext_noop("privacy request closed with another"),
    "privacy.done": gettext_noop("privacy request done"),
    "privacy.escalated": gettext_noop("privacy request near its limit"),
    "privacy.exported": gettext_noop("personal data exported"),
    "privacy.extended": gettext_noop("privacy request extended"),
    "privacy.identity_checked": gettext_noop("identity checked"),
    "privacy.paused": gettext_noop("privacy request paused"),
    "privacy.received": gettext_noop("privacy request received"),
    "privacy.refused": gettext_noop("privacy request refused"),
    "privacy.resumed": gettext_noop("privacy request resumed"),
    "privacy.started": gettext_noop("privacy request started"),
    "registry.smoke_test_retried": gettext_noop("smoke test tried again"),
    "registry.version_approved": gettext_noop("version approved"),
    "registry.version_failed": gettext_noop("version failed its smoke test"),
    "registry.version_refused": gettext_noop("version refused"),
    "registry.version_retired": gettext_noop("version retired"),
    "registry.version_smoke_tested": gettext_noop("version smoke-tested"),
    "registry.version_uploaded": gettext_noop("version uploaded"),
    "registry.version_verified": gettext_noop("version verified"),
    "retraining.proposal_closed": gettext_noop("proposal to learn anew closed"),
    "retraining.proposed": gettext_noop("learning anew proposed"),
    "review.decided": gettext_noop("review decided"),
    "review.taken_back": gettext_noop("review taken back"),
    "rollout.canary_rolled_back": gettext_noop("canary rolled back"),
    "rollout.experiment_settled": gettext_noop("experiment settled"),
    "rollout.experiment_started": gettext_noop("experiment started"),
    "rollout.guardrail_fired": gettext_noop("guardrail fired"),
    "rollout.guardrail_seen": gettext_noop("guardrail seen"),
    "rollout.rolled_back": gettext_noop("rolled back"),
    "rollout.rolled_out": gettext_noop("rolled out"),
    "rollout.route_ended": gettext_noop("route ended"),
    "shadow.followed": gettext_noop("a shadow's answer followed"),
    "staff.access_reset": gettext_noop("access of a member of staff reset"),
    "staff.role_changed": gettext_noop("role changed"),
    "staff.token_created": gettext_noop("token for scripts created"),
    "staff.token_revoked": gettext_noop("token for scripts revoked"),
    "staff.user_created": gettext_noop("member of staff created"),
    "staff.user_disabled": gettext_noop("member of staff disabled"),
    "staff.user_enabled": gettext_noop("member of staff enabled"),
    "webhooks.endpoint_created": gettext_noop("webhook created"),
    "webhooks.endpoint_disabled": gettext_noop("webhook switched off"),
    "webhooks.endpoint_enabled": gettext_noop("webhook switched on"),
    "webhooks.endpoint_removed": gettext_noop("webhook removed"),
    "webhooks.secret_renewed": gettext_noop("secret of a webhook renewed"),
    "vault.expired": gettext_noop("photographs whose consent ran out deleted"),
    "vault.opened": gettext_noop("photograph or heat map opened"),
}
SUBJECTS: Final = {
    "api_token": gettext_noop("token for scripts"),
    "audit": gettext_noop("audit trail"),
    "client": gettext_noop("client"),
    "dataset": gettext_noop("data set"),
    "model": gettext_noop("model"),
    "model_version": gettext_noop("model version"),
    "prediction": gettext_noop("prediction"),
    "privacy": gettext_noop("privacy"),
    "privacy_request": gettext_noop("privacy request"),
    "subject": gettext_noop("data subject"),
    "user": gettext_noop("member of staff"),
    "vault": gettext_noop("vault"),
    "webhook": gettext_noop("webhook"),
}


def type_name(type_: str) -> str:
    """The type in the reader's language; an unknown one as it is."""
    return _(TYPES[type_]) if type_ in TYPES else type_


def subject_name(subject_type: str) -> str:
    """What an entry is about, in the reader's language; an unknown word as it is."""
    return _(SUBJECTS[subject_type]) if subject_type in SUBJECTS else subject_type
