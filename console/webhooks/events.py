"""What can be heard of: types of audit entries, and which of their details are told. Nothing else leaves.

No detail is personal, and no text that somebody typed is among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Nobody hears of it by choice: it goes to the address that it tries.
TEST: Final = "webhooks.test_sent"

EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "registry.version_uploaded": ("sha256",),
    "registry.version_verified": ("sha256",),
    "registry.version_refused": ("sha256", "failed_rules"),
    "registry.version_smoke_tested": (),
    "registry.version_failed": (),
    "registry.version_approved": (),
    "registry.version_retired": (),
    "rollout.rolled_out": ("version", "mode", "weight_ratio", "replaced"),
    "rollout.rolled_back": ("ended", "version"),
    "rollout.canary_rolled_back": ("ended",),
    "rollout.route_ended": ("ended", "mode"),
    "rollout.guardrail_fired": ("ended", "mode", "rule", "watched", "production", "limit", "returned_to"),
    "rollout.experiment_settled": ("experiment", "outcome", "version", "watched", "production"),
    "retraining.job_uploaded": ("model", "version"),
    "retraining.job_failed": ("model", "failure"),
    "drift.alert_opened": ("model", "against", "measure", "client", "effect", "q", "n"),
    "drift.alert_closed": ("model", "against", "measure", "client", "effect", "q", "n"),
    "privacy.received": ("kind", "laws"),
    "privacy.escalated": ("level", "days_left"),
    "erasure.done": (),
}
