"""The state folder: who may read it, its secrets, its certificate, its database."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from cli.checks.database import embedded
from cli.checks.finding import Finding, right, wrong
from cli.layout import Layout
from cli.provision import RENEW_BEFORE
from console.site.database_file import complaint, holds_tables, is_read_only
from protos.environment import PREFIX

# Losing these loses data; the others are made anew.
IRREPLACEABLE: Final = ("vault.key", "photo_seal.key", "audit_signing.key", "input_hash_secret")
# Of these those for which nobody ever wants another: what would be lost, and the setting that names one elsewhere.
NEVER_ANEW: Final = MappingProxyType(
    {
        "vault.key": ("no photograph kept so far can be opened with another", f"{PREFIX}VAULT_KEY_FILE"),
        "audit_signing.key": ("the audit log is not signed any further with another", f"{PREFIX}AUDIT_KEY_FILE"),
    }
)

SIGNED_NAME: Final = "signed.json"  # as the signer has it

# Of supervisord's configuration: a format (some values are formatted twice, so that no %% helps), a comment, a new
# line; and a byte that is no UTF-8, which the file cannot hold.
_MISREAD: Final = re.compile(r"%|\s[;#]|[\x00-\x1f\x7f]|[\ud800-\udfff]")


def holdings(layout: Layout, environment: Mapping[str, str]) -> Iterator[Finding]:
    unspeakable = named(layout)
    if unspeakable is not None:
        yield unspeakable
    if not layout.state.exists():
        yield folder_to_be(layout)
        return
    yield folder(layout)
    yield from secrets(layout)
    if not layout.in_plain_text:
        yield certificate(*_pair(layout, environment), datetime.now(UTC), own=_is_own(environment))
    if (file := embedded(layout, environment.get(f"{PREFIX}DATABASE_URL", ""))) is not None:
        yield database_file(file, _checkpoints(layout, environment), thorough=True)


def unusable(layout: Layout, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What of it no start would get over: each finding is wrong."""
    unspeakable = named(layout)
    if unspeakable is not None:
        yield unspeakable
        return
    found = [folder(layout) if layout.state.exists() else folder_to_be(layout), *lost(layout, environment)]
    if not layout.in_plain_text:
        own = _is_own(environment)
        found.append(certificate(*_pair(layout, environment), datetime.now(UTC), own=own, starting=True))
    if (file := embedded(layout, environment.get(f"{PREFIX}DATABASE_URL", ""))) is not None:
        found.append(database_file(file, _checkpoints(layout, environment)))
    yield from (finding for finding in found if not finding.ok)


def _checkpoints(layout: Layout, environment: Mapping[str, str]) -> Path:
    return Path(environment.get("AMULET_CHECKPOINT_DIR") or layout.checkpoints)


def _is_own(environment: Mapping[str, str]) -> bool:
    """Whether certificate and key are both the stack's own, which a start may make anew."""
    return not environment.get("AMULET_TLS_CERT") and not environment.get("AMULET_TLS_KEY")


def _pair(layout: Layout, environment: Mapping[str, str]) -> tuple[Path, Path]:
    return (
        Path(environment.get("AMULET_TLS_CERT") or layout.tls / "server.pem"),
        Path(environment.get("AMULET_TLS_KEY") or layout.tls / "server.key"),
    )


def named(layout: Layout) -> Finding | None:
    """A place whose name the supervisor's configuration would be misread over; None where there is none."""
    for place, mend in (
        (layout.state, "choose another --state"),
        (layout.models, f"name another in {PREFIX}MODEL_STORE"),
        (layout.training_wanted, f"name another in {PREFIX}TRAINING_WANTED_FILE"),
    ):
        found = _MISREAD.search(str(place or ""))
        if found:
            what = f"the path {str(place)!r} holds {found[0]!r}"
            return wrong("state folder", f"{what}, which the supervisor's configuration cannot", mend)
    return None


def folder_to_be(layout: Layout) -> Finding:
    parent = next(path for path in layout.state.parents if path.exists())
    if is_read_only(parent):
        return _on_a_read_only_disk(parent)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return right("state folder", f"{layout.state} will be made")
    return wrong("state folder", f"{parent} cannot be written to", "choose another --state")


def folder(layout: Layout) -> Finding:
    if not layout.state.is_dir():
        return wrong("state folder", f"{layout.state} is no folder", "choose another --state")
    if is_read_only(layout.state):
        return _on_a_read_only_disk(layout.state)
    for place in (layout.state, layout.secrets, layout.console, layout.gateway, layout.logs, layout.models):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            return _of_another_user(place, layout)
    journal = layout.gateway / "journal"
    for place in (layout.state, layout.logs, layout.torchserve, layout.console, layout.gateway, journal):
        for file in sorted(place.iterdir()) if os.access(place, os.R_OK | os.X_OK) else ():
            with suppress(FileNotFoundError):  # it goes while we look, beside a stack that runs
                found = file.lstat()
                if stat.S_ISREG(found.st_mode) and found.st_uid != os.getuid() and not os.access(file, os.W_OK):
                    return _of_another_user(file, layout)
    return right("state folder", str(layout.state))


def _of_another_user(place: Path, layout: Layout) -> Finding:
    """What one `sudo amulet up`, or a restore by root, leaves: some program then ends over it at each start."""
    owner = place.stat().st_uid
    mend = f"`chown -R {os.getuid()} {layout.state}`, or start as user {owner}, or choose another --state"
    return wrong("state folder", f"{place} belongs to user {owner} and cannot be used by user {os.getuid()}", mend)


def _on_a_read_only_disk(folder: Path) -> Finding:
    return wrong(
        "state folder",
        f"{folder} lies on a disk that is mounted read-only",
        "mount it writable again (the kernel's log says why it is not), or choose another --state",
    )


def secrets(layout: Layout) -> Iterator[Finding]:
    if not layout.secrets.is_dir():
        yield right("secrets", "will be made")
        return
    loose = [
        path
        for path in (layout.secrets, *sorted(layout.secrets.iterdir()))
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if loose:
        mend = f"`chmod -R go-rwx {layout.secrets}`; whoever could read them may have copied them"
        yield wrong("secrets", f"{loose[0]} can be read by others", mend)
        return
    unreadable = [path for path in sorted(layout.secrets.iterdir()) if path.is_file() and not os.access(path, os.R_OK)]
    if unreadable:
        yield wrong("secrets", f"{unreadable[0]} cannot be read", f"`chmod 600 {unreadable[0]}`")
        return
    empty = [path for path in sorted(layout.secrets.iterdir()) if path.is_file() and path.stat().st_size == 0]
    if empty:
        yield wrong("secrets", f"{empty[0]} is empty", "put it back from a backup")
        return
    started = layout.record.exists()
    missing = [name for name in IRREPLACEABLE if started and not (layout.secrets / name).exists()]
    if missing:
        yield wrong(
            "secrets",
            f"{layout.secrets / missing[0]} is missing, though this stack ran before",
            "put it back from a backup before the next start: a new one cannot open what the old one closed",
        )
        return
    yield right("secrets", "readable by their owner alone")


def lost(layout: Layout, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Of a stack that ran before, the keys without which a start would go on as another stack."""
    if not layout.record.exists():
        return
    for name, (costs, variable) in NEVER_ANEW.items():
        if not environment.get(variable) and not (layout.secrets / name).exists():
            another = f"`amulet provision --state {layout.state}` makes another where there is none"
            yield wrong(
                "secrets", f"{layout.secrets / name} is missing, and {costs}", f"put it back from a backup; {another}"
            )


def certificate(chain: Path, key: Path, now: datetime, *, own: bool, starting: bool = False) -> Finding:
    """own: `amulet up` makes and renews it.  starting: it is about to, and what still serves is right."""
    again = f"remove {chain} and {key}: `amulet up` makes new ones" if own else "have it issued again"
    missing = [path for path in (chain, key) if not path.exists()]
    # One of them alone is what a start leaves that was killed while it made them: the next one makes both anew.
    if own and (len(missing) == 2 or (starting and missing)):
        return right("certificate", "will be made")
    try:
        found = x509.load_pem_x509_certificate(chain.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        return wrong("certificate", f"{error.filename} cannot be read: {error.strerror}", again)
    except (ValueError, TypeError) as error:
        return wrong(
            "certificate", f"{chain} and {key} are no certificate and key: {str(error).splitlines()[0]}", again
        )
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if found.public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        return wrong("certificate", f"{key} is not the key of {chain}", again)
    if found.not_valid_before_utc > now:
        return wrong(
            "certificate",
            f"{chain} is valid from {found.not_valid_before_utc:%Y-%m-%d %H:%M} on, and it is {now:%Y-%m-%d %H:%M} UTC",
            f"set the clock right, or, where it was ahead when that was made, {again}",
        )
    if starting and own and found.not_valid_after_utc <= now:
        return right("certificate", "will be renewed")
    if found.not_valid_after_utc <= now:
        mend = "`amulet down`, then `amulet up` renews it" if own else again
        return wrong("certificate", f"{chain} expired on {found.not_valid_after_utc:%Y-%m-%d}", mend)
    left = found.not_valid_after_utc - now
    if not own and not starting and left < RENEW_BEFORE:
        return wrong("certificate", f"{chain} expires on {found.not_valid_after_utc:%Y-%m-%d}", again)
    return right("certificate", f"valid for {left // timedelta(days=1)} days")


def database_file(path: Path, checkpoints: Path, *, thorough: bool = False) -> Finding:
    """The embedded database, where there is one.

    checkpoints: what was signed of its audit log.  thorough: all of it is looked through for damage.
    """
    found = complaint(path, thorough=thorough)
    if found is not None:
        return wrong("database", found.found, found.mend)
    if holds_tables(path):
        return right("database", str(path))
    # A restore forgot it, a full disk left its copy empty, or a new shell does not name the server that has it.
    if (checkpoints / SIGNED_NAME).exists():
        return wrong(
            "database",
            f"{path} is {'empty' if path.exists() else 'missing'}, though what was signed of its audit log is in "
            f"{checkpoints}",
            f"put it back from a backup, or name its server in AMULET_DATABASE_URL; to begin anew, move {checkpoints} "
            "aside",
        )
    return right("database", "no embedded database yet")
