"""Where a stack on one machine keeps its things, and on which ports it listens."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from protos import addresses
from protos.environment import PREFIX

HOST: Final = "127.0.0.1"
PORT_OFFSET_MAX: Final = 50_000
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, for this user alone
# As the gateway has them.
REQUEST_S_MAX: Final = 30.0
REQUEST_S_LIMIT: Final = 600.0
UNIX_PATH_BYTES_MAX: Final = 95  # of 107; supervisord adds a suffix while it binds

_LOOPBACK_OF: Final = {"0.0.0.0": HOST, "[::]": "[::1]"}  # noqa: S104 - nothing listens by it
_TRUE: Final = ("1", "true", "t", "yes", "y", "on")  # what gateway and console take for yes


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
class Chosen:
    """What the operator's settings put in place of a stack's own, and more than one process goes by; None: its own.

    `amulet up` writes it down, so that `status` and `predict` find in another shell what they look for.
    """

    gateway_listen: str | None = None  # HOST:PORT
    gateway_ops_listen: str | None = None  # HOST:PORT
    console_listen: str | None = None  # HOST:PORT
    model_store: str | None = None  # absolute
    training_wanted_file: str | None = None  # absolute; "": somebody else trains, and hears of it by a message
    tls_ca: str | None = None  # absolute
    insecure: str | None = None  # as the variable has it
    request_s_max: str | None = None  # as the variable has it

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Chosen:
        """What these variables choose. An empty one chooses nothing, except that it may take the trainer away."""
        found = {}
        for each in fields(cls):
            value = environment.get(f"{PREFIX}{each.name.upper()}")
            if value or (value == "" and each.name == "training_wanted_file"):
                found[each.name] = str(Path(value).absolute()) if value and each.name in _CHOSEN_PATHS else value
        return cls(**found)

    def document(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value is not None}


_CHOSEN_PATHS: Final = ("model_store", "training_wanted_file", "tls_ca")


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one stack. Everything that it keeps is below `state`, unless the operator chose another place."""

    state: Path  # absolute
    ports: Ports
    chosen: Chosen = Chosen()

    @classmethod
    def of(cls, state: Path, port_offset: int | None = None) -> Layout:
        """The stack in `state` as it was last started, on other ports where they are given."""
        state = state.absolute()
        offset, chosen = _recorded(state)
        return cls(state, Ports(offset if port_offset is None else port_offset), chosen)

    def settled(self, environment: Mapping[str, str]) -> Layout:
        """The stack as it would be started with these variables: what was chosen the last time counts no more."""
        return replace(self, chosen=Chosen.of(environment))

    def over(self, environment: Mapping[str, str]) -> Layout:
        """The stack as it was last started, but for what these variables choose."""
        return replace(self, chosen=replace(self.chosen, **Chosen.of(environment).document()))

    def places(self) -> tuple[str, ...]:
        """Where a stack that runs cannot be moved from."""
        listens = (self.gateway_listen, self.gateway_ops_listen, self.console_listen)
        return (str(self.ports.offset), *listens, str(self.models), str(self.training_wanted))

    def document(self) -> dict[str, Any]:
        """What `amulet up` writes down in `record`."""
        return {"port_offset": self.ports.offset, "chosen": self.chosen.document()}

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
        return Path(self.chosen.model_store or self.state / "models")

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
    def training_wanted(self) -> Path | None:
        """Lies here while a training job waits; the trainer is started then. None: nobody here trains."""
        if self.chosen.training_wanted_file is not None:
            return Path(self.chosen.training_wanted_file) if self.chosen.training_wanted_file else None
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
    def starting(self) -> Path:
        """Held by the `amulet up` that makes the stack ready, until its supervisor runs."""
        return self.state / "up.lock"

    @property
    def supervisor_socket(self) -> Path:
        """In the state folder, or in a temporary one where the path would not fit a socket's address.

        Which one that is differs from shell to shell (TMPDIR): the link that a start left in the state folder says so.
        """
        path = self.supervisor_link
        if len(os.fsencode(path)) <= UNIX_PATH_BYTES_MAX:
            return path
        name = f"amulet-{hashlib.sha256(os.fsencode(path)).hexdigest()[:24]}.sock"
        with suppress(OSError):
            started = path.readlink()
            if started.name == name and started.parent.is_dir():  # the link of a copied folder names the other's socket
                return started
        return Path(tempfile.gettempdir(), name)

    @property
    def supervisor_link(self) -> Path:
        """The supervisor's socket, or the link to it where it lies elsewhere."""
        return self.state / "supervisor.sock"

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
    def tls_ca(self) -> Path:
        """The authority (PEM) that signed the gateway's certificate."""
        return Path(self.chosen.tls_ca or self.tls / "ca.pem")

    @property
    def in_plain_text(self) -> bool:
        """Whether the gateway speaks without TLS."""
        return (self.chosen.insecure or "").lower() in _TRUE

    @property
    def request_s_max(self) -> float:
        """Seconds that a call may take, above 0 and at most REQUEST_S_LIMIT; the rest is for the gateway to refuse."""
        try:
            chosen = float(self.chosen.request_s_max or REQUEST_S_MAX)
        except ValueError:
            return REQUEST_S_MAX
        return chosen if 0.0 < chosen <= REQUEST_S_LIMIT else REQUEST_S_MAX

    @property
    def gateway_listen(self) -> str:
        return self.chosen.gateway_listen or f"{HOST}:{self.ports.gateway}"

    @property
    def gateway_ops_listen(self) -> str:
        return self.chosen.gateway_ops_listen or f"{HOST}:{self.ports.gateway_ops}"

    @property
    def console_listen(self) -> str:
        return self.chosen.console_listen or f"{HOST}:{self.ports.console}"

    @property
    def gateway_address(self) -> str:
        """Where this machine reaches the gateway."""
        return _reached(self.gateway_listen)

    @property
    def gateway_ops_url(self) -> str:
        return f"http://{_reached(self.gateway_ops_listen)}"

    @property
    def console_url(self) -> str:
        return f"http://{_reached(self.console_listen)}"

    def listens(self) -> dict[str, tuple[str, int]]:
        """Host and port by the name of what listens there. Raises ValueError where one is no HOST:PORT."""
        chosen = {
            "gateway": self.gateway_listen,
            "gateway ops": self.gateway_ops_listen,
            "console": self.console_listen,
        }
        usual = {name: (HOST, port) for name, port in self.ports.all().items()}
        return {**usual, **{name: host_and_port(listen) for name, listen in chosen.items()}}

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
            "GATEWAY_LISTEN": self.gateway_listen,
            "GATEWAY_OPS_LISTEN": self.gateway_ops_listen,
            "GATEWAY": self.gateway_address,
            "TLS_CA": self.tls_ca,
            "TRY_KEY_FILE": self.try_key,
            "TLS_CERT": self.tls / "server.pem",
            "TLS_KEY": self.tls / "server.key",
            "INPUT_HASH_SECRET_FILE": secrets / "input_hash_secret",
            "PIXELS_DIR": self.pixels or "",
            "JOURNAL_DIR": self.gateway / "journal",
            "MODEL_STORE": self.models,
            "TRUSTED_KEYS": self.trusted,
            "CONSOLE_LISTEN": self.console_listen,
            "SECRET_KEY_FILE": secrets / "django_secret",
            "AUDIT_KEY_FILE": secrets / "audit_signing.key",
            "CHECKPOINT_DIR": self.checkpoints,
            "TRAINING_WANTED_FILE": self.training_wanted or "",
            "VAULT_KEY_FILE": secrets / "vault.key",
            "PHOTO_SEAL_KEY_FILE": secrets / "photo_seal.key",
        }
        return {f"AMULET_{name}": str(value) for name, value in values.items()}


def host_and_port(listen: str) -> tuple[str, int]:
    """The parts of HOST:PORT; the port is 1 to 65535. Raises ValueError."""
    return addresses.host_and_port(listen, port_min=1)


def _reached(listen: str) -> str:
    """HOST:PORT at which this machine reaches what listens so: what listens everywhere does on loopback, too."""
    host, _, port = listen.rpartition(":")
    return f"{_LOOPBACK_OF.get(host, host)}:{port}"


def _recorded(state: Path) -> tuple[int, Chosen]:
    try:
        record = json.loads((state / "stack.json").read_text())
        offset = Ports(int(record["port_offset"])).offset
    except (OSError, ValueError, KeyError, TypeError):  # none yet, torn, or of another version
        return 0, Chosen()
    try:
        return offset, Chosen(**{name: str(value) for name, value in record["chosen"].items()})
    except (AttributeError, KeyError, TypeError):  # of another version
        return offset, Chosen()
