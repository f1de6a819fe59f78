"""The gateway's settings: one typed, frozen object, read once in `main()` from the environment.

Every field is the variable `AMULET_` + its name in capitals. `main()` hands the parts down;
nothing else reads the environment.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from protos.addresses import CACHES, address, host_and_port
from protos.blankness import BLANK, is_blank
from protos.cores import cores
from protos.environment import PREFIX, complaint
from protos.tokens import WANTED, is_token

_SECRET: Final = frozenset({"cache_url"})  # may hold a password: never repeated in a message

# Journal, ports, console, TorchServe and Redis: 24 at rest. A decoder has three, and while it is replaced two stand.
_DESCRIPTORS_OWN: Final = 128
_DESCRIPTORS_OF_A_DECODER: Final = 6


class SettingsWrong(Exception):
    """A setting that stops the start, as one sentence with its variable's name."""


def _in_state(*parts: str) -> Callable[[dict[str, Any]], Path]:
    return lambda data: Path(data.get("state_dir", Path(".amulet")), *parts)


class Settings(BaseSettings):
    """Every setting of a gateway process."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    state_dir: Path = Field(default=Path(".amulet"), description="Folder in which a stack keeps its state.")
    log_format: Literal["json", "text"] = Field(
        default="json", description="One JSON object a line, or text for people."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least urgent line logged."
    )

    gateway_listen: str = Field(default="127.0.0.1:7443", description="HOST:PORT that the gateway answers gRPC on.")
    gateway_ops_listen: str = Field(
        default="127.0.0.1:7445", description="HOST:PORT of /metrics, /healthz and /readyz (plain HTTP)."
    )
    gateway_id: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=128,
        description="Name of this gateway in the events that it writes; unique among gateways.",
    )
    tls_cert: Path | None = Field(default=None, description="Certificate chain (PEM) of the gRPC port.")
    tls_key: Path | None = Field(default=None, description="Private key (PEM) of the gRPC port.")
    insecure: bool = Field(default=False, description="Speak plain text; allowed on loopback only.")
    reflection: bool = Field(default=True, description="Describe the services to whoever asks (gRPC reflection).")

    control_token_file: Path = Field(
        default_factory=_in_state("secrets", "control_token"), description="What the gateway shows to the console."
    )
    key_secret_file: Path = Field(
        default_factory=_in_state("secrets", "key_secret"), description="The secret under which API keys are digested."
    )
    input_hash_secret_file: Path = Field(
        default_factory=_in_state("secrets", "input_hash_secret"),
        description="The secret under which photographs are hashed.",
    )
    console_url: str = Field(default="http://127.0.0.1:7480", description="Where the policy comes from and events go.")
    cache_url: str = Field(
        default="memory://",
        repr=False,
        description="Where calls are counted and idempotency keys known: memory:// or redis:// (several gateways).",
    )

    torchserve_grpc: str = Field(default="127.0.0.1:7070", description="TorchServe's inference gRPC.")
    torchserve_management_url: str = Field(
        default="http://127.0.0.1:8081", description="TorchServe's management HTTP, for tokens alone."
    )
    torchserve_key_file: Path = Field(
        default_factory=_in_state("torchserve", "key_file.json"), description="Where TorchServe writes its tokens."
    )

    pixels_dir: Path | None = Field(
        default=None,
        description="Folder in memory (tmpfs) that TorchServe's workers read pixels from, its launcher's --pixels; "
        "empty: pixels are sent.",
    )

    journal_dir: Path = Field(
        default_factory=_in_state("gateway", "journal"), description="Folder of the durable journal; one per gateway."
    )
    journal_free_mib_min: int = Field(
        default=256, ge=0, description="MiB that stay free on the journal's disk: below, no prediction is answered."
    )
    journal_age_s_max: float = Field(
        default=300.0,
        ge=1.0,
        le=604_800.0,  # a week: the law gives an erasure a month
        description="Seconds that an event stays in the journal, once it is delivered. An erasure waits for them.",
    )
    decoder_workers: int = Field(
        default_factory=lambda: max(2, min(8, cores())),
        ge=1,
        le=64,
        description="Processes that decode photographs, about 40 MiB each.",
    )
    request_s_max: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="Seconds that a call may take, whatever deadline it sets, or without one. The console keeps a "
        "version that lost its route loaded for longer than this.",
    )
    calls_in_flight_max: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Predictions inside at once, and as many feedbacks beside them; beyond, the calls of whoever has "
        "most are refused; sooner while a queue stands.",
    )
    connections_max: int = Field(
        default=512,  # twice as many as may watch
        ge=16,
        le=65_536,
        description="Connections of all callers at once; one more is closed as soon as it is made. Each takes a file "
        "descriptor, and in a stranger's hands up to 17 MiB for ten seconds.",
    )
    messages_mib_max: int = Field(
        default=448,
        ge=384,  # the longest message there is, 161 MiB, as it came and parsed
        le=1_048_576,
        description="MiB that callers' messages may add to the gateway's process, of some 100 at rest; beyond, what is "
        "on its way of whoever has most is ended.",
    )

    otlp_endpoint: str = Field(
        default="",
        description="http:// or https:// and HOST:PORT of a collector that takes traces (OTLP over gRPC); "
        "empty: no traces.",
    )
    traces_ratio: float = Field(
        default=0.1, ge=0, le=1, description="Share of calls that are traced where the caller does not say."
    )

    @field_validator("gateway_id")
    @classmethod
    def _readable(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip():
            raise ValueError("wanted a name that can be printed, without spaces around it")
        return value

    @field_validator("gateway_listen", "gateway_ops_listen")
    @classmethod
    def _to_listen_on(cls, value: str) -> str:
        host_and_port(value)
        return value

    @field_validator("torchserve_grpc")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
            raise ValueError("wanted HOST:PORT")
        return value

    @field_validator("cache_url")
    @classmethod
    def _cache_known(cls, value: str) -> str:
        address(value, CACHES)
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector(cls, value: str) -> str:
        if value and address(value, ("http", "https")).port is None:
            raise ValueError("wanted HOST:PORT after http:// or https://, as in http://127.0.0.1:4317")
        return value

    @field_validator("console_url", "torchserve_management_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not address(value, ("http", "https")).hostname:
            raise ValueError("wanted a HOST after http:// or https://, as in http://127.0.0.1:7480")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _encrypted_or_loopback(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("AMULET_TLS_CERT and AMULET_TLS_KEY belong together: set both")
        if self.insecure:
            if not _is_loopback(self.gateway_listen):
                raise ValueError(
                    f"AMULET_INSECURE is allowed on loopback only, and AMULET_GATEWAY_LISTEN is {self.gateway_listen}"
                )
        elif self.tls_cert is None:
            raise ValueError(
                "AMULET_TLS_CERT and AMULET_TLS_KEY are not set: name a certificate, "
                "or set AMULET_INSECURE=1 to speak plain text on loopback"
            )
        return self

    @model_validator(mode="after")
    def _descriptors_suffice(self) -> Settings:
        own = self.descriptors - self.connections_max
        _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)  # up to which the process helps itself
        if allowed != resource.RLIM_INFINITY and self.descriptors > allowed:
            raise ValueError(
                f"AMULET_CONNECTIONS_MAX is {self.connections_max}, and this process may have {allowed} files open, of "
                f"which it needs {own} for itself: let it have {self.descriptors} (`ulimit -n`, or `LimitNOFILE=` of "
                "its unit), or fewer connections"
            )
        return self

    @property
    def descriptors(self) -> int:
        """How many files, sockets among them, the process may have open at once."""
        return self.connections_max + _DESCRIPTORS_OWN + _DESCRIPTORS_OF_A_DECODER * self.decoder_workers

    def secret(self, name: Literal["control_token", "key_secret", "input_hash_secret"]) -> bytes:
        """The content of a secret file without the newline at its end. Raises SettingsWrong."""
        path: Path = getattr(self, f"{name}_file")
        variable = f"{PREFIX}{name.upper()}_FILE"
        try:
            content = path.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise SettingsWrong(
                f"{variable} names {path}, which cannot be read ({error.strerror}): "
                "`amulet up` creates it, or name the file that you keep"
            ) from None
        if not content:
            raise SettingsWrong(f"{variable} names {path}, which is empty")
        if is_blank(content):
            raise SettingsWrong(f"{variable} names {path}, {BLANK}")
        if name == "control_token" and not is_token(content):
            raise SettingsWrong(f"{variable} names {path}, which holds no token: {WANTED}")
        return content


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsWrong with one sentence: the variable, the value unless it is a secret, what is allowed."""
    unknown = complaint(environment)
    if unknown is not None:
        raise SettingsWrong(unknown)
    given: dict[str, Any] = {name: environment.get(f"{PREFIX}{name.upper()}") for name in Settings.model_fields}
    try:
        return Settings(**{name: value for name, value in given.items() if value})  # an empty one is not set
    except ValidationError as error:
        raise SettingsWrong(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    field = str(first["loc"][0])
    shown = "" if field in _SECRET or "@" in str(first["input"]) else f" is {first['input']!r}"
    return f"{PREFIX}{field.upper()}{shown}: {message[:1].lower()}{message[1:]}"


def _is_loopback(listen: str) -> bool:
    host, _ = host_and_port(listen)
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
