"""The console's settings: one typed, frozen object, read once from the environment.

Django's settings module is built from it; nothing else in the console reads the
environment. Every field is the variable `AMULET_` + its name in capitals.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from console.site.mail import Mailbox, MailServer, mail_server
from protos.addresses import BROKERS, CACHES, DATABASES, BucketAddress, address, bucket, host_and_port
from protos.blankness import BLANK, is_blank
from protos.environment import PREFIX, complaint
from protos.tokens import WANTED, is_token

_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_RAW_KEY_BYTES: Final = 32
# As Django takes them: * for any, a dot before a domain with all below it, IPv6 in brackets.
_HOST: Final = re.compile(r"\*|\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
_DAYS_MAX: Final = 36_525  # a hundred years: further back no date reaches, and what counts days would fail
_MAY_HOLD_A_PASSWORD: Final = ("database_url", "broker_url", "cache_url", "storage_url", "smtp_url")


class ConfigurationWrong(Exception):
    """A setting that stops the start, as one sentence with its variable's name."""


def _in_state(*parts: str) -> Callable[[dict[str, Any]], Path]:
    return lambda data: Path(data.get("state_dir", Path(".amulet")), *parts)


class ConsoleSettings(BaseSettings):
    """Every setting of the console's processes: web, worker, beat and reconciler."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    state_dir: Path = Field(default=Path(".amulet"), description="Folder in which a stack keeps its state.")
    log_format: Literal["json", "text"] = Field(
        default="json", description="One JSON object a line, or text for people."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least urgent line logged."
    )
    otlp_endpoint: str = Field(
        default="",
        description="http:// or https:// and HOST:PORT of a collector that takes traces (OTLP over gRPC); "
        "empty: no traces.",
    )

    database_url: str = Field(
        default="",
        repr=False,
        description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME; empty: SQLite in the state folder.",
    )
    broker_url: str = Field(
        default="",
        repr=False,
        description="filesystem:///ABSOLUTE/FOLDER, redis:// or amqp://; empty: files in the state folder.",
    )
    cache_url: str = Field(default="memory://", repr=False, description="memory:// or redis://.")
    storage_url: str = Field(
        default="",
        repr=False,
        description="file:///ABSOLUTE/FOLDER on a disk, or s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION "
        "(without an endpoint: Amazon's); empty: the state folder.",
    )
    storage_key_file: Path | None = Field(
        default=None,
        description="Credentials for the bucket, as Amazon's tools keep them in ~/.aws/credentials, under [default]; "
        "empty: what those tools would find, as the role of the machine.",
    )
    storage_ca: Path | None = Field(
        default=None,
        description="Authorities (PEM) that the certificate of the bucket's endpoint may come from; "
        "empty: the public ones.",
    )
    model_store: Path = Field(
        default_factory=_in_state("models"), description="TorchServe's model store, which only the console writes."
    )
    staging_dir: Path = Field(
        default_factory=_in_state("staging"),
        description="Folder of uploads that nobody has looked at yet; one for all processes of the console.",
    )
    trusted_keys: Path = Field(
        default_factory=_in_state("console", "trusted"),
        description="Folder of the public keys (PEM) whose signatures on archives are trusted.",
    )

    console_listen: str = Field(default="127.0.0.1:7480", description="HOST:PORT that the console answers on.")
    console_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Web processes of the console, about 130 MiB each; one a core where many events come in.",
    )
    console_hosts: str = Field(
        default="",
        description="Names by which the console is reached, comma separated; any beyond loopback needs TLS before it.",
    )
    console_debug: bool = Field(
        default=False, description="Django's debug pages; for development on one's own machine only."
    )

    review_blind_ratio: float = Field(
        default=0.2, ge=0, le=1, description="Share of photographs that an expert judges before the model is heard."
    )
    review_double_ratio: float = Field(
        default=0.1, ge=0, le=1, description="Share of photographs that several experts judge, each without the others."
    )
    review_gold_ratio: float = Field(
        default=0.03, ge=0, le=1, description="Share of photographs in a reviewer's queue whose answer is known."
    )
    review_opinions: int = Field(default=2, ge=2, le=5, description="How many experts those are.")

    retrain_labels: int = Field(
        default=1000,
        ge=1,
        le=10**9,
        description="New labels of a model, free to learn from, at which training anew is proposed.",
    )

    retrain_erased_days: int = Field(
        default=30,
        ge=1,
        le=_DAYS_MAX,
        description="Days in which a version that learnt from an erased person is to be replaced.",
    )
    training_command: Path | None = Field(
        default=None, description="The `amulet` that trains; empty: the one beside the worker's Python."
    )
    training_dir: Path = Field(
        default_factory=_in_state("training"),
        description="Folder in which a training job's photographs lie while it runs; best in memory (tmpfs).",
    )
    training_key_file: Path = Field(
        default_factory=_in_state("signing.key"),
        description="Private key (PEM) that signs what training jobs make; only the worker that trains reads it.",
    )
    training_wanted_file: Path | None = Field(
        default=None,
        description="File that says to whoever starts the trainer that a job waits, as in `amulet up`; empty: a "
        "message to a worker on the queue `training`.",
    )
    training_hours_max: float = Field(default=6, gt=0, le=240, description="How long a training job may run.")
    training_mib_max: int = Field(default=16_384, ge=512, le=2**24, description="Memory that a training job may take.")

    keep_predictions_days: int = Field(
        default=0,
        ge=0,
        le=_DAYS_MAX,
        description="Days after which a prediction goes, with its photographs, reviews and feedback; 0: never.",
    )
    keep_consents_days: int = Field(
        default=1826, ge=365, le=_DAYS_MAX, description="Days for which a consent is kept as a proof after it ended."
    )
    keep_requests_days: int = Field(
        default=1826,
        ge=365,
        le=_DAYS_MAX,
        description="Days for which a closed privacy request and its certificate are kept.",
    )

    control_token_file: Path = Field(
        default_factory=_in_state("secrets", "control_token"), description="What the gateway shows to the console."
    )
    key_secret_file: Path = Field(
        default_factory=_in_state("secrets", "key_secret"), description="The secret under which API keys are digested."
    )
    secret_key_file: Path = Field(
        default_factory=_in_state("secrets", "django_secret"), description="Django's secret key: sessions, forms."
    )
    audit_key_file: Path = Field(
        default_factory=_in_state("secrets", "audit_signing.key"), description="Ed25519 key that signs checkpoints."
    )
    checkpoint_dir: Path = Field(
        default_factory=_in_state("checkpoints"), description="Folder to which signed audit checkpoints are written."
    )
    vault_key_file: Path = Field(
        default_factory=_in_state("secrets", "vault.key"), description="Key that wraps the keys of data subjects."
    )
    photo_seal_key_file: Path = Field(
        default_factory=_in_state("secrets", "photo_seal.key"), description="X25519 key that opens sealed photographs."
    )

    erasure_ledger: Path = Field(
        default_factory=_in_state("ledger", "erasures.jsonl"),
        description="File that names who was erased, by random ids; keep it out of what a restore brings back.",
    )
    journal_dir: Path = Field(
        default_factory=_in_state("gateway", "journal"),
        description="Folder of the durable journal; one per gateway.",
    )

    webhook_private: bool = Field(
        default=False, description="Let webhooks go to private and loopback addresses too, and over plain HTTP."
    )
    webhook_ca: Path | None = Field(
        default=None,
        description="Authorities (PEM) that listeners' certificates may come from, beside the public ones.",
    )
    smtp_url: str = Field(
        default="",
        repr=False,
        description="smtp://USER:PASSWORD@HOST:PORT (STARTTLS, but on loopback) or smtps://…; empty: no e-mail.",
    )
    mail_from: Mailbox = Field(default="amulet@localhost", description="The sender of e-mails.")

    torchserve_grpc: str = Field(default="127.0.0.1:7070", description="TorchServe's inference gRPC, for smoke tests.")
    torchserve_management_grpc: str = Field(default="127.0.0.1:7071", description="TorchServe's management gRPC.")
    torchserve_management_url: str = Field(default="http://127.0.0.1:8081", description="TorchServe's management HTTP.")
    torchserve_key_file: Path = Field(
        default_factory=_in_state("torchserve", "key_file.json"), description="Where TorchServe writes its tokens."
    )
    request_s_max: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="Seconds that a call may take in a gateway: a version that lost its route stays loaded for longer.",
    )
    gateway: str = Field(
        default="127.0.0.1:7443", description="HOST:PORT of the gateway that `amulet predict` and Try it ask."
    )
    tls_ca: Path = Field(
        default_factory=_in_state("tls", "ca.pem"),
        description="The authority (PEM) that signed the gateway's certificate.",
    )
    insecure: bool = Field(default=False, description="Speak to the gateway in plain text; loopback only.")
    try_key_file: Path = Field(
        default_factory=_in_state("secrets", "try_key"),
        description="File of the API key with which Try it asks the gateway; read at every call.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector(cls, value: str) -> str:
        if value and address(value, ("http", "https")).port is None:
            raise ValueError("wanted HOST:PORT after http:// or https://, as in http://127.0.0.1:4317")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_known(cls, value: str) -> str:
        if value:
            address(value, DATABASES)
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker_known(cls, value: str) -> str:
        for each in value.split(";") if value else ():  # Celery goes on to the next where one is away
            if address(each, BROKERS).scheme == "filesystem" and not _names_a_folder(each, "filesystem"):
                raise ValueError("wanted filesystem:///absolute/folder")
        return value

    @field_validator("cache_url")
    @classmethod
    def _cache_known(cls, value: str) -> str:
        address(value, CACHES)
        return value

    @field_validator("storage_url")
    @classmethod
    def _storage_known(cls, value: str) -> str:
        if value.startswith("s3:"):
            bucket(value)
        elif value and not _names_a_folder(value, "file"):
            # Without a folder the path is empty, and that is wherever the process happened to start.
            raise ValueError("wanted file:///absolute/folder or s3://BUCKET/PREFIX")
        return value

    @field_validator("console_hosts")
    @classmethod
    def _names_of_hosts(cls, value: str) -> str:
        for name in (part.strip() for part in value.split(",")):
            if name and not _HOST.fullmatch(name):
                raise ValueError("wanted names alone, comma separated, as in console.example.org: no https://, no port")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _mail_server_known(cls, value: str) -> str:
        if value and not address(value, ("smtp", "smtps")).hostname:
            raise ValueError("wanted an address that names a host")
        return value

    @field_validator("console_listen")
    @classmethod
    def _to_listen_on(cls, value: str) -> str:
        host_and_port(value)
        return value

    @field_validator("torchserve_grpc", "torchserve_management_grpc", "gateway")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
            raise ValueError("wanted HOST:PORT")
        return value

    @field_validator("torchserve_management_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not address(value, ("http", "https")).hostname:
            raise ValueError("wanted a HOST after http:// or https://, as in http://127.0.0.1:8081")
        return value.rstrip("/")

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that the console answers to; loopback always among them."""
        named = tuple(name.strip() for name in self.console_hosts.split(",") if name.strip())
        return tuple(dict.fromkeys((*_LOOPBACK_NAMES, *named)))

    @property
    def behind_tls(self) -> bool:
        """Whether people reach the console from other machines, and so only through TLS."""
        return any(not _is_loopback(name) for name in self.hosts)

    @property
    def console_port(self) -> int:
        return host_and_port(self.console_listen)[1]

    @property
    def data_dir(self) -> Path:
        """The console's own folder of the state."""
        return self.state_dir / "console"

    @property
    def storage_bucket(self) -> BucketAddress | None:
        """Where encrypted objects lie in a bucket; None: they lie in `storage_dir`."""
        return bucket(self.storage_url) if self.storage_url.startswith("s3:") else None

    @property
    def storage_dir(self) -> Path:
        """Folder of encrypted objects, where the storage is a disk."""
        return Path(urlsplit(self.storage_url).path) if self.storage_url else self.data_dir / "objects"

    def mail(self) -> MailServer:
        """Where e-mails are handed in; without a host where none is set."""
        return mail_server(self.smtp_url, trusted=_is_loopback)

    def control_token(self) -> bytes:
        """What the gateway shows to the console. Raises OSError."""
        return read_secret(self.control_token_file)

    def unusable_files(self) -> tuple[str, ...]:
        """One sentence for each secret file without which no process may start, or that holds no such secret."""
        needed = {
            "SECRET_KEY_FILE": self.secret_key_file,
            "CONTROL_TOKEN_FILE": self.control_token_file,
            "KEY_SECRET_FILE": self.key_secret_file,
            "PHOTO_SEAL_KEY_FILE": self.photo_seal_key_file,
        }
        missing = tuple(
            f"{PREFIX}{name} names {path}, which is not there: `amulet up` creates it, or name the file that you keep"
            for name, path in needed.items()
            if not path.is_file()
        )
        if missing:
            return missing
        complaints = (
            self.control_token_complaint(),
            self._photo_seal_key_complaint(),
            *(_blank(name, needed[name]) for name in ("SECRET_KEY_FILE", "KEY_SECRET_FILE")),
        )
        return tuple(complaint for complaint in complaints if complaint)

    def control_token_complaint(self) -> str | None:
        """One sentence about a control token that no header carries, or that cannot be read; None for a good one."""
        variable = f"{PREFIX}CONTROL_TOKEN_FILE names {self.control_token_file}"
        try:
            token = self.control_token()
            if not is_token(token):
                return f"{variable}, which holds no token: {WANTED}"
            return f"{variable}, {BLANK}" if is_blank(token) else None
        except OSError as error:
            return f"{variable}, which cannot be read ({error.strerror})"

    def _photo_seal_key_complaint(self) -> str | None:
        """One sentence about a file that is no key: there would be no policy, and no key that is revoked would die."""
        variable = f"{PREFIX}PHOTO_SEAL_KEY_FILE names {self.photo_seal_key_file}"
        try:
            content = self.photo_seal_key_file.read_bytes()
        except OSError as error:
            return f"{variable}, which cannot be read ({error.strerror})"
        if len(content) == _RAW_KEY_BYTES:
            return f"{variable}, {BLANK}" if is_blank(content) else None
        return f"{variable}, which must hold {_RAW_KEY_BYTES} bytes, and holds {len(content)}"


def load(environment: Mapping[str, str] = os.environ) -> ConsoleSettings:
    """Read the settings from the environment. Raises ConfigurationWrong with the first thing that is wrong."""
    unknown = complaint(environment)
    if unknown:
        raise ConfigurationWrong(unknown)
    given: dict[str, Any] = {name: environment.get(f"{PREFIX}{name.upper()}") for name in ConsoleSettings.model_fields}
    try:
        return ConsoleSettings(**{name: value for name, value in given.items() if value})  # an empty one is not set
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        hidden = field in _MAY_HOLD_A_PASSWORD or "@" in str(first["input"])
        value = "an address that is not shown here" if hidden else repr(first["input"])
        reason = first["msg"].removeprefix("Value error, ")
        reason = f"{reason[:1].lower()}{reason[1:]}"
        raise ConfigurationWrong(f"{PREFIX}{field.upper()} is {value}: {reason}") from None


def _blank(name: str, path: Path) -> str | None:
    try:
        content = read_secret(path)
    except OSError as error:
        return f"{PREFIX}{name} names {path}, which cannot be read ({error.strerror})"
    return f"{PREFIX}{name} names {path}, {BLANK}" if is_blank(content) else None


def read_secret(path: Path) -> bytes:
    """The content of a secret file without the newline at its end. Raises OSError."""
    return path.read_bytes().rstrip(b"\r\n")


def _names_a_folder(value: str, scheme: str) -> bool:
    """Whether it is scheme:///absolute/folder, and nothing beside it that would be passed over."""
    try:
        url = address(value, (scheme,))
    except ValueError:
        return False
    beside = url.netloc or url.query or url.fragment
    return not beside and url.path.startswith("/") and url.path.strip("/") != ""


def _is_loopback(name: str) -> bool:
    if name in _LOOPBACK_NAMES:
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
