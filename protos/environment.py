"""The names of all environment variables that Amulet reads, and which process reads them.

Each process has its own typed settings; this list only lets every one of them tell a
misspelt `AMULET_` variable from one that another process reads. A test holds it equal to
the union of the settings classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

PREFIX: Final = "AMULET_"

# Name without the prefix -> who reads it.
VARIABLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # Every process.
        "STATE_DIR": ("gateway", "console", "cli"),
        "LOG_FORMAT": ("gateway", "console"),
        "LOG_LEVEL": ("gateway", "console"),
        # Shared between the planes.
        "CONTROL_TOKEN_FILE": ("gateway", "console"),
        "KEY_SECRET_FILE": ("gateway", "console"),
        "CACHE_URL": ("gateway", "console"),
        "CONSOLE_URL": ("gateway", "cli"),
        "TORCHSERVE_GRPC": ("gateway", "console"),  # the console: smoke tests
        "TORCHSERVE_MANAGEMENT_GRPC": ("console",),
        "TORCHSERVE_MANAGEMENT_URL": ("gateway", "console"),
        "TORCHSERVE_KEY_FILE": ("gateway", "console"),
        "OTLP_ENDPOINT": ("gateway", "console"),
        "REQUEST_S_MAX": ("gateway", "console"),  # the console: how long a version that lost its route is still asked
        # Gateway.
        "GATEWAY_LISTEN": ("gateway",),
        "GATEWAY_OPS_LISTEN": ("gateway",),
        "GATEWAY_ID": ("gateway",),
        "TLS_CERT": ("gateway",),
        "TLS_KEY": ("gateway",),
        "INSECURE": ("gateway", "console", "cli"),
        "REFLECTION": ("gateway",),
        "INPUT_HASH_SECRET_FILE": ("gateway",),
        "PIXELS_DIR": ("gateway",),
        "JOURNAL_DIR": ("gateway", "console"),
        "JOURNAL_FREE_MIB_MIN": ("gateway",),
        "JOURNAL_AGE_S_MAX": ("gateway",),
        "DECODER_WORKERS": ("gateway",),
        "CALLS_IN_FLIGHT_MAX": ("gateway",),
        "CONNECTIONS_MAX": ("gateway",),
        "MESSAGES_MIB_MAX": ("gateway",),
        "TRACES_RATIO": ("gateway",),
        # Console.
        "DATABASE_URL": ("console",),
        "BROKER_URL": ("console",),
        "STORAGE_URL": ("console",),
        "STORAGE_KEY_FILE": ("console",),
        "STORAGE_CA": ("console",),
        "MODEL_STORE": ("console",),
        "STAGING_DIR": ("console",),
        "TRUSTED_KEYS": ("console", "cli"),  # the command line: `amulet verify`
        "CONSOLE_LISTEN": ("console",),
        "CONSOLE_PROCESSES": ("console",),
        "CONSOLE_HOSTS": ("console",),
        "CONSOLE_DEBUG": ("console",),
        "REVIEW_BLIND_RATIO": ("console",),
        "REVIEW_DOUBLE_RATIO": ("console",),
        "REVIEW_GOLD_RATIO": ("console",),
        "REVIEW_OPINIONS": ("console",),
        "RETRAIN_LABELS": ("console",),
        "RETRAIN_ERASED_DAYS": ("console",),
        "KEEP_PREDICTIONS_DAYS": ("console",),
        "KEEP_CONSENTS_DAYS": ("console",),
        "KEEP_REQUESTS_DAYS": ("console",),
        "TRAINING_COMMAND": ("console",),
        "TRAINING_DIR": ("console",),
        "TRAINING_KEY_FILE": ("console",),
        "TRAINING_WANTED_FILE": ("console",),
        "TRAINING_HOURS_MAX": ("console",),
        "TRAINING_MIB_MAX": ("console",),
        "SECRET_KEY_FILE": ("console",),
        "AUDIT_KEY_FILE": ("console",),
        "CHECKPOINT_DIR": ("console",),
        "VAULT_KEY_FILE": ("console",),
        "ERASURE_LEDGER": ("console",),
        "PHOTO_SEAL_KEY_FILE": ("console",),
        "TRY_KEY_FILE": ("console",),
        "WEBHOOK_PRIVATE": ("console",),
        "WEBHOOK_CA": ("console",),
        "SMTP_URL": ("console",),
        "MAIL_FROM": ("console",),
        # Command line.
        "GATEWAY": ("console", "cli"),
        "API_KEY": ("cli",),
        "API_KEY_FILE": ("cli",),
        "CONSOLE_TOKEN": ("cli",),
        "CONSOLE_TOKEN_FILE": ("cli",),
        "TLS_CA": ("console", "cli"),
        "RUNS": ("cli",),
        "EXPORTS": ("cli",),
        "FEATURES": ("cli",),
    }
)


def complaint(environment: Mapping[str, str]) -> str | None:
    """One sentence about the first `AMULET_` variable that nobody reads; None when all are known."""
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in VARIABLES:
            continue
        near = get_close_matches(name.removeprefix(PREFIX), VARIABLES, n=1)
        hint = f"did you mean {PREFIX}{near[0]}?" if near else "see `amulet settings` for the list"
        return f"{name} is not a setting of Amulet: {hint}"
    return None
