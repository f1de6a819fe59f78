"""Where a stack on one machine keeps its things, and on which ports it listens."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
PORT_OFFSET_MAX: Final = 50_000
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, for this user alone
UNIX_PATH_BYTES_MAX: Final = 95  # of 107; supervisord adds a suffix while it binds


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port of one stack: the usual number plus the stack's offset."""

    offset: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= PORT_OFFSET_MAX:
            raise ValueError(f"the port offset must be 0 to {PORT_OFFSET_MAX}, not {self.offset}")

    @property
    def gateway(self) -> int:
        return 7443 + self.offset

    @property
    def gateway_ops(self) -> int:
        return 7445 + self.offset

    @property
    def console(self) -> int:
        return 7480 + self.offset

    @property
    def torchserve_inference(self) -> int:
        return 8080 + self.offset

    @property
    def torchserve_management(self) -> int:
        return 8081 + self.offset

    @property
    def torchserve_metrics(self) -> int:
        return 8082 + self.offset

    @property
    def torchserve_grpc_inference(self) -> int:
        return 7070 + self.offset

    @property
    def torchserve_grpc_management(self) -> int:
        return 7071 + self.offset

    def all(self) -> dict[str, int]:
        """Port by the name of what listens there."""
        return {
            "gateway": self.gateway,
            "gateway ops": self.gateway_ops,
            "console": self.console,
            "torchserve inference": self.torchserve_inference,
            "torchserve management": self.torchserve_management,
            "torchserve metrics": self.torchserve_metrics,
            "torchserve gRPC inference": self.torchserve_grpc_inference,
            "torchserve gRPC management": self.torchserve_grpc_management,
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one stack. Everything that it keeps is below `state`."""

    state: Path  # absolute
    ports: Ports

    @classmethod
    def of(cls, state: Path, port_offset: int | None = None) -> Layout:
        """The stack in `state`, on the ports it was last started with unless others are given."""
        state = state.absolute()
        return cls(state, Ports(_recorded_offset(state) if port_offset is None else port_offset))

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def try_key(self) -> Path:
        """The API key of the console's page Try it, once an administrator has made one."""
        return self.secrets / "try_key"

    @property
    def tls(self) -> Path:
        return self.state / "tls"

    @property
    def models(self) -> Path:
        return self.state / "models"

    @property
    def torchserve(self) -> Path:
        return self.state / "torchserve"

    @property
    def gateway(self) -> Path:
        return self.state / "gateway"

    @property
    def console(self) -> Path:
        return self.state / "console"

    @property
    def trusted(self) -> Path:
        return self.console / "trusted"

    @property
    def training_wanted(self) -> Path:
        """Lies here while a training job waits; the trainer is started then."""
        return self.console / "training-wanted"

    @property
    def checkpoints(self) -> Path:
        return self.state / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def record(self) -> Path:
        """What `amulet up` wrote down for `status` and `down`."""
        return self.state / "stack.json"

    @property
    def supervisor_socket(self) -> Path:
        """In the state folder, or in the temporary one where the path would not fit a socket's address."""
        path = self.state / "supervisor.sock"
        if len(os.fsencode(path)) <= UNIX_PATH_BYTES_MAX:
            return path
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
        return Path(tempfile.gettempdir(), f"amulet-{digest}.sock")

    @property
    def pixels(self) -> Path | None:
        """A folder in memory, for pixels between gateway and TorchServe; None where this machine has no such memory."""
        if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
            return None
        digest = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:24]
        return SHARED_MEMORY / f"amulet-{os.getuid()}-{digest}"

    @property
    def supervisor_config(self) -> Path:
        return self.state / "supervisord.conf"

    @property
    def gateway_address(self) -> str:
        return f"{HOST}:{self.ports.gateway}"

    @property
    def gateway_ops_url(self) -> str:
        return f"http://{HOST}:{self.ports.gateway_ops}"

    @property
    def console_url(self) -> str:
        return f"http://{HOST}:{self.ports.console}"

    def environment(self) -> dict[str, str]:
        """The settings of every process of this stack, as environment variables."""
        secrets, ports = self.secrets, self.ports
        values = {
            "STATE_DIR": self.state,
            "CONTROL_TOKEN_FILE": secrets / "control_token",
            "KEY_SECRET_FILE": secrets / "key_secret",
            "CONSOLE_URL": self.console_url,
            "TORCHSERVE_GRPC": f"{HOST}:{ports.torchserve_grpc_inference}",
            "TORCHSERVE_MANAGEMENT_GRPC": f"{HOST}:{ports.torchserve_grpc_management}",
            "TORCHSERVE_MANAGEMENT_URL": f"http://{HOST}:{ports.torchserve_management}",
            "TORCHSERVE_KEY_FILE": self.torchserve / "key_file.json",
            "GATEWAY_LISTEN": self.gateway_address,
            "GATEWAY_OPS_LISTEN": f"{HOST}:{ports.gateway_ops}",
            "GATEWAY_OPS_URL": self.gateway_ops_url,
            "GATEWAY": self.gateway_address,
            "TLS_CA": self.tls / "ca.pem",
            "TRY_KEY_FILE": self.try_key,
            "TLS_CERT": self.tls / "server.pem",
            "TLS_KEY": self.tls / "server.key",
            "INPUT_HASH_SECRET_FILE": secrets / "input_hash_secret",
            "PIXELS_DIR": self.pixels or "",
            "JOURNAL_DIR": self.gateway / "journal",
            "MODEL_STORE": self.models,
            "TRUSTED_KEYS": self.trusted,
            "CONSOLE_LISTEN": f"{HOST}:{ports.console}",
            "SECRET_KEY_FILE": secrets / "django_secret",
            "AUDIT_KEY_FILE": secrets / "audit_signing.key",
            "CHECKPOINT_DIR": self.checkpoints,
            "TRAINING_WANTED_FILE": self.training_wanted,
            "VAULT_KEY_FILE": secrets / "vault.key",
            "PHOTO_SEAL_KEY_FILE": secrets / "photo_seal.key",
        }
        return {f"AMULET_{name}": str(value) for name, value in values.items()}


def _recorded_offset(state: Path) -> int:
    try:
        offset = json.loads((state / "stack.json").read_text())["port_offset"]
        return Ports(int(offset)).offset
    except (OSError, ValueError, KeyError, TypeError):  # none yet, torn, or of another version
        return 0
